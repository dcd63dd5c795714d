"""Real clusters and engines on this machine, started once for all tests that ask for one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clusters.beds import docker, images

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerBed]:
    lacking = [tool for tool in docker.TOOLS if shutil.which(tool) is None]
    if os.geteuid() != 0 or lacking:
        pytest.skip(f"a Docker engine takes root and {', '.join(lacking or docker.TOOLS)}")
    # Not pytest's own folder: a socket's name may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="docker-bed-") as folder:
        bed = docker.DockerBed.start(Path(folder) / "engine", names=(images.BUSYBOX, images.PYTHON))
        try:
            yield bed
        finally:
            bed.stop()


@pytest.fixture
def docker_bed(docker_engine: docker.DockerBed) -> Iterator[docker.DockerBed]:
    """Give the engine, and take away what the test has made on it."""
    yield docker_engine
    docker_engine.clear()
