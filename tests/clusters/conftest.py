"""The real components that whole-command tests run against, one of each for the whole session."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clusters.beds import docker, images
from tests.clusters.beds import slurm as slurm_bed
from tests.clusters.beds import sshd as ssh_bed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

# Programs of the system's administrator, which the PATH of a user may lack.
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def require_beds(programs: Sequence[str]) -> None:
    """Skip, and say why, where a bed cannot be started; in continuous integration a skip is a failure."""
    if os.geteuid() != 0:
        pytest.skip("NOT TESTED AGAINST REAL COMPONENTS: that takes root (namespaces, mounts, an account of its own)")
    path = f"{os.environ.get('PATH', '')}:{_SYSTEM_FOLDERS}"
    missing = [name for name in programs if shutil.which(name, path=path) is None]
    if missing:
        pytest.skip(f"NOT TESTED AGAINST REAL COMPONENTS: no {', '.join(missing)}; run scripts/system_packages.sh")
    namespaces = [shutil.which("unshare", path=path) or "unshare", "--net", "--mount", "true"]
    if subprocess.run(namespaces, capture_output=True, check=False, timeout=20).returncode:
        pytest.skip("NOT TESTED AGAINST REAL COMPONENTS: this container's root may make no namespaces")


@pytest.fixture(scope="session")
def slurm() -> Iterator[SlurmBed]:
    """Give a Slurm of two nodes with accounting."""
    require_beds(slurm_bed.PROGRAMS)
    bed = slurm_bed.SlurmBed.start()
    yield bed
    bed.stop()


@pytest.fixture(scope="session")
def slurm_plain() -> Iterator[SlurmBed]:
    """Give a Slurm of two nodes without accounting."""
    require_beds(slurm_bed.PROGRAMS)
    bed = slurm_bed.SlurmBed.start(accounting=False)
    yield bed
    bed.stop()


@pytest.fixture(scope="session")
def sshd(slurm: SlurmBed) -> Iterator[SshBed]:
    """Give a login node of the Slurm with accounting, reached through ssh."""
    require_beds(ssh_bed.PROGRAMS)
    bed = ssh_bed.SshBed.start(slurm.user, slurm.environment)
    yield bed
    bed.stop()


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[docker.DockerBed]:
    """Give an engine with two images."""
    require_beds(docker.TOOLS)
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
