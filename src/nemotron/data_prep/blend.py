"""A user's own data: a data-blend file names JSONL or Parquet sources and how much each of them counts.

```json
{"datasets": [{"name": "docs", "path": "docs.jsonl", "weight": 2.0, "text_field": "text"}]}
```

`path` is a file or a folder of files, relative to the blend file. `weight` is the share of the training samples, one
by default. `text_field` names the field with a document's text (pretraining), `messages` the one with a conversation
(SFT). Keys that start with `_` are comments. All rows are read and checked before anything is written.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nemo_runspec.errors import DataError, Location, guess
from nemotron.data_prep.offsets import elements, line_of, members

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WEIGHT = "weight"
_KEYS = ("name", "path", _WEIGHT, "text_field", "messages")
_JSON_LINES = (".jsonl", ".json")
_PARQUET = (".parquet", ".pq")
# Far more than records have, and far less than what reading or writing one can take.
_DEEPEST = 100


@dataclass(frozen=True, slots=True)
class Source:
    """One data set of a blend.

    Args:
        name: What its files are called.
        files: The files it consists of, sorted.
        weight: Its share of the training samples, against the other sources' weights.
        text_field: The field that holds a document's text.
        messages: The field that holds a conversation.
    """

    name: str
    files: tuple[Path, ...]
    weight: float
    text_field: str
    messages: str


@dataclass(frozen=True, slots=True)
class Row:
    """One record, and where it was found.

    Args:
        values: Its fields.
        path: The file.
        number: Its line (JSONL) or row (Parquet), from 1.
    """

    values: Mapping[str, object]
    path: Path
    number: int

    def error(self, message: str, remedy: str) -> DataError:
        """Give an error that points at this record."""
        if self.path.suffix in _PARQUET:
            return DataError(f"row {self.number}: {message}", where=Location(self.path), remedy=remedy)
        return DataError(message, where=Location(self.path, self.number), remedy=remedy)

    def text(self, field: str) -> str:
        """Give the text in a field.

        Raises:
            DataError: There is no such field, or it holds something else.
        """
        value = self.get(field)
        if not isinstance(value, str):
            message = f"the field '{field}' holds {_kind(value)}, not text"
            raise self.error(message, "Give the field with the text as 'text_field' in the data blend.")
        return value

    def get(self, field: str) -> object:
        """Give the value of a field.

        Raises:
            DataError: There is no such field.
        """
        if field not in self.values:
            message = f"the record has no field '{field}'"
            raise self.error(message, guess(field, self.values, what="fields of this record"))
        return self.values[field]


def load_blend(path: Path) -> tuple[Source, ...]:
    """Read and check a data-blend file.

    Args:
        path: The JSON file.

    Raises:
        DataError: The file or a file it names is missing or empty, or something in it is unknown or mistyped.
    """
    text = _read(path).decode("utf-8-sig", errors="replace")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        message = f"the data blend is not JSON: {error.msg}"
        raise DataError(message, where=Location(path, error.lineno), remedy="Correct this line.") from error
    except (RecursionError, ValueError) as error:
        message = "the data blend is nested too deeply, or holds a number of too many digits"
        raise DataError(message, where=Location(path), remedy="Write it as the documentation shows.") from error
    if not _is_text(document):
        message = "the data blend holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        raise DataError(message, where=Location(path), remedy="Write the whole character, or leave it out.")
    blend = _BlendFile(path, text)
    datasets = document.get("datasets") if isinstance(document, dict) else None
    if not isinstance(datasets, list) or not datasets:
        message = "the data blend has no list 'datasets'"
        raise DataError(message, where=Location(path), remedy='Write {"datasets": [{"name": ..., "path": ...}]}.')
    # Where a key comes twice, the parser takes the last.
    keys = {key: (place, value) for key, place, value in members(text)}
    blend.refuse_unknown({key: place for key, (place, _) in keys.items()}, ("datasets",))
    sources: dict[str, Source] = {}
    for entry, start in zip(datasets, elements(text, keys["datasets"][1]), strict=True):
        source = blend.source(entry, start)
        if source.name in sources:
            message = f"two data sets are called '{source.name}'"
            raise blend.error(start, message, "Give each its own name.")
        sources[source.name] = source
    return tuple(sources.values())


def blend_identity(path: Path, sources: tuple[Source, ...]) -> str:
    """Give a text that changes when the blend or the content of one of its files does.

    Args:
        path: The blend file.
        sources: What it names.
    """
    digest = hashlib.sha256(path.read_bytes())
    for source in sources:
        for file in source.files:
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def read_rows(source: Source) -> list[Row]:
    """Read all records of a source.

    Args:
        source: One data set of a blend.

    Raises:
        DataError: A file is empty or unreadable, or a line is not a JSON object.
    """
    rows: list[Row] = []
    for path in source.files:
        try:
            found = list(_parquet_rows(path) if path.suffix in _PARQUET else _json_rows(path))
        except OSError as error:
            message = f"the data file cannot be read: {error.strerror or error}"
            raise DataError(message, where=Location(path), remedy="Make it readable, or name another.") from error
        if not found:
            message = "the data file is empty"
            raise DataError(message, where=Location(path), remedy="Add records, or take the file out of the blend.")
        rows.extend(found)
    return rows


@dataclass(frozen=True, slots=True)
class _BlendFile:
    path: Path
    text: str

    def error(self, offset: int, message: str, remedy: str) -> DataError:
        """Point at the line with this offset."""
        return DataError(message, where=Location(self.path, line_of(self.text, offset)), remedy=remedy)

    def refuse_unknown(self, places: Mapping[str, int], known: tuple[str, ...]) -> None:
        for key, place in places.items():
            if key not in known and not key.startswith("_"):
                message = f"the data blend has an unknown key '{_shorten(key)}'"
                raise self.error(place, message, guess(key, known, what="keys"))

    def source(self, entry: object, start: int) -> Source:
        if not isinstance(entry, dict):
            message = f"an entry of 'datasets' is {_kind(entry)}, not an object"
            raise self.error(start, message, 'Write {"name": ..., "path": ...}.')
        places = {key: place for key, place, _ in members(self.text, start)}
        self.refuse_unknown(places, _KEYS)
        values = {"weight": 1.0, "text_field": "text", "messages": "messages", **entry}
        texts = {
            key: self._text(values, key, places.get(key, start)) for key in ("name", "path", "text_field", "messages")
        }
        weight = _weight(values[_WEIGHT])
        if weight is None:
            message = f"the weight of '{texts['name']}' is {_shorten(repr(values[_WEIGHT]))}"
            remedy = "It must be a number above zero; leave the data set out instead."
            raise self.error(places[_WEIGHT], message, remedy)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", texts["name"]):
            message = f"'{_shorten(texts['name'])}' is no name"
            raise self.error(places["name"], message, "Use at most 100 letters, digits, '.', '_' and '-'.")
        files = self._files(texts["path"], places["path"])
        return Source(texts["name"], files, weight, texts["text_field"], texts["messages"])

    def _text(self, values: Mapping[str, object], key: str, place: int) -> str:
        value = values.get(key)
        if isinstance(value, str) and value:
            return value
        message = f"the key '{key}' of a data set is {_kind(value)}" if key in values else f"a data set has no '{key}'"
        raise self.error(place, message, f"Give '{key}' as text.")

    def _files(self, written: str, place: int) -> tuple[Path, ...]:
        if "://" in written:
            message = f"'{written}' is a remote path, and this stage reads local files"
            raise self.error(place, message, "Download it first, and name the folder.")
        known = (*_JSON_LINES, *_PARQUET)
        try:
            path = self.path.parent / Path(written).expanduser()
            path.stat()
        except FileNotFoundError as error:
            message = f"the data file '{path}' does not exist"
            raise self.error(place, message, "Correct 'path'; it is relative to the data blend.") from error
        except (OSError, RuntimeError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            message = f"'{_shorten(written)}' is no path that can be read: {reason}"
            raise self.error(place, message, "Correct 'path'; it is relative to the data blend.") from error
        if path.is_dir():
            files = tuple(sorted(item for item in path.iterdir() if item.suffix in known and not item.is_dir()))
            if not files:
                message = f"the folder '{path}' holds no .jsonl, .json or .parquet file"
                raise self.error(place, message, "Name a folder with data files.")
            return files
        if path.suffix not in known:
            message = f"'{path.name}' is neither JSONL nor Parquet"
            raise self.error(place, message, "Name a .jsonl, .json or .parquet file.")
        return (path,)


def _weight(value: object) -> float | None:
    """Give a weight, or None where the value is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        weight = float(value)
    except OverflowError:
        return None
    return weight if math.isfinite(weight) and weight > 0 else None


