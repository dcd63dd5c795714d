"""What every profile needs on this machine: its secrets, a place for results, the programs that are called."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

from nemo_runspec.doctor.findings import Check, fail, ok, warn
from nemo_runspec.env import CloudProfile, DockerProfile, LocalProfile
from nemo_runspec.errors import ProfileError
from nemo_runspec.paths import PathKind, absolute, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.doctor.findings import Finding
    from nemo_runspec.env import Profile

_DEFAULT_WORKSPACE: Final = "output"
_LIST_GPUS: Final = ("nvidia-smi", "--list-gpus")
_NVIDIA_SMI_S: Final = 4.0
_VERSION_S: Final = 2.0
_LEAST_FREE_BYTES: Final = 2**30


def checks(profile: Profile) -> tuple[Check, ...]:
    """Give the questions that any profile raises here."""
    found = [Check("secrets", lambda: secrets(profile))]
    if isinstance(profile, LocalProfile | DockerProfile):
        found.append(Check("workspace", lambda: workspace(profile)))
    return tuple(found)


def checks_of_this_machine(profile: Profile) -> tuple[Check, ...]:
    """Give the questions about this machine as the place of the job itself."""
    return (
        Check("python", lambda: (ok("python", f"Python {platform.python_version()}, which jobs are run with"),)),
        Check("gpus", lambda: gpus(profile)),
    )


def secrets(profile: Profile) -> Iterator[Finding]:
    """Say whether the secrets that a profile names are there."""
    delivered = profile.secret_references if isinstance(profile, CloudProfile) else {}
    taken = [name for name in profile.secret_names if name not in delivered]
    unset = [name for name in taken if not os.environ.get(name)]
    if unset:
        yield fail(
            "secrets", f"{', '.join(unset)} is not set in your environment", "Export it, or take it out of `secrets`."
        )
    elif taken:
        yield ok("secrets", f"{', '.join(taken)} set in your environment")
    if delivered:
        yield ok("secrets", f"{', '.join(delivered)} given by the platform, which is not asked")


def workspace(profile: Profile) -> Iterator[Finding]:
    """Say whether results can be kept in a folder of this machine."""
    given = profile.workspace or _DEFAULT_WORKSPACE
    if "://" in given:
        yield fail("workspace", f"{given} is no folder, and a job on this machine needs one", "Name a folder's path.")
        return
    folder = absolute(given, error=ProfileError)
    kind = kind_of(folder, error=ProfileError)
    if kind not in {PathKind.FOLDER, PathKind.NOTHING}:
        yield fail("workspace", f"{folder} is no folder", "Name another one in `workspace`.")
        return
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    refused = _refusal(place)
    if refused:
        yield fail("workspace", f"{place} cannot be written to: {refused}", "Name another folder in `workspace`.")
        return
    free = shutil.disk_usage(place).free
    text = f"{folder} {'can be written to' if kind is PathKind.FOLDER else 'can be made'}, {free / 2**30:.0f} GiB free"
    if free < _LEAST_FREE_BYTES:
        yield warn("workspace", text, "Make room, or name another folder in `workspace`.")
    else:
        yield ok("workspace", text)


def _refusal(folder: Path) -> str:
    """Say why nothing can be written to a folder; by trying it, since permissions are not all there is."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b" ")
    except OSError as error:
        return error.strerror or str(error)
    return ""


def gpus(profile: Profile) -> Iterator[Finding]:
    """Compare the GPUs that a profile asks for with those of this machine."""
    wanted = profile.gpus_per_node
    if not wanted:
        return
    try:
        done = subprocess.run(_LIST_GPUS, capture_output=True, text=True, check=False, timeout=_NVIDIA_SMI_S)
    except FileNotFoundError:
        yield fail("gpus", f"{wanted} asked for, and nvidia-smi is not installed", "Set gpus_per_node = 0.")
        return
    except subprocess.TimeoutExpired:
        yield fail("gpus", f"nvidia-smi gave no answer within {_NVIDIA_SMI_S:g} s", "Look at the driver: dmesg.")
        return
    there = sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    if there < wanted:
        yield fail("gpus", f"{wanted} asked for, and this machine has {there}", f"Set gpus_per_node = {there}.")
    else:
        yield ok("gpus", f"{wanted} of {there}")


def programs(*names: str) -> Iterator[Finding]:
    """Say whether programs of this machine are there, and which versions they are."""
    for name in names:
        if shutil.which(name) is None:
            yield fail("programs", f"{name} is not installed here", f"Install it: apt-get install {_PACKAGES[name]}")
    there = [f"{name} {_version(name)}" for name in names if shutil.which(name)]
    if there:
        yield ok("programs", f"here: {', '.join(there)}")


_PACKAGES: Final = {"ssh": "openssh-client", "rsync": "rsync", "git": "git"}
_VERSION_OPTION: Final = {"ssh": "-V"}


def _version(name: str) -> str:
    command = [name, _VERSION_OPTION.get(name, "--version")]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_VERSION_S
        )
    except (OSError, subprocess.TimeoutExpired):
        return "(which does not start)"
    return version_in(done.stdout or done.stderr)


def version_in(text: str) -> str:
    """Give the word of a `--version` line that is the version."""
    words = text.split("\n", 1)[0].replace(",", " ").split()
    return next((word for word in words if any(letter.isdigit() for letter in word)), "of an unknown version")
