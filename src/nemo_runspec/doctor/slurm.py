"""What a job on a Slurm cluster needs: everything about the login node is asked in one call."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nemo_runspec.doctor import cluster
from nemo_runspec.doctor.facts import read_facts
from nemo_runspec.doctor.findings import Check, fail, ok
from nemo_runspec.doctor.here import programs
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.connection import shell_of
from nemo_runspec.executors.slurm_request import slurm_connection
from nemo_runspec.git_mounts import is_git_mount, parse, pin
from nemo_runspec.paths import PathKind, absolute, kind_of
from nemo_runspec.platforms.slurm.job import PROFILE_FLAGS, sbatch_options
from nemo_runspec.prepare.squash import REMOTE_SCRIPTS, image_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.doctor.findings import Finding
    from nemo_runspec.env import SlurmProfile

_SCRIPT: Final = REMOTE_SCRIPTS / "doctor.sh"
_MARGIN_S: Final = 0.3
"""Left for telling what was found."""
_CONNECTION_S: Final = 1.7
"""Left for connecting, so that one question that gets no answer does not cost the answers of the others."""
_SHORTEST_S: Final = 1.0
_READABLE_BY_OTHERS: Final = 0o077
_MOUNT: Final = re.compile(r"(?P<source>/[^:]*):.+")


def checks(profile: SlurmProfile, *, online: bool, timeout_s: float) -> tuple[Check, ...]:
    """Give the questions about a cluster.

    Args:
        profile: The profile.
        online: Whether to ask the repositories that jobs mount for their commits.
        timeout_s: How long all of it may take, in seconds.
    """
    here = ("ssh", "rsync", "git") if profile.tunnel == "ssh" else ("rsync", "git")
    found = [Check("programs", lambda: programs(*here))]
    if profile.tunnel == "ssh":
        found.append(Check("key", lambda: keys(profile)))
    found.append(Check("login node", lambda: login_node(profile, timeout_s - _MARGIN_S)))
    repositories = [mount for mount in profile.mounts if isinstance(mount, str) and is_git_mount(mount)]
    if repositories:
        found.append(Check("repositories", lambda: commits(repositories, online=online)))
    return tuple(found)


def keys(profile: SlurmProfile) -> Iterator[Finding]:
    """Look at the files that SSH needs here; whether the login node takes the key, it tells itself."""
    for name, given in (("identity", profile.identity), ("known_hosts", profile.known_hosts)):
        if given is None:
            continue
        path = absolute(given, error=ProfileError)
        if kind_of(path, error=ProfileError) is not PathKind.FILE:
            yield fail("key", f"{name} {given} is not there", f"Correct `{name}`, or make the file.")
        elif name == "identity" and path.stat().st_mode & _READABLE_BY_OTHERS:
            yield fail("key", f"{name} {given} can be read by others, so ssh does not take it", f"chmod 600 {given}")
        else:
            yield ok("key", f"{name} {given} is there")


def commits(mounts: list[str], *, online: bool) -> Iterator[Finding]:
    """Read the repositories to mount, and ask for their commits where that is wanted."""
    for written in mounts:
        mount = parse(written)
        if online:
            yield ok("repositories", f"{mount.url}@{mount.ref} is {pin(mount).ref[:12]}")
        else:
            yield ok("repositories", f"{mount.url}@{mount.ref} is cloned with the first job")


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What to ask a login node, in the order in which the answers are counted.

    Args:
        folders: Key of the profile -> folder that jobs write to.
        image: The image's file, or None for a job without one, or one whose image the script names.
        mounts: What jobs mount.
        partitions: Where jobs go; an empty name for the cluster's default.
        options: Options of sbatch.
        has_container: Whether jobs run in a container.
    """

    folders: Mapping[str, str]
    image: str | None
    mounts: tuple[str, ...]
    partitions: tuple[str, ...]
    options: tuple[str, ...]
    has_container: bool

    @property
    def paths(self) -> tuple[str, ...]:
        """What has to be there."""
        return (*((self.image,) if self.image else ()), *self.mounts)

    def words(self) -> tuple[str, ...]:
        """Give them as the script's arguments."""
        lists = (
            ("folder", self.folders.values()),
            ("path", self.paths),
            ("partition", self.partitions),
            ("option", self.options),
        )
        words = [f"{name}={value}" for name, values in lists for value in values]
        return (*words, "account=1", *(("container=1",) if self.has_container else ()))


