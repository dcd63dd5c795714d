"""Prompts with a verifier or a checkable answer -> JSONL files for each split, and the manifest that names them.

Rows pass through byte for byte; with `rows: function` they are read as `prompt`, a list of messages (or a text, which
becomes the user's message), and `expected` with the `name` and the `arguments` of the function to write:

```json
{"prompt": "Write add(a, b).", "expected": {"name": "add", "arguments": ["a", "b"]}}
```

A prompt comes once: rows that repeat one, in whatever data set, are left out, so none is both learnt and measured on.
"""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import digest
from nemo_runspec.errors import ConfigError, Location
from nemo_runspec.stage import StageResult
from nemotron.data_prep.blend import load_blend
from nemotron.data_prep.chat import ChatEncoder
from nemotron.data_prep.functions import functions_by_split
from nemotron.data_prep.options import ON_ERROR, TokenizerSettings, check_choice, check_given
from nemotron.data_prep.paths import local_path
from nemotron.data_prep.rl.choosing import SPLITS, choose
from nemotron.data_prep.rl.reading import Reader, RowSet
from nemotron.data_prep.rl.rows import AnyRows, FunctionRows
from nemotron.data_prep.rl.writing import MANIFEST_FILE, SKIPPED_FILE, SplitFiles, private_folder, write_json
from nemotron.data_prep.sources import place, refuse_written, stamps
from nemotron.data_prep.tokenizer import load_tokenizer
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.functions import Function
    from nemotron.data_prep.rl.choosing import Choice
    from nemotron.data_prep.rl.reading import Known
    from nemotron.data_prep.rl.rows import Record, Rows

