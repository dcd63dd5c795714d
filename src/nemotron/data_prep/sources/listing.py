"""The files of a data set: one file, a folder, a pattern; here, in a store or on the Hugging Face Hub."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources.hub import PROTOCOL, Hub
from nemotron.data_prep.sources.model import DOCUMENTS, KNOWN_NAMES, Format, SourceFile, format_of, shown, without_query
from nemotron.data_prep.sources.stores import filesystem, identity_of
from nemotron.data_prep.wording import shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_LOCAL = "file://"
_FOUND_NAMES = f"Name a file, a folder or a pattern with names that end in {KNOWN_NAMES}."


def list_files(
    path: str,
    *,
    base: Path,
    split: str | None,
    subset: str | None,
    document: str,
    hub: Hub | None = None,
) -> tuple[SourceFile, ...]:
    """Find the files of a data set.

    Args:
        path: A file, a folder (without the folders in it) or a pattern such as `part-*.jsonl`; or a URL of one. On
            the Hub, `hf://org/name`, a repository with all its folders, optionally with `@revision` and `/path`.
        base: The folder that a relative path starts from.
        split: On the Hub, the split whose files are meant, such as "train".
        subset: On the Hub, the folder, or the beginning of the files' names, that is meant.
        document: What one document of plain text is: "file", "line" or "paragraph".
        hub: Remembers what the Hub has answered; a new one by default.

    Returns:
        The files by name, none of them empty.

    Raises:
        DataError: There is no such file, it cannot be reached, or nothing in it is known.
    """
    if document not in DOCUMENTS:
        message = f"'{shorten(document)}' is no kind of document"
        raise DataError(message, remedy=f"Choose one of {', '.join(DOCUMENTS)}.")
    if path.startswith(PROTOCOL):
        named = (hub or Hub()).files(path, split=split, subset=subset)
        return _source_files(path, named, document)
    if split is not None or subset is not None:
        message = (
            f"'{shorten(shown(path))}' is no repository of the Hub, and only there 'split' and 'subset' choose files"
        )
        raise DataError(message, remedy="Name the files by a pattern, such as train-*.parquet.")
    if "://" in path and not path.startswith(_LOCAL):
        return _source_files(path, _in_store(path), document)
    return _source_files(path, _here(path.removeprefix(_LOCAL), base), document)


# What is found: by URL, the size and the store's word for the content.
_Found = dict[str, tuple[int, str | None]]


def _source_files(path: str, found: _Found, document: str) -> tuple[SourceFile, ...]:
    files = []
    for url, (size, identity) in sorted(found.items()):
        known = format_of(url)
        if known is None:
            message = f"'{shorten(shown(url))}' is neither JSONL nor Parquet nor text"
            raise DataError(message, remedy=_FOUND_NAMES)
        if size:
            files.append(SourceFile(url, size, *known, identity, document))
    if not files:
        name = shorten(shown(path))
        message = f"the data file '{name}' is empty" if len(found) == 1 else f"all files of '{name}' are empty"
        raise DataError(message, remedy="Add records, or take it out of the blend.")
    return tuple(files)


def _here(written: str, base: Path) -> _Found:
    remedy = "Correct 'path'; it is relative to the data blend."
    try:
        # Not resolved: a link keeps the name that says its format.
        path = Path(os.path.abspath(base / Path(written).expanduser()))  # noqa: PTH100 see above
        if glob.has_magic(written) and not path.exists():
            found = [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207 patterns are absolute
            return _sizes(written, found, from_folder=False)
        if path.is_dir():
            return _sizes(written, path.iterdir(), from_folder=True)
        return {str(path): (path.stat().st_size, None)}
    except FileNotFoundError as error:
        message = f"the data file '{shorten(str(error.filename))}' does not exist"
        raise DataError(message, remedy=remedy) from error
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"'{shorten(written)}' is no path that can be read: {reason}"
        raise DataError(message, remedy=remedy) from error


def _sizes(written: str, found: Iterable[Path], *, from_folder: bool) -> _Found:
    names = [str(item) for item in found if not item.is_dir()]
    return {name: (Path(name).stat().st_size, None) for name in _chosen(written, names, from_folder=from_folder)}


def _in_store(url: str) -> _Found:
    system, path = filesystem(url)
    try:
        system.invalidate_cache()
        if glob.has_magic(without_query(path)) and not system.exists(path):
            matches = cast("Mapping[str, Mapping[str, object]]", system.glob(path, detail=True))
            infos, from_folder = list(matches.values()), False
        else:
            info = system.info(path)
            from_folder = info["type"] == "directory"
            infos = system.ls(path, detail=True) if from_folder else [info]
    except FileNotFoundError as error:
        message = f"'{shorten(shown(url))}' does not exist"
        raise DataError(message, remedy="Correct 'path', or check that the credentials permit to see it.") from error
    except Exception as error:  # a driver raises whatever its client library does
        message = f"'{shorten(shown(url))}' cannot be listed: {shown(str(error)) or type(error).__name__}"
        remedy = "Check the address, the network, and the credentials that its driver finds in the environment."
        raise DataError(message, remedy=remedy) from error
    by_url = {system.unstrip_protocol(str(info["name"])): info for info in infos if info["type"] == "file"}
    if len(infos) > 1 or from_folder or url != next(iter(by_url), url):
        by_url = {name: by_url[name] for name in _chosen(url, list(by_url), from_folder=from_folder)}
    return {name: (int(cast("int", info["size"])), identity_of(info)) for name, info in by_url.items()}


def _chosen(written: str, names: Sequence[str], *, from_folder: bool) -> list[str]:
    """Take the data files among others: of a folder's texts only where it has nothing else, or a README would count."""
    written = shown(written)
    known = [(name, format_of(name)) for name in names if not name.rsplit("/", 1)[-1].startswith(".")]
    data = [name for name, known_as in known if known_as is not None and known_as[0] is not Format.TEXT]
    texts = [name for name, known_as in known if known_as is not None and known_as[0] is Format.TEXT]
    chosen = (data or texts) if from_folder else data + texts
    if not chosen:
        what = f"the folder '{shorten(written)}' holds" if from_folder else f"'{shorten(written)}' finds"
        message = f"{what} no .jsonl, .json, .parquet or .txt file"
        raise DataError(message, remedy=_FOUND_NAMES)
    return chosen
