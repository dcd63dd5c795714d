"""What a Docker engine says when it cannot do something, in our words and with what to do."""

from __future__ import annotations

import re
from typing import Final

from nemo_runspec.errors import DeniedError, GoneError, PlatformError, RefusedError, UnreachableError

_FORBIDDEN: Final = frozenset({401, 403})
_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500

_KNOWN: Final = (
    (
        r"could not select device driver",
        "the Docker engine cannot give GPUs to containers",
        "Install the NVIDIA Container Toolkit and configure the engine for it, or set gpus_per_node = 0.",
    ),
    (
        r"nvidia-container-cli: (?P<what>[^\n]+)",
        "the Docker engine cannot give the GPUs that are asked for: {what}",
        "Ask for GPUs that this machine has: nvidia-smi lists them.",
    ),
    (
        r"[Uu]nknown (?:runtime specified|or invalid runtime name:) \"?(?P<what>[\w.-]+)",
        "the Docker engine has no runtime '{what}'",
        "Install it (for GPUs, the NVIDIA Container Toolkit), or take `runtime` out of the profile.",
    ),
    (
        r"bind source path does not exist: (?P<what>[^\n]+)",
        "the folder to mount does not exist on this machine: {what}",
        "Make it, or correct `mounts`.",
    ),
    (
        r"network (?P<what>\S+) not found",
        "the Docker engine has no network '{what}'",
        "`docker network ls` lists those that it has.",
    ),
    (
        r"[Nn]o such image: (?P<what>\S+)",
        "the Docker engine does not have the image '{what}'",
        "Get it first: docker pull {what}",
    ),
    (
        r"exec: \"docker-init\": executable file not found",
        "the Docker engine lacks its docker-init",
        "Install the package tini, or the engine's own packages.",
    ),
    (
        r"exec: \"(?P<what>[^\"]+)\": (?:executable file not found|stat [^:]+: no such file)",
        "the image has no '{what}'",
        "Use an image with it: every job is started by bash.",
    ),
    (
        r"no space left on device",
        "the Docker engine has no space left",
        "`docker system df` shows what takes it, `docker system prune` gives back what is not used.",
    ),
)


def explained(status: int | None, text: str, asked: str, *, making: bool = False) -> PlatformError:
    """Give the error for what an engine has answered.

    Args:
        status: The HTTP status.
        text: What it says.
        asked: What was asked, for the message.
        making: Whether something was to be made or started: an engine answers with 500 then to what it refuses.
    """
    for pattern, message, remedy in _KNOWN:
        found = re.search(pattern, text.strip())
        if found is not None:
            named = {name: value.rstrip(".,:\"'") for name, value in found.groupdict().items()}
            return RefusedError(message.format(**named), status=status, remedy=remedy.format(**named))
    message = f"{asked}: the Docker engine answers: {text.strip() or f'HTTP {status}'}"
    if status in _FORBIDDEN:
        return DeniedError(message, status=status)
    if status == _NOT_FOUND:
        return GoneError(message, status=status)
    if status is None or (status >= _SERVER_ERROR and not making):
        return UnreachableError(message, status=status)
    return RefusedError(message, status=status)


def missing(image: str, program: str) -> RefusedError:
    """Give the error for an image without the program that starts a job.

    Args:
        image: The image.
        program: The program's name or path.
    """
    return RefusedError(
        f"the image '{image}' has no '{program}'", remedy="Use an image with it: every job is started by bash."
    )


def silent(error: BaseException, address: str, asked: str) -> PlatformError:
    """Give the error for an engine that has not answered.

    Args:
        error: What happened.
        address: Of the engine.
        asked: What was asked, for the message.
    """
    causes = [*_causes(error)]
    if any(isinstance(cause, PermissionError) for cause in causes):
        return DeniedError(
            f"you are not permitted to use the Docker engine at {address}",
            remedy="Become a member of the group `docker` (sudo usermod -aG docker $USER), and log in again.",
        )
    if any(isinstance(cause, FileNotFoundError | ConnectionRefusedError) for cause in causes):
        return UnreachableError(
            f"there is no Docker engine running at {address}",
            remedy="Start it (sudo systemctl start docker), or set DOCKER_HOST to one that is.",
        )
    return UnreachableError(f"{asked}: the Docker engine at {address} does not answer: {error}")


def _causes(error: BaseException) -> list[BaseException]:
    """Give an error and what led to it: libraries hide the system's own in arguments, too."""
    found: list[BaseException] = []
    left: list[object] = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            left += [one.__cause__, one.__context__, *one.args]
    return found
