from __future__ import annotations

from nemo_runspec.errors import NemotronError
from nemotron.data_prep.shards import WorkerDiedError


def test_a_dead_worker_is_no_mistake_of_the_user_s() -> None:
    error = WorkerDiedError("a worker was killed", remedy="Start again.")
    assert isinstance(error, NemotronError)
    assert (error.exit_code, error.title) == (1, "worker died")
    assert str(error) == "a worker was killed\n  Start again."
