"""Paths that people give, which may name no user, no folder, or what nobody may look at."""

from __future__ import annotations

import enum
import stat
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nemo_runspec.errors import NemotronError


class PathKind(enum.Enum):
    """What there is at a path."""

    NOTHING = "nothing"
    FILE = "file"
    FOLDER = "folder"
    OTHER = "other"


def absolute(given: str | Path, *, error: type[NemotronError]) -> Path:
    """Give a path with `~` replaced, from the root.

    Args:
        given: The path as it was written.
        error: What to raise.

    Raises:
        NemotronError: `~name` names no user, a relative path has no working directory to start from, or the system
            takes no such path.
    """
    if "\0" in str(given):
        message = f"the path {str(given)!r} holds a NUL character"
        raise error(message, remedy="Write it without.")
    try:
        return Path(given).expanduser().absolute()
    except RuntimeError as failure:
        message = f"'{given}' begins with the home of a user whom this machine does not know"
        raise error(message, remedy="Write the whole path.") from failure
    except OSError as failure:
        message = f"'{given}' is relative to the working directory, which cannot be used: {failure.strerror}"
        raise error(message, remedy="Change to a folder that exists.") from failure


def kind_of(path: Path, *, error: type[NemotronError]) -> PathKind:
    """Look what there is at a path, following links.

    Args:
        path: The path.
        error: What to raise.

    Raises:
        NemotronError: Nobody can tell: a folder on the way may not be entered, or a name is too long.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return PathKind.NOTHING
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or str(failure)
        message = f"cannot look at {path}: {reason}"
        raise error(message, remedy="Check the name, and the permissions of the folders on the way.") from failure
    if stat.S_ISREG(mode):
        return PathKind.FILE
    return PathKind.FOLDER if stat.S_ISDIR(mode) else PathKind.OTHER
