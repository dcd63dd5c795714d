"""What the two cloud executors have in common, with a platform that does what the test says."""

from __future__ import annotations

import shlex
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nemo_run as run
import pytest
from nemo_run.config import get_nemorun_home
from nemo_run.core.execution.launcher import FaultTolerance
from nemo_run.core.packaging.git import GitArchivePackager
from torchx.specs import AppState

from nemo_runspec.data_mover import exit_code_of
from nemo_runspec.data_mover.packager import SourcePackager
from nemo_runspec.errors import PayloadError, ProfileError, RefusedError, UnreachableError
from nemo_runspec.executors import cloud, request, scheduler, submission
from nemo_runspec.executors.dgxcloud import DGXCloudExecutor
from nemo_runspec.executors.journal import Journal
from nemo_runspec.executors.lepton import LeptonExecutor
from nemo_runspec.platforms.workload import JobState
from tests.nemo_runspec.executors.leaks import holding
from tests.nemo_runspec.executors.platforms import FakePlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.executors.request import CloudJob

MOUNT = {"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}


def lepton(**fields: Any) -> LeptonExecutor:  # noqa: ANN401 - fields of many types
    given = {"container_image": "an/image:1", "nemo_run_dir": "/mnt/nfs/nemo_run", **fields}
    return LeptonExecutor(resource_shape="cpu.small", node_group="ng", mounts=[MOUNT], **given)


def dgxcloud(**fields: Any) -> DGXCloudExecutor:  # noqa: ANN401 - fields of many types
    given = {"container_image": "an/image:1", "pvc_nemo_run_dir": "/mnt/nfs/nemo_run", **fields}
    return DGXCloudExecutor(
        base_url="https://team.example/api/v1",
        kube_apiserver_url="https://kube.example",
        client_id="app",
        client_secret="${oc.env:RUNAI_SECRET}",  # noqa: S106 - a reference, not a secret
        project_name="p",
        pvcs=[{"path": "/mnt/nfs", "claimName": "team", "existingPvc": True}],
        **given,
    )


BOTH = pytest.mark.parametrize("make", [lepton, dgxcloud])


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> FakePlatform:
    fake = FakePlatform()
    for module in (cloud, scheduler, submission):
        monkeypatch.setattr(module, "connect", lambda *_: fake)
    return fake


@pytest.fixture(autouse=True)
def empty_journal() -> Iterator[None]:
    yield
    for entry in Journal(get_nemorun_home()).entries():
        Journal(get_nemorun_home()).forget(entry.name)


def launched(platform: FakePlatform, number: int = 0) -> dict[str, Any]:
    """Give the variables of a sent job, and what is in its launch script, as `launch`."""
    name, sent = platform.sent[number]
    spec = sent.filled({})["spec"]
    variables = spec.get("envs", spec.get("environmentVariables"))
    return {"name": name, **{item["name"]: item.get("value") for item in variables}}


@BOTH
def test_a_clone_is_the_same_executor(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - either factory
    monkeypatch.setenv("HF_TOKEN", "canary")
    executor = make(
        nodes=2,
        secrets=["HF_TOKEN"],
        packager=SourcePackager(exclude=["*.md"]),
        pip_extras=["a"],
        startup_commands=["b"],
        git_mounts=["git+https://host.example/x.git@main,/opt/x"],
    )
    assert executor.clone() == executor
    assert type(executor.clone()) is type(executor)


@BOTH
def test_the_number_of_processes_is_what_is_asked_for_or_one_for_each_gpu(make: Any) -> None:  # noqa: ANN401 - either factory
    assert make().nproc_per_node() == 1
    assert make(gpus_per_node=8).nproc_per_node() == 8
    assert make(gpus_per_node=8, nprocs_per_node=4).nproc_per_node() == 4


@BOTH
def test_a_secret_is_held_by_its_name_only(make: Any, monkeypatch: pytest.MonkeyPatch, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    with pytest.raises(ProfileError, match="env_vars of the executor holds the secret HF_TOKEN") as error:
        make(env_vars={"HF_TOKEN": "canary-literal"})
    assert "canary" not in str(error.value)
    monkeypatch.setenv("HF_TOKEN", "canary-hf")
    monkeypatch.setenv("LICENSE", "canary-license")
    executor = make(env_vars={"HF_TOKEN": "canary-hf", "PLAIN": "x"}, secrets=["LICENSE"])
    assert (executor.env_vars, executor.secrets) == ({"PLAIN": "x"}, ["LICENSE", "HF_TOKEN"])
    assert "canary" not in repr(executor)
    executor.launch("job", ["true"])
    sent = launched(platform)
    assert (sent["HF_TOKEN"], sent["LICENSE"], sent["PLAIN"]) == ("canary-hf", "canary-license", "x")
    assert platform.sent[0][1].secret_variables == {"HF_TOKEN", "LICENSE"}
    monkeypatch.delenv("LICENSE")
    with pytest.raises(ProfileError, match="LICENSE from the environment, where it is not set"):
        executor.launch("job", ["true"])


@BOTH
def test_a_job_is_built_from_all_that_the_executor_says(make: Any, tmp_path: Path) -> None:  # noqa: ANN401 - either factory
    extra = tmp_path / "train.yaml"
    extra.write_text("lr: 1\n", encoding="utf-8")
    commit = "a" * 40
    executor = make(
        nodes=2,
        gpus_per_node=3,
        retries=1,
        workspace="/mnt/nfs/out",
        env_vars={"http_proxy": "p", "MSG": "a b $X"},
        pip_extras=["omegaconf"],
        pre_launch_commands=["echo before"],
        startup_commands=["echo startup"],
        git_mounts=[f"git+https://host.example/x.git@{commit},/opt/x"],
        secret_vars={"WANDB_API_KEY": "wandb"},
        packager=SourcePackager(script_path="/s/train.py", exclude=["*.md"], files={"train.yaml": str(extra)}),
    )
    job = executor.cloud_job("python train.py")
    assert (job.nodes, job.gpus_per_node, job.retries, job.home) == (2, 3, 1, "/mnt/nfs/nemo_run")
    assert job.env == {"NEMO_RUN_DIR": "/mnt/nfs/out", "http_proxy": "p", "MSG": "a b $X"}
    assert job.secret_references == {"WANDB_API_KEY": "wandb"}
    assert job.files["train.yaml"] == (b"lr: 1\n", False)
    assert "clone.py" in job.files
    assert job.source is not None
    assert (job.source.script_path, job.source.exclude) == ("/s/train.py", ("*.md",))
    lines = job.launch.splitlines()
    order = [
        next(number for number, line in enumerate(lines) if text in line)
        for text in (commit, "pip install", "echo before", "echo startup", "exec python train.py")
    ]
    assert order == sorted(order)


@BOTH
def test_an_experiment_sends_each_task_once_with_its_own_files(
    make: Any,  # noqa: ANN401 - either factory
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_TOKEN", "canary-token")
    monkeypatch.setenv("RUNAI_SECRET", "canary-client")
    platform.logs = {"pod": ["a line"]}
    executor = make(nodes=2, secrets=["MY_TOKEN"], env_vars={"SHARED": "1"})
    with run.Experiment("two tasks", executor=executor, enable_goodbye_message=False) as experiment:
        experiment.add(run.Script(inline="echo one", env={"OWN": "first"}), name="one")
        experiment.add(run.Script(path="b c.sh", args=["x y", "$HOME", "ü"], env={"OWN": "second"}), name="two_")
        experiment.run(detach=False, tail_logs=True)
    assert len(platform.sent) == 2
    sent = sorted((launched(platform, number) for number in range(2)), key=lambda item: item["OWN"])
    assert [item["OWN"] for item in sent] == ["first", "second"]
    assert {item["SHARED"] for item in sent} == {"1"}
    assert [item["name"].rpartition("-")[0] for item in sent] == ["one", "two"]
    status = experiment.status(return_dict=True)
    assert [task["status"] for task in status.values()] == [AppState.SUCCEEDED] * 2
    folder = Path(experiment._exp_dir)  # noqa: SLF001 - nemo-run has no other name for it
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    mine = [path for name in ("one", "two_") for path in (folder / name).rglob("*")]
    assert [path for path in (*mine, folder / "_TASKS", folder / "_CONFIG") if path.stat().st_mode & 0o077] == []
    assert (folder / "_TASKS").is_file()
    assert holding(Path(get_nemorun_home()), "canary") == []
    assert not (folder / "torchrun_job.sh").exists()


@BOTH
def test_a_group_of_tasks_is_a_job_each(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    with run.Experiment("a group", executor=make(), enable_goodbye_message=False) as experiment:
        scripts = [run.Script(inline=f"echo {number}", env={"OWN": str(number)}) for number in range(2)]
        experiment.add(scripts, executor=make(), name="group")
        experiment.run(detach=False)
    assert [launched(platform, number)["OWN"] for number in range(2)] == ["0", "1"]
    assert len({name for name, _ in platform.sent}) == 2


@BOTH
def test_a_job_is_in_the_journal_before_it_is_sent(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    journal = Journal(get_nemorun_home())
    platform.refusal = UnreachableError("no answer")
    with pytest.raises(UnreachableError):
        make().launch("a job", ["true"])
    (lost,) = journal.entries()
    assert (lost.id, lost.name) == ("", platform.sent[0][0])
    journal.forget(lost.name)
    platform.refusal = RefusedError("no such node group", status=400)
    with pytest.raises(RefusedError):
        make().launch("a job", ["true"])
    assert list(journal.entries()) == []
    platform.refusal = None
    identifier, state = make().launch("a job", ["true"])
    (entry,) = journal.entries()
    assert (entry.id, state) == (identifier, JobState.QUEUED)
    assert entry.digest == platform.sent[-1][1].digest
    assert entry.pod_job_dir == f"/mnt/nfs/nemo_run/jobs/{entry.name}"
    assert make().status(identifier) is JobState.SUCCEEDED
    assert make().status(entry.name) is JobState.SUCCEEDED
    make().cancel(identifier)
    assert platform.cancelled == [entry.submitted]


@BOTH
def test_the_log_of_a_job_is_written_with_its_pods_names(
    make: Any,  # noqa: ANN401 - either factory
    platform: FakePlatform,
    capsys: pytest.CaptureFixture[str],
) -> None:
    last = "[nemo-runspec] pod-1 exit code 0"
    platform.logs = {"pod-1": ["a line", last]}
    executor = make()
    identifier, _ = executor.launch("job", ["true"])
    (entry,) = Journal(get_nemorun_home()).entries()
    type(executor).logs(entry.app_id)
    written = capsys.readouterr().out.splitlines()
    assert (
        written == list(executor.fetch_logs(identifier)) == ["[pod-1] a line", f"[pod-1] {platform.logs['pod-1'][1]}"]
    )
    assert exit_code_of(platform.logs["pod-1"][1]) == ("pod-1", 0)


@BOTH
def test_a_fault_tolerant_launcher_keeps_its_state_with_the_job(make: Any) -> None:  # noqa: ANN401 - either factory
    executor = make(launcher="ft")
    executor.assign("e", "/tmp/none/e", "job", "job")  # noqa: S108 - a path that is not used
    assert isinstance(executor.get_launcher(), FaultTolerance)
    env = executor.cloud_job("true").env
    assert env["FAULT_TOL_CFG_PATH"] == "/nemo_run/job_ft_cfg.yml"
    assert env["FAULT_TOL_FINISHED_FLAG_FILE"] == "/nemo_run/job_finished_flag"


@BOTH
def test_a_packager_needs_its_repository(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - either factory
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PayloadError, match="is in none"):
        make().package(GitArchivePackager(), "job")


def test_tasks_that_are_sent_at_once_are_built_one_after_the_other(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = threading.Lock()

    def building(job: CloudJob) -> Any:  # noqa: ANN401 - the plan's type is of no interest here
        assert alone.acquire(blocking=False), "CPython 3.11 cannot parse in two threads"
        try:
            return request.build_request(job)
        finally:
            alone.release()

    monkeypatch.setattr(cloud, "build_request", building)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: lepton().launch(f"job {number}", ["true"]), range(16)))
    assert len({name for name, _ in platform.sent}) == 16


@BOTH
def test_launch_takes_words_as_they_are(make: Any, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - either factory
    jobs: list[CloudJob] = []
    build = request.build_request

    def recording(job: CloudJob) -> Any:  # noqa: ANN401 - the plan's type is of no interest here
        jobs.append(job)
        return build(job)

    monkeypatch.setattr(cloud, "build_request", recording)
    words = ["bash", "-c", "print 'a b'", "$HOME", ""]
    make().launch("job", words)
    assert len(platform.sent) == 1
    last = jobs[0].launch.splitlines()[-1]
    assert shlex.split(last) == ["exec", *words]
