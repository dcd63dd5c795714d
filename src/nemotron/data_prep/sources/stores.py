"""Where files are: this machine, or a store that fsspec has a driver for. What goes wrong there names the file.

A store is opened in the process that reads from it: its connections and threads do not live on in a forked process.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.sources.model import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from fsspec import AbstractFileSystem

    from nemotron.data_prep.sources.model import SourceFile, Span

# What stores call their word for the content, the most telling first: Google's, Azure's, then what S3 and HTTP have.
_HASHES = ("sha256", "md5Hash", "content_md5", "crc32c", "ETag", "etag")
_AHEAD = 8 << 20
_CHANGED = "Wait until nothing writes to it any more, and run again."


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Give the driver for a URL, and the path by which the driver knows it.

    Args:
        url: Such as `s3://bucket/folder`.

    Raises:
        DataError: The driver is not known, or not installed.
    """
    from fsspec.core import url_to_fs  # noqa: PLC0415 most runs read local files

    try:
        found: tuple[AbstractFileSystem, str] = url_to_fs(url)
    except ImportError as error:
        message = f"'{shown(url)}' needs a package that is not installed: {error}"
        raise DataError(
            message, remedy="Install it: pip install 'nemotron[remote]' has those for s3 and gs."
        ) from error
    except ValueError as error:
        message = f"'{shown(url)}' cannot be opened: {shown(str(error))}"
        raise DataError(message, remedy="Name a path, or a URL such as s3://bucket/folder.") from error
    return found


def identity_of(info: Mapping[str, object]) -> str | None:
    """Give a store's own word for a file's content, or None where it has none.

    Args:
        info: What the driver tells of the file.
    """
    for key in _HASHES:
        value = info.get(key)
        if isinstance(value, str | bytes | bytearray) and value:
            text = value if isinstance(value, str) else bytes(value).hex()
            return f"{key.lower()}:{text.strip(chr(34))}"
    return None


def stamps(spans: Iterable[Span]) -> dict[str, tuple[int, int, int]]:
    """Give what changes of each local file when somebody writes to it.

    Args:
        spans: Parts of files; those in a store are left out, which has its own word for their content.

    Returns:
        By path the size in bytes, the time of the last writing in nanoseconds, and the inode.

    Raises:
        DataError: A file can no longer be reached.
    """
    found = {}
    for file in dict.fromkeys(span.file for span in spans):
        if file.is_local:
            with readable(file):
                status = os.stat(file.url)  # noqa: PTH116 text that was a path and comes back as one
            found[file.url] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def refuse_written(spans: Iterable[Span], before: Mapping[str, tuple[int, int, int]]) -> None:
    """Refuse files that somebody has written to: what names their content and what was read may differ.

    Args:
        spans: Parts of files.
        before: What `stamps` gave before they were read.

    Raises:
        DataError: One has changed.
    """
    for path, stamp in stamps(spans).items():
        if stamp != before.get(path):
            message = "the file has changed while it was read"
            remedy = "Prepare again when nobody writes to it."
            raise DataError(message, where=Location(path), remedy=remedy)


@contextmanager
def opened(file: SourceFile) -> Iterator[BinaryIO]:
    """Open a file for reads of exactly the bytes that are asked for.

    Args:
        file: The file, which must still be what was listed.

    Raises:
        DataError: It cannot be read, or has changed. Also for what happens to it while it is open.
    """
    with readable(file):
        if file.is_local:
            with open(file.url, "rb") as stream:  # noqa: PTH123 text that was a path and comes back as one
                _refuse_change(file, os.fstat(stream.fileno()).st_size, None)
                yield stream
            return
        system, path = filesystem(file.url)
        if file.url.startswith("hf://"):  # a commit does not change
            opening: dict[str, object] = {"size": file.size}
        else:
            system.invalidate_cache(path)
            info = system.info(path)
            _refuse_change(file, cast("int", info["size"]), identity_of(info))
            opening = {}
        # What is read from end to end is fetched ahead; of anything else exactly what is asked for.
        opening |= {"cache_type": "readahead", "block_size": _AHEAD} if file.is_whole else {"cache_type": "none"}
        with system.open(path, "rb", **opening) as stream:
            yield cast("BinaryIO", stream)


@contextmanager
def readable(file: SourceFile) -> Iterator[None]:
    """Turn what goes wrong with a file into an error that names it.

    Args:
        file: The file that is being read.

    Raises:
        DataError: Something went wrong.
    """
    try:
        yield
    except DataError as error:
        error.where = error.where or Location(file.path)
        raise
    except OSError as error:
        raise unreadable(file.path, error) from error
    except Exception as error:  # a driver raises whatever its client library does
        if file.is_local:
            raise
        raise unreadable(file.path, error) from error


def unreadable(path: Path | str, error: Exception) -> DataError:
    """Give the error for a file that cannot be read.

    Args:
        path: The file, a path or a URL.
        error: What was raised.
    """
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    remedy = "Make it readable, or name another."
    if isinstance(path, str):
        remedy = "Check the address, the network, and the credentials that its driver finds in the environment."
    elif isinstance(error, OSError) and error.errno is None:
        remedy = "It is damaged or cut off: copy or write it again."
    where = Location(shown(path) if isinstance(path, str) else path)
    return DataError(f"the data file cannot be read: {shown(reason)}", where=where, remedy=remedy)


def _refuse_change(file: SourceFile, size: int, identity: str | None) -> None:
    if size != file.size:
        message = f"the data file has {size} bytes, and had {file.size} when it was listed"
        raise DataError(message, where=Location(file.path), remedy=_CHANGED)
    if identity != file.identity and not file.is_local:
        message = "the data file has been replaced since it was listed"
        raise DataError(message, where=Location(file.path), remedy=_CHANGED)
