from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.executors.journal import Journal
from nemo_runspec.jobs import ending, looking, output, pruning
from tests.nemo_runspec.jobs.places import Cluster

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Cluster]:
    """Give clusters by their host, made when they are asked for."""
    made: dict[str, Cluster] = defaultdict(Cluster)

    def connect(platform: str, connection: Mapping[str, str]) -> Cluster:
        assert platform == "slurm"
        return made[connection["host"]]

    for module in (ending, looking, output, pruning):
        monkeypatch.setattr(module, "connect", connect)
    return made


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)
