"""What the two cloud executors have in common, with a platform that does what the test says."""

from __future__ import annotations

import gc
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
from nemo_runspec.executors import platform as platform_executors
from nemo_runspec.executors.journal import Journal
from nemo_runspec.platforms.workload import JobState
from tests.nemo_runspec.executors.clouds import BOTH, FolderPackager, launched, lepton
from tests.nemo_runspec.executors.leaks import holding
from tests.nemo_runspec.executors.platforms import FakePlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.executors.lepton import LeptonExecutor
    from nemo_runspec.executors.request import CloudJob


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
@pytest.mark.parametrize("group", [False, True])
def test_a_secret_of_a_task_is_refused_before_anything_is_written(
    make: Any,  # noqa: ANN401 - either factory
    platform: FakePlatform,
    group: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    scripts = [run.Script(inline="true", env={"PLAIN": "1"}), run.Script(inline="true", env={"MY_API_KEY": "canary-t"})]
    with run.Experiment("refused", enable_goodbye_message=False, skip_status_at_exit=True) as experiment:
        for number, task in enumerate([scripts] if group else scripts):
            experiment.add(task, executor=make(), name=f"n{number}")
        told = f"^env of the task 'n{0 if group else 1}' holds the secret MY_API_KEY, which would be written to disk"
        with pytest.raises(ProfileError, match=told):
            experiment.run(detach=True)
    assert platform.sent == []
    assert holding(Path(get_nemorun_home()), "canary-t") == []


@BOTH
def test_a_secret_of_a_task_that_is_in_the_environment_is_held_by_its_name(
    make: Any,  # noqa: ANN401 - either factory
    platform: FakePlatform,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_API_KEY", "canary-t")
    script = run.Script(inline="true", env={"PLAIN": "1", "MY_API_KEY": "canary-t"})
    with run.Experiment("held", enable_goodbye_message=False, skip_status_at_exit=True) as experiment:
        experiment.add(script, executor=make(), name="one")
        experiment.add(run.Script(inline="true"), executor=make(), name="two")
        experiment.run(detach=True)
    sent = {launched(platform, number)["name"][:3]: launched(platform, number) for number in range(2)}
    assert (sent["one"]["PLAIN"], sent["one"]["MY_API_KEY"]) == ("1", "canary-t")
    assert "MY_API_KEY" not in sent["two"]
    assert {request.secret_variables for _, request in platform.sent} == {frozenset(), frozenset({"MY_API_KEY"})}
    assert script.env == {"PLAIN": "1", "MY_API_KEY": "canary-t"}
    assert holding(Path(get_nemorun_home()), "canary-t") == []


@BOTH
def test_an_executor_that_was_given_a_secret_later_is_not_written(make: Any, platform: FakePlatform) -> None:  # noqa: ANN401 - either factory
    executor = make()
    with run.Experiment("later", executor=executor, enable_goodbye_message=False) as experiment:
        experiment.add(run.Script(inline="true"), name="one")
        executor.env_vars["HF_TOKEN"] = "canary-late"  # noqa: S105 - no secret
        with pytest.raises(ProfileError, match="env_vars of the executor holds the secret HF_TOKEN"):
            experiment.run(detach=True)
    assert platform.sent == []
    assert holding(Path(get_nemorun_home()), "canary-late") == []


@BOTH
def test_a_tasks_own_variable_wins_over_the_executors_secret(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401 - either factory
    monkeypatch.setenv("LICENSE", "the environment's")
    executor = make(secrets=["LICENSE", "NOWHERE"])
    job = executor.cloud_job("true", {"LICENSE": "the task's", "NOWHERE": "too", "PLAIN": "1"})
    assert job.secrets == {"LICENSE": "the task's", "NOWHERE": "too"}
    assert job.env == {"PLAIN": "1"}


@BOTH
def test_texts_among_the_volumes_are_repositories_or_refused(make: Any) -> None:  # noqa: ANN401 - either factory
    executor = make(git_mounts=["git+https://host.example/a.git@main,/opt/a"])
    field = executor.volumes_field
    volumes = getattr(executor, field)
    texts = ["git+https://host.example/b.git@main,/opt/b", "${auto_mount:git+https://host.example/c.git@main,/opt/c}"]
    setattr(executor, field, [texts[0], *volumes, texts[1]])
    clone = executor.clone()
    assert getattr(clone, field) == volumes
    assert clone.git_mounts == ["git+https://host.example/a.git@main,/opt/a", *texts]
    setattr(executor, field, [*volumes, "/host:/pod"])
    with pytest.raises(ProfileError, match=f"'/host:/pod' in {field} is neither a volume nor a repository") as error:
        executor.launch("job", ["true"])
    assert error.value.remedy == "Describe volumes as tables, and repositories as git+URL@REF,/TARGET."


@BOTH
@pytest.mark.parametrize("sequential", [False, True])
def test_tasks_of_one_name_do_not_share_their_files(
    make: Any,  # noqa: ANN401 - either factory
    platform: FakePlatform,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sequential: bool,  # noqa: FBT001 - pytest gives it
) -> None:
    jobs: dict[str, CloudJob] = {}
    job_of = cloud.CloudExecutor.cloud_job

    def recording(self: LeptonExecutor, *given: Any, title: str) -> CloudJob:  # noqa: ANN401 - as they are
        jobs[title] = job_of(self, *given, title=title)
        return jobs[title]

    monkeypatch.setattr(cloud.CloudExecutor, "cloud_job", recording)
    with run.Experiment("same names", enable_goodbye_message=False, skip_status_at_exit=True) as experiment:
        for text in ("first", "second", "third"):
            (tmp_path / text).mkdir()
            (tmp_path / text / "main.py").write_text(text, encoding="utf-8")
            (tmp_path / text / f"only_{text}.py").write_text("", encoding="utf-8")
            folder = str(tmp_path / text)
            executor = make(packager=FolderPackager(folder=folder))
            experiment.add(run.Script(inline=f"echo {text}"), executor=executor, name="t")
        experiment.run(detach=not sequential, sequential=sequential)
    assert len(platform.sent) == 3
    for title, text in (("t", "first"), ("t_1", "second"), ("t_2", "third")):
        files = jobs[title].files
        assert set(files) == {f"scripts/{title}.sh", "code/main.py", f"code/only_{text}.py"}
        assert files["code/main.py"] == (text.encode(), False)
        assert f"echo {text}".encode() in files[f"scripts/{title}.sh"][0]


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
    assert written == ["[job/pod-1] a line", f"[job/pod-1] {last}"], "several tasks may write at once"
    assert list(executor.fetch_logs(identifier)) == ["[pod-1] a line", f"[pod-1] {last}"]
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