def _read(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        message = f"the data blend cannot be read: {getattr(error, 'strerror', None) or error}"
        raise DataError(message, where=Location(path), remedy="Correct the config entry 'blend'.") from error
    if not content.strip():
        message = "the data blend is empty"
        raise DataError(message, where=Location(path), remedy='Write {"datasets": [{"name": ..., "path": ...}]}.')
    return content


def _json_rows(path: Path) -> Iterator[Row]:
    remedy = 'Write one JSON object on each line, such as {"text": "..."}.'
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            where = Location(path, number)
            value = _parse(line, where, remedy)
            if not isinstance(value, dict):
                message = f"the line holds {_kind(value)}, not an object"
                raise DataError(message, where=where, remedy=remedy)
            yield Row(value, path, number)


def _parse(line: bytes, where: Location, remedy: str) -> object:
    try:
        value: object = json.loads(line.decode("utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        message = f"the line is not JSON: {error.msg if isinstance(error, json.JSONDecodeError) else error}"
        raise DataError(message, where=where, remedy=remedy) from error
    except RecursionError as error:
        raise _too_deep(where) from error
    except ValueError as error:
        message = "the line holds a number of too many digits"
        raise DataError(message, where=where, remedy="Write it as text.") from error
    if line.count(b"[") + line.count(b"{") > _DEEPEST and _depth(value) > _DEEPEST:
        raise _too_deep(where)
    # Only an escape can bring half a character in, which JSON allows and no file nor tokenizer takes.
    if b"\\u" in line and not _is_text(value):
        message = "the line holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        raise DataError(message, where=where, remedy="Write the whole character, or leave it out.")
    return value


def _too_deep(where: Location) -> DataError:
    message = f"lists and objects are nested more than {_DEEPEST} deep"
    return DataError(message, where=where, remedy="Write the record with fewer levels.")


def _depth(value: object) -> int:
    """Count the levels of lists and objects, without a call for each of them."""
    depth = 0
    level = [value]
    while level := [item for item in level if isinstance(item, list | dict)]:
        depth += 1
        level = [item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer)]
    return depth


def _is_text(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches():
                for value in _parquet_values(batch, path, number):
                    number += 1
                    yield Row(value, path, number)
    except pa.ArrowException as error:
        message = f"the file is not readable Parquet: {str(error).splitlines()[0]}"
        raise DataError(message, where=Location(path), remedy="Write it again, or use JSONL.") from error


def _parquet_values(batch: pa.RecordBatch, path: Path, before: int) -> list[dict[str, object]]:
    """Give the records of a batch; an error names the row, counted on from those before."""
    try:
        values: list[dict[str, object]] = batch.to_pylist()
    # Text that is not UTF-8, and numbers and times that Python has no value for.
    except (ValueError, OverflowError) as error:
        if batch.num_rows > 1:
            return [
                value
                for index in range(batch.num_rows)
                for value in _parquet_values(batch.slice(index, 1), path, before + index)
            ]
        message = f"the record cannot be read: {error}"
        raise Row({}, path, before + 1).error(message, "Write it again, as UTF-8 text.") from error
    return values


def _shorten(text: str, width: int = 80) -> str:
    return text if len(text) <= width else f"{text[:width]}..."


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
