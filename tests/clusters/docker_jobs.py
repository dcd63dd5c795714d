"""Jobs for tests of Docker's client."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec.platforms.docker.request import DockerSpec, request
from tests.clusters.beds import images
from tests.clusters.beds.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.platforms.docker.client import DockerClient
    from nemo_runspec.platforms.workload import Request, Seen, Submitted
    from tests.clusters.beds.docker import DockerBed

END_S = 30


@contextmanager
def new_home() -> Iterator[Path]:
    """Give a folder for jobs, which is not there yet."""
    with tempfile.TemporaryDirectory(prefix="docker-home-") as folder:
        yield Path(folder) / "with a space"


def job(
    home: Path,
    *argv: str,
    image: str = images.PYTHON,
    secrets: tuple[tuple[str, str], ...] = (),
    **more: Any,  # noqa: ANN401 - fields of any kind
) -> Request:
    return request(DockerSpec(image=image, argv=argv, **more), home=str(home), secrets=secrets)


def shell(home: Path, script: str, **more: Any) -> Request:  # noqa: ANN401 - as above
    return job(home, "bash", "-c", script, **more)


def ended(client: DockerClient, workload: Submitted) -> Seen:
    """Wait for a job's end."""
    wait_until(lambda: client.look(workload).state.is_final, END_S, f"end of {workload.name}")
    return client.look(workload)


def output(client: DockerClient, workload: Submitted, index: int = 0) -> list[str]:
    return list(client.log(workload, f"{workload.name}-{index}"))


@contextmanager
def reachable(bed: DockerBed) -> Iterator[Path]:
    """Give the engine's socket a second name, in a folder that all may enter."""
    link = Path(tempfile.gettempdir()) / f"nemotron-socket-{os.getpid()}"
    link.hardlink_to(bed.socket)
    try:
        yield link
    finally:
        link.unlink()


@contextmanager
def open_to_all(bed: DockerBed) -> Iterator[str]:
    """Let everybody use the engine, and give its address."""
    with reachable(bed) as link:
        mode = link.stat().st_mode
        link.chmod(0o666)
        try:
            yield f"unix://{link}"
        finally:
            link.chmod(mode)


def names(bed: DockerBed) -> list[str]:
    return sorted(found["Name"].removeprefix("/") for found in bed.containers())
