from __future__ import annotations

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.other_fields import refuse_other_fields
from tests.nemo_runspec.executors.clusters import docker


def test_a_field_that_is_set_is_refused_with_what_to_do_instead() -> None:
    executor = docker(runtime="nvidia")
    refuse_other_fields(executor, {"shm_size": "Leave it out.", "ipc_mode": "Leave it out."})
    with pytest.raises(ProfileError, match="the docker executor of this library takes no 'runtime'") as error:
        refuse_other_fields(executor, {"ipc_mode": "Leave it out.", "runtime": "Do without."})
    assert error.value.remedy == "Do without."
