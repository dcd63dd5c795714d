"""What to make of the facts about a Slurm cluster; nothing is asked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nemo_runspec.doctor.findings import fail, ok, warn
from nemo_runspec.doctor.here import version_in
from nemo_runspec.prepare.squash import is_image_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.doctor.facts import Facts, Folder
    from nemo_runspec.doctor.findings import Finding
    from nemo_runspec.env import SlurmProfile

_SKEW_S: Final = 30.0
_LEAST_FREE_KIB: Final = 2**20
_WRITABLE_BY_OTHERS: Final = 0o022
_NEEDED: Final = ("bash", "rsync", "flock", "sbatch")
_TIMED_OUT: Final = frozenset({124, 137})
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_SILENT: Final = "was asked and gave no answer in time"


def clock(remote: float, before: float, took_s: float) -> Finding:
    """Compare the login node's clock with this machine's.

    Args:
        remote: What it showed, in seconds since the epoch.
        before: What this one showed when the question was sent.
        took_s: How long it took until all answers were there, in seconds.
    """
    # It showed `remote` at some time in between; only what lies outside is a difference.
    skew_s = remote - min(max(remote, before), before + took_s)
    if abs(skew_s) < _SKEW_S:
        return ok("clock", "agrees with this machine's")
    text = f"the login node's clock is {_duration(abs(skew_s))} {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    return warn("clock", text, "Times in logs differ by that; check which of them is wrong: timedatectl.")


def _duration(seconds: float) -> str:
    for length, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} s"


def tools(facts: Facts, *, has_container: bool) -> Iterator[Finding]:
    """Judge the login node's programs."""
    lacking = [name for name in _NEEDED if facts.tools.get(name) == ""]
    silent = [name for name in _NEEDED if name not in facts.tools]
    if lacking:
        yield fail("software", f"{', '.join(lacking)} not there", "Is this a login node of a Slurm cluster?")
    if silent:
        yield fail("software", f"{', '.join(silent)} {_SILENT}", "Try again, with a longer --timeout.")
    names = {"sbatch": "Slurm"}
    there = [f"{names.get(name, name)} {version_in(found)}" for name, found in sorted(facts.tools.items()) if found]
    if there and not lacking:
        yield ok("software", ", ".join(text.removesuffix(" of an unknown version") for text in there))
    if facts.tools.get("git") == "":
        yield warn("software", "git is not there", "Only repositories to mount need it.")
    if has_container and facts.tools.get("pyxis") == "":
        remedy = 'Ask for pyxis (https://github.com/NVIDIA/pyxis), or set container_image = "none".'
        yield fail("software", "srun has no --container-image, so jobs cannot run in a container", remedy)


def folder(key: str, path: str, found: Folder | None) -> Iterator[Finding]:
    """Judge a folder that jobs write to.

    Args:
        key: The profile's key that names it.
        path: The folder.
        found: What it is like, or None where that gave no answer.
    """
    if found is None:
        yield fail(key, f"{path} {_SILENT}", "The file system may hang; try: ls there.")
        return
    if found.kind == "file":
        yield fail(key, f"{path} is no folder", f"Name another one in `{key}`.")
        return
    if found.said:
        yield fail(key, f"{path} cannot be written to: {found.said}", f"Name another folder in `{key}`, or make room.")
        return
    if key == "remote_job_dir" and found.kind == "folder":
        if not found.ours:
            yield fail(key, f"{path} belongs to somebody else", f"Name a folder of your own in `{key}`.")
            return
        if found.mode & _WRITABLE_BY_OTHERS:
            text = f"{path} can be written to by others (mode {found.mode:o}), who could change your jobs"
            yield fail(key, text, f"chmod go-w {path}")
            return
    if found.exposed:
        text = f"everybody may rename folders in {found.exposed}, {path} among them"
        yield fail(key, text, f"Name another folder in `{key}`, or: chmod o-w {found.exposed}")
        return
    free = "" if found.free_kib is None else f", {found.free_kib / 2**20:.0f} GiB free"
    text = f"{path} {'can be written to' if found.kind == 'folder' else 'can be made'}{free}"
    if found.free_kib is not None and found.free_kib < _LEAST_FREE_KIB:
        yield warn(key, text, "Make room; a job writes logs and checkpoints.")
    else:
        yield ok(key, text)