def questions(profile: SlurmProfile) -> Questions:
    """Give what a profile's login node is to be asked.

    Raises:
        NemotronError: A folder is not given from the root, or the image is none.
    """
    image = profile.image_of(None)
    folders = {"remote_job_dir": profile.job_root, **({"workspace": profile.workspace} if profile.workspace else {})}
    for key, folder in folders.items():
        if not folder.startswith("/"):
            message = f"{key} {folder} is no path from the root, as the cluster needs it"
            raise ProfileError(message, where=profile.where(key), remedy="Write it from the root, with / before it.")
    by_mode = (profile.run_partition or profile.partition, profile.batch_partition or profile.partition)
    return Questions(
        folders=folders,
        image=image_file(image, profile.job_root).path if image else None,
        mounts=mount_sources(profile),
        partitions=tuple(dict.fromkeys(name or "" for name in by_mode)),
        options=options(profile),
        has_container=profile.container_image is None or image is not None,
    )


def mount_sources(profile: SlurmProfile) -> tuple[str, ...]:
    """Give the folders of the cluster that jobs mount."""
    texts = (mount for mount in profile.mounts if isinstance(mount, str) and not is_git_mount(mount))
    return tuple(dict.fromkeys(found["source"] for text in texts if (found := _MOUNT.fullmatch(text))))


def options(profile: SlurmProfile) -> tuple[str, ...]:
    """Give the words that ask sbatch for what a profile's jobs ask for, all but the partition."""
    keys = {name: getattr(profile, name) for name in PROFILE_FLAGS if name != "partition"}
    asked = (
        ("nodes", profile.nodes or 1),
        ("ntasks-per-node", profile.ntasks_per_node or 1),
        *sbatch_options(keys, dict(profile.additional_parameters)),
    )
    return tuple(f"--{name}" if value is True else f"--{name}={value}" for name, value in asked)


def login_node(profile: SlurmProfile, timeout_s: float) -> Iterator[Finding]:
    """Ask the login node everything, and say what to make of it.

    Args:
        profile: The profile.
        timeout_s: How long it may take, in seconds.
    """
    asked = questions(profile)
    limit_s = max(_SHORTEST_S, timeout_s - _CONNECTION_S)
    shell = shell_of(slurm_connection(profile))
    before, started = time.time(), time.monotonic()
    # Not closed behind it: another profile of the same login node may be asking through the same connection.
    answer = shell.bash(_SCRIPT, f"{limit_s:.1f}", *asked.words(), timeout_s=timeout_s)
    took_s = time.monotonic() - started
    facts = read_facts(answer.text)
    if answer.code != 0 or facts.clock is None:
        told = " ".join(answer.err.split()) or "nothing"
        yield fail("login node", f"{shell.label} does not run scripts (exit code {answer.code}): {told}")
        return
    if profile.tunnel == "ssh":
        yield ok(
            "login node", f"{shell.label} lets you in and is the one it should be; all asked within {took_s:.1f} s"
        )
    kinds = {path: facts.paths.get(index) for index, path in enumerate(asked.paths)}
    yield cluster.clock(facts.clock, before, took_s)
    yield from cluster.tools(facts, has_container=asked.has_container)
    for index, (key, folder) in enumerate(asked.folders.items()):
        yield from cluster.folder(key, folder, facts.folders.get(index))
    yield from cluster.scheduling(profile.account, asked.partitions, facts)
    yield from cluster.image(profile, asked.image, kinds.get(asked.image or ""), facts)
    yield from cluster.mounts({path: kinds[path] for path in asked.mounts})
