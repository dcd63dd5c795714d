"""What the executors of Slurm and Docker have in common; the clouds' is in test_cloud.py."""

from __future__ import annotations

import gc
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nemo_run as run
import pytest
from nemo_run.config import get_nemorun_home
from nemo_run.core.packaging.git import GitArchivePackager
from torchx.specs import AppState

from nemo_runspec.data_mover.packager import SourcePackager
from nemo_runspec.env import DockerProfile, SlurmProfile
from nemo_runspec.errors import PayloadError, ProfileError, UnreachableError
from nemo_runspec.executors import platform as platform_executors
from nemo_runspec.executors import scheduler, submission
from nemo_runspec.executors.journal import Journal
from nemo_runspec.executors.platform import Task, common_fields, recorded
from nemo_runspec.platforms.workload import JobState
from tests.nemo_runspec.executors.clouds import FolderPackager
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
def test_a_secret_is_held_by_its_name_only(make: Any, monkeypatch: pytest.MonkeyPatch, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    with pytest.raises(ProfileError, match="env_vars of the executor holds the secret HF_TOKEN") as error:
        make(env_vars={"HF_TOKEN": "canary-literal"})
    assert "canary" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "canary-hf")
    monkeypatch.setenv("LICENSE", "canary-license")
    executor = make(env_vars={"HF_TOKEN": "canary-hf", "PLAIN": "x"}, secrets=["LICENSE"])
    assert (executor.env_vars, executor.secrets) == ({"PLAIN": "x"}, ["LICENSE", "HF_TOKEN"])
    executor.launch("job", ["true"])
    ((_, request),) = platform.sent
    assert dict(request.secrets) == {"HF_TOKEN": "canary-hf", "LICENSE": "canary-license"}
    assert "canary" not in repr(executor) + repr(request) + str(request.body)
    monkeypatch.delenv("LICENSE")
    with pytest.raises(ProfileError, match="LICENSE from the environment, where it is not set"):
        executor.launch("job", ["true"])


