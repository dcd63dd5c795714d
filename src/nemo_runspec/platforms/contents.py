"""What lies in the folder of a job on Slurm or Docker: its source, its own files, its variables."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import RefusedError
from nemo_runspec.platforms.workload import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from nemo_runspec.platforms.workload import Tree

SECRETS_FILE: Final = "secrets.sh"
"""Private file in a job's folder: shell lines that export its secrets. It is removed at the job's end at the latest."""


def is_below(name: str) -> bool:
    """Tell whether a path leads to somewhere below the folder that it is relative to, and can only do that."""
    parts = name.split("/")
    return all(parts) and not {".", ".."} & set(parts) and "\0" not in name


def tree_files(tree: Tree) -> Iterator[tuple[str, bytes, bool]]:
    """Give path, content and whether it is executable of each file of a source.

    Args:
        tree: The source.

    Raises:
        RefusedError: The archive is not what its digest says, or holds something else than files below its root.
    """
    if hashlib.sha256(tree.tar).hexdigest() != tree.sha256:
        message = f"the source archive is not the one with the digest {tree.sha256}"
        raise RefusedError(message, remedy="Submit again, so that it is made anew.")
    with tarfile.open(fileobj=io.BytesIO(tree.tar), mode="r:") as tar:
        # Not `extractall`: its filter, which keeps links in bounds, came with Python 3.11.4.
        for member in tar:
            stream = tar.extractfile(member) if member.isreg() else None
            if stream is None or not is_below(member.name):
                message = f"the source archive holds {member.name!r}, which is no file below its root"
                raise RefusedError(message)
            yield member.name, stream.read(), bool(member.mode & 0o100)


def filled(content: bytes, name: str) -> bytes:
    """Give a file's content with a job's unique name where `NAME` stands."""
    return content.replace(NAME.encode(), name.encode())


def export_lines(variables: Iterable[tuple[str, str]]) -> str:
    """Give the text of a file that bash reads and that sets variables to exact values.

    Args:
        variables: Name and value of each; the names are such as bash takes, and no value holds a NUL.
    """
    # Always in quotes, which shlex leaves out where it can: one form for every value.
    return "".join("export {}='{}'\n".format(name, value.replace("'", "'\"'\"'")) for name, value in variables)
