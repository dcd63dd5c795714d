from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nemo_runspec.platforms.scripted import FakeTime, Scripted, scripted_server

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
