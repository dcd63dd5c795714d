"""Paths as a configuration gives them."""

from __future__ import annotations

from pathlib import Path

from nemo_runspec.errors import DataError


def local_path(written: str) -> Path:
    """Give the path in a configuration, with `~` filled in.

    Args:
        written: The path of a file or of a folder.

    Raises:
        DataError: It begins with the home of a user that does not exist.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        message = f"the path '{written}' begins with the home of a user that does not exist"
        raise DataError(message, remedy="Write the whole path.") from error
