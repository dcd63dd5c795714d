"""A run is another one when what it reads has changed, also under the same path."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import yaml

import nemotron
from nemo_runspec.errors import DataError
from nemo_runspec.stage import Stage
from nemotron.training.hf import identity
from nemotron.training.hf.evaluation import evaluate
from nemotron.training.hf.grpo import rl
from nemotron.training.hf.identity import inputs_identity
from nemotron.training.hf.language import pretrain, sft
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from collections.abc import Callable

RECIPE = Path(nemotron.__file__).parent / "recipes" / "nano3"


class RunDirAskedForError(Exception):
    """Ends a stage before it does any work."""


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """Every identity that a stage asks a folder for; asking ends it."""
    identities: list[tuple[str, ...]] = []

    def run_dir(_stage: Stage, *parts: str) -> NoReturn:
        identities.append(parts)
        raise RunDirAskedForError

    monkeypatch.setattr(Stage, "run_dir", run_dir)
    return identities


def model(folder: Path) -> Path:
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "tokenizer" / "tokenizer.json").write_text("{}")
    return folder


def change(path: Path) -> None:
    path.write_bytes(b"WEIGHTS")


def move(path: Path) -> None:
    path.rename(path.with_name("other.safetensors"))


def add(path: Path) -> None:
    path.with_name("more.safetensors").touch()


@pytest.mark.parametrize("alter", [change, move, add, Path.unlink])
def test_any_change_of_a_folder_is_seen(tmp_path: Path, alter: Callable[[Path], None]) -> None:
    before = inputs_identity(str(model(tmp_path / "model")))
    alter(tmp_path / "model" / "model.safetensors")
    assert inputs_identity(str(tmp_path / "model")) != before


def test_equal_content_is_the_same_wherever_and_whenever_it_was_written(tmp_path: Path) -> None:
    first, second = model(tmp_path / "one"), model(tmp_path / "two")
    os.utime(second / "model.safetensors", ns=(1, 1))
    assert inputs_identity(str(first)) == inputs_identity(str(second))


def test_a_large_file_counts_by_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_READ_WHOLE", 3)
    file = model(tmp_path / "model") / "model.safetensors"
    os.utime(file, ns=(1, 1))
    before = inputs_identity(str(file.parent))
    os.utime(file, ns=(2, 2))
    assert inputs_identity(str(file.parent)) != before


def test_a_file_counts_by_its_content_and_a_hub_id_is_not_looked_for(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("a")
    before = inputs_identity(str(file), "nvidia/some-model")
    file.write_text("b")
    assert inputs_identity(str(file), "nvidia/some-model") != before


def test_an_unreadable_input_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object) -> NoReturn:
        raise PermissionError(13, "Permission denied", str(path))

    folder = model(tmp_path / "model")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"model\.safetensors: the input cannot be read: Permission denied"):
        inputs_identity(str(folder))


@pytest.mark.parametrize(
    ("work", "name", "inputs"),
    [
        (pretrain, "pretrain", ["data"]),
        (sft, "sft", ["data", "model"]),
        (rl, "rl", ["data", "model"]),
        (evaluate, "eval", ["models.sft", "models.rl", "text", "conversations", "prompts"]),
    ],
)
def test_each_input_of_a_stage_belongs_to_what_its_run_is(
    tmp_path: Path, seen: list[tuple[str, ...]], work: Callable[[Stage], None], name: str, inputs: list[str]
) -> None:
    config: dict[str, Any] = yaml.safe_load((RECIPE / name / "config" / "tiny.yaml").read_text())
    for key in ("run", "artifact", "output_dir"):
        del config[key]
    for key in inputs:
        folder = str(model(tmp_path / key))
        Path(folder, "blend.json").write_text('{"train": null, "valid": null, "test": null}')
        table, _, entry = key.partition(".")
        config[table][entry or "path"] = folder
    for key in ("nothing", *inputs):
        if key in inputs:
            change(tmp_path / key / "model.safetensors")
        with pytest.raises(RunDirAskedForError):
            work(stage(tmp_path, **config))
    assert len(set(seen)) == 1 + len(inputs)


def test_token_files_outside_the_folder_of_their_blend_count_too(tmp_path: Path, seen: list[tuple[str, ...]]) -> None:
    config: dict[str, Any] = yaml.safe_load((RECIPE / "pretrain" / "config" / "tiny.yaml").read_text())
    for key in ("run", "artifact", "output_dir"):
        del config[key]
    config["data"]["path"] = str(model(tmp_path / "data"))
    blend = {"train": ["1.0", str(tmp_path / "elsewhere")], "valid": None, "test": None}
    (tmp_path / "data" / "blend.json").write_text(json.dumps(blend))
    for content in ("one", "two"):
        (tmp_path / "elsewhere.bin").write_text(content)
        with pytest.raises(RunDirAskedForError):
            pretrain(stage(tmp_path, **config))
    assert seen[0] != seen[1]
