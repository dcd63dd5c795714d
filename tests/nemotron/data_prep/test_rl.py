from __future__ import annotations

import json
import tracemalloc
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import ConfigError, DataError
from nemo_runspec.stage.splits import read_split
from nemotron.data_prep import functions
from nemotron.data_prep.corpus import Document, split_of
from nemotron.data_prep.rl.reading import Reader
from tests.nemotron.data_prep.prompting import ROW, SEEDS, all_rows, blend, lines, prompts, run, tasks
from tests.nemotron.data_prep.small import small_tokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_runspec.artifacts import Manifest
    from nemotron.data_prep.rl.reading import Known


def test_prompts_come_from_modules_that_no_stage_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"m{number}.py" for number in range(80)]
    texts = {name: f'def do_{name[:-3]}(a, *b):\n    """Do."""\n    return a\n' for name in names}
    long = '\ndef much():\n    """' + "words " * 100 + '"""\n    return 1\n'
    documents = [Document(name, text + long) for name, text in texts.items()]
    monkeypatch.setattr(functions, "standard_library", lambda: documents)
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
    assert "left out 8 rows that repeat an earlier one" in capsys.readouterr().out


def test_rows_of_other_kinds_come_once_too(tmp_path: Path) -> None:
    rows = [{"responses_create_params": {"input": number}, "id": number} for number in range(4)]
    manifest = run(tmp_path, blend=blend(tmp_path, *rows, *rows, *[{"id": 1}] * 3), rows="any")
    made = lines(manifest, "train") + lines(manifest, "val")
    assert sorted(made, key=str) == sorted([*rows, {"id": 1}], key=str)
    assert manifest.field("repeated") == 6


