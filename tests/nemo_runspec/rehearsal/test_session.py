from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from nemo_runspec.env import DGXCloudProfile, LeptonProfile
from nemo_runspec.errors import NemotronError, UsageError
from nemo_runspec.platforms import lepton, runai
from nemo_runspec.platforms.lepton import LeptonClient, LeptonSettings
from nemo_runspec.platforms.runai import RunaiClient, RunaiSettings
from nemo_runspec.platforms.workload import JobState, Workload
from nemo_runspec.rehearsal.session import CLIENT_SECRET, rehearse

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.platforms.workload import Platform, Submitted
    from nemo_runspec.rehearsal.pod import Pod, PodSpec

T = TypeVar("T")
WAIT_S = 60
MOUNT = {"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}
CLAIM = {"path": "/mnt/nfs", "claimName": "team", "existingPvc": True}
LEPTON = LeptonProfile(
    name="lepton", nemo_run_dir="/mnt/nfs/nemo_run", mounts=(MOUNT,), node_group="group", resource_shape="cpu.large"
)
RUNAI = DGXCloudProfile(
    name="dgx",
    base_url="https://team.example/api/v1",
    kube_apiserver_url="https://kube.example",
    client_id="nemotron",
    client_secret="${oc.env:RUNAI_CLIENT_SECRET}",  # noqa: S106 - a reference and no secret
    project_name="team",
    pvc_nemo_run_dir="/mnt/nfs/nemo_run",
    pvcs=(CLAIM,),
)
COMMAND = (
    "python3",
    "-c",
    "import os, socket; print('from', socket.gethostname()); open('/mnt/nfs/x', 'a').write('x')",
)
CREDENTIAL = "a-real-token-that-must-not-travel"


class NoPods:
    """A runner for rehearsals of which no pod is expected."""

    closed = 0

    def start(self, spec: PodSpec) -> Pod:
        raise AssertionError(spec)

    def connection(self, network: str, port: int) -> socket.socket:
        raise AssertionError(network, port)

    def listener(self, network: str, port: int) -> socket.socket | None:
        raise AssertionError(network, port)

    def release(self, network: str) -> None:
        raise AssertionError(network)

    def close(self) -> None:
        self.closed += 1


def follow_to_the_end(client: Platform, workload: Submitted) -> JobState:
    """Wait for the end of a workload, as the end of its first pod's log tells it."""
    pods = poll(lambda: client.pods(workload))
    assert [line for line in client.log(workload, pods[0]) if line.startswith("from")]
    return poll(lambda: state if (state := client.look(workload).state).is_final else None)


def poll(ask: Callable[[], T | None]) -> T:
    """Ask until there is an answer."""
    deadline = time.monotonic() + WAIT_S
    while not (answer := ask()):
        assert time.monotonic() < deadline
    return answer


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no connection of this process leave the machine."""
    connect = socket.socket.connect

    def checked(self: socket.socket, address: Any) -> None:  # noqa: ANN401 - as in the standard library
        assert address[0] == "127.0.0.1"
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked)


def test_a_job_on_lepton_is_one_call_with_the_dry_run_s_body(tmp_path: Path) -> None:
    workload = Workload(image="image", nodes=2, argv=COMMAND, env=(("A", "$(B) $$"),))
    request = lepton.request(workload, LeptonSettings(mounts=(MOUNT,), node_group="group", resource_shape="cpu.large"))
    with rehearse(LEPTON, folder=tmp_path) as rehearsal:
        assert rehearsal.profile is LEPTON
        client = LeptonClient.from_environment("lepton")
        submitted = client.submit(request, "sft-x1y2z3")
        assert follow_to_the_end(client, submitted) is JobState.SUCCEEDED
        evidence = rehearsal.evidence()
        calls = [(call.method, call.path.rpartition("/")[2]) for call in rehearsal.twin.requests]
    assert calls.count(("POST", "jobs")) == 1
    assert (evidence.workloads_created, evidence.body_sha256) == (1, request.digest)
    assert [pod["exit_code"] for pod in evidence.pods] == [0, 0]
    [result] = (tmp_path / "volumes").rglob("x")
    assert result.read_text(encoding="utf-8") == "xx"
    assert (tmp_path / "requests.jsonl").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("with_master", [False, True])
def test_a_job_on_runai_is_one_call_with_the_dry_run_s_body(tmp_path: Path, with_master: bool) -> None:  # noqa: FBT001 - a parameter of the test
    workload = Workload(image="image", nodes=2, argv=COMMAND)
    request = runai.request(workload, RunaiSettings(project_name="team", pvcs=(CLAIM,)))
    with rehearse(RUNAI, folder=tmp_path, with_master=with_master) as rehearsal:
        profile = rehearsal.profile
        assert isinstance(profile, DGXCloudProfile)
        assert profile.client_secret == f"${{oc.env:{CLIENT_SECRET}}}"
        client = RunaiClient(
            base_url=profile.base_url,
            kube_apiserver_url=profile.kube_apiserver_url,
            client_id=profile.client_id,
            client_secret=lambda: os.environ[CLIENT_SECRET],
            project_name=profile.project_name,
            profile=profile.name,
        )
        submitted = client.submit(request, "sft-x1y2z3")
        assert follow_to_the_end(client, submitted) is JobState.SUCCEEDED
        evidence = rehearsal.evidence()
    assert (evidence.workloads_created, evidence.body_sha256) == (1, request.digest)
    assert len(evidence.pods) == 2 + with_master
    assert CLIENT_SECRET not in os.environ
    assert RUNAI.base_url == "https://team.example/api/v1"


def test_nothing_real_is_found_meanwhile_and_all_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LEPTON_WORKSPACE_TOKEN", "LEPTON_WORKSPACE_ORIGIN_URL", "LEPTON_DEBUG_HEADERS", "RAY_ADDRESS"):
        monkeypatch.setenv(name, CREDENTIAL)
    monkeypatch.delenv("LEPTON_WORKSPACE_ID", raising=False)
    monkeypatch.setenv("no_proxy", "intern.example")
    before = dict(os.environ)
    with rehearse(LEPTON, folder=tmp_path, runner=NoPods()) as rehearsal:
        changed = {name: value for name, value in os.environ.items() if before.get(name) != value}
        assert CREDENTIAL not in os.environ.values()
        assert changed["LEPTON_WORKSPACE_URL"] == rehearsal.twin.url
        assert changed["LEPTON_WORKSPACE_URL"].startswith("http://127.0.0.1:")
        assert changed["no_proxy"] == "intern.example,127.0.0.1,localhost"
        assert list(Path(changed["LEPTON_CACHE_DIR"]).iterdir()) == []
        assert not Path(changed["NETRC"]).exists()
        assert changed["NEMORUN_HOME"] == str(tmp_path / "nemo_run")
    assert dict(os.environ) == before
    with rehearse(RUNAI, folder=tmp_path, runner=NoPods()):
        assert not [name for name in os.environ if name.startswith("LEPTON_") and name != "LEPTON_CACHE_DIR"]
    assert dict(os.environ) == before


def test_the_environment_is_put_back_after_an_error(tmp_path: Path) -> None:
    before, runner = dict(os.environ), NoPods()
    with pytest.raises(KeyError), rehearse(LEPTON, folder=tmp_path, runner=runner):
        raise KeyError
    assert dict(os.environ) == before
    assert runner.closed


def test_nemo_run_s_records_are_those_of_the_last_rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Any = ModuleType("nemo_run.config")
    loaded.home = "/the/usual"
    loaded.get_nemorun_home = lambda: loaded.home
    loaded.set_nemorun_home = lambda home: setattr(loaded, "home", home)
    monkeypatch.setitem(sys.modules, "nemo_run.config", loaded)
    with rehearse(LEPTON, folder=tmp_path, runner=NoPods()):
        assert loaded.home == str(tmp_path / "nemo_run")
        (tmp_path / "nemo_run" / "record").touch()
        Path(os.environ["LEPTON_CACHE_DIR"], "workspace_info.yaml").touch()
    assert loaded.home == "/the/usual"
    with rehearse(LEPTON, folder=tmp_path, runner=NoPods()):
        assert list((tmp_path / "nemo_run").iterdir()) == []
        assert list(Path(os.environ["LEPTON_CACHE_DIR"]).iterdir()) == []


def test_nemo_run_that_is_imported_meanwhile_goes_home_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes: list[str] = []
    loaded: Any = ModuleType("nemo_run.config")
    loaded.set_nemorun_home = homes.append
    monkeypatch.delitem(sys.modules, "nemo_run.config", raising=False)
    monkeypatch.setenv("NEMORUN_HOME", "/the/usual")
    with rehearse(LEPTON, folder=tmp_path, runner=NoPods()):
        monkeypatch.setitem(sys.modules, "nemo_run.config", loaded)
    assert homes == ["/the/usual"]


def test_credentials_that_the_sdk_has_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: Any = ModuleType("leptonai.config")
    loaded.CACHE_DIR = tmp_path / "cache"
    monkeypatch.setitem(sys.modules, "leptonai.config", loaded)
    with rehearse(LEPTON, folder=tmp_path / "folder", runner=NoPods()):
        pass
    loaded.CACHE_DIR.mkdir()
    (loaded.CACHE_DIR / "workspace_info.yaml").touch()
    with (
        pytest.raises(NemotronError, match="has read real credentials") as caught,
        rehearse(LEPTON, folder=tmp_path / "folder", runner=NoPods()),
    ):
        pass
    assert "new process" in str(caught.value)


def test_a_folder_is_one_rehearsal_s(tmp_path: Path) -> None:
    with rehearse(LEPTON, folder=tmp_path, runner=NoPods()):
        with (
            pytest.raises(NemotronError, match="another rehearsal is using"),
            rehearse(LEPTON, folder=tmp_path, runner=NoPods()),
        ):
            pass
        with rehearse(RUNAI, folder=tmp_path / "other", runner=NoPods()):
            pass
    with rehearse(LEPTON, folder=tmp_path, runner=NoPods()):
        pass


def test_only_runai_has_masters(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="profile 'lepton' is for lepton"),
        rehearse(LEPTON, folder=tmp_path, with_master=True, runner=NoPods()),
    ):
        pass


LIGHT = """
import sys
from nemo_runspec.rehearsal import session
print(sorted({name.split('.')[0] for name in sys.modules} & {'nemo_run', 'leptonai', 'torch', 'torchx', 'ray'}))
"""


def test_a_rehearsal_can_begin_before_nemo_run_is_imported() -> None:
    said = subprocess.run([sys.executable, "-c", LIGHT], check=True, capture_output=True, text=True)
    assert said.stdout == "[]\n"
