"""What a job in a container of this machine needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.doctor.findings import Check, fail, failed, ok
from nemo_runspec.errors import NemotronError
from nemo_runspec.executors.docker_request import mount_of
from nemo_runspec.platforms.docker.engine import Engine, engine_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.doctor.findings import Finding
    from nemo_runspec.env import DockerProfile

_MARGIN_S: Final = 0.3
_NVIDIA: Final = "nvidia"


def checks(profile: DockerProfile, *, timeout_s: float) -> tuple[Check, ...]:
    """Give the questions about the engine and what is mounted."""
    return (
        Check("engine", lambda: engine(profile, timeout_s - _MARGIN_S)),
        Check("mounts", lambda: mounts(profile)),
    )


def engine(profile: DockerProfile, timeout_s: float) -> Iterator[Finding]:
    """Ask the engine for its version, the image and its runtimes.

    Args:
        profile: The profile.
        timeout_s: How long each question may take, in seconds.
    """
    asked = Engine(engine_address(), look_s=timeout_s)
    found = asked.about()
    yield ok("engine", f"Docker {found.get('ServerVersion', 'of an unknown version')} at {asked.address}")
    yield from _gpus(profile, found)
    image = profile.container_image
    if image is None:
        yield ok("image", "the one that the script names")
        return
    try:
        asked.image(image)
    except NemotronError as error:
        yield failed("image", error)
    else:
        yield ok("image", f"{image} is there")


def _gpus(profile: DockerProfile, found: Mapping[str, Any]) -> Iterator[Finding]:
    runtimes = found.get("Runtimes") or {}
    if profile.runtime and profile.runtime not in runtimes:
        known = ", ".join(sorted(runtimes)) or "none"
        yield fail("runtime", f"the engine has no runtime {profile.runtime}", f"It has: {known}.")
    elif profile.gpus_per_node and _NVIDIA not in runtimes:
        text = f"{profile.gpus_per_node} GPUs asked for, and the engine has no runtime for them"
        yield fail("runtime", text, "Install the NVIDIA Container Toolkit, or set gpus_per_node = 0.")
    elif profile.gpus_per_node:
        yield ok("runtime", f"{profile.runtime or _NVIDIA} for {profile.gpus_per_node} GPUs")


def mounts(profile: DockerProfile) -> Iterator[Finding]:
    """Look for the folders to mount; each by itself, so that all that is wrong is told."""
    there = []
    for text in (mount for mount in profile.mounts if isinstance(mount, str)):
        try:
            source = mount_of(text, profile)[0]
        except NemotronError as error:
            yield failed("mounts", error)
            continue
        if Path(source).exists():
            there.append(source)
        else:
            yield fail("mounts", f"{source} is not there", "Make it, or correct `mounts`.")
    if there:
        yield ok("mounts", f"{', '.join(there)} there")
