from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep import rl, sft
from nemotron.data_prep.corpus import Document, split_of
from tests.nemotron.data_prep.small import small_tokenizer
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from nemo_runspec.artifacts import Manifest

ROW = {"prompt": "Write add.", "expected": {"name": "add", "arguments": ["a", "*rest"]}}


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


def blend(folder: Path, *rows: object) -> str:
    (folder / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (folder / "blend.json").write_text('{"datasets": [{"name": "mine", "path": "mine.jsonl"}]}')
    return str(folder / "blend.json")


def lines(manifest: Manifest, split: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in Path(str(manifest.field(split))).read_text().splitlines()]


def test_prompts_come_from_modules_that_no_stage_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"m{number}.py" for number in range(80)]
    texts = {name: f'def do_{name[:-3]}(a, *b):\n    """Do."""\n    return a\n' for name in names}
    long = '\ndef much():\n    """' + "words " * 100 + '"""\n    return 1\n'
    monkeypatch.setattr(sft, "standard_library", lambda: [Document(name, text + long) for name, text in texts.items()])
    manifest = run(tmp_path)
    for split, part in (("train", "rl"), ("val", "valid")):
        expected = [{"name": f"do_{name[:-3]}", "arguments": ["a", "*b"]} for name in names if split_of(name) == part]
        assert [row["expected"] for row in lines(manifest, split)] == expected
    assert lines(manifest, "val")[0]["prompt"][0]["content"].startswith("def do_")  # type: ignore[index]  # a list of messages


def test_the_manifest_names_the_files(tmp_path: Path) -> None:
    manifest = run(tmp_path, blend=blend(tmp_path, *[ROW] * 5))
    document = json.loads(Path(str(manifest.field("manifest"))).read_text())
    assert (document["train"], document["val"], document["test"]) == (
        manifest.field("train"),
        manifest.field("val"),
        "",
    )
    assert (document["mode"], document["train_rows"], document["val_rows"]) == ("local_split", 3, 2)
    assert Path(document["train"]).relative_to(manifest.path).as_posix() == "train/train.jsonl"


def test_a_text_becomes_the_user_s_message(tmp_path: Path) -> None:
    manifest = run(
        tmp_path, blend=blend(tmp_path, ROW, {**ROW, "prompt": [{"role": "user", "content": "x"}]}, ROW, ROW)
    )
    assert [row["prompt"] for row in lines(manifest, "train")] == [
        [{"role": "user", "content": "Write add."}],
        [{"role": "user", "content": "x"}],
    ]


def test_other_rows_pass_through(tmp_path: Path) -> None:
    rows = [{"anything": number} for number in range(4)]
    manifest = run(tmp_path, blend=blend(tmp_path, *rows), rows="any")
    assert lines(manifest, "train") + lines(manifest, "val") == rows


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"expected": ROW["expected"]}, "no field 'prompt'"),
        ({"prompt": "x"}, "no field 'expected'"),
        ({"prompt": "x", "expected": {"name": "add"}}, "lacks 'name' or 'arguments'"),
        ({"prompt": "x", "expected": {"name": "a b", "arguments": []}}, "not the name of a function"),
        ({"prompt": "x", "expected": {"name": "add", "arguments": "a"}}, "not a list of names"),
    ],
)
def test_a_row_that_the_reward_cannot_check(tmp_path: Path, row: object, said: str) -> None:
    with pytest.raises(DataError, match=rf"mine\.jsonl:2: .*{said}"):
        run(tmp_path, blend=blend(tmp_path, ROW, row, ROW))
    assert not (tmp_path / "out").exists()


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are 2 rows, and val_rows keeps 2"):
        run(tmp_path, blend=blend(tmp_path, ROW, ROW))


def test_an_unknown_kind_of_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows is 'fuction'\n.*'function'"):
        run(tmp_path, rows="fuction")
