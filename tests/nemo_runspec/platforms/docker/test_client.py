"""What a client does about lost replies; the rest is tried on a real engine."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import NothingSentError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.docker.client import DockerClient
from nemo_runspec.platforms.docker.containers import Container
from nemo_runspec.platforms.docker.engine import Engine
from nemo_runspec.platforms.docker.request import DockerSpec, request
from nemo_runspec.platforms.workload import JobState, Submitted
from tests.nemo_runspec.platforms.scripted import FakeTime

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_runspec.platforms.workload import Request

JOB = Submitted("docker", "job", "mine-1", "mine-1")


class FakeEngine(Engine):
    """An engine in memory, whose replies get lost as a test says."""

    def __init__(self) -> None:
        super().__init__("unix:///nowhere")
        self.there: dict[str, Container] = {}
        self.starts: list[str] = []
        self.lost: dict[str, list[str]] = {}

    def _reply(self, method: str) -> None:
        """Lose the reply to the next call where the test says so."""
        if self.lost.get(method, []):
            self.lost[method].pop()
            message = "reset"
            raise UnreachableError(message)

    def image(self, name: str) -> Mapping[str, Any]:  # noqa: ARG002 - the engine's signature
        return {"Config": {"Env": ["PATH=/bin"]}}

    def is_rootless(self) -> bool:
        return True

    def containers(self, name: str) -> list[Container]:
        self._reply("containers")
        return [one for one in self.there.values() if one.name.startswith(f"{name}-")]

    def container(self, name: str) -> Container | None:
        return self.there.get(name)

    def create(self, name: str, config: Mapping[str, Any]) -> None:
        if name in self.there:
            message = "taken"
            raise RefusedError(message, status=409)
        labels = config["Labels"]
        inspected = {"Id": name, "Name": name, "State": {"Status": "created"}, "Config": {"Labels": labels}}
        self.there[name] = Container.of(inspected)
        self._reply("create")

    def start(self, container: Container) -> None:
        self.starts.append(container.name)
        self.there[container.name] = dataclasses.replace(container, status="running")
        self._reply("start")

    def has_file(self, container: Container, path: str) -> bool:  # noqa: ARG002 - the engine's signature
        return path == "/bin/true"

    def remove(self, container: Container, *, force: bool = False) -> None:  # noqa: ARG002 - as above
        del self.there[container.name]

    def create_network(self, spec: Mapping[str, Any]) -> None:
        self.network = spec["Name"]

    def networks(self, name: str) -> dict[str, str]:  # noqa: ARG002 - as above
        return {}


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(engine: FakeEngine, time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> DockerClient:
    monkeypatch.setattr("nemo_runspec.platforms.docker.client.Engine", lambda *_, **__: engine)
    return DockerClient("unix:///nowhere", patience=time.patience(deadline_s=5))


def asked(home: Path) -> Request:
    return request(DockerSpec(image="i", nodes=2, argv=("true",), user="7:7"), home=str(home))


def test_lost_replies_make_nothing_twice(client: DockerClient, engine: FakeEngine, tmp_path: Path) -> None:
    engine.lost = {"create": ["once", "twice"], "start": ["once"]}
    assert client.submit(asked(tmp_path), "mine-1") == JOB
    assert engine.starts == ["mine-1-0", "mine-1-1"]
    assert sorted(engine.there) == ["mine-1-0", "mine-1-1"]


def test_an_engine_that_stays_away_leaves_a_doubt_and_what_was_made(
    client: DockerClient, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.lost = {"start": ["away"] * 1}
    real, asks = engine.containers, iter([0, 0, 0, *range(1, 99)])

    def containers(name: str) -> list[Container]:
        if next(asks):
            message = "away"
            raise UnreachableError(message)
        return real(name)

    engine.containers = containers  # type: ignore[method-assign]
    with pytest.raises(UnreachableError, match="it is not known whether the job 'mine-1' was started: away") as raised:
        client.submit(asked(tmp_path), "mine-1")
    assert not isinstance(raised.value, NothingSentError)
    assert raised.value.remedy is not None
    assert sorted(engine.there) == ["mine-1-0", "mine-1-1"]
    assert client.look(JOB).state is JobState.UNREACHABLE


def test_no_engine_is_told_at_once(client: DockerClient, engine: FakeEngine, time: FakeTime, tmp_path: Path) -> None:
    engine.lost = {"containers": ["away"]}
    began = time.now
    with pytest.raises(NothingSentError, match="reset"):
        client.submit(asked(tmp_path), "mine-1")
    assert (engine.there, time.now) == ({}, began)
    assert list((tmp_path / "jobs").iterdir()) == []


def test_without_an_engine_what_an_earlier_try_has_written_stays(
    client: DockerClient, engine: FakeEngine, tmp_path: Path
) -> None:
    (tmp_path / "jobs/mine-1").mkdir(parents=True)
    (tmp_path / "jobs/mine-1/launch.sh").touch()
    engine.lost = {"containers": ["away"]}
    with pytest.raises(UnreachableError, match="reset"):
        client.submit(asked(tmp_path), "mine-1")
    assert (tmp_path / "jobs/mine-1/launch.sh").is_file()


def test_a_submission_that_was_given_up_makes_nothing(client: DockerClient, engine: FakeEngine, tmp_path: Path) -> None:
    given_up = threading.Event()
    given_up.set()
    token = ABANDONED.set(given_up)
    try:
        with pytest.raises(AbandonedError):
            client.submit(asked(tmp_path), "mine-1")
    finally:
        ABANDONED.reset(token)
    assert engine.there == {}


def test_root_in_a_rootless_engine_is_the_caller(client: DockerClient, engine: FakeEngine, tmp_path: Path) -> None:
    users = []
    real = engine.create

    def create(name: str, config: Mapping[str, Any]) -> None:
        users.append(config["User"])
        real(name, config)

    engine.create = create  # type: ignore[method-assign]
    client.submit(asked(tmp_path), "mine-1")
    assert users == ["0:0", "0:0"]


def test_a_name_of_another_job_is_refused_and_its_folder_kept(
    client: DockerClient, engine: FakeEngine, tmp_path: Path
) -> None:
    client.submit(asked(tmp_path), "mine-1")
    other = request(DockerSpec(image="i", argv=("true",)), home=str(tmp_path))
    with pytest.raises(RefusedError, match="taken by another job"):
        client.submit(other, "mine-1")
    assert (tmp_path / "jobs/mine-1").is_dir()
    assert len(engine.there) == 2
