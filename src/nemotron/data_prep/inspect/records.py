"""Records of reinforcement learning: a JSON-lines file, or the splits that a manifest names."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import orjson

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.inspect.view import Passage, Piece, Table, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nemotron.data_prep.inspect.view import Wanted

# Enough to see which fields there are; a field that only later records have is not told.
_FIELDS_FROM = 1000
_SHOWN_CHARACTERS = 1500
_BLOCK = 1 << 20
_SPLITS = ("train", "val", "valid", "test")
_TYPES = {dict: "object", list: "list", str: "text", bool: "true/false", int: "number", float: "number"}


def show_records(path: Path, files: Sequence[Path], wanted: Wanted) -> View:
    """Show JSON-lines files.

    Args:
        path: What was asked about.
        files: The files, read one after the other.
        wanted: Which records.

    Raises:
        DataError: A line that was read is no JSON object, or there is no such row.
    """
    counts = [_count_lines(file) for file in files]
    facts: dict[str, object] = {
        "files": len(files),
        "records": sum(counts),
        "bytes": sum(file.stat().st_size for file in files),
    }
    fields = _fields(files)
    tables = (Table("fields", ("field", "percent", "type"), fields),) if fields else ()
    return View("records", path, facts, tables, tuple(_records(path, files, sum(counts), wanted)))


def manifest_splits(document: object, path: Path) -> dict[str, list[Path]] | None:
    """Give the files of the splits that a manifest names.

    Args:
        document: The manifest's content.
        path: Its path.

    Returns:
        The files by split, an empty list where it has none; None where this is no such manifest.
    """
    if not isinstance(document, dict) or not {"train", "mode"} <= set(document):
        return None
    splits = {}
    for split in _SPLITS:
        value = document.get(split)
        if value is not None:
            named = [value] if isinstance(value, str) else value
            if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
                return None
            splits[split] = [file for name in named if name for file in _files(path.parent / name)]
    return splits


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.jsonl")) if path.is_dir() else [path]


def show_manifest(path: Path, document: Mapping[str, object], splits: dict[str, list[Path]], wanted: Wanted) -> View:
    """Show what a manifest names.

    Args:
        path: The manifest.
        document: Its content.
        splits: The files by split; the records of the first are shown.
        wanted: Which records.

    Raises:
        DataError: As for `show_records`.
    """
    facts = {
        name: value for name, value in document.items() if name not in splits and isinstance(value, str | int | float)
    }
    missing = [file for files in splits.values() for file in files if not file.is_file()]
    problems = tuple(f"{file}: the manifest names it, and it does not exist" for file in missing)
    rows = tuple(
        (split, str(file), None if file in missing else _count_lines(file))
        for split, files in splits.items()
        for file in files
    )
    table = Table("splits", ("split", "file", "records"), rows)
    first = next((split for split, files in splits.items() if files and not set(files) & set(missing)), None)
    if first is None:
        return View("records by split", path, facts, (table,), problems=problems)
    files = splits[first]
    passages = tuple(_records(path, files, sum(map(_count_lines, files)), wanted))
    notes = (f"the records are those of the split '{first}'",) if passages else ()
    return View("records by split", path, facts, (table,), passages, notes, problems)


def _count_lines(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _lines(files: Sequence[Path]) -> Iterator[tuple[Path, int, bytes]]:
    for file in files:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                yield file, number, line


def _parse(file: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        message = f"the line is not JSON: {error}"
        raise DataError(message, where=Location(file, number), remedy="Correct this line.") from error
    if not isinstance(record, dict):
        message = f"the line is a JSON {_TYPES.get(type(record), 'null')}, not an object"
        raise DataError(message, where=Location(file, number), remedy="Correct this line.")
    return record


def _fields(files: Sequence[Path]) -> tuple[tuple[object, ...], ...]:
    found: dict[str, tuple[int, set[str]]] = {}
    count = 0
    for count, line in enumerate(islice(_lines(files), _FIELDS_FROM), 1):  # noqa: B007 used behind the loop
        for name, value in _parse(*line).items():
            times, types = found.get(name, (0, set()))
            found[name] = (times + 1, types | {_TYPES.get(type(value), "null")})
    return tuple(
        (name, round(100 * times / count, 1), " or ".join(sorted(types))) for name, (times, types) in found.items()
    )


def _records(path: Path, files: Sequence[Path], count: int, wanted: Wanted) -> Iterator[Passage]:
    for row in wanted.numbers(count, path):
        file, number, line = next(islice(_lines(files), row, None))
        record = _parse(file, number, line)
        text = orjson.dumps(record, option=orjson.OPT_INDENT_2).decode()
        shown = text if wanted.row is not None else text[:_SHOWN_CHARACTERS]
        left = f"{len(text) - len(shown):,} more characters (--row {row} shows all)" if len(shown) < len(text) else ""
        facts = {"row": row, "file": str(file), "line": number, "record": record}
        yield Passage(f"row {row}: {file.name}:{number}", (Piece(shown),), left, facts)
