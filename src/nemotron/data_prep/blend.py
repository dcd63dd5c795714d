"""A user's own data: a data-blend file names data sets, and how much each of them counts.

```json
{"datasets": [{"name": "docs", "path": "docs.jsonl", "weight": 2.0, "text_field": "text"}]}
```

or the same lists as `train`, `valid` and `test`, where the data are divided already. `path` is a file, a folder or a
pattern, relative to the blend file, or a URL: `hf://org/name` (with `subset` and `split`), `s3://...`, `gs://...`.
`weight` is the share of the training samples, one by default. `text_field` names the field with a document's text
(pretraining); `messages`, `tools` and `used_in` those of a conversation (SFT); `document` what one document of a plain
text is: the "file", a "line" or a "paragraph". Keys that start with `_` are comments.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.errors import DataError, Location, guess
from nemotron.data_prep.offsets import elements, line_of, members
from nemotron.data_prep.sources import list_files
from nemotron.data_prep.sources.hub import Hub
from nemotron.data_prep.sources.records import is_text
from nemotron.data_prep.wording import kind, shorten

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nemotron.data_prep.sources import SourceFile

ALL = "all"
SPLITS = ("train", "valid", "test")
_LISTS = ("datasets", *SPLITS)
_NAME, _PATH, _WEIGHT = "name", "path", "weight"
_OTHER_NAMES = {"messages_field": "messages", "tools_field": "tools", "used_in_field": "used_in"}
_DEFAULTS: dict[str, object] = {
    _WEIGHT: 1.0,
    "text_field": "text",
    "messages": "messages",
    "tools": "tools",
    "used_in": "used_in",
    "document": "file",
    "split": None,
    "subset": None,
}
_KEYS = (_NAME, _PATH, *_DEFAULTS, *_OTHER_NAMES)
_OPTIONAL = ("split", "subset")
_SHOWN = 'Write {"datasets": [{"name": ..., "path": ...}]}.'


@dataclass(frozen=True, slots=True)
class DataSet:
    """One data set of a blend.

    Args:
        name: What its files are called.
        files: The files it consists of, sorted.
        weight: Its share of the training samples, against the other data sets' weights.
        text_field: The field that holds a document's text.
        messages: The field that holds a conversation.
        tools: The field that holds the tools of a conversation.
        used_in: The field that says what a conversation is used in.
        where: Where the blend names it.
    """

    name: str
    files: tuple[SourceFile, ...]
    weight: float
    text_field: str
    messages: str
    tools: str
    used_in: str
    where: Location


@dataclass(frozen=True, slots=True)
class Blend:
    """What a data-blend file says.

    Args:
        path: The file.
        splits: The data sets: under "all" where they are still to be divided, otherwise under the names of the splits
            that are given, "train", "valid" and "test".
    """

    path: Path
    splits: Mapping[str, tuple[DataSet, ...]]

    def __iter__(self) -> Iterator[DataSet]:
        """Give all data sets."""
        return (data_set for data_sets in self.splits.values() for data_set in data_sets)


def load_blend(path: Path) -> Blend:
    """Read and check a data-blend file, and find the files that it names.

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
    if not is_text(document):
        message = "the data blend holds half of a surrogate pair (\\ud800 to \\udfff), which is no character"
        raise DataError(message, where=Location(path), remedy="Write the whole character, or leave it out.")
    if not isinstance(document, dict):
        message = f"the data blend is {kind(document)}, so it has no list 'datasets'"
        raise DataError(message, where=Location(path), remedy=_SHOWN)
    blend = _BlendFile(path, text, Hub())
    # Where a key comes twice, the parser takes the last.
    keys = {key: (place, value) for key, place, value in members(text)}
    blend.refuse_unknown({key: place for key, (place, _) in keys.items()}, _LISTS)
    lists = {key: keys[key] for key in _LISTS if key in keys}
    blend.refuse_mixture({key: place for key, (place, _) in lists.items()})
    return Blend(
        path,
        {
            ALL if key == "datasets" else key: tuple(blend.data_sets(key, document[key], place, start))
            for key, (place, start) in lists.items()
        },
    )


