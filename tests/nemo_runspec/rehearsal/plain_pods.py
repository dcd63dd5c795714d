"""Pods as plain processes, and twins that run them: what the tests of the twins need of a sandbox."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import requests

from nemo_runspec.rehearsal.inventory import Inventory, LeptonInventory, RunaiInventory
from nemo_runspec.rehearsal.twin import Twin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.rehearsal.pod import PodSpec

DEADLINE_S = 20.0
LEPTON = LeptonInventory(
    node_groups=MappingProxyType({"my-group": 3}),
    shapes=frozenset({"cpu.small", "gpu.8xh100-sxm"}),
    volumes=frozenset({"node-nfs:shared"}),
    secrets=MappingProxyType({"hf": "canary-of-the-store"}),
    image_pull_secrets=frozenset({"registry"}),
)
RUNAI = RunaiInventory(
    client_secret="canary-of-the-client",  # noqa: S106 - a twin's secret, looked for in the request log
    projects=("one", "two"),
    claims=frozenset({"team"}),
    secrets=MappingProxyType({"hf": MappingProxyType({"token": "canary-of-the-store"})}),
)


@dataclass
class PlainPod:
    """A process, or the exit code of one that could not be started."""

    spec: PodSpec
    process: subprocess.Popen[bytes] | None
    code: int | None = None

    def poll(self) -> int | None:
        return self.wait(0)

    def wait(self, timeout_s: float | None = None) -> int | None:
        if self.process is None:
            return self.code
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        return 128 - code if code < 0 else code

    def stop(self, grace_s: float) -> None:
        self._signal(signal.SIGTERM)
        if self.wait(grace_s) is None:
            self._signal(signal.SIGKILL)
            self.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it may end at this moment
                os.killpg(self.process.pid, number)


@dataclass
class PlainRunner:
    """Starts pods as processes of this machine, and notes what it was asked."""

    pods: list[PlainPod] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    released: list[str] = field(default_factory=list)
    is_closed: bool = False

    def start(self, spec: PodSpec) -> PlainPod:
        self.threads.add(threading.get_ident())
        environment = {"PATH": os.environ["PATH"], **dict(spec.env)}
        process: subprocess.Popen[bytes] | None = None
        code = None
        with spec.log.open("ab") as log:
            try:
                process = subprocess.Popen(
                    spec.argv, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
                )
            except OSError as error:
                log.write(f"exec {spec.argv[0]}: {os.strerror(error.errno or 0).lower()}\n".encode())
                code = 127 if isinstance(error, FileNotFoundError) else 126
        self.pods.append(PlainPod(spec, process, code))
        return self.pods[-1]

    def connection(self, network: str, port: int) -> socket.socket:
        del network  # they are all on this machine's
        return socket.create_connection(("127.0.0.1", port))

    def listener(self, network: str, port: int) -> socket.socket | None:
        del network, port
        return None

    def release(self, network: str) -> None:
        assert all(pod.poll() is not None for pod in self.pods if pod.spec.network == network)
        self.released.append(network)

    def close(self) -> None:
        self.is_closed = True
        for pod in self.pods:
            pod.stop(0.0)


def new_twin(folder: Path, inventory: Inventory = LEPTON, **options: Any) -> tuple[Twin, PlainRunner]:  # noqa: ANN401 - a twin's own
    """Give a twin that is not started, and its pods."""
    runner = PlainRunner()
    return Twin(inventory, runner, folder, **options), runner


class Client:
    """Talks to a twin as nobody's client library does it."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> requests.Response:  # noqa: ANN401 - any JSON value
        return self.session.request(method, f"{self.url}{path}", json=body, timeout=DEADLINE_S, **options)

    def get(self, path: str, **options: Any) -> Any:  # noqa: ANN401 - any JSON value
        reply = self.call("GET", path, **options)
        assert reply.status_code == 200, reply.text
        return reply.json()


def lepton_client(twin: Twin, token: str = LEPTON.token) -> Client:
    return Client(twin.url, token)


def runai_client(twin: Twin) -> Client:
    client = Client(twin.url)
    body = {"grantType": "client_credentials", "clientId": RUNAI.client_id, "clientSecret": RUNAI.client_secret}
    client.session.headers["Authorization"] = f"Bearer {client.call('POST', '/token', body).json()['accessToken']}"
    return client


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that will happen."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def lepton_job(name: str, /, *command: str, nodes: int = 1, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Give the body of a job."""
    return {
        "metadata": {"id": name},
        "spec": {
            "resource_shape": "gpu.8xh100-sxm",
            "container": {"image": "some/image:1", "command": list(command)},
            "completions": nodes,
            "parallelism": nodes,
            "intra_job_communication": True,
            **spec,
        },
    }


def ray_cluster(name: str, /, workers: int = 1, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Give the body of a Ray cluster."""
    group = {"resource_shape": "cpu.small", "envs": [], "mounts": []}
    return {
        "metadata": {"id": name, "name": name},
        "spec": {
            "image": "some/image:1",
            "ray_version": "2.49.2",
            "suspend": False,
            "head_group_spec": {**group, "min_replicas": 1},
            "worker_group_specs": [{**group, "min_replicas": workers}],
            **spec,
        },
    }


def runai_workload(name: str, command: str, args: str | None = None, /, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON value
    """Give the body of a workload in the first project."""
    return {
        "name": name,
        "projectId": "1001",
        "clusterId": RUNAI.cluster_id,
        "spec": {"command": command, "args": args, "image": "some/image:1", "backoffLimit": 0, **spec},
    }


def distributed(workers: int) -> dict[str, Any]:
    """Give the fields that make a workload one of several pods."""
    replicas = {"minReplicas": workers, "maxReplicas": workers, "numWorkers": workers}
    return {"distributedFramework": "PyTorch", **replicas}
