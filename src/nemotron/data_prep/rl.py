"""Prompts with a checkable answer -> `train/train.jsonl`, `val/val.jsonl` and the manifest that names them.

A row has `prompt`, a list of messages (or a text, which becomes the user's message), and, where the reward is the
function reward, `expected` with the `name` and the `arguments` of the function to write:

```json
{"prompt": "Write add(a, b).", "expected": {"name": "add", "arguments": ["a", "b"]}}
```

A prompt comes once: rows that repeat one, in whatever data set, are left out, so none is both learnt and measured on.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from nemo_runspec.artifacts import digest
from nemo_runspec.errors import ConfigError, DataError, Location, guess
from nemo_runspec.stage import StageResult
from nemotron.data_prep.blend import Row, blend_identity, load_blend, read_rows
from nemotron.data_prep.chat import ChatEncoder, Message, read_messages
from nemotron.data_prep.mixing import mix
from nemotron.data_prep.paths import local_path
from nemotron.data_prep.sft import TokenizerSettings, functions_by_split
from nemotron.data_prep.tokenizer import load_tokenizer
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.blend import Source
    from nemotron.data_prep.functions import Function

Record = dict[str, object]

_ROWS = ("function", "any")


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration; `config/data_prep/tiny.yaml` explains each entry."""

    blend: str | None
    rows: str
    tokenizer: TokenizerSettings
    max_prompt_tokens: int
    val_rows: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "", "max_prompt_tokens", "val_rows")
        if self.rows not in _ROWS:
            message = f"rows is '{self.rows}'"
            raise ConfigError(message, remedy=guess(self.rows, _ROWS, what="values"))


@dataclass(frozen=True, slots=True)
class Rows:
    """What was made of the records.

    Args:
        train: Rows to learn from.
        val: Rows to measure on.
        too_long: How many were left out because their prompt has too many tokens.
        repeated: How many were left out because an earlier row has the same prompt.
    """

    train: list[Record]
    val: list[Record]
    too_long: int
    repeated: int


def prepare(stage: Stage) -> None:
    """Run the stage.

    Args:
        stage: What the script was started with.
    """
    begin = time.monotonic()
    settings = read_settings(stage.config, Settings)
    note(stage, f"reading {settings.blend or 'the standard library'}")
    rows, identity = _read(stage, settings)
    run_dir = stage.run_dir(identity)
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    data = run_dir / "data"
    places = {split: _write(data / split / f"{split}.jsonl", getattr(rows, split)) for split in ("train", "val")}
    counts = {
        "train_rows": len(rows.train),
        "val_rows": len(rows.val),
        "left_out": rows.too_long,
        "repeated": rows.repeated,
    }
    source = settings.blend or "the standard library"
    contents = {
        **places,
        "test": "",
        "mode": "local_split",
        "source": source,
        **counts,
        "run_hash": digest([rows.train, rows.val]),
    }
    (data / "manifest.json").write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    metadata = {**places, "manifest": str(data / "manifest.json"), **counts}
    result = StageResult(seconds=time.monotonic() - begin, details=counts)
    stage.publish(run_dir, path=data, type="rl-data", metadata=metadata, result=result)


def expected_answer(row: Row) -> Record:
    """Give the `expected` of a record, checked.

    Args:
        row: The record.

    Raises:
        DataError: It lacks the name or the arguments, or they are of another kind.
    """
    expected = row.get("expected")
    remedy = 'Write "expected": {"name": "add", "arguments": ["a", "b"]}, or set the config entry \'rows\' to any.'
    if not isinstance(expected, dict) or not {"name", "arguments"} <= set(expected):
        text = "the field 'expected' lacks 'name' or 'arguments'"
        raise row.error(text, remedy)
    name, arguments = expected["name"], expected["arguments"]
    if not isinstance(name, str) or not name.isidentifier():
        text = f"expected.name is {name!r}, not the name of a function"
        raise row.error(text, remedy)
    if not isinstance(arguments, list) or not all(isinstance(item, str) for item in arguments):
        text = "expected.arguments is not a list of names"
        raise row.error(text, remedy)
    return {"name": name, "arguments": arguments}


