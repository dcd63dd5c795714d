"""What a command on a Ray becomes for each place; tests/clusters/test_ray_on_nodes.py and _lepton.py run it there."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec import load_executor
from nemo_runspec.errors import ConfigError, ProfileError
from nemo_runspec.executors.once import WISH, Wish
from nemo_runspec.submit import ray_commands
from nemo_runspec.submit.ray import parts_of
from nemo_runspec.submit.ray_commands import RayCommand, sending
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, RUNAI_TABLE, write_env_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nemo_runspec.platforms.workload import Request
    from nemo_runspec.submit.ray import RayWork

CANARY = "canary-1190"
PROFILES = f"""\
[far]
{LEPTON_TABLE}{IMAGE}ray_version = "2.49.2"
env_vars = {{ TEAM = "blue" }}
startup_commands = ["echo first"]
secrets = ["TEAM_API_KEY"]
[ends]
{LEPTON_TABLE}{IMAGE}ray_version = "2.49.2"
secrets = {{ LEPTON_WORKSPACE_TOKEN = "token" }}
[cloud]
{RUNAI_TABLE}{IMAGE}nodes = 2
[slurm]
executor = "slurm"
account = "research"
partition = "batch"
remote_job_dir = "/lustre/jobs"
container_image = "none"
nodes = 2
gpus_per_node = 4
ntasks_per_node = 8
startup_commands = ["echo first"]
exclude = ["notes/*"]
[docker]
executor = "docker"
{IMAGE}nodes = 2
[here]
executor = "local"
env_vars = {{ TEAM = "blue" }}
"""
SEVERAL = '--nodes "$NNODES" --node-rank "$NODE_RANK" --head-addr "$MASTER_ADDR" --port "$MASTER_PORT"'
ALONE = "--nodes 1 --node-rank 0 --head-addr localhost --port 0"
DRIVEN = "-- bash -c 'python driver.py $HOME'"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", CANARY)
    monkeypatch.setenv("RUNAI_CLIENT_SECRET", "s")
    write_env_file(tmp_path, PROFILES)
    for name in ("driver.py", "lib/helper.py", "notes/a.txt", ".git/HEAD", "output/old.txt", "env.toml", "a.env"):
        path = tmp_path / "work" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name} at /nemo_run/x\n", encoding="utf-8")
    yield tmp_path
    WISH.set(Wish())


def command(project: Path, **more: Any) -> RayCommand:  # noqa: ANN401 - the fields of a command
    return RayCommand("count", "python driver.py $HOME", project / "work", **more)


def request_of(project: Path, profile: str, more: Mapping[str, Any] | None = None, **changes: Any) -> Request:  # noqa: ANN401 - as above
    return sending(load_executor(profile, **changes), command(project, **(more or {}))).request()


def text_of(request: Request, name: str) -> str:
    return request.files[name][0].decode()


def test_on_slurm_each_node_is_one_of_rays(project: Path) -> None:
    request = request_of(project, "slurm", {"before": ("echo then",)})
    launch = text_of(request, "launch.sh")
    assert f"exec python -m nemo_runspec.ray_node {SEVERAL} --gpus 4 {DRIVEN}" in launch
    assert launch.index("echo first") < launch.index("echo then") < launch.index("exec python")
    assert "--ntasks-per-node=1" in text_of(request, "job.sbatch"), "a node of Ray has all of the node"
    brought = {name for name in request.files if name.startswith("code/")}
    assert brought == {"code/driver.py", "code/lib/helper.py"}, "the rest is excluded, or no job needs it"


def test_one_node_needs_nobody_to_meet(project: Path) -> None:
    request = request_of(project, "slurm", nodes=1)
    assert f"ray_node {ALONE} --gpus 4 {DRIVEN}" in text_of(request, "launch.sh")


def test_packages_travel_as_source(project: Path) -> None:
    package = project / "work" / "src" / "mine"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    request = request_of(project, "slurm")
    assert not [name for name in request.files if name.startswith("code/src")]
    assert request.source is not None
    assert b"src/mine/__init__.py" in request.source.tar


def test_on_dgxcloud_it_is_one_workload(project: Path) -> None:
    request = request_of(project, "cloud")
    assert (request.platform, request.kind) == ("dgxcloud", "distributed")


def test_docker_has_one_node(project: Path) -> None:
    with pytest.raises(ConfigError, match="has one node, and the executor asks for 2"):
        request_of(project, "docker")
    assert f"ray_node {ALONE} --gpus 0 {DRIVEN}" in text_of(request_of(project, "docker", nodes=1), "launch.sh")


def test_a_folder_that_is_not_there_is_told(project: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        sending(load_executor("slurm"), RayCommand("count", "true", project / "gone"))


def test_the_executor_is_not_changed(project: Path) -> None:
    executor = load_executor("slurm")
    before = repr(executor)
    sending(executor, command(project, before=("echo then",)))
    assert repr(executor) == before


def packed(data: bytes) -> dict[str, str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name).decode(errors="replace") for name in archive.namelist()}


def test_several_nodes_of_lepton_are_a_cluster(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[RayWork] = []

    def start(work: RayWork, title: str, *, profile: str) -> tuple[str, None]:
        sent.append(work)
        return f"{title} with {profile}", None

    monkeypatch.setattr(ray_commands, "start_ray", start)
    way = sending(load_executor("far"), command(project))
    request = way.request()
    assert str(way.send()) == "count with far"
    envs = {entry["name"]: entry.get("value") for entry in request.body["spec"]["head_group_spec"]["envs"]}
    assert (request.kind, envs["TEAM"], envs["TEAM_API_KEY"]) == ("raycluster", "blue", CANARY)
    files = packed(parts_of(sent[0]).package.data)
    # Beside the source, where nothing in it is rewritten.
    assert files["driver.py"] == "# driver.py at /nemo_run/x\n"
    assert files[".nemo_runspec/launch.sh"].endswith("exec bash -c 'python driver.py $HOME'\n")
    assert "echo first" in files[".nemo_runspec/prepare.sh"]
    orders = json.loads(files[".nemo_runspec/orders.json"])
    assert (orders["nodes"], orders["prepare"]) == (2, ["bash", "/nemo_run/prepare.sh"])
    assert CANARY not in "".join(files.values())
    assert request_of(project, "far", nodes=1).kind != "raycluster"


def test_a_cluster_of_lepton_that_is_there(project: Path) -> None:
    assert request_of(project, "far", nodes=1, existing_ray_cluster="theirs").body["cluster"] == "theirs"
    assert request_of(project, "far", {"existing": "team"}, nodes=1).body["cluster"] == "team"


def test_who_leaves_needs_a_head_that_ends_the_cluster(project: Path) -> None:
    WISH.set(Wish(leaves=True))
    with pytest.raises(ProfileError, match="a Ray job that nobody waits for"):
        request_of(project, "far")
    assert request_of(project, "ends").kind == "raycluster"


def test_here_it_is_a_process_in_the_folder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    way = sending(load_executor("here"), command(project, before=("echo then",)))
    request = way.request()
    script = request.body["job"]["launch"]
    assert f"cd {project}/work\n" in script
    assert f"-m nemo_runspec.ray_node {ALONE} --gpus" in script
    assert script.endswith(f"{DRIVEN}\n")
    assert request.body["environment"] == {"TEAM": "blue"}
    folders: list[Path] = []
    monkeypatch.setattr(ray_commands, "start_process", lambda _request, _title, folder: folders.append(folder))
    way.send()
    assert (folders[0] / "launch.sh").read_text(encoding="utf-8") == script
