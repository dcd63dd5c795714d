"""Groups of tasks and nemo-run's experiments, with a platform that does what the test says."""

from __future__ import annotations

import gc
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nemo_run as run
import pytest
from nemo_run.config import get_nemorun_home
from torchx.specs import AppState

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors import platform as platform_executors
from nemo_runspec.executors import scheduler, submission
from nemo_runspec.executors.groups import merge_own_group
from nemo_runspec.executors.journal import Journal
from nemo_runspec.platforms.workload import JobState
from tests.nemo_runspec.executors.clusters import docker, slurm
from tests.nemo_runspec.executors.leaks import holding
from tests.nemo_runspec.executors.platforms import FakePlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("make", [slurm, docker])
QUIET: dict[str, bool] = {"enable_goodbye_message": False, "skip_status_at_exit": True}


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> FakePlatform:
    fake = FakePlatform()
    for module in (platform_executors, scheduler, submission):
        monkeypatch.setattr(module, "connect", lambda *_: fake)
    monkeypatch.setattr("nemo_runspec.executors.slurm.SlurmExecutor._prepare", lambda _: [])
    return fake


@pytest.fixture(autouse=True, scope="module")
def quiet_afterwards() -> Iterator[None]:
    """Let nemo-run's experiments go here: when they do, they change the handlers of the log, whoever is logging."""
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def empty_journal() -> Iterator[None]:
    yield
    for entry in Journal(get_nemorun_home()).entries():
        Journal(get_nemorun_home()).forget(entry.name)


@BOTH
def test_a_group_is_one_job(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    scripts = [run.Script(inline=f"echo {number} 'a b'", env={"OWN": str(number), "SAME": "1"}) for number in range(2)]
    with run.Experiment("a group", **QUIET) as experiment:
        experiment.add(scripts, executor=make(), name="group")
        experiment.add(run.Script(inline="echo alone"), executor=make(), name="alone")
        experiment.run(detach=False)
    assert len(platform.sent) == 2
    request = next(request for _, request in platform.sent if "launch-1.sh" in request.files)
    texts = [request.files[f"launch-{number}.sh"][0].decode() for number in range(2)]
    assert ["export OWN=0\n" in texts[0], "export OWN=1\n" in texts[1]] == [True, True]
    scripts_sent = sorted(name for name in request.files if name.startswith("scripts/"))
    assert len(scripts_sent) == 2
    for text, script in zip(texts, scripts_sent, strict=True):
        assert script in shlex.split(text.splitlines()[-1])[-1]
    assert {task["status"] for task in experiment.status(return_dict=True).values()} == {AppState.SUCCEEDED}


@BOTH
def test_the_executors_of_a_group_are_the_same(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    two = [run.Script(inline="a"), run.Script(inline="b")]
    with run.Experiment("a group", **QUIET) as experiment:
        experiment.add(two, executor=[make(nodes=1), make(nodes=2)], name="group")
        with pytest.raises(ProfileError, match="the tasks of the group 'group' become one job, and their executors"):
            experiment.run(detach=True)
    assert platform.sent == []
    with run.Experiment("a group", **QUIET) as experiment:
        experiment.add(two, executor=[make(), make()], name="group")
        experiment.run(detach=True)
    assert len(platform.sent) == 1


@BOTH
def test_a_group_that_fails_has_failed(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    platform.states = [JobState.FAILED]
    with run.Experiment("a group", **QUIET) as experiment:
        experiment.add([run.Script(inline="a"), run.Script(inline="b")], executor=make(), name="group")
        experiment.run(detach=False)
    assert [task["status"] for task in experiment.status(return_dict=True).values()] == [AppState.FAILED]


@BOTH
def test_a_group_is_cancelled_as_one(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    platform.states = [JobState.RUNNING]
    with run.Experiment("a group", **QUIET) as experiment:
        identifier = experiment.add([run.Script(inline="a"), run.Script(inline="b")], executor=make(), name="group")
        experiment.run(detach=True)
    experiment.cancel(identifier)
    assert len(platform.cancelled) == 1


@BOTH
def test_a_secret_of_a_task_in_a_group_is_refused_before_anything_is_written(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    scripts = [run.Script(inline="true"), run.Script(inline="true", env={"MY_API_KEY": "canary-g"})]
    with run.Experiment("refused", **QUIET) as experiment:
        experiment.add(scripts, executor=make(), name="group")
        with pytest.raises(ProfileError, match="holds the secret MY_API_KEY"):
            experiment.run(detach=True)
    assert platform.sent == []
    assert holding(Path(get_nemorun_home()), "canary-g") == []


def test_tasks_wait_for_others_on_slurm(platform: FakePlatform) -> None:
    with run.Experiment("a chain", **QUIET) as experiment:
        first = experiment.add(run.Script(inline="a"), executor=slurm(), name="first")
        experiment.add(run.Script(inline="b"), executor=slurm(), name="second", dependencies=[first])
        experiment.run(detach=True)
    (name, before), (_, after) = platform.sent
    assert (before.after, after.after) == ((), (f"id-of-{name}",))


def test_outside_an_experiment_there_is_nothing_to_merge() -> None:
    merge_own_group(slurm())
