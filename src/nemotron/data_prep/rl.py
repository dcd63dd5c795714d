"""Prompts with a checkable answer -> `train/train.jsonl`, `val/val.jsonl` and the manifest that names them.

A row has `prompt`, a list of messages (or a text, which becomes the user's message), and, where the reward is the
function reward, `expected` with the `name` and the `arguments` of the function to write:

```json
{"prompt": "Write add(a, b).", "expected": {"name": "add", "arguments": ["a", "b"]}}
```
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import digest
from nemo_runspec.errors import ConfigError, DataError, Location, guess
from nemo_runspec.stage import StageResult
from nemotron.data_prep.blend import Row, blend_identity, load_blend, read_rows
from nemotron.data_prep.chat import ChatEncoder, Message, read_messages
from nemotron.data_prep.sft import TokenizerSettings, functions_by_split
from nemotron.data_prep.tokenizer import load_tokenizer
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemo_runspec.stage import Stage
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


def prepare(stage: Stage) -> None:
    """Run the stage.

    Args:
        stage: What the script was started with.
    """
    begin = time.monotonic()
    settings = read_settings(stage.config, Settings)
    note(stage, f"reading {settings.blend or 'the standard library'}")
    train, val, identity = _read(stage, settings)
    run_dir = stage.run_dir(identity)
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    data = run_dir / "data"
    places = {"train": _write(data / "train" / "train.jsonl", train), "val": _write(data / "val" / "val.jsonl", val)}
    counts = {"train_rows": len(train), "val_rows": len(val)}
    source = settings.blend or "the standard library"
    contents = {
        **places,
        "test": "",
        "mode": "local_split",
        "source": source,
        **counts,
        "run_hash": digest([train, val]),
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


def _read(stage: Stage, settings: Settings) -> tuple[list[Record], list[Record], str]:
    """Give the rows for training and validation, and a text that changes when their source does."""
    if settings.blend is None:
        encoder = ChatEncoder(load_tokenizer(settings.tokenizer.path))
        found, identity = functions_by_split(stage)
        train, val = (_prompts(found[split], encoder, settings.max_prompt_tokens) for split in ("rl", "valid"))
        return train, val, identity
    path = Path(settings.blend).expanduser()
    sources = load_blend(path)
    rows = [_record(row, settings.rows) for source in sources for row in read_rows(source)]
    if len(rows) <= settings.val_rows:
        text = f"there are {len(rows)} rows, and val_rows keeps {settings.val_rows} of them for validation"
        raise DataError(text, where=Location(path), remedy="Add rows, or lower the config entry 'val_rows'.")
    return rows[: -settings.val_rows], rows[-settings.val_rows :], blend_identity(path, sources)


def _record(row: Row, kind: str) -> Record:
    if kind == "any":
        return dict(row.values)
    prompt = row.get("prompt")
    messages: list[Message] = (
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else read_messages(row, "prompt")
    )
    return {"prompt": messages, "expected": expected_answer(row)}


def _prompts(functions: Iterable[Function], encoder: ChatEncoder, longest: int) -> list[Record]:
    rows: list[Record] = []
    for function in functions:
        messages = [{"role": "user", "content": function.prompt}]
        if len(encoder.encode_prompt(messages)) <= longest:
            rows.append(
                {"prompt": messages, "expected": {"name": function.name, "arguments": list(function.arguments)}}
            )
    return rows


def _write(path: Path, rows: Iterable[Mapping[str, object]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)