def test_rows_of_other_kinds_with_one_prompt_are_all_learnt_or_measured_on(tmp_path: Path) -> None:
    rows = [{"responses_create_params": {"input": number // 3, "tools": [number]}} for number in range(30)]
    manifest = run(tmp_path, blend=blend(tmp_path, *rows), rows="any", val_rows=2)
    train, val = lines(manifest, "train"), lines(manifest, "val")

    def inputs(made: list[dict[str, object]]) -> set[object]:
        return {row["responses_create_params"]["input"] for row in made}  # type: ignore[index]  # an object

    assert len(val) == 2
    assert not inputs(train) & inputs(val)
    assert train == [row for row in rows if row["responses_create_params"]["input"] not in inputs(val)]
    assert manifest.field("repeated") == 30 - len(train) - 2
    assert manifest.field("not_drawn") == 0


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
    assert list((tmp_path / "out").glob("*/data")) == []
    assert not (tmp_path / "artifacts").exists()


def test_what_json_cannot_hold(tmp_path: Path) -> None:
    path = blend(tmp_path, {"a": 1}, {"a": float("nan")}, {"a": 2})
    with pytest.raises(DataError, match=r"mine\.jsonl:2: the line is not JSON"):
        run(tmp_path, blend=path, rows="any")
    Path(path).write_text('{"datasets": [{"name": "mine", "path": "mine.parquet"}]}')
    for value, said in (
        (datetime(2020, 1, 1, tzinfo=UTC), "datetime"),
        (float("inf"), "Out of range float"),
        (b"\x00", "bytes"),
        (Decimal("1.5"), "Decimal"),
    ):
        pq.write_table(pa.table({"a": [None, value, value]}), tmp_path / "mine.parquet")
        message = rf"mine\.parquet: row 2: the record cannot be written as JSON: .*{said}"
        with pytest.raises(DataError, match=message):
            run(tmp_path, blend=path, rows="any")


def raw_blend(folder: Path, **files: bytes | pa.Table) -> str:
    """Write data sets as they stand, and give the blend that names them."""
    datasets = []
    for name, content in files.items():
        path = folder / f"{name}.{'jsonl' if isinstance(content, bytes) else 'parquet'}"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            pq.write_table(content, path)
        datasets.append({"name": name, "path": path.name})
    (folder / "blend.json").write_text(json.dumps({"datasets": datasets}))
    return str(folder / "blend.json")


def raw_lines(manifest: Manifest, *splits: str) -> list[bytes]:
    places = [manifest.field(split) for split in splits]
    paths = [path for place in places for path in (place if isinstance(place, list) else [place])]
    return [line for path in paths for line in Path(str(path)).read_bytes().splitlines(keepends=True)]


def test_rows_pass_through_byte_for_byte(tmp_path: Path) -> None:
    rows = [
        b'{"id":1,  "b": 1.0,\t"c" :[ ]}',
        b'{"z": "\\u00e9 \xc3\xa9", "a": 12345678901234567890, "a": 1e400000}'.replace(b"1e400000", b"1E5"),
        b' {"n": 0.1000000000000000055511151231257827} ',
    ]
    path = raw_blend(tmp_path, mine=b"\xef\xbb\xbf" + b"\r\n".join(rows) + b"\n\n  \n" + b'{"last": null}')
    manifest = run(tmp_path, blend=path, rows="any", val_rows=1)
    expected = [*rows, b'{"last": null}']
    assert sorted(raw_lines(manifest, "train", "val")) == sorted(row + b"\n" for row in expected)


def test_only_what_some_readers_take_for_the_end_of_a_line_is_written_otherwise(tmp_path: Path) -> None:
    text = '{"a": "\u2028\u2029\x85\u00e9", \r "b":  1}'
    path = raw_blend(tmp_path, mine=text.encode() + b"\n" + b'{"c": 1}\n')
    manifest = run(tmp_path, blend=path, rows="any", val_rows=1)
    made = b"".join(raw_lines(manifest, "train", "val")).decode()
    assert made.splitlines() == made.removesuffix("\n").split("\n")
    assert '{"a": "\\u2028\\u2029\\u0085\u00e9",   "b":  1}' in made


def test_rows_of_parquet_become_lines(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a \u2028", "b"], "n": [[1, None], []], "x": [{"y": 1.5}, None]})
    manifest = run(tmp_path, blend=raw_blend(tmp_path, mine=table), rows="any", val_rows=1)
    assert sorted(raw_lines(manifest, "train", "val")) == [
        b'{"prompt":"a \\u2028","n":[1,null],"x":{"y":1.5}}\n',
        b'{"prompt":"b","n":[],"x":null}\n',
    ]


def split_blend(folder: Path, **splits: Sequence[object]) -> str:
    document: dict[str, object] = {}
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        document[split] = [{"name": split, "path": f"{split}.jsonl"}]
    (folder / "blend.json").write_text(json.dumps(document))
    return str(folder / "blend.json")


def test_a_blend_may_say_itself_what_is_for_what(tmp_path: Path) -> None:
    path = split_blend(tmp_path, train=tasks("a", 5), valid=[*tasks("b", 3), *tasks("a", 2)], test=tasks("c", 2))
    manifest = run(tmp_path, blend=path, val_rows=1)
    assert prompts(manifest, "train") == ["a 2", "a 3", "a 4"], "what is measured on is not learnt"
    assert prompts(manifest, "val") == ["b 0", "b 1", "b 2", "a 0", "a 1"]
    assert prompts(manifest, "test") == ["c 0", "c 1"]
    assert Path(str(manifest.field("test"))).relative_to(manifest.path).as_posix() == "test/test.jsonl"
    document = json.loads(Path(str(manifest.field("manifest"))).read_text())
    assert (document["mode"], document["test_rows"], document["repeated"]) == ("blend_splits", 2, 2)
    only = run(tmp_path / "only", blend=split_blend(tmp_path, train=tasks("a", 5)))
    assert (only.field("val"), only.field("test"), len(prompts(only, "train"))) == ("", "", 5)


def test_a_split_without_rows_is_told(tmp_path: Path) -> None:
    path = split_blend(tmp_path, train=tasks("a", 2), valid=tasks("a", 3))
    with pytest.raises(DataError, match=r"blend\.json: no row is left to use for train"):
        run(tmp_path, blend=path)


def test_rows_are_dealt_to_several_files(tmp_path: Path) -> None:
    path = blend(tmp_path, *tasks("a", 12))
    whole, dealt = (run(tmp_path / str(count), blend=path, shards_per_split=count) for count in (1, 4))
    names = [Path(place).name for place in dealt.field("train")]  # type: ignore[attr-defined]  # a list of paths
    assert names == [f"train-{shard:05d}-of-00004.jsonl" for shard in range(4)]
    assert [Path(place).name for place in dealt.field("val")] == [  # type: ignore[attr-defined]  # as above
        "val-00000-of-00002.jsonl",
        "val-00001-of-00002.jsonl",
    ], "no file is empty"
    rows = raw_lines(whole, "train")
    files = [Path(place).read_bytes().splitlines(keepends=True) for place in dealt.field("train")]  # type: ignore[attr-defined]  # as above
    assert files == [rows[shard::4] for shard in range(4)]
    document = json.loads(Path(str(dealt.field("manifest"))).read_text())
    assert document["train"] == dealt.field("train")
    assert read_split(dealt.path, "train") == dealt.field("train")
    hashes = {json.loads(Path(str(one.field("manifest"))).read_text())["run_hash"] for one in (whole, dealt)}
    assert len(hashes) == 1, "the same rows"


BROKEN = b'{"prompt": "x"}\n{"prompt": \n[1]\n{"prompt": "y"}\n{"_hf_placeholder": {"row": 3}}\n{"prompt": "z"}\n'


def test_records_that_cannot_be_used_are_skipped_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = raw_blend(tmp_path, mine=BROKEN)
    with pytest.raises(DataError, match=r"mine\.jsonl:2: the line is not JSON"):
        run(tmp_path, blend=path, rows="any", val_rows=1)
    manifest = run(tmp_path, blend=path, rows="any", val_rows=1, on_error="skip")
    assert sorted(raw_lines(manifest, "train", "val")) == [b'{"prompt": "%c"}\n' % letter for letter in b"xyz"]
    listed = [json.loads(line) for line in (Path(manifest.path) / "skipped.jsonl").read_text().splitlines()]
    assert [entry["where"].removeprefix(f"{tmp_path}/") for entry in listed] == [f"mine.jsonl:{n}" for n in (2, 3, 5)]
    assert "pointer to a row of another data set" in listed[2]["message"]
    assert (manifest.field("skipped"), manifest.field("records")) == (3, 6)
    assert "left out 3 records that cannot be used; skipped.jsonl lists them" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["any", "function"])
def test_a_row_that_is_only_a_pointer_says_what_to_do(tmp_path: Path, kind: str) -> None:
    pointer = {"_hf_placeholder": {"row": 7, "question_template": "{}"}, "dataset": "math"}
    with pytest.raises(DataError, match=r"mine\.jsonl:2: the record is only a pointer[^\n]*\n.*on_error=skip"):
        run(tmp_path, blend=blend(tmp_path, ROW, pointer), rows=kind)


def test_a_sample_has_the_first_rows_of_each_set(tmp_path: Path) -> None:
    path = blend(tmp_path, *tasks("a", 20), more=tasks("b", 3))
    manifest = run(tmp_path, blend=path, sample=5)
    made = sorted(prompts(manifest, "train") + prompts(manifest, "val"))
    assert made == [f"a {number}" for number in range(5)] + [f"b {number}" for number in range(3)]


def test_a_set_without_records(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"blend\.json:1: the data set 'none' has no records"):
        run(tmp_path, blend=raw_blend(tmp_path, mine=b'{"a": 1}\n', none=b"\n \n"), rows="any")


def test_the_same_input_is_found_again_and_another_is_prepared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = blend(tmp_path, *tasks("a", 8))
    first = run(tmp_path, blend=path)
    file = Path(str(first.field("train")))
    written = file.stat().st_mtime_ns
    (tmp_path / "mine.jsonl").touch()
    again = run(tmp_path, blend=path)
    assert "reused made:" in capsys.readouterr().out
    assert (again.field("train"), file.stat().st_mtime_ns) == (str(file), written)
    blend(tmp_path, *tasks("b", 8))
    assert prompts(run(tmp_path, blend=path), "train")[0].startswith("b")
    blend(tmp_path, *tasks("a", 8), weight=2)
    weighted = run(tmp_path, blend=path).path
    assert weighted not in {first.path, ""}
    (tmp_path / "tokenizer" / "special_tokens_map.json").write_text('{"bos_token": "<|pad|>"}')
    assert run(tmp_path, blend=path).path not in {first.path, weighted}


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = blend(tmp_path, *tasks("a", 8))
    look = Reader.look

    def late(reader: Reader) -> Known:
        known = look(reader)
        (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in tasks("c", 8)))
        return known

    monkeypatch.setattr(Reader, "look", late)
    with pytest.raises(DataError, match="has changed while it was read"):
        run(tmp_path, blend=path)
    assert list((tmp_path / "out").glob("*/data")) == []


def most_memory(folder: Path, rows: int) -> int:
    """Prepare so many rows of 10 kB, and give the most bytes that were held meanwhile."""
    folder.mkdir()
    with (folder / "mine.jsonl").open("wb") as stream:
        for number in range(rows):
            stream.write(b'{"prompt": "%d %s"}\n' % (number, b"words " * 1700))
    (folder / "blend.json").write_text('{"datasets": [{"name": "mine", "path": "mine.jsonl"}]}')
    small_tokenizer(folder / "tokenizer")
    tracemalloc.start()
    run(folder, blend=str(folder / "blend.json"), rows="any", val_rows=100)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_rows_are_not_held(tmp_path: Path) -> None:
    few, many = most_memory(tmp_path / "few", 1000), most_memory(tmp_path / "many", 4000)
    assert many - few < 8 << 20, "30 MB more of input"


def test_too_few_rows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2 rows are left to use, and val_rows keeps 2"):
        run(tmp_path, blend=blend(tmp_path, *tasks("do", 2), *tasks("do", 2)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rows": "fuction"}, r"rows is 'fuction'\n.*'function'"),
        ({"on_error": "skp"}, r"on_error is 'skp'\n.*'skip'"),
        ({"shards_per_split": 0}, "shards_per_split is 0"),
        ({"sample": 0}, "sample is 0"),
        ({"tokenizer": {"path": None}}, "tokenizer.path is null"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, **changes)
