"""Data blends: what is read, and that every mistake is found with its file and line before anything is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.blend import ALL, DataSet, load_blend
from nemotron.data_prep.sources import Format

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


def only(path: Path) -> DataSet:
    (data_set,) = load_blend(path).splits[ALL]
    return data_set


def test_a_blend_with_defaults(tmp_path: Path) -> None:
    file = write_lines(tmp_path, '{"text": "a"}')
    path = write_blend(tmp_path, {"name": "mine", "path": "data.jsonl", "_comment": "ours"})
    blend = load_blend(path)
    assert (blend.path, list(blend.splits)) == (path, ["all"])
    one = only(path)
    assert (one.name, [item.url for item in one.files], one.weight) == ("mine", [str(file)], 1.0)
    assert (one.text_field, one.messages, one.tools, one.used_in) == ("text", "messages", "tools", "used_in")
    assert one.where == Location(path, 3)


def test_every_key(tmp_path: Path) -> None:
    write_lines(tmp_path, "a", name="a.txt")
    entry: dict[str, object] = {
        "name": "mine",
        "path": "*.txt",
        "weight": 2,
        "split": None,
        "subset": None,
        "text_field": "body",
        "messages_field": "chat",
        "tools": "functions",
        "used_in": "phase",
        "document": "line",
    }
    one = only(write_blend(tmp_path, entry))
    assert (one.text_field, one.messages, one.tools, one.used_in) == ("body", "chat", "functions", "phase")
    assert [(item.format, item.document) for item in one.files] == [(Format.TEXT, "line")]


def test_splits_that_are_given(tmp_path: Path) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    entry = {"name": "mine", "path": "data.jsonl"}
    path = tmp_path / "blend.json"
    path.write_text(json.dumps({"valid": [entry], "train": [entry, {**entry, "name": "more"}]}))
    splits = load_blend(path).splits
    assert {name: [one.name for one in sets] for name, sets in splits.items()} == {
        "train": ["mine", "more"],
        "valid": ["mine"],
    }


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ('"datasets": [ENTRY],\n"valid": [ENTRY]', r":2: the data blend has 'datasets' and also 'valid'"),
        ('"train": [],\n"test": [ENTRY]', r":1: .*no list 'train': it is empty"),
        ('"train": [ENTRY],\n"test": {}', r":2: .*no list 'test': it is an object"),
        ('"test": [ENTRY]', r":1: the data blend has 'test' and no 'train'"),
        ('"train": [ENTRY,\n\nENTRY]', r":3: two data sets are called 'a'"),
        ('"train": [ENTRY], "valid": [\n3]', r":2: an entry of 'valid' is a number"),
        ('"_note": 1', "no list 'datasets'"),
    ],
)
def test_a_mistake_in_the_lists(tmp_path: Path, lists: str, said: str) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    path = tmp_path / "blend.json"
    path.write_text("{" + lists.replace("ENTRY", '{"name": "a", "path": "data.jsonl"}') + "}")
    with pytest.raises(DataError, match=said):
        load_blend(path)


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
        ({"name": "mine", "path": "data.csv"}, "neither JSONL nor Parquet"),
        ({"name": "mine", "path": "nothing-*.jsonl"}, r":5: 'nothing-\*\.jsonl' finds no"),
        ({"name": "mine", "path": "none.jsonl"}, r":5: the data file 'none\.jsonl' is empty"),
        ({"name": "mine", "path": "data.jsonl", "split": "train"}, "is no repository of the Hub"),
        ({"name": "mine", "path": "data.jsonl", "document": "page"}, "'page' is no kind of document"),
        (
            {"name": "mine", "path": "data.jsonl", "tools": "a", "tools_field": "b"},
            ":7: .*'tools' and also 'tools_field'",
        ),
        ({"name": "mine", "path": "empty"}, r"holds no \.jsonl"),
        ({"name": "mine", "path": "data.jsonl", "weight": 10**400}, r":6: the weight of 'mine' is 1000.*\.\.\."),
        ({"name": "mine", "path": "data.jsonl", "weight": float("nan")}, r"is nan"),
        ({"name": "mine", "path": "~nouser/x"}, r":5: '~nouser/x' is no path that can be read"),
        ({"name": "mine", "path": "x" * 5000}, r":5: 'x+\.\.\.' is no path that can be read: File name too long"),
        ({"name": "mine", "path": "a\0"}, "is no path that can be read"),
        ({"name": "m" * 101, "path": "data.jsonl"}, r"'m+\.\.\.' is no name"),
        ({"name": "mine", "path": "ftq://bucket/data.jsonl"}, r":5: 'ftq://.*' cannot be opened: Protocol not known"),
    ],
)
def test_a_mistake_in_an_entry(tmp_path: Path, entry: dict[str, object], said: str) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    write_lines(tmp_path, "a", name="data.csv")
    write_lines(tmp_path, name="none.jsonl")
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
    path = write_blend(tmp_path, {"name": "mine", "path": "data.jsonl"}, dataset=[], _note="fine")
    with pytest.raises(DataError, match="unknown key 'dataset'"):
        load_blend(path)


def test_two_sets_of_one_name(tmp_path: Path) -> None:
    write_lines(tmp_path, '{"text": "a"}')
    entry: dict[str, object] = {"name": "mine", "path": "data.jsonl"}
    with pytest.raises(DataError, match="two data sets are called 'mine'"):
        load_blend(write_blend(tmp_path, entry, entry))


def test_a_blend_at_a_path_too_long(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        load_blend(tmp_path / ("x" * 5000))
