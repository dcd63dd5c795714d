"""Prompts for tests of the RL preparation: blends of them, and what was made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import ArtifactStore
from nemotron.data_prep import rl
from tests.nemotron.data_prep.small import small_tokenizer
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_runspec.artifacts import Manifest

ROW = {"prompt": "Write add.", "expected": {"name": "add", "arguments": ["a", "*rest"]}}


SEEDS = (("one", 1), ("again", 1), ("other", 2))


def run(folder: Path, **changes: object) -> Manifest:
    small_tokenizer(folder / "tokenizer")
    config = {
        "blend": None,
        "rows": "function",
        "tokenizer": {"path": str(folder / "tokenizer")},
        "max_prompt_tokens": 60,
        "val_rows": 2,
        "seed": 1,
    }
    rl.prepare(stage(folder, **(config | changes)))
    return ArtifactStore(str(folder / "artifacts")).get("made")


def blend(folder: Path, *rows: object, weight: float = 1, **others: Sequence[object]) -> str:
    datasets = []
    for name, content in {"mine": rows, **others}.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in content))
        datasets.append({"name": name, "path": f"{name}.jsonl", "weight": weight if name == "mine" else 1})
    (folder / "blend.json").write_text(json.dumps({"datasets": datasets}))
    return str(folder / "blend.json")


def tasks(word: str, count: int) -> list[object]:
    return [{**ROW, "prompt": f"{word} {number}"} for number in range(count)]


def all_rows(path: str) -> list[dict[str, object]]:
    files = sorted(Path(path).parent.glob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def prompts(manifest: Manifest, split: str) -> list[str]:
    return [row["prompt"][0]["content"] for row in lines(manifest, split)]  # type: ignore[index]  # a list of messages


def lines(manifest: Manifest, split: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(str(manifest.field(split))).read_text().splitlines()]
