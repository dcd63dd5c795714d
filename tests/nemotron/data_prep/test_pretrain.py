from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep import pretrain
from nemotron.data_prep.binidx import read_pair
from nemotron.data_prep.corpus import Document, split_of
from nemotron.data_prep.tokenizer import load_tokenizer
from tests.nemotron.data_prep.small import small_tokenizer
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from nemo_runspec.artifacts import Manifest
    from nemo_runspec.stage import Stage

DOCUMENTS = [Document(f"module_{number}.py", f"value_{number} = {number}\n") for number in range(60)]


def made(folder: Path, **changes: object) -> Stage:
    config = {"blend": None, "tokenizer": {"path": None, "vocab_size": 280}, "valid_fraction": 0.2, "seed": 1}
    return stage(folder, **(config | changes))


def run(folder: Path, **changes: object) -> Manifest:
    pretrain.prepare(made(folder, **changes))
    return ArtifactStore(str(folder / "artifacts")).get("made")


def texts(manifest: Manifest, prefix: str) -> list[str]:
    """Decode the documents of a pair, each without the token that ends it."""
    tokenizer = load_tokenizer(f"{manifest.path}/tokenizer")
    tokens, lengths = read_pair(Path(prefix))
    found, start = [], 0
    for length in lengths.tolist():
        ids = tokens[start : start + length].tolist()
        assert ids[-1] == tokenizer.end_of_text
        found.append(str(tokenizer.backend.decode(ids[:-1])))
        start += length
    return found


def test_the_standard_library_by_its_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "standard_library", lambda: DOCUMENTS)
    manifest = run(tmp_path)
    blend = json.loads(Path(str(manifest.field("blend"))).read_text())
    assert blend["test"] is None
    for split in ("train", "valid"):
        weight, prefix = blend[split]
        assert weight == "1.0"
        assert texts(manifest, prefix) == [item.text for item in DOCUMENTS if split_of(item.name) == split]
    assert manifest.field("vocabulary") == 280
    assert manifest.result["tokens"] == manifest.field("train_tokens") + manifest.field("valid_tokens")  # type: ignore[operator]  # numbers


def test_the_same_run_again_is_reused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pretrain, "standard_library", lambda: DOCUMENTS)
    first = run(tmp_path)
    assert "published made:v1" in capsys.readouterr().out
    assert run(tmp_path) == first
    assert "reused made:v1" in capsys.readouterr().out
    assert run(tmp_path, seed=2).path != first.path


def test_a_blend_with_weights_and_a_tokenizer_of_its_own(tmp_path: Path) -> None:
    small_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "a {number}"}}\n' for number in range(40)) + '{"text": ""}\n')
    (tmp_path / "b.jsonl").write_text('{"body": "only one"}\n')
    datasets = [
        {"name": "a", "path": "a.jsonl", "weight": 3},
        {"name": "b", "path": "b.jsonl", "text_field": "body"},
    ]
    (tmp_path / "blend.json").write_text(json.dumps({"datasets": datasets}))
    changes = {"blend": str(tmp_path / "blend.json"), "tokenizer": {"path": str(tmp_path / "tokenizer")}}
    manifest = run(tmp_path, **changes, valid_fraction=0.3)
    blend = json.loads(Path(str(manifest.field("blend"))).read_text())
    assert blend["train"][::2] == ["3.0", "1.0"]
    assert texts(manifest, blend["train"][3]) == ["only one"]
    train, valid = texts(manifest, blend["train"][1]), texts(manifest, blend["valid"][1])
    assert sorted(train + valid) == sorted(f"a {number}" for number in range(40))
    assert valid


def test_a_split_without_documents_is_null(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n')
    (tmp_path / "blend.json").write_text('{"datasets": [{"name": "a", "path": "a.jsonl"}]}')
    manifest = run(tmp_path, blend=str(tmp_path / "blend.json"), valid_fraction=0.0)
    assert json.loads(Path(str(manifest.field("blend"))).read_text())["valid"] is None


def test_data_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"txt": "two"}\n')
    (tmp_path / "blend.json").write_text('{"datasets": [{"name": "a", "path": "a.jsonl"}]}')
    with pytest.raises(DataError, match=r"a\.jsonl:2: the record has no field 'text'"):
        run(tmp_path, blend=str(tmp_path / "blend.json"))
    assert not (tmp_path / "out").exists()


def test_a_set_without_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ""}\n')
    (tmp_path / "blend.json").write_text('{"datasets": [{"name": "a", "path": "a.jsonl"}]}')
    with pytest.raises(DataError, match="all texts of the data set 'a' are empty"):
        run(tmp_path, blend=str(tmp_path / "blend.json"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"valid_fraction": 1}, "valid_fraction"), ({"tokenizer": {"vocab_size": 0}}, r"tokenizer\.vocab_size is 0")],
)
def test_settings_that_make_no_sense(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, **changes)