@BOTH
def test_an_experiment_sends_each_task_once_with_its_own_files(
    make: Any,  # noqa: ANN401 - either factory
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-token")
    platform.logs = {"pod": ["a line"]}
    (tmp_path / "main.py").write_text("code", encoding="utf-8")
    executor = make(secrets=["MY_TOKEN"], env_vars={"SHARED": "1"}, packager=FolderPackager(folder=str(tmp_path)))
    with run.Experiment("two tasks", executor=executor, enable_goodbye_message=False) as experiment:
        experiment.add(run.Script(inline="echo one", env={"OWN": "first"}), name="one")
        experiment.add(run.Script(path="b c.sh", args=["x y", "$HOME", "ü"], env={"OWN": "second"}), name="two_")
        experiment.run(detach=False, tail_logs=True)
    sent = {name.rpartition("-")[0]: request for name, request in platform.sent}
    assert sorted(sent) == ["one", "two"]
    assert sent["one"].files["code/main.py"][0] == b"code"
    assert [name for name in sent["one"].files if name.startswith("scripts/")] == ["scripts/one.sh"]
    last = sent["two"].files["launch.sh"][0].decode().splitlines()[-1]
    assert shlex.split(last)[-3:] == ["x y", "$HOME", "ü"]
    assert {dict(request.secrets)["MY_TOKEN"] for request in sent.values()} == {"canary-token"}
    assert {task["status"] for task in experiment.status(return_dict=True).values()} == {AppState.SUCCEEDED}
    folder = Path(experiment._exp_dir)  # noqa: SLF001 - nemo-run has no other name for it
    mine = [folder, *(path for name in ("one", "two_") for path in (folder / name).rglob("*"))]
    assert [path for path in mine if stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    assert holding(Path(get_nemorun_home()), "canary") == []


@BOTH
def test_a_plugin_that_puts_a_secret_in_later_is_stopped(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    executor = make()
    with run.Experiment("later", executor=executor, enable_goodbye_message=False) as experiment:
        experiment.add(run.Script(inline="true"), name="one")
        executor.env_vars["HF_TOKEN"] = "canary-late"  # noqa: S105 - no secret
        with pytest.raises(ProfileError, match="env_vars of the executor holds the secret HF_TOKEN"):
            experiment.run(detach=True)
    assert platform.sent == []
    assert holding(Path(get_nemorun_home()), "canary-late") == []


@BOTH
def test_a_launched_job_is_recorded_asked_about_and_cancelled(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    identifier, state = make(profile="mine").launch("a job", ["bash", "-c", "print 'a b'", "$HOME", ""])
    (entry,) = Journal(get_nemorun_home()).entries()
    assert (entry.id, state, entry.profile) == (identifier, JobState.QUEUED, "mine")
    assert entry.digest == platform.sent[0][1].digest
    assert entry.pod_job_dir == f"{make().home}/jobs/{entry.name}"
    last = platform.sent[0][1].files["launch.sh"][0].decode().splitlines()[-1]
    assert shlex.split(last) == ["exec", "bash", "-c", "print 'a b'", "$HOME", ""]
    assert recorded(identifier) == recorded(entry.name) == entry
    assert make().status(identifier) is JobState.SUCCEEDED
    make().cancel(entry.name)
    assert platform.cancelled == [entry.submitted]


@BOTH
def test_a_submission_without_an_answer_stays_recorded(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    platform.refusal = UnreachableError("no answer")
    with pytest.raises(UnreachableError):
        make().launch("a job", ["true"])
    (lost,) = Journal(get_nemorun_home()).entries()
    assert (lost.id, lost.name) == ("", platform.sent[0][0])


@BOTH
def test_the_log_of_a_job_is_written_with_its_tasks_names(
    make: Any,  # noqa: ANN401 - either factory
    platform: FakePlatform,
    capsys: pytest.CaptureFixture[str],
) -> None:
    platform.logs = {"pod": ["a line"]}
    executor = make()
    identifier, _ = executor.launch("job", ["true"])
    (entry,) = Journal(get_nemorun_home()).entries()
    type(executor).logs(entry.app_id)
    assert capsys.readouterr().out == "[job/pod] a line\n"
    assert list(executor.fetch_logs(identifier)) == ["[pod] a line"]


@BOTH
def test_a_launchers_prefix_reaches_the_program(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    with run.Experiment("torch", **QUIET) as experiment:
        task = run.Script(path="train.py", entrypoint="python", args=["$HOME x"])
        executor = make(launcher="torchrun", nodes=2, nprocs_per_node=3)
        experiment.add(task, executor=executor, name="torch")
        experiment.run(detach=True)
    last = platform.sent[0][1].files["launch.sh"][0].decode().splitlines()[-1]
    for part in ("torchrun", "--nnodes 2", "--nproc-per-node 3", "$NODE_RANK", "$MASTER_ADDR", "'$HOME x'"):
        assert part in last, last


@BOTH
def test_a_packager_needs_its_repository(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - either factory
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PayloadError, match="is in none"):
        make().package(GitArchivePackager(), "job")


def test_only_our_own_packager_has_a_source() -> None:
    assert slurm().source() is None
    assert slurm(packager=SourcePackager()).source() is not None


@pytest.mark.parametrize("profile", [SlurmProfile, DockerProfile])
def test_a_profiles_fields_hold_the_names_of_secrets(profile: type[SlurmProfile | DockerProfile]) -> None:
    given = profile(
        name="mine",
        env_vars={"A": "1", "MY_API_KEY": "canary"},
        secrets=("TEAM",),
        nodes=2,
        nprocs_per_node=3,
        startup_commands=("echo hi",),
    )
    fields = common_fields(given, {"B": "2"})
    assert fields["env_vars"] == {"A": "1", "B": "2"}
    assert fields["secrets"] == ["TEAM", "MY_API_KEY"]
    assert (fields["nodes"], fields["gpus_per_node"], fields["nprocs_per_node"]) == (2, 0, 3)
    assert (fields["profile"], fields["startup_commands"]) == ("mine", ["echo hi"])
    assert "canary" not in repr(fields)


@BOTH
def test_a_tasks_own_variable_wins_over_the_executors_secret(make: Any) -> None:  # noqa: ANN401 - either factory
    plain, secret = make().variables({"LICENSE": "the task's", "MY_TOKEN": "too"})
    assert (plain, secret) == ({"LICENSE": "the task's"}, {"MY_TOKEN": "too"})
    assert make(env_vars={"A": "1"}).variables({})[0] == {}
    assert Task("a", "true", {"MY_TOKEN": "canary"}).__repr__().count("canary") == 0
