from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep import rl, sft
from nemotron.data_prep.corpus import Document, split_of
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
    manifest = run(tmp_path, blend=blend(tmp_path, *tasks("do", 5)))
    document = json.loads(Path(str(manifest.field("manifest"))).read_text())
    assert (document["train"], document["val"], document["test"]) == (
        manifest.field("train"),
        manifest.field("val"),
        "",
    )
    assert (document["mode"], document["train_rows"], document["val_rows"]) == ("local_split", 3, 2)
    assert Path(document["train"]).relative_to(manifest.path).as_posix() == "train/train.jsonl"


def test_a_text_becomes_the_user_s_message(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "x"}]
    manifest = run(tmp_path, blend=blend(tmp_path, ROW, {**ROW, "prompt": messages}), val_rows=1)
    made = [row["prompt"] for split in ("train", "val") for row in lines(manifest, split)]
    assert sorted(map(str, made)) == sorted(map(str, [[{"role": "user", "content": "Write add."}], messages]))


def test_other_rows_pass_through(tmp_path: Path) -> None:
    rows = [{"anything": number} for number in range(4)]
    manifest = run(tmp_path, blend=blend(tmp_path, *rows), rows="any")
    made = lines(manifest, "train") + lines(manifest, "val")
    assert sorted(made, key=str) == rows


def test_validation_has_its_part_of_each_set_by_the_seed(tmp_path: Path) -> None:
    path = blend(tmp_path, *tasks("a", 20), more=tasks("b", 10))
    first, again, other = (run(tmp_path / name, blend=path, val_rows=6, seed=seed) for name, seed in SEEDS)
    val = prompts(first, "val")
    assert sorted(prompt[0] for prompt in val) == list("aaaabb")
    assert val == prompts(again, "val") != prompts(other, "val")
    assert sorted(val + prompts(first, "train")) == sorted(str(row["prompt"]) for row in all_rows(path))
    assert prompts(first, "val") != [f"b {number}" for number in range(4, 10)]


def test_a_row_is_one_line_to_every_reader(tmp_path: Path) -> None:
    manifest = run(tmp_path, blend=blend(tmp_path, *tasks("\u2028 \x85 \x0c \u00e9", 4)))
    assert {prompt[:-2] for prompt in prompts(manifest, "train")} == {"\u2028 \x85 \x0c \u00e9"}
    assert len(prompts(manifest, "train")) == 2


def test_a_prompt_comes_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = [{**ROW, "prompt": [{"role": "user", "content": "a 1"}]}]
    manifest = run(tmp_path, blend=blend(tmp_path, *tasks("a", 5), *tasks("a", 5), more=same * 3))
    assert sorted(prompts(manifest, "train") + prompts(manifest, "val")) == [f"a {number}" for number in range(5)]
    assert manifest.field("repeated") == 8
    assert "left out 8 rows whose prompt an earlier row has" in capsys.readouterr().out


def test_rows_of_other_kinds_come_once_too(tmp_path: Path) -> None:
    rows = [{"responses_create_params": {"input": number % 4}, "id": number} for number in range(8)]
    manifest = run(tmp_path, blend=blend(tmp_path, *rows, *[{"id": 1}] * 3), rows="any")
    made = lines(manifest, "train") + lines(manifest, "val")
    assert sorted(made, key=str) == sorted([*rows[:4], {"id": 1}], key=str)


def test_weights_are_shares_of_the_training_rows(tmp_path: Path) -> None:
    manifest = run(tmp_path, blend=blend(tmp_path, *tasks("a", 11), weight=3, more=tasks("b", 11)), rows="any")
    assert sorted(str(row["prompt"])[0] for row in lines(manifest, "train")) == list("aaaaaaaaaabbb")


def test_long_prompts_of_a_blend_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = run(tmp_path, blend=blend(tmp_path, *tasks("a", 4), {**ROW, "prompt": "much " * 60}))
    assert manifest.field("left_out") == 1
    assert len(prompts(manifest, "train")) + len(prompts(manifest, "val")) == 4
    assert "left out 1 prompts of more than 60 tokens (max_prompt_tokens)" in capsys.readouterr().out


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


def test_what_json_cannot_hold(tmp_path: Path) -> None:
    path = blend(tmp_path, {"a": 1}, {"a": float("nan")}, {"a": 2})
    with pytest.raises(DataError, match=r"mine\.jsonl:2: the record cannot be written as JSON"):
        run(tmp_path, blend=path, rows="any")
    times = pa.table({"a": [datetime(2020, 1, 1, tzinfo=UTC)] * 3})
    pq.write_table(times, tmp_path / "mine.parquet")
    Path(path).write_text('{"datasets": [{"name": "mine", "path": "mine.parquet"}]}')
    with pytest.raises(DataError, match=r"mine\.parquet: row 1: the record cannot be written as JSON: .*datetime"):
        run(tmp_path, blend=path, rows="any")


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 rows are left to use, and val_rows keeps 2"):
        run(tmp_path, blend=blend(tmp_path, *tasks("do", 2), *tasks("do", 2)))


def test_an_unknown_kind_of_rows(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"rows is 'fuction'\n.*'function'"):
        run(tmp_path, rows="fuction")
