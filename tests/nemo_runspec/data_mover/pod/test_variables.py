from __future__ import annotations

import pytest

from nemo_runspec import job_folder
from nemo_runspec.data_mover.pod.variables import JOB_DIR_VARIABLE, is_transport_variable


def test_the_job_folders_variable_is_the_librarys() -> None:
    assert job_folder.JOB_DIR_VARIABLE == JOB_DIR_VARIABLE


@pytest.mark.parametrize(
    ("name", "carries"),
    [
        ("NEMO_RUNSPEC_SRC_0", True),
        ("NEMO_RUNSPEC_JOB_12", True),
        ("NEMO_RUNSPEC_BOOT", True),
        ("NEMO_RUNSPEC_POD", True),
        ("NEMO_RUNSPEC_POD_1", True),
        ("NEMO_RUNSPEC_JOB_DIR", False),
        ("NEMO_RUNSPEC_SRC_", False),
        ("NEMO_RUNSPEC_SRC_²", False),
        ("NEMO_RUNSPEC_BOOTS", False),
        ("PATH", False),
    ],
)
def test_what_a_transport_variable_is(name: str, carries: bool) -> None:  # noqa: FBT001 - a table of cases
    assert is_transport_variable(name) is carries