def _read(stage: Stage, settings: Settings) -> tuple[Rows, str]:
    """Give the rows, and a text that changes when their source does."""
    if settings.blend is not None:
        path = local_path(settings.blend)
        sources = load_blend(path)
        return _from_blend(stage, settings, path, sources), blend_identity(path, sources)
    encoder = ChatEncoder(load_tokenizer(settings.tokenizer.path))
    functions, identity = functions_by_split(stage)
    found = {split: [_task(function) for function in functions[split]] for split in ("rl", "valid")}
    short = {split: [row for row in rows if _fits(row, encoder, settings)] for split, rows in found.items()}
    too_long = sum(len(found[split]) - len(short[split]) for split in found)
    return Rows(short["rl"], short["valid"], too_long, repeated=0), identity


def _from_blend(stage: Stage, settings: Settings, path: Path, sources: Sequence[Source]) -> Rows:
    encoder = ChatEncoder(load_tokenizer(settings.tokenizer.path)) if settings.rows == "function" else None
    sets: list[dict[str, Record]] = []
    seen: set[str] = set()
    too_long = repeated = 0
    for source in sources:
        fresh: dict[str, Record] = {}
        for row in read_rows(source):
            record = _record(row, settings.rows)
            key = _prompt_key(record)
            if encoder is not None and not _fits(record, encoder, settings, row):
                too_long += 1
            elif key in seen:
                repeated += 1
            else:
                seen.add(key)
                fresh[key] = record
        sets.append(fresh)
    if too_long:
        note(stage, f"left out {too_long} prompts of more than {settings.max_prompt_tokens} tokens (max_prompt_tokens)")
    if repeated:
        note(stage, f"left out {repeated} rows whose prompt an earlier row has")
    if len(seen) <= settings.val_rows:
        text = f"{len(seen)} rows are left to use, and val_rows keeps {settings.val_rows} of them for validation"
        raise DataError(text, where=Location(path), remedy="Add rows, or lower the config entry 'val_rows'.")
    held_out = _held_out(sets, settings)
    train = [[row for key, row in rows.items() if key not in held_out] for rows in sets]
    val = [row for rows in sets for key, row in rows.items() if key in held_out]
    left = [(rows, source.weight) for rows, source in zip(train, sources, strict=True) if rows]
    mixed = mix([rows for rows, _ in left], [weight for _, weight in left], settings.seed)
    return Rows(mixed, val, too_long, repeated)


def _held_out(sets: Sequence[Mapping[str, Record]], settings: Settings) -> set[str]:
    """Choose the prompts for validation: of each set its part of them, by the hash of the prompt and the seed."""
    ranked: list[tuple[float, str]] = []
    for keys in sets:
        order = sorted(keys, key=lambda key: sha256(f"{settings.seed}:{key}".encode()).digest())
        ranked += [((rank + 0.5) / len(order), key) for rank, key in enumerate(order)]
    return {key for _, key in sorted(ranked)[: settings.val_rows]}


def _prompt_key(record: Record) -> str:
    """Give what makes a row's prompt the same as another's; a row without a known prompt is its own."""
    params = record.get("responses_create_params")
    prompt = params.get("input") if isinstance(params, dict) else record.get("prompt")
    return json.dumps(record if prompt is None else {"prompt": prompt}, sort_keys=True)


def _record(row: Row, kind: str) -> Record:
    if kind == "any":
        _refuse_unwritable(row)
        return dict(row.values)
    prompt = row.get("prompt")
    messages: list[Message] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else read_messages(row, "prompt")
    )
    return {"prompt": messages, "expected": expected_answer(row)}


def _refuse_unwritable(row: Row) -> None:
    """Refuse what Parquet and Python's JSON know, and JSON does not: times, bytes, NaN."""
    try:
        json.dumps(dict(row.values), allow_nan=False)
    except (TypeError, ValueError) as error:
        message = f"the record cannot be written as JSON: {error}"
        raise row.error(message, "Give the value as text or as a finite number.") from error


def _task(function: Function) -> Record:
    expected = {"name": function.name, "arguments": list(function.arguments)}
    return {"prompt": [{"role": "user", "content": function.prompt}], "expected": expected}


def _fits(record: Record, encoder: ChatEncoder, settings: Settings, row: Row | None = None) -> bool:
    """Say whether a prompt is short enough; an error of its rendering names the row it came from."""
    messages = cast("list[Message]", record["prompt"])
    try:
        return len(encoder.encode_prompt(messages)) <= settings.max_prompt_tokens
    except DataError as error:
        if row is None:
            raise
        raise row.error(error.message, error.remedy or "Correct this row.") from error


def _write(path: Path, rows: Iterable[Mapping[str, object]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    # All but ASCII is escaped: there are characters that some readers take for the end of a line.
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)
