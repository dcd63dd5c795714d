"""Container images as files on a cluster, imported by enroot: once, whole or not at all."""

from __future__ import annotations

import hashlib
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import ConfigError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ended_when_abandoned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from nemo_runspec.env import SlurmProfile
    from nemo_runspec.platforms.shell import Answer, Shell

REMOTE_SCRIPTS: Final = Path(__file__).parents[1] / "platforms" / "slurm" / "remote"

_SCRIPT: Final = REMOTE_SCRIPTS / "squash.sh"
_IMPORT_FLAGS: Final = ("account", "partition", "qos", "time", "constraint")
"""Flags of srun that say where an import runs."""
_IMAGES: Final = "images"
_SUFFIX: Final = ".sqsh"
_NOT_THERE, _NO_ENROOT, _NOT_OURS, _NO_SRUN = 66, 69, 73, 75
_LOOK_S: Final = 30.0
_IMPORT_S: Final = 3600.0
_DIGEST_LETTERS: Final = 8
_DOCKER_HUB: Final = ("docker.io", "index.docker.io", "registry-1.docker.io")
_REFERENCE: Final = re.compile(
    r"""(?:(?P<user>[A-Za-z0-9$._-]+)@(?=[^@]*\#))?
        (?:(?P<registry>[A-Za-z0-9.-]+(?::[0-9]+)?)\#)?
        (?P<image>[a-z0-9][a-z0-9._/-]*)
        (?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]*))?
        (?:[@:](?P<digest>sha256:[0-9a-f]{64}))?""",
    re.VERBOSE,
)
_REGISTRY: Final = re.compile(
    r"(?P<registry>localhost(?::[0-9]+)?|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+(?::[0-9]+)?|[A-Za-z0-9-]+:[0-9]+)/"
)
_NO_SPACE: Final = re.compile(r"No space left|Disk quota exceeded|write failed because Disk", re.IGNORECASE)
_UNKNOWN_IMAGE: Final = re.compile(
    r"manifest unknown|Could not process image|error code: 40[134]|not found", re.IGNORECASE
)
_REASON: Final = re.compile(r"\[ERROR\]|error:|: fatal|cannot|No space|failed", re.IGNORECASE)
_CONSEQUENCE: Final = re.compile(r"srun: error: \S+: task|srun: Terminating")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """Where an image comes from and which file it becomes.

    Args:
        uri: What enroot imports; empty where the image is a file already.
        path: The file on the cluster.
    """

    uri: str
    path: str


def image_file(image: str, home: str) -> ImageFile:
    """Tell which file an image is on a cluster; nothing is asked or made.

    Args:
        image: A reference such as `nvcr.io/nvidia/nemo:25.11`, with or without `docker://` before it, also as enroot
            writes it, `nvcr.io#nvidia/nemo:25.11`; or the path of a .sqsh file there.
        home: Folder on the cluster that keeps jobs and images.

    Raises:
        ConfigError: It is no image.
    """
    if is_image_path(image):
        if not image.startswith("/"):
            message = f"the image {image} is a file, and not given by its path from the root"
            raise ConfigError(message, remedy="Write the whole path, as the cluster's nodes see it.")
        return ImageFile("", image)
    uri = _enroot_uri(image)
    reference = uri.removeprefix("docker://")
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", reference).strip("-.")
    digest = hashlib.sha256(reference.encode()).hexdigest()[:_DIGEST_LETTERS]
    return ImageFile(uri, posixpath.join(home, _IMAGES, f"{words}-{digest}{_SUFFIX}"))


def is_image_path(image: str) -> bool:
    """Tell whether an image is named by the path of a file and not by a reference to a registry."""
    return image.startswith(("/", "./", "../", "~")) or image.endswith(_SUFFIX)


def _enroot_uri(image: str) -> str:
    """Write a reference as `docker://REGISTRY#IMAGE:TAG`, which every release of enroot understands."""
    remedy = "Write it as REGISTRY/IMAGE:TAG, such as nvcr.io/nvidia/nemo:25.11, or name a .sqsh file by its path."
    scheme, separator, rest = image.partition("://")
    if separator and scheme != "docker":
        message = f"the image {image} is in no registry, so the cluster cannot import it"
        raise ConfigError(message, remedy=remedy)
    reference = rest if separator else image
    if "#" not in reference and (found := _REGISTRY.match(reference)):
        reference = f"{found['registry']}#{reference[found.end() :]}"
    parts = _REFERENCE.fullmatch(reference)
    if parts is None:
        message = f"'{image}' is no container image"
        raise ConfigError(message, remedy=remedy)
    user = f"{parts['user']}@" if parts["user"] else ""
    registry = f"{parts['registry']}#" if parts["registry"] not in (None, *_DOCKER_HUB) else ""
    # Releases before 4.0 take a digest only in the place of the tag.
    tag = parts["digest"] or parts["tag"] or "latest"
    return f"docker://{user}{registry}{parts['image']}:{tag}"


