"""From a path to what is there: which kind of prepared data it is, and its view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.inspect.decoding import find_decoder
from nemotron.data_prep.inspect.packed import show_packed, show_splits
from nemotron.data_prep.inspect.pairs import SPLITS, blend_splits, read_json, show_blend, show_pair
from nemotron.data_prep.inspect.records import manifest_splits, show_manifest, show_records
from nemotron.data_prep.paths import local_path

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemotron.data_prep.inspect.decoding import Decoder
    from nemotron.data_prep.inspect.view import View, Wanted

_PAIR = (".bin", ".idx")
_PARQUET = (".parquet", ".pq")
_LINES = (".jsonl", ".ndjson")
_REMEDY = (
    "Name a token pair by its prefix, a packed .parquet file, a .jsonl file, a blend.json or manifest.json, or a"
    " folder that holds them."
)


def inspect_path(path: str, wanted: Wanted, tokenizer: str | None = None) -> View:
    """Look at prepared data.

    Args:
        path: A token pair (its prefix or one of its files), a packed Parquet file, a JSON-lines file, a `blend.json`, a
            `manifest.json`, or a folder with any of them.
        wanted: Which rows.
        tokenizer: Folder of the tokenizer; without it, it is looked for beside the data and above.

    Raises:
        DataError: The path is nothing of that kind, or damaged; or there is no such row.
    """
    look = _Look(wanted, tokenizer)
    place = local_path(path).absolute()
    if place.is_dir():
        return look.folder(place)
    if place.is_file():
        return look.file(place)
    if any(place.with_name(place.name + ending).is_file() for ending in _PAIR):
        return look.pair(place)
    message = "there is no such file or folder, and no token pair with this prefix"
    raise DataError(message, where=Location(place), remedy=_REMEDY)


@dataclass(frozen=True, slots=True)
class _Look:
    wanted: Wanted
    tokenizer: str | None

    def pair(self, prefix: Path) -> View:
        return self._decoded(prefix, lambda decoder: show_pair(prefix, self.wanted, decoder))

    def file(self, path: Path) -> View:
        if path.suffix in _PAIR:
            return self.pair(path.with_suffix(""))
        if path.suffix in _PARQUET:
            return self._decoded(path, lambda decoder: show_packed(path, [path], self.wanted, decoder))
        if path.suffix in _LINES:
            return show_records(path, [path], self.wanted)
        if path.suffix == ".json" and (view := self._json(path)):
            return view
        message = "this is no prepared data that can be shown"
        if path.suffix == ".json" and _is_input(read_json(path)):
            message = "this names data to prepare, and holds none that is prepared"
        raise DataError(message, where=Location(path), remedy=_REMEDY)

    def folder(self, path: Path) -> View:
        """Show the first of what a folder of a data preparation, or an artifact, can hold."""
        for look in (self._blend_in, self._packed_in, self._splits_in, self._manifest_in, self._plain_in):
            if view := look(path):
                return view
        if (path / "data").is_dir():
            return self.folder(path / "data")
        message = "the folder holds no prepared data that can be shown"
        raise DataError(message, where=Location(path), remedy=_REMEDY)

    def _blend_in(self, path: Path) -> View | None:
        file = path / "blend.json"
        return self._json(file) if file.is_file() else None

    def _packed_in(self, path: Path) -> View | None:
        files = _listed(path, _PARQUET)
        if not files:
            return None
        return self._decoded(path, lambda decoder: show_packed(path, files, self.wanted, decoder))

    def _splits_in(self, path: Path) -> View | None:
        folder = path / "splits" if (path / "splits").is_dir() else path
        names = [name for name in SPLITS if (folder / name).is_dir()]
        splits = {name: files for name in names if (files := _listed(folder / name, _PARQUET))}
        if not splits:
            return None
        return self._decoded(path, lambda decoder: show_splits(path, splits, self.wanted, decoder))

    def _manifest_in(self, path: Path) -> View | None:
        file = path / "manifest.json"
        return self._json(file) if file.is_file() else None

    def _plain_in(self, path: Path) -> View | None:
        if pairs := [file.with_suffix("") for file in _listed(path, (".idx",))]:
            splits = {"all": [(1.0, prefix) for prefix in pairs]}
            return self._decoded(path, lambda decoder: show_blend(path, splits, self.wanted, decoder))
        if lines := _listed(path, _LINES):
            return show_records(path, lines, self.wanted)
        return None

    def _json(self, path: Path) -> View | None:
        """Show what a JSON file names, or None where it names no data."""
        if (splits := blend_splits(path)) is not None:
            places = [path, *(prefix for entries in splits.values() for _, prefix in entries[:1])]
            return self._decoded(
                path, lambda decoder: show_blend(path, splits, self.wanted, decoder), beside=tuple(places)
            )
        document = read_json(path)
        if not isinstance(document, dict):
            return None
        if files := manifest_splits(document, path):
            return show_manifest(path, document, files, self.wanted)
        # An artifact's manifest says where its files are.
        target = document.get("path")
        if isinstance(target, str) and "producer" in document and Path(target) != path.parent:
            if not Path(target).is_dir():
                message = f"the artifact's files are in {target}, which is no folder here"
                raise DataError(message, where=Location(path), remedy=_REMEDY)
            return self.folder(Path(target))
        return None

    def _decoded(self, path: Path, show: Callable[[Decoder], View], *, beside: tuple[Path, ...] = ()) -> View:
        decoder, notes = find_decoder(self.tokenizer, beside or (path,))
        view = show(decoder)
        return replace(view, facts={**view.facts, **decoder.facts()}, notes=(*notes, *view.notes))


def _listed(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in endings and file.is_file())


def _is_input(document: object) -> bool:
    if not isinstance(document, dict):
        return False
    lists = [value for name, value in document.items() if name in ("datasets", *SPLITS)]
    return any(isinstance(value, list) and any(isinstance(item, dict) for item in value) for value in lists)