def scheduling(account: str | None, wanted: tuple[str, ...], facts: Facts) -> Iterator[Finding]:
    """Judge partitions, account, and what sbatch says about a job there."""
    if facts.tools.get("sbatch") == "":
        return  # which is said already
    yield from _partitions(wanted, facts)
    yield from _account(account, facts)
    for index, partition in enumerate(wanted):
        place = f"partition {partition}" if partition else "the default partition"
        answer = facts.submissions.get(index)
        if answer is None or answer.code in _TIMED_OUT:
            yield fail("submission", f"sbatch --test-only in {place} {_SILENT}", "Is slurmctld up? scontrol ping")
        elif answer.code != 0:
            said = " ".join(answer.said.replace("sbatch: error:", "").replace("allocation failure:", "").split())
            yield fail("submission", f"sbatch refuses a job in {place}: {said}", "Correct the profile's options.")
        elif answer.start_s is None:
            yield ok("submission", f"sbatch takes a job in {place}")
        else:
            start = "now" if answer.start_s < _MINUTE else f"in {_duration(answer.start_s)}"
            yield ok("submission", f"sbatch takes a job in {place}; it would start {start}")


def _partitions(wanted: tuple[str, ...], facts: Facts) -> Iterator[Finding]:
    code, said = facts.asked.get("partitions", (None, ""))
    named = [name for name in wanted if name]
    if code is None or code in _TIMED_OUT:
        yield fail("partition", f"sinfo {_SILENT}", "Is slurmctld up? scontrol ping")
    elif code != 0:
        yield fail("partition", f"sinfo: {said}", "Is slurmctld up? scontrol ping")
    else:
        for name in named:
            # One job may name several partitions.
            unknown = [part for part in name.split(",") if part not in facts.partitions]
            down = [part for part in name.split(",") if facts.partitions.get(part, "up") != "up"]
            if unknown:
                known = ", ".join(sorted(facts.partitions)) or "none that you may see"
                yield fail("partition", f"there is no partition {', '.join(unknown)}", f"There are: {known}.")
            elif down:
                state = facts.partitions[down[0]]
                yield warn("partition", f"partition {', '.join(down)} is {state}", "Jobs wait until it is up.")
            else:
                yield ok("partition", f"{name} is up")


def _account(account: str | None, facts: Facts) -> Iterator[Finding]:
    """Judge the account where there is accounting; without it, sbatch's own answer is all there is."""
    code, _ = facts.asked.get("accounts", (None, ""))
    if account is None or code != 0 or not facts.accounts:
        return
    if account in facts.accounts:
        yield ok("account", f"{account} is yours")
    else:
        yield fail("account", f"you have no account {account}", f"Yours: {', '.join(sorted(set(facts.accounts)))}.")


def image(profile: SlurmProfile, path: str | None, kind: str | None, facts: Facts) -> Iterator[Finding]:
    """Judge the container image.

    Args:
        profile: The profile.
        path: The image's file there, or None where there is none to look for.
        kind: What there is at the path, or None where that gave no answer.
        facts: All facts.
    """
    named = profile.container_image
    if named is None:
        yield ok("image", "the one that the script names")
    elif profile.image_of(None) is None:
        yield ok("image", "none, jobs run on the node itself")
    elif kind is None:
        yield fail("image", f"{path} {_SILENT}", "The file system may hang; try: ls there.")
    elif kind == "file":
        yield ok("image", f"{path} is there")
    elif is_image_path(named):
        yield fail("image", f"{path} is not there", "Correct container_image.")
    else:
        unseen = "" if facts.tools.get("enroot") else "; enroot is not on the login node, the compute nodes need it"
        text = f"{named} is not imported yet{unseen}"
        yield warn("image", text, f"The first job does it; so does: nemotron kit squash {profile.name}")


def mounts(kinds: Mapping[str, str | None]) -> Iterator[Finding]:
    """Judge what jobs mount.

    Args:
        kinds: Path -> what is there, or None where that gave no answer.
    """
    for path, kind in kinds.items():
        if kind is None:
            yield fail("mounts", f"{path} {_SILENT}", "The file system may hang; try: ls there.")
        elif kind == "nothing":
            text = f"{path} is not on the login node"
            yield warn("mounts", text, "If compute nodes do not have it either, jobs fail: correct `mounts`.")
    there = [path for path, kind in kinds.items() if kind not in {None, "nothing"}]
    if there:
        yield ok("mounts", f"{', '.join(there)} there")
