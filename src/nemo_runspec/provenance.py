"""What a job was made from: command line, profile, versions, and the state of the source."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from nemo_runspec.versions import package_versions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GIT_TIMEOUT_S = 10


def git_state(folder: Path) -> dict[str, Any] | None:
    """Give the commit, branch and changed files of the repository around a folder.

    Returns:
        `{"commit", "branch", "dirty"}`, `dirty` being the changed and untracked files (of a renamed one the new
        name), from the repository's root, or None where git could not tell. None instead of all of it where there is
        no repository, no commit yet, or no git.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    # NUL between names: otherwise git quotes those that have other characters than letters and digits.
    status = _git(folder, "status", "--porcelain", "-z", "--untracked-files=normal")
    branch = _git(folder, "rev-parse", "--abbrev-ref", "HEAD")
    return {
        "commit": commit.strip(),
        "branch": (branch or "").strip(),
        "dirty": None if status is None else list(_changed_files(status)),
    }


def _changed_files(status: str) -> Iterator[str]:
    entries = iter(status.split("\0"))
    for entry in entries:
        if not entry:
            continue
        if "R" in entry[:2] or "C" in entry[:2]:
            next(entries, None)  # the name before
        yield entry[3:]


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git, wherever PATH has it
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="backslashreplace",
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return result.stdout


def collect(
    folder: Path, *, argv: tuple[str, ...], overrides: tuple[str, ...], profile: dict[str, Any]
) -> dict[str, Any]:
    """Gather the provenance of a job that is about to start.

    Args:
        folder: The script's folder; the repository around it is recorded.
        argv: The command line.
        overrides: Its `key=value` entries.
        profile: Name, source and values of the profile.
    """
    return {
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": list(argv),
        "dotlist": list(overrides),
        "profile": profile,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "git": git_state(folder),
    }
