"""Which of the files that travel differ from what is committed, and whether anybody knows."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from nemo_runspec.data_mover.select import INSTALLED
from nemo_runspec.versions import OWN_PACKAGES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemo_runspec.data_mover.select import Selection, SourceFile

GIT_TIMEOUT_S: Final = 30

_OWN: Final = tuple(f"src/{package}/" for package in OWN_PACKAGES)
_TRACKED: Final = "H "
"""What `git ls-files -v` has before a file that git compares; before one that it is told to take for unchanged stands
another letter (https://git-scm.com/docs/git-ls-files)."""

# Inside a hook of git's, these name the hook's repository, whatever folder a command is run in.
_OF_HOOKS: Final = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")


@dataclass(frozen=True, slots=True)
class Changes:
    """What of a selection is not committed.

    Args:
        modified: Archive paths, sorted, of the files that git does not track or that differ from the last commit, and
            of those that would travel but are deleted.
        unknown: Why nobody knows it of some files, or None where all are known.
    """

    modified: tuple[str, ...] = ()
    unknown: str | None = None


def modified_files(chosen: Selection) -> Changes:
    """Compare what travels with the last commit of the repository that each file is in.

    The packages of this library that are installed are a release, and not looked at. Three calls of git for each
    repository, however many files there are.

    Args:
        chosen: What travels.

    Returns:
        The files, and why some are not known: they are in no repository, or git is missing or fails.
    """
    groups: dict[Path | None, list[SourceFile]] = {}
    tops: dict[Path, Path | None] = {}
    for file in chosen.files:
        if not _is_released(file):
            groups.setdefault(_top(file.path.parent, tops), []).append(file)
    modified: set[str] = set()
    reasons = []
    for top, files in groups.items():
        if top is None:
            alone = [file for file in files if not _is_own(file) or _is_below(file.path, chosen.root)]
            if alone:
                foremost = next((file for file in alone if file.name == chosen.script), alone[0])
                more = f" and {len(alone) - 1} more are" if len(alone) > 1 else " is"
                reasons.append(f"{foremost.path}{more} in no git repository")
            continue
        try:
            modified |= _in_repository(top, files, chosen)
        except _GitError as failure:
            reasons.append(f"{top}: {failure}")
    return Changes(tuple(sorted(modified)), "; ".join(sorted(reasons)) or None)


class _GitError(Exception):
    """git cannot tell; the text says why."""


def _is_own(file: SourceFile) -> bool:
    return file.name.startswith(_OWN)


def _is_released(file: SourceFile) -> bool:
    """Tell whether a file is one of an installed package, also where a repository is around the environment."""
    return _is_own(file) and INSTALLED in file.path.parts


def _is_below(path: Path, folder: Path | None) -> bool:
    return folder is not None and path.is_relative_to(folder)


def _top(folder: Path, known: dict[Path, Path | None]) -> Path | None:
    """Give the repository that a folder is in; a work tree and a submodule have a file `.git` instead of a folder."""
    if folder not in known:
        if os.path.lexists(folder / ".git"):
            known[folder] = folder
        else:
            known[folder] = None if folder == folder.parent else _top(folder.parent, known)
    return known[folder]


def _in_repository(top: Path, files: Iterable[SourceFile], chosen: Selection) -> set[str]:
    """Give the archive paths of what differs in one repository.

    Raises:
        _GitError: git is missing or fails.
    """
    top = Path(_git(top, "rev-parse", "--show-toplevel").removesuffix("\n")).resolve()
    # NUL between names: otherwise git quotes those that have other characters than letters and digits.
    listed = _git(top, "ls-files", "-z", "-v").split("\0")
    tracked = {top / entry[2:] for entry in listed if entry.startswith(_TRACKED)}
    status = _git(top, "status", "--porcelain", "-z", "--untracked-files=no", "--no-renames", "--ignore-submodules=all")
    changed = {top / entry[3:] for entry in status.split("\0") if entry}
    found = set()
    for file in files:
        # A link travels as what it leads to: both have to be what is committed.
        places = ((file.path,), _with_links(file, chosen.root, top))
        if not all(any(path in tracked and path not in changed for path in paths) for paths in places):
            found.add(file.name)
    return found | _deleted({path for path in changed if not os.path.lexists(path)}, files, chosen)


def _with_links(file: SourceFile, root: Path | None, top: Path) -> tuple[Path, ...]:
    """Give a file's path as it was found, and the links to folders in it, which git knows as files."""
    path = root / file.name if root else file.path
    if path == file.path or not path.is_relative_to(top) or path.resolve() != file.path:
        return (file.path,)
    return (path, *(folder for folder in path.parents if folder.is_relative_to(top) and folder.is_symlink()))


def _deleted(paths: Iterable[Path], files: Iterable[SourceFile], chosen: Selection) -> set[str]:
    """Give the archive paths that deleted files would have, of those that would travel."""
    names: Mapping[Path, PurePosixPath] = {file.path.parent: PurePosixPath(file.name).parent for file in files}
    found = set()
    for path in paths:
        folder = next((above for above in path.parents if above in names), None)
        if folder is None:
            continue
        name = (names[folder] / path.relative_to(folder)).as_posix()
        # Beside a script, nobody knows which of the folders that are gone would have travelled.
        if (folder == path.parent or name.startswith("src/")) and chosen.would_take(name):
            found.add(name)
    return found


def _git(folder: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", "-C", str(folder), *arguments],  # noqa: S607 - the user's own git, wherever PATH has it
            env={name: value for name, value in os.environ.items() if name not in _OF_HOOKS},
            capture_output=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except FileNotFoundError as failure:
        message = "git is not installed"
        raise _GitError(message) from failure
    except subprocess.CalledProcessError as failure:
        said = failure.stderr.decode("utf-8", "replace").strip().splitlines()
        message = f"git {arguments[0]}: {said[0] if said else f'exit code {failure.returncode}'}"
        raise _GitError(message) from failure
    except (OSError, subprocess.SubprocessError) as failure:
        message = f"git {arguments[0]}: {failure}"
        raise _GitError(message) from failure
    return done.stdout.decode("utf-8", "surrogateescape")