@dataclass(frozen=True, slots=True)
class _BlendFile:
    path: Path
    text: str
    hub: Hub

    def error(self, offset: int, message: str, remedy: str | None) -> DataError:
        """Point at the line with this offset."""
        return DataError(message, where=self.place(offset), remedy=remedy)

    def place(self, offset: int) -> Location:
        return Location(self.path, line_of(self.text, offset))

    def refuse_unknown(self, places: Mapping[str, int], known: tuple[str, ...]) -> None:
        for key, place in places.items():
            if key not in known and not key.startswith("_"):
                message = f"the data blend has an unknown key '{shorten(key)}'"
                raise self.error(place, message, guess(key, known, what="keys"))

    def refuse_mixture(self, places: Mapping[str, int]) -> None:
        if not places:
            message = "the data blend has no list 'datasets'"
            raise DataError(message, where=Location(self.path), remedy=_SHOWN)
        splits = [key for key in places if key in SPLITS]
        if splits and "datasets" in places:
            message = f"the data blend has 'datasets' and also '{splits[0]}'"
            remedy = "Give 'datasets' to have them divided, or 'train', 'valid' and 'test' that are divided already."
            raise self.error(places[splits[0]], message, remedy)
        if splits and "train" not in splits:
            message = f"the data blend has '{splits[0]}' and no 'train'"
            raise self.error(places[splits[0]], message, "Give the data sets to learn from as 'train'.")

    def data_sets(self, key: str, entries: object, place: int, start: int) -> Iterator[DataSet]:
        if not isinstance(entries, list) or not entries:
            message = f"the data blend has no list '{key}': it is {'empty' if entries == [] else kind(entries)}"
            raise self.error(place, message, f'Write {{"{key}": [{{"name": ..., "path": ...}}]}}, or leave it out.')
        names: set[str] = set()
        for entry, offset in zip(entries, elements(self.text, start), strict=True):
            data_set = self._data_set(key, entry, offset)
            if data_set.name in names:
                message = f"two data sets are called '{data_set.name}'"
                raise self.error(offset, message, "Give each its own name.")
            names.add(data_set.name)
            yield data_set

    def _data_set(self, key: str, entry: object, start: int) -> DataSet:
        if not isinstance(entry, dict):
            message = f"an entry of '{key}' is {kind(entry)}, not an object"
            raise self.error(start, message, 'Write {"name": ..., "path": ...}.')
        places = {key: place for key, place, _ in members(self.text, start)}
        self.refuse_unknown(places, _KEYS)
        values = {**_DEFAULTS, **self._renamed(entry, places)}
        places = {_OTHER_NAMES.get(key, key): place for key, place in places.items()}
        texts = {
            key: self._text(values, key, places.get(key, start))
            for key in (_NAME, _PATH, *_DEFAULTS)
            if key != _WEIGHT and not (key in _OPTIONAL and values[key] is None)
        }
        weight = _weight(values[_WEIGHT])
        if weight is None:
            message = f"the weight of '{texts[_NAME]}' is {shorten(repr(values[_WEIGHT]))}"
            remedy = "It must be a number above zero; leave the data set out instead."
            raise self.error(places[_WEIGHT], message, remedy)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", texts[_NAME]):
            message = f"'{shorten(texts[_NAME])}' is no name"
            raise self.error(places[_NAME], message, "Use at most 100 letters, digits, '.', '_' and '-'.")
        fields = {field: texts[field] for field in ("text_field", "messages", "tools", "used_in")}
        return DataSet(texts[_NAME], self._files(texts, places), weight, **fields, where=self.place(start))

    def _renamed(self, entry: Mapping[str, object], places: Mapping[str, int]) -> dict[str, object]:
        """Give each key its one name."""
        for other, name in _OTHER_NAMES.items():
            if other in entry and name in entry:
                message = f"a data set has '{name}' and also '{other}', which is the same"
                raise self.error(places[other], message, f"Leave '{other}' out.")
        return {_OTHER_NAMES.get(key, key): value for key, value in entry.items()}

    def _text(self, values: Mapping[str, object], key: str, place: int) -> str:
        value = values.get(key)
        if isinstance(value, str) and value:
            return value
        message = f"the key '{key}' of a data set is {kind(value)}" if key in values else f"a data set has no '{key}'"
        raise self.error(place, message, f"Give '{key}' as text.")

    def _files(self, texts: Mapping[str, str], places: Mapping[str, int]) -> tuple[SourceFile, ...]:
        chosen = {key: texts.get(key) for key in _OPTIONAL}
        try:
            return list_files(texts[_PATH], base=self.path.parent, document=texts["document"], hub=self.hub, **chosen)
        except DataError as error:
            raise self.error(places[_PATH], error.message, error.remedy) from error


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
        raise DataError(message, where=Location(path), remedy=_SHOWN)
    return content
