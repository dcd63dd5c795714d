"""Which of the files that travel differ from what is committed."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemo_runspec.data_mover.select import SourceFile

GIT_TIMEOUT_S: Final = 30


def modified_files(repo_root: Path | str, files: Iterable[SourceFile] | None = None) -> tuple[str, ...]:
    """List the files of a repository that are modified, deleted or untracked.

    Args:
        repo_root: The repository, or a folder in it.
        files: What travels; of deleted files only those below its folders are listed. Without it, everything that git
            lists below `src`.

    Returns:
        Paths from `repo_root`, sorted; nothing where there is no repository or no git.
    """
    root = Path(repo_root).expanduser().resolve()
    top = _git(root, "rev-parse", "--show-toplevel")
    # NUL between names: otherwise git quotes those that have other signs than letters and digits.
    status = _git(root, "status", "--porcelain", "-z", "--untracked-files=all", "--no-renames", "--", ".")
    if top is None or status is None:
        return ()
    changed = {Path(top.removesuffix("\n"), entry[3:]) for entry in status.split("\0") if entry}
    if files is None:
        found = {path for path in changed if path.is_relative_to(root / "src")}
    else:
        travelling = {file.path for file in files}
        folders = {path.parent for path in travelling}
        found = {path for path in changed if path in travelling or (not path.exists() and path.parent in folders)}
    return tuple(sorted(path.relative_to(root).as_posix() for path in found))


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git, wherever PATH has it
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "surrogateescape")
