"""What a job in a container of this machine needs."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.prepare.doctor.findings import Check, fail, ok, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.env import DockerProfile
    from nemo_runspec.prepare.doctor.findings import Finding

_MARGIN_S: Final = 0.3
_NVIDIA: Final = "nvidia"
_VARIABLE: Final = re.compile(r"\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)\})")


def checks(profile: DockerProfile, *, timeout_s: float) -> tuple[Check, ...]:
    """Give the questions about the engine and what is mounted."""
    return (
        Check("engine", lambda: engine(profile, timeout_s - _MARGIN_S)),
        Check("mounts", lambda: mounts(profile)),
    )


def engine(profile: DockerProfile, timeout_s: float) -> Iterator[Finding]:
    """Ask the engine for its version, the image and its runtimes."""
    import docker  # noqa: PLC0415 - imports requests and more, which other profiles do not need
    from docker.errors import DockerException, ImageNotFound  # noqa: PLC0415 - the same

    where = os.environ.get("DOCKER_HOST", "the Docker engine of this machine")
    try:
        client = docker.from_env(timeout=timeout_s)
    except DockerException as error:
        yield fail(
            "engine", f"{where} cannot be reached: {_reason(error)}", "Start it, or set DOCKER_HOST: docker info"
        )
        return
    try:
        found: dict[str, Any] = client.info()
        yield ok("engine", f"Docker {found.get('ServerVersion', 'of an unknown version')} at {where}")
        yield from _gpus(profile, found)
        image = profile.container_image
        if image is None:
            yield ok("image", "the one that the script names")
            return
        try:
            client.images.get(image)
            yield ok("image", f"{image} is there")
        except ImageNotFound:
            yield warn("image", f"{image} is not there yet", f"The first job pulls it; so does: docker pull {image}")
    except (DockerException, OSError) as error:
        yield fail("engine", f"{where} does not answer: {_reason(error)}", "Look at it with: docker info")
    finally:
        client.close()


def _gpus(profile: DockerProfile, found: dict[str, Any]) -> Iterator[Finding]:
    runtimes = found.get("Runtimes") or {}
    if profile.runtime and profile.runtime not in runtimes:
        known = ", ".join(sorted(runtimes)) or "none"
        yield fail("runtime", f"the engine has no runtime {profile.runtime}", f"It has: {known}.")
    elif profile.gpus_per_node and _NVIDIA not in runtimes:
        text = f"{profile.gpus_per_node} GPUs asked for, and the engine has no runtime for them"
        yield fail("runtime", text, "Install nvidia-container-toolkit, or set gpus_per_node = 0.")
    elif profile.gpus_per_node:
        yield ok("runtime", f"{profile.runtime or _NVIDIA} for {profile.gpus_per_node} GPUs")


def _reason(error: Exception) -> str:
    """Give the innermost reason in one line: the outer ones repeat it between names of classes."""
    innermost: BaseException = error
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    text = getattr(innermost, "strerror", None) or str(innermost)
    return " ".join(str(text).split())


def mounts(profile: DockerProfile) -> Iterator[Finding]:
    """Look for the folders to mount; an unset variable in one is no folder."""
    there = []
    for mount in profile.mounts:
        if not isinstance(mount, str) or mount.startswith(("git+", "${auto_mount:")):
            continue
        source = mount.partition(":")[0]
        names = [found["name"] or found["braced"] for found in _VARIABLE.finditer(source)]
        unset = [name for name in names if name not in os.environ]
        path = Path(os.path.expandvars(source)).expanduser()
        if unset:
            yield fail("mounts", f"{source}: {', '.join(unset)} is not set", "Export it, or write the path itself.")
        elif not path.exists():
            yield fail("mounts", f"{path} is not there", "Make it, or correct `mounts`.")
        else:
            there.append(str(path))
    if there:
        yield ok("mounts", f"{', '.join(there)} there")