def squash_options(profile: SlurmProfile, *, attached: bool = False) -> tuple[str, ...]:
    """Give the srun options of an import: where it may run, as far as a profile says it.

    Args:
        profile: The profile.
        attached: Whether somebody waits for it, which has a partition of its own in some profiles.
    """
    partition = (profile.run_partition if attached else profile.batch_partition) or profile.partition
    return import_options({flag: getattr(profile, flag) for flag in _IMPORT_FLAGS} | {"partition": partition})


def import_options(flags: Mapping[str, object]) -> tuple[str, ...]:
    """Give the srun options of an import for a job with these flags: those that say where it may run.

    Args:
        flags: Flags of sbatch, without dashes and with underscores; None or an empty text where one is not given.
    """
    return tuple(f"--{flag}={value}" for flag in _IMPORT_FLAGS if (value := flags.get(flag)))


@ended_when_abandoned()
def ensure_squashed_image(
    shell: Shell,
    image: str,
    home: str,
    *,
    force: bool = False,
    srun_options: Sequence[str] = (),
    say: Callable[[str], None] | None = None,
    timeout_s: float = _IMPORT_S,
) -> str:
    """Give the path of an image's .sqsh file on a cluster, and import it on a compute node if it is not there yet.

    Whoever asks for an image that is being imported waits for it. An import that was interrupted leaves nothing that
    the next one could take for an image.

    Args:
        shell: The login node.
        image: A reference to a registry, or the path of a .sqsh file there, which is only looked for.
        home: Folder on the cluster that keeps jobs and images, from the root.
        force: Import anew; the file that is there stays in use until the new one is complete.
        srun_options: Options of the srun that imports, as `squash_options` gives them.
        say: Told the progress, line by line.
        timeout_s: How long to wait, for the compute node too, in seconds.

    Raises:
        ConfigError: The image is none, or its file is not there.
        RefusedError: The registry does not give it, or it cannot be imported there.
        UnreachableError: The cluster does not answer in time; the import may still be going on, and asking again
            waits for it.
        AbandonedError: The submission that it is for was given up.
    """
    wanted = image_file(image, home)
    arguments = (wanted.path, wanted.uri, "1" if force and wanted.uri else "0")
    if not wanted.uri:
        answer = shell.bash(_SCRIPT, *arguments, timeout_s=_LOOK_S)
    else:
        try:
            answer = shell.bash(_SCRIPT, *arguments, *srun_options, timeout_s=timeout_s, on_error_line=say)
        except UnreachableError as error:
            message = f"the import of {image} was not seen to its end: {error.message}"
            raise UnreachableError(
                message, remedy="Ask again: an import that is still under way is waited for."
            ) from error
    if answer.code == 0:
        return wanted.path
    raise _failure(answer, image, wanted, shell.label)


def _failure(
    answer: Answer, image: str, wanted: ImageFile, label: str
) -> ConfigError | RefusedError | UnreachableError:
    if answer.code == _NOT_THERE:
        message = f"there is no image file {wanted.path} on {label}"
        return ConfigError(message, remedy="Correct the path, or name an image of a registry.")
    reason = next(_reasons(answer.err), f"exit code {answer.code}, and no reason given")
    failed = f"the image {image} cannot be imported on {label}"
    folder = posixpath.dirname(wanted.path)
    if answer.code == _NO_SRUN:
        return UnreachableError(f"{failed}: {reason}", remedy="Is this a login node of a Slurm cluster?")
    remedy = f"Try it there, on a compute node: enroot import {wanted.uri}"
    if answer.code == _NO_ENROOT:
        remedy = "Ask the cluster's administrators for enroot, or name the .sqsh file of an image by its path."
    elif answer.code == _NOT_OURS:
        remedy = f"Make it yours: chmod go-w {folder}"
    elif _NO_SPACE.search(answer.err):
        reason = next((line for line in answer.err.splitlines() if _NO_SPACE.search(line)), reason).strip()
        remedy = f"Make room for {folder}, or on the compute node's ENROOT_TEMP_PATH (/tmp without it)."
    elif reason.startswith("srun: "):
        remedy = "Correct what the profile says about account, partition, qos, time or constraint."
    elif _UNKNOWN_IMAGE.search(answer.err):
        remedy = (
            "Check the name and the tag; a private registry needs your login in ~/.config/enroot/.credentials there."
        )
    return RefusedError(f"{failed}: {reason}", remedy=remedy)


def _reasons(err: str) -> Iterator[str]:
    """Give the lines that say what went wrong, the most telling first."""
    lines = [line.strip() for line in err.splitlines() if line.strip()]
    own = [line for line in lines if not _CONSEQUENCE.match(line)]
    yield from (line for line in own if _REASON.search(line))
    yield from reversed(own)
    yield from reversed(lines)
