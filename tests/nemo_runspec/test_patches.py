"""Each patch has a test that fails when nemo-run has mended the cause: the patch is to be removed then."""

from __future__ import annotations

import base64
import io
import re
import shlex
import subprocess
import tarfile
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import fiddle as fdl
import pytest
from fiddle._src import signatures
from fiddle.experimental import serialization
from nemo_run import Config, DGXCloudExecutor, LeptonExecutor, LocalTunnel, SlurmExecutor
from nemo_run.core.execution.dgxcloud import DGXCloudRequest
from nemo_run.core.packaging import GitArchivePackager
from nemo_run.run.ray.slurm import SlurmRayCluster, SlurmRayRequest

from nemo_runspec import patches
from nemo_runspec.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "canary-of-the-job-folder"
DGX = {
    "base_url": "https://team.example/api/v1",
    "kube_apiserver_url": "https://kube.example",
    "project_name": "p",
    "container_image": "image",
    "pvc_nemo_run_dir": "/mnt/w",
}


@pytest.fixture(autouse=True)
def unpatched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put nemo-run's methods back after each test, and let fiddle look at its classes again."""
    for owner, name in (
        (LeptonExecutor, "copy_directory_data_command"),
        (DGXCloudExecutor, "copy_directory_data_command"),
        (DGXCloudExecutor, "move_data"),
        (DGXCloudExecutor, "__init__"),
        (DGXCloudRequest, "materialize"),
        (SlurmRayRequest, "materialize"),
        (SlurmRayCluster, "create"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))
    for module in map(import_module, patches.RSYNC_MODULES):
        monkeypatch.setattr(module, "rsync", module.rsync)
    remembered = signatures._signature_cache  # noqa: SLF001 - nothing public forgets a signature
    remembered.pop(DGXCloudExecutor, None)
    yield
    remembered.pop(DGXCloudExecutor, None)


def dgx(**values: Any) -> Any:  # noqa: ANN401 - nemo-run ships no types
    values = {"client_id": "i", "client_secret": "s"} | values
    return DGXCloudExecutor(**DGX, **values)


@pytest.fixture
def lepton() -> Any:  # noqa: ANN401 - nemo-run ships no types
    return LeptonExecutor(container_image="image", nemo_run_dir="/mnt/n", packager=GitArchivePackager())


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "job"
    (folder / "configs").mkdir(parents=True)
    (folder / "code").mkdir()
    (folder / "code" / "link").symlink_to("train.py")
    (folder / "code" / "train.py").write_text("pass", encoding="utf-8")
    (folder / "configs" / "job_executor.yaml").write_text(f"client_secret: {CANARY}", encoding="utf-8")
    (folder / "configs" / "job_fn_or_script").write_text("task", encoding="utf-8")
    return folder


def members(command: Any) -> set[str]:  # noqa: ANN401 - a list on Lepton, a text on run:ai
    """Give what is in the archive inside a data mover's command."""
    text = command if isinstance(command, str) else " ".join(command)
    encoded = re.search(r"echo (\S+) \| base64 -d", text)
    assert encoded is not None
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(encoded[1]))) as archive:
        return {name.removeprefix("./") for name in archive.getnames()}


def test_nemo_run_still_sends_the_executor(lepton: Any, job: Path) -> None:  # noqa: ANN401 - nemo-run ships no types
    for executor in (lepton, dgx()):
        assert "configs/job_executor.yaml" in members(executor.copy_directory_data_command(str(job), "/dest"))


def test_the_executor_stays_here_and_the_rest_travels(lepton: Any, job: Path) -> None:  # noqa: ANN401 - as above
    patches.patch_cloud_data_mover_skip_configs()
    for executor in (lepton, dgx()):
        found = members(executor.copy_directory_data_command(str(job), "/dest"))
        assert found - {"."} == {"code", "code/link", "code/train.py", "configs", "configs/job_fn_or_script"}
    assert (job / "configs" / "job_executor.yaml").is_file()


def test_a_folder_that_would_be_empty_does_not_travel(lepton: Any, job: Path) -> None:  # noqa: ANN401 - as above
    patches.patch_cloud_data_mover_skip_configs()
    (job / "configs" / "job_fn_or_script").unlink()
    assert "configs" not in members(lepton.copy_directory_data_command(str(job), "/dest"))


