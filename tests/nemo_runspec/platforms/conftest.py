from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.platforms.runai import RunaiClient
from tests.nemo_runspec.platforms.runai_answers import PROJECT, PROJECTS, SECRET, token
from tests.nemo_runspec.platforms.scripted import FakeTime, Reply, Scripted, scripted_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Scripted]:
    with scripted_server() as running:
        yield running


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def runai(server: Scripted, time: FakeTime) -> RunaiClient:
    server.script("POST /api/v1/token", token("t1"), token("t2"), token("t3"))
    server.script(PROJECTS, Reply(body={"projects": [PROJECT]}))
    return RunaiClient(
        base_url=f"{server.url}/api/v1/",
        kube_apiserver_url=f"{server.url}/k8s/",
        client_id="me",
        client_secret=lambda: SECRET,
        project_name="team",
        profile="dgx",
        patience=time.patience(),
    )
