from __future__ import annotations

import subprocess
import sys

import pytest

from nemo_runspec import execution
from nemo_runspec.executors.dgxcloud import create_dgxcloud_executor
from nemo_runspec.executors.lepton import create_lepton_executor


def test_the_cloud_factories_are_given_out() -> None:
    assert execution.create_lepton_executor is create_lepton_executor
    assert execution.create_dgxcloud_executor is create_dgxcloud_executor
    assert all(hasattr(execution, name) for name in execution.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nope'"):
        _ = execution.nope


def test_nemo_run_is_imported_only_for_what_needs_it() -> None:
    program = "import sys, nemo_runspec.execution; print('nemo_run' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