def test_a_job_without_configs_travels_as_it_is(lepton: Any, tmp_path: Path) -> None:  # noqa: ANN401 - as above
    patches.patch_cloud_data_mover_skip_configs()
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    assert "a.txt" in members(lepton.copy_directory_data_command(str(tmp_path), "/dest"))


def moved_files(job: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Any]:
    """Let nemo-run move a job file by file, and give all of the commands and the executor."""
    commands: list[str] = []
    monkeypatch.setattr(
        DGXCloudExecutor, "_run_workspace_and_wait", lambda _, *arguments: commands.append(arguments[4])
    )
    executor = dgx(MAX_ARGS_CHARS=300)
    executor.job_dir, executor.pvc_job_dir = str(job), "/mnt/w/job"
    executor.move_data("token", "project", "cluster")
    return "\n".join(commands), executor


def test_nemo_run_still_sends_the_executor_file_by_file(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "job_executor.yaml" in moved_files(job, monkeypatch)[0]


def test_file_by_file_the_executor_stays_here_too(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patches.patch_cloud_data_mover_skip_configs()
    commands, executor = moved_files(job, monkeypatch)
    assert "job_executor.yaml" not in commands
    assert "/mnt/w/job/configs/job_fn_or_script" in commands
    assert executor.job_dir == str(job)


def request() -> Any:  # noqa: ANN401 - nemo-run ships no types
    return DGXCloudRequest(
        launch_cmd=["python", "train.py"],
        jobs=["job"],
        executor=dgx(env_vars={"NEMO_RUNSPEC_SRC_0": CANARY, "A": "1"}),
        max_retries=0,
        extra_env={"NEMO_RUNSPEC_JOB_0": CANARY, "B": "2"},
    )


def test_nemo_run_still_repeats_the_variables() -> None:
    script = request().materialize()
    assert script.count(CANARY) == 2


def test_the_chunks_of_the_archive_are_in_no_script() -> None:
    patches.patch_dgxcloud_strip_source_chunks_from_exports()
    asked = request()
    script = asked.materialize()
    assert CANARY not in script
    assert "export A=1" in script
    assert "export B=2" in script
    assert asked.executor.env_vars == {"NEMO_RUNSPEC_SRC_0": CANARY, "A": "1"}
    assert CANARY not in repr(asked)


def legacy_experiment() -> str:
    """Give an executor as an experiment of before the change has it."""
    text = serialization.dump_json(Config(DGXCloudExecutor, client_id="i", client_secret="s", **DGX))  # noqa: S106 - no secret
    return str(text).replace("client_id", "app_id").replace("client_secret", "app_secret")


def test_nemo_run_still_refuses_the_old_names() -> None:
    with pytest.raises(TypeError, match="app_id"):
        DGXCloudExecutor(**DGX, app_id="i", app_secret="s")  # noqa: S106 - no secret
    with pytest.raises(TypeError, match="app_id"):
        fdl.build(serialization.load_json(legacy_experiment()))


def test_the_old_names_mean_the_new_ones() -> None:
    patches.patch_dgxcloud_accept_legacy_kwargs()
    made = [
        DGXCloudExecutor(**DGX, app_id="i", app_secret="s"),  # noqa: S106 - no secret
        DGXCloudExecutor(**DGX, client_id="i", app_secret="s"),  # noqa: S106 - no secret
        dgx().clone(),
        fdl.build(Config(DGXCloudExecutor, app_id="i", app_secret="s", **DGX)),  # noqa: S106 - no secret
        fdl.build(serialization.load_json(legacy_experiment())),
    ]
    assert {(executor.client_id, executor.client_secret) for executor in made} == {("i", "s")}


def test_a_name_and_its_old_one_do_not_fit_together() -> None:
    patches.patch_dgxcloud_accept_legacy_kwargs()
    with pytest.raises(TypeError, match="both 'client_id' and 'app_id'"):
        dgx(app_id="j")
    with pytest.raises(TypeError, match="client_secret"):
        DGXCloudExecutor(**DGX, app_id="i")


class Connection:
    """Stands in for a connection of fabric, and keeps the command that it is to run here."""

    connect_kwargs: ClassVar = {"key_filename": ["/keys/mine"]}
    user, host, port = "me", "login.example", 2222

    def __init__(self) -> None:
        self.command = ""

    def run(self, command: str, **_: object) -> None:
        assert command == "mkdir -p /there"

    def local(self, command: str, **_: object) -> SimpleNamespace:
        self.command = command
        return SimpleNamespace(command=command)


def rsync_words(module: str = patches.RSYNC_MODULES[0], source: str = "/runs/exp_1", **options: Any) -> list[str]:  # noqa: ANN401 - nemo-run's
    """Give the words of the rsync that nemo-run would run."""
    connection = Connection()
    import_module(module).rsync(connection, source, "/there", **options)
    return shlex.split(connection.command)


def remote_shell(words: list[str]) -> str:
    return next(word for word in words if word.startswith("--rsh="))


def test_nemo_run_still_asks_about_new_hosts_and_sends_everything() -> None:
    words = rsync_words()
    assert remote_shell(words) == "--rsh=ssh -i /keys/mine -p 2222 "
    assert "--exclude" not in words


@pytest.mark.parametrize("module", patches.RSYNC_MODULES)
def test_new_hosts_are_taken_and_nothing_is_asked_wherever_rsync_is_called(module: str) -> None:
    patches.patch_nemo_run_rsync_accept_new_host_keys()
    words = rsync_words(module)
    assert remote_shell(words) == f"--rsh=ssh -i /keys/mine -p 2222 {patches.SSH_OPTIONS}"
    assert words[-2:] == ["/runs/exp_1", "me@login.example:/there"]
    excluded = [words[at + 1] for at, word in enumerate(words) if word == "--exclude"]
    assert excluded == [*patches.STAYING, "/exp_1/*/configs/*_executor.yaml"]


def test_what_the_caller_wants_of_ssh_and_rsync_counts_before() -> None:
    patches.patch_nemo_run_rsync_accept_new_host_keys()
    ssh = "-o StrictHostKeyChecking=yes"
    words = rsync_words(source="/src/", exclude="data", ssh_opts=ssh, delete=True, strict_host_keys=False)
    # ssh takes the first value of an option.
    assert remote_shell(words).endswith(f" {ssh} {patches.SSH_OPTIONS} -o StrictHostKeyChecking=no")
    assert "--delete" in words
    excluded = [words[at + 1] for at, word in enumerate(words) if word == "--exclude"]
    assert excluded == ["data", *patches.STAYING]


def test_what_stays_here_is_left_out_by_rsync_itself(tmp_path: Path) -> None:
    patches.patch_nemo_run_rsync_accept_new_host_keys()
    job = tmp_path / "exp_1" / "job"
    for name in ("configs/job_executor.yaml", "configs/job_fn_or_script", "code/configs/my_executor.yaml"):
        (job / name).parent.mkdir(parents=True, exist_ok=True)
        (job / name).write_text(CANARY, encoding="utf-8")
    for name in ("code/.git/HEAD", "code/__pycache__/a.pyc", "code/data/x.git"):
        (job / name).parent.mkdir(parents=True, exist_ok=True)
        (job / name).write_text("x", encoding="utf-8")
    words = rsync_words(source=str(tmp_path / "exp_1"))
    here = [word for word in words[:-1] if not word.startswith("--rsh=")]
    subprocess.run([*here, str(tmp_path / "there")], check=True, capture_output=True)
    sent = {
        path.relative_to(tmp_path / "there").as_posix() for path in (tmp_path / "there").rglob("*") if path.is_file()
    }
    kept = ("configs/job_fn_or_script", "code/configs/my_executor.yaml", "code/data/x.git")
    assert sent == {f"exp_1/job/{name}" for name in kept}


def slurm(tmp_path: Path, **values: Any) -> Any:  # noqa: ANN401 - nemo-run ships no types
    return SlurmExecutor(
        account="research",
        partition="cpu",
        nodes=2,
        container_image="image",
        tunnel=LocalTunnel(job_dir=str(tmp_path)),
        **values,
    )


def template(executor: Any, name: str = "ray.sub.j2") -> str:  # noqa: ANN401 - nemo-run ships no types
    """Give the script that nemo-run writes for a Ray on Slurm."""
    folder = f"{executor.tunnel.job_dir}/count"
    asked = SlurmRayRequest(
        name="count", cluster_dir=folder, template_name=name, executor=executor, command="python x.py", launch_cmd=[]
    )
    return str(asked.materialize())


TEMPLATES = pytest.mark.parametrize("name", ["ray.sub.j2", "ray_enroot.sub.j2"])


@TEMPLATES
def test_nemo_run_still_counts_on_eight_gpus_and_pmix(tmp_path: Path, name: str) -> None:
    script = template(slurm(tmp_path), name)
    assert "\ngpus_per_node=8\n" in script
    assert script.count("srun --mpi=pmix") + script.count(" --mpi=pmix ") > 0
    assert script.count("$gpus_per_node") == 2, "the head's and the workers' units"


@TEMPLATES
@pytest.mark.parametrize(("gpus", "units"), [(None, 1), (0, 1), (4, 4)])
def test_the_ray_of_slurm_has_what_the_executor_asks_for(
    tmp_path: Path, name: str, gpus: int | None, units: int
) -> None:
    patches.patch_nemo_run_ray_template_for_cpu()
    script = template(slurm(tmp_path, gpus_per_node=gpus), name)
    assert f"\ngpus_per_node={gpus or 0}\n" in script
    assert script.count(f'\\"worker_units\\": {units},') == 2
    assert f"NUM_ACTORS=$(({units} * SLURM_JOB_NUM_NODES))" in script
    assert "\nCPUS_PER_WORKER=${CPUS_PER_WORKER:-${SLURM_CPUS_ON_NODE:-1}}\n" in script
    assert script.count("--mpi=pmix") == 2, "where it is tried whether Slurm has it"
    assert script.index("NEMO_RUN_SRUN_MPI=") < script.index("mount-home ${NEMO_RUN_SRUN_MPI} ")
    assert subprocess.run(["/bin/bash", "-n"], input=script, text=True, check=False).returncode == 0


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what nemo-run has run on the cluster when it submits the script."""
    commands: list[str] = []

    def run(_tunnel: object, command: str, **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(stdout="12" if command.startswith("sbatch") else "", return_code=0)

    monkeypatch.setattr(LocalTunnel, "run", run)
    monkeypatch.setattr(LocalTunnel, "put", lambda *_: None)
    return commands


def test_nemo_run_still_makes_no_folder_for_the_log(tmp_path: Path, made: list[str]) -> None:
    SlurmRayCluster(name="count", executor=slurm(tmp_path)).create()
    assert f"#SBATCH --output={tmp_path}/count/logs/" in template(slurm(tmp_path))
    assert not [command for command in made if "/logs" in command]


def test_the_folder_of_the_log_is_made_first(
    tmp_path: Path, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    patches.patch_nemo_run_ray_template_for_cpu()
    cluster = SlurmRayCluster(name="count", executor=slurm(tmp_path))
    cluster.create(None, True)  # noqa: FBT003 - nemo-run's signature
    assert made == [], "a dry run makes nothing"
    assert "gpus_per_node=0" in capsys.readouterr().out
    assert cluster.create(command="true") == "12"
    assert made[0] == f"mkdir -p {tmp_path}/count/logs"
    assert made[-1].startswith("sbatch")


ALL = (
    patches.patch_cloud_data_mover_skip_configs,
    patches.patch_dgxcloud_strip_source_chunks_from_exports,
    patches.patch_dgxcloud_accept_legacy_kwargs,
    patches.patch_nemo_run_rsync_accept_new_host_keys,
    patches.patch_nemo_run_ray_template_for_cpu,
)


def methods() -> list[object]:
    return [
        LeptonExecutor.copy_directory_data_command,
        DGXCloudExecutor.copy_directory_data_command,
        DGXCloudExecutor.move_data,
        DGXCloudExecutor.__init__,
        DGXCloudRequest.materialize,
        SlurmRayRequest.materialize,
        SlurmRayCluster.create,
        *(import_module(name).rsync for name in patches.RSYNC_MODULES),
    ]


def test_patching_twice_is_patching_once() -> None:
    before = methods()
    for patch in ALL:
        patch()
    once = methods()
    assert [new is old for new, old in zip(once, before, strict=True)] == [False] * len(before)
    for patch in ALL:
        patch()
    assert methods() == once


@pytest.mark.parametrize("release", ["0.10.2", "0.12.0", "0.110.0", "1.0"])
def test_another_release_is_not_patched(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(patches, "version", lambda _: release)
    before = methods()
    for patch in ALL:
        with pytest.raises(UsageError, match=re.escape(f"and {release} is installed")):
            patch()
    assert methods() == before