_ROWS = ("function", "any")
# What a blend calls the splits. Those that measure are read first, so that they keep a prompt that train has too.
_OF_BLEND = {"valid": "val", "test": "test", "train": "train", "all": "all"}
# From here on it takes long enough to be told how far it is, in bytes of input.
_WATCHED = 200_000_000
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration; `config/data_prep/tiny.yaml` explains each entry."""

    blend: str | None
    rows: str
    tokenizer: TokenizerSettings
    max_prompt_tokens: int
    val_rows: int
    seed: int
    shards_per_split: int = 1
    sample: int | None = None
    on_error: str = "fail"

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "", "max_prompt_tokens", "val_rows", "shards_per_split")
        check_given(self, "sample")
        check_choice("rows", self.rows, _ROWS)
        check_choice("on_error", self.on_error, ON_ERROR)


@dataclass(frozen=True, slots=True)
class Input:
    """What is prepared.

    Args:
        sets: The data sets, in the order of reading.
        source: What they are called as a whole.
        identity: Texts that change when the content does.
        where: The blend's file.
    """

    sets: tuple[RowSet, ...]
    source: str
    identity: tuple[str, ...]
    where: Location | None = None


def prepare(stage: Stage) -> None:
    """Run the stage.

    Args:
        stage: What the script was started with.
    """
    begin = time.monotonic()
    settings = read_settings(stage.config, Settings)
    note(stage, f"reading {settings.blend or 'the standard library'}")
    rows, kind = _rows(settings)
    given = _from_blend(settings) if settings.blend is not None else _standard_library(stage)
    spans = [span for row_set in given.sets for span in row_set.spans]
    before = stamps(spans)
    run_dir = stage.run_dir(kind, *given.identity, *(row_set.identity() for row_set in given.sets))
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    reader = Reader(given.sets, rows, settings.on_error == "skip", _watch(stage, given))
    data = run_dir / "data"
    with private_folder(data) as folder:
        known = reader.look()
        choice = choose(known, given.sets, settings.val_rows, settings.seed, given.where)
        files = _write(reader, known, choice, settings.shards_per_split, folder)
        refuse_written(spans, before)
        _list_skipped(reader, folder)
        counts = _counts(reader, choice)
        places = _places(files, data)
        contents = {
            **places,
            "mode": "local_split" if "all" in {row_set.split for row_set in given.sets} else "blend_splits",
            "source": given.source,
            **counts,
            "run_hash": digest([files[split].digest if split in files else "" for split in SPLITS]),
        }
        write_json(folder / MANIFEST_FILE, contents)
    _tell(stage, settings, counts)
    metadata = {**places, "manifest": str(data / MANIFEST_FILE), **counts}
    result = StageResult(seconds=time.monotonic() - begin, details=counts)
    stage.publish(run_dir, path=data, type="rl-data", metadata=metadata, result=result)


def _rows(settings: Settings) -> tuple[Rows, str]:
    """Give the kind of rows, and a text that changes when the tokenizer does that measures them."""
    if settings.rows == "any" and settings.blend is not None:
        return AnyRows(), "any, told apart by the whole record"
    if settings.tokenizer.path is None:
        message = "tokenizer.path is null, and prompts are measured in tokens"
        raise ConfigError(message, remedy="Name the tokenizer of the model that is trained.")
    tokenizer = load_tokenizer(settings.tokenizer.path)
    rows = FunctionRows(ChatEncoder(tokenizer), settings.max_prompt_tokens)
    return rows, tokenizer.files_digest()


def _from_blend(settings: Settings) -> Input:
    path = local_path(str(settings.blend))
    blend = load_blend(path)
    sets = tuple(
        RowSet.of(data_set, split, settings.sample)
        for name, split in _OF_BLEND.items()
        for data_set in blend.splits.get(name, ())
    )
    return Input(sets, str(settings.blend), (), Location(path))


def _standard_library(stage: Stage) -> Input:
    functions, identity = functions_by_split(stage)
    sets = (
        RowSet("standard library", "val", records=tuple(map(_task, functions["valid"]))),
        RowSet("standard library", "train", records=tuple(map(_task, functions["rl"]))),
    )
    return Input(sets, "the standard library", (identity,))


def _task(function: Function) -> Record:
    return {"prompt": function.prompt, "expected": {"name": function.name, "arguments": list(function.arguments)}}


def _counts(reader: Reader, choice: Choice) -> dict[str, int]:
    """Give how many records there were, and what became of them."""
    rows, told = choice.rows(), reader.counts
    return {
        "records": told["records"],
        **{f"{split}_rows": count for split, count in rows.items()},
        "left_out": told["too_long"],
        "repeated": told["records"] - told["too_long"] - told["skipped"] - choice.distinct,
        "not_drawn": choice.distinct - sum(rows.values()),
        "skipped": told["skipped"],
    }


def _write(reader: Reader, known: Known, choice: Choice, shards: int, folder: Path) -> dict[str, SplitFiles]:
    """Copy the rows; give the files of each split that has any."""
    files = {split: SplitFiles(folder, split, min(shards, count)) for split, count in choice.rows().items() if count}
    with ExitStack() as stack:
        for written in files.values():
            stack.enter_context(written)
        for number in range(len(reader.sets)):
            for code, lines in reader.lines(number, choice.codes[known.rows_of(number)]):
                files[SPLITS[code - 1]].write(lines)
    return files


def _list_skipped(reader: Reader, folder: Path) -> None:
    lines = []
    for number, problem in reader.problems:
        where = place(reader.sets[number].spans[problem.span], problem.number)
        lines.append(json.dumps({"where": str(where), "message": problem.message}) + "\n")
    if lines:
        (folder / SKIPPED_FILE).write_text("".join(lines), encoding="utf-8")


def _places(files: Mapping[str, SplitFiles], data: Path) -> dict[str, str | list[str]]:
    """Give where each split will be: one path, several, or an empty text."""
    found: dict[str, str | list[str]] = dict.fromkeys(SPLITS, "")
    for split, written in files.items():
        paths = [str(data / name) for name in written.names]
        found[split] = paths[0] if len(paths) == 1 else paths
    return found


def _tell(stage: Stage, settings: Settings, counts: Mapping[str, int]) -> None:
    made = ", ".join(f"{counts[f'{split}_rows']} {split}" for split in SPLITS if counts[f"{split}_rows"])
    note(stage, f"{counts['records']} records -> {made} rows")
    told = {
        "left_out": f"prompts of more than {settings.max_prompt_tokens} tokens (max_prompt_tokens)",
        "repeated": "rows that repeat an earlier one, or have a prompt that is kept from training",
        "not_drawn": "rows beyond what the weights ask for",
        "skipped": f"records that cannot be used; {SKIPPED_FILE} lists them",
    }
    for name, text in told.items():
        if counts[name]:
            note(stage, f"left out {counts[name]} {text}")


def _watch(stage: Stage, given: Input) -> Callable[[int], None]:
    """Give what is told of bytes read, and shows now and then how far the two readings are."""
    files = {span.file for row_set in given.sets for span in row_set.spans}
    total = 2 * sum(file.size for file in files)
    sampled = any(row_set.sample is not None for row_set in given.sets)
    if total < _WATCHED or sampled:
        return lambda _bytes: None
    progress = stage.progress(total // _MEGABYTE, unit="MB")
    done = 0

    def watch(count: int) -> None:
        nonlocal done
        done += count
        progress.update(done // _MEGABYTE)

    return watch
