"""Data blends: what is read, and that every mistake is found with its file and line before anything is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.blend import blend_identity, load_blend, read_rows

if TYPE_CHECKING:
    from pathlib import Path


def write_blend(folder: Path, *datasets: dict[str, object], **others: object) -> Path:
    path = folder / "blend.json"
    path.write_text(json.dumps({"datasets": list(datasets), **others}, indent=1))
    return path


def write_lines(folder: Path, *lines: str, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_a_blend_with_defaults(tmp_path: Path) -> None:
    file = write_lines(tmp_path, '{"text": "a"}', "", '{"text": "b", "n": 1}')
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "data.jsonl", "_comment": "ours"}))
    assert (source.name, source.files, source.weight) == ("mine", (file,), 1.0)
    rows = read_rows(source)
    assert [(row.text(source.text_field), row.number) for row in rows] == [("a", 1), ("b", 3)]


def test_a_mark_at_the_beginning_and_characters_of_two_halves(tmp_path: Path) -> None:
    content = rb'{"text": "\ud83d\ude00"}'
    (tmp_path / "data.jsonl").write_bytes(b"\xef\xbb\xbf" + content)
    path = write_blend(tmp_path, {"name": "mine", "path": "data.jsonl"})
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    (source,) = load_blend(path)
    assert [row.text("text") for row in read_rows(source)] == ["\U0001f600"]


def test_a_folder_of_jsonl_and_parquet(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.table({"body": ["one", "two"]}), folder / "a.parquet")
    write_lines(folder, '{"body": "three"}', name="b.jsonl")
    write_lines(folder, "not data", name="README.md")
    entry = {"name": "parts", "path": "parts", "text_field": "body", "weight": 2}
    (source,) = load_blend(write_blend(tmp_path, entry))
    assert [row.text("body") for row in read_rows(source)] == ["one", "two", "three"]


def test_the_identity_follows_the_content(tmp_path: Path) -> None:
    path = write_blend(tmp_path, {"name": "mine", "path": "data.jsonl"})
    write_lines(tmp_path, '{"text": "a"}')
    before = blend_identity(path, load_blend(path))
    assert blend_identity(path, load_blend(path)) == before
    write_lines(tmp_path, '{"text": "b"}')
    assert blend_identity(path, load_blend(path)) != before


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"path": "data.jsonl"}, "a data set has no 'name'"),
        ({"name": "mine"}, "a data set has no 'path'"),
        ({"name": 3, "path": "data.jsonl"}, "'name' of a data set is a number"),
        ({"name": "../x", "path": "data.jsonl"}, "is no name"),
        (
            {"name": "mine", "path": "data.jsonl", "wieght": 2},
            r":6: the data blend has an unknown key 'wieght'\n.*'weight'",
        ),
        ({"name": "mine", "path": "data.jsonl", "weight": 0}, r":6: the weight of 'mine' is 0"),
        ({"name": "mine", "path": "data.jsonl", "weight": -1.5}, r"is -1\.5"),
        ({"name": "mine", "path": "data.jsonl", "weight": "2"}, r"is '2'"),
        ({"name": "mine", "path": "data.jsonl", "weight": True}, r"is True"),
        ({"name": "mine", "path": "nothing.jsonl"}, r":5: the data file '.*nothing\.jsonl' does not exist"),
        ({"name": "mine", "path": "data.txt"}, "neither JSONL nor Parquet"),
        ({"name": "mine", "path": "empty"}, r"holds no \.jsonl"),
        ({"name": "mine", "path": "data.jsonl", "weight": 10**400}, r":6: the weight of 'mine' is 1000.*\.\.\."),
        ({"name": "mine", "path": "data.jsonl", "weight": float("nan")}, r"is nan"),
        ({"name": "mine", "path": "~nouser/x"}, r":5: '~nouser/x' is no path that can be read"),
        ({"name": "mine", "path": "x" * 5000}, r":5: 'x+\.\.\.' is no path that can be read: File name too long"),
        ({"name": "mine", "path": "a\0"}, "is no path that can be read"),
        ({"name": "m" * 101, "path": "data.jsonl"}, r"'m+\.\.\.' is no name"),
        ({"name": "mine", "path": "s3://bucket/data.jsonl"}, "remote path"),
    ],
)
def test_a_mistake_in_an_entry(tmp_path: Path, entry: dict[str, object], said: str) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    write_lines(tmp_path, "a", name="data.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=said) as caught:
        load_blend(write_blend(tmp_path, entry))
    assert caught.value.exit_code == 2
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "the data blend is empty"),
        ("[]", "no list 'datasets'"),
        ('{"datasets": []}', "no list 'datasets'"),
        (r'{"datasets": [{"name": "a", "path": "\ud800"}]}', "half of a surrogate pair"),
        ("[" * 100_000, "nested too deeply"),
        ('{"datasets": [{"weight": ' + "9" * 5000 + "}]}", "too many digits"),
        ('{"datasets": [3]}', "is a number, not an object"),
        ('{"datasets": [],\n "train": }', ":2: the data blend is not JSON"),
    ],
)
def test_a_file_that_is_no_blend(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "blend.json"
    path.write_text(content)
    with pytest.raises(DataError, match=said):
        load_blend(path)


def test_a_blend_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_blend(tmp_path / "blend.json")


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ('"name": "b", "path": "data.jsonl", "weight": 0', r":3: the weight of 'b' is 0"),
        ('"name": "b", "path": "gone.jsonl", "weight": 1', r":3: the data file '.*gone\.jsonl' does not exist"),
        ('"name": "a", "path": "data.jsonl"', ":3: two data sets are called 'a'"),
        ('"path": "data.jsonl"', ":3: a data set has no 'name'"),
        ('"name": "b", "path": "data.jsonl", "weihgt": 1', ":3: the data blend has an unknown key 'weihgt'"),
        ('"name": "b", "path": "data.jsonl",\n "messages": 1', ":4: the key 'messages' of a data set is a number"),
        ('"name": "weight", "path": "data.jsonl",\n\n "\\u0077eight": -1', ":5: the weight of 'weight' is -1"),
    ],
)
def test_the_line_of_a_mistake_is_that_of_its_data_set(tmp_path: Path, second: str, said: str) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    first = '{"name": "a", "path": "data.jsonl", "weight": 1, "messages": "weihgt", "_note": ["weihgt", {}]}'
    path = tmp_path / "blend.json"
    path.write_text(f'{{"_weihgt": "datasets", "datasets": [\n{first},\n{{{second}}}]}}')
    with pytest.raises(DataError, match=rf"blend\.json{said}"):
        load_blend(path)


def test_of_two_lists_the_last_counts(tmp_path: Path) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    path = tmp_path / "blend.json"
    path.write_text('{"datasets": [],\n"datasets": [\n{"name": "a", "path": "data.jsonl",\n"weight": 0}]}')
    with pytest.raises(DataError, match=r"blend\.json:4: the weight"):
        load_blend(path)


def test_an_unknown_key_beside_the_data_sets(tmp_path: Path) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    path = write_blend(tmp_path, {"name": "mine", "path": "data.jsonl"}, valid=[], _note="fine")
    with pytest.raises(DataError, match="unknown key 'valid'"):
        load_blend(path)


def test_two_sets_of_one_name(tmp_path: Path) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    entry: dict[str, object] = {"name": "mine", "path": "data.jsonl"}
    with pytest.raises(DataError, match="two data sets are called 'mine'"):
        load_blend(write_blend(tmp_path, entry, entry))


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([], r"data\.jsonl: the data file is empty"),
        (["", "  "], r"data\.jsonl: the data file is empty"),
        (['{"text": "a"}', "{oops"], r"data\.jsonl:2: the line is not JSON"),
        (['{"text": "a"}', "", "[1]"], r"data\.jsonl:3: the line holds a list"),
        (['{"text": "\\ud83d\\ude00"}', r'{"t": [{"n": "\ud800 x"}]}'], r"data\.jsonl:2: .* half of a surrogate pair"),
        ([r'{"\uDFFF": 1}'], r"data\.jsonl:1: .* half of a surrogate pair"),
        (["\xed\xa0\x80"], r"data\.jsonl:1: the line is not JSON"),
        (["{}", '{"text":' + "[" * 100_000 + "]" * 100_000 + "}"], r"data\.jsonl:2: .* nested more than 100 deep"),
        (["{}", '{"text":' + "[" * 100 + "]" * 100 + "}"], r"data\.jsonl:2: .* nested more than 100 deep"),
        (["{}", '{"n": ' + "9" * 5000 + "}"], r"data\.jsonl:2: the line holds a number of too many digits"),
        (["\xff"], r"data\.jsonl:1: the line is not JSON"),
    ],
)
def test_a_line_that_is_no_record(tmp_path: Path, lines: list[str], said: str) -> None:
    (tmp_path / "data.jsonl").write_bytes("".join(f"{line}\n" for line in lines).encode("latin-1"))
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "data.jsonl"}))
    with pytest.raises(DataError, match=said):
        read_rows(source)


def test_a_list_as_deep_as_allowed_and_a_long_one(tmp_path: Path) -> None:
    write_lines(
        tmp_path, '{"text": "a", "n":' + "[" * 99 + "]" * 99 + "}", '{"text": "b", "n": [' + "[]," * 500 + "1]}"
    )
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "data.jsonl"}))
    assert [row.text("text") for row in read_rows(source)] == ["a", "b"]


def test_a_folder_with_a_folder_that_looks_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "parts" / "x.jsonl").mkdir(parents=True)
    path = write_blend(tmp_path, {"name": "mine", "path": "parts"})
    with pytest.raises(DataError, match="holds no"):
        load_blend(path)
    file = write_lines(tmp_path / "parts", '{"text": "a"}')
    assert load_blend(path)[0].files == (file,)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "gone.jsonl").symlink_to(tmp_path / "nowhere.jsonl")
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "parts"}))
    with pytest.raises(DataError, match=r"gone\.jsonl: the data file cannot be read: No such file"):
        read_rows(source)


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    text = pa.array([b"a", b"b", b"\xff\xfe"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": text}), tmp_path / "data.parquet")
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "data.parquet"}))
    with pytest.raises(DataError, match=r"data\.parquet: row 3: the record cannot be read: .*utf-8"):
        read_rows(source)


def test_a_blend_at_a_path_too_long(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        load_blend(tmp_path / ("x" * 5000))


def test_a_record_without_the_field(tmp_path: Path) -> None:
    write_lines(tmp_path, '{"text": "a"}', '{"txet": "b"}', '{"text": 3}')
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "data.jsonl"}))
    rows = read_rows(source)
    with pytest.raises(DataError, match=r"data\.jsonl:2: the record has no field 'text'\n.*'txet'"):
        rows[1].text("text")
    with pytest.raises(DataError, match=r"data\.jsonl:3: the field 'text' holds a number, not text"):
        rows[2].text("text")


def test_a_parquet_row_is_named_by_its_number(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a", None]}), tmp_path / "data.parquet")
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "data.parquet"}))
    with pytest.raises(DataError, match=r"data\.parquet: row 2: the field 'text' holds null"):
        read_rows(source)[1].text("text")


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"not parquet")
    (source,) = load_blend(write_blend(tmp_path, {"name": "mine", "path": "data.parquet"}))
    with pytest.raises(DataError, match="not readable Parquet"):
        read_rows(source)
