"""Files on this machine: one, a folder, a pattern; what counts as data, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.sources import Format, list_files
from tests.nemotron.data_prep.sources.made import local


def names(path: Path | str, base: Path | None = None) -> list[str]:
    return [Path(file.url).name for file in local(path, base=base)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts = tmp_path / "parts"
    (parts / "deeper").mkdir(parents=True)
    (parts / "looks-like.jsonl").mkdir()
    for name in (
        "b.jsonl",
        "a.json.gz",
        "c.PARQUET",
        "notes.txt",
        "README.md",
        "x.csv",
        ".hidden.jsonl",
        "deeper/d.pq",
    ):
        (parts / name).write_bytes(b"content")
    (parts / "empty.jsonl").write_bytes(b"")
    return parts


def test_a_folder_gives_its_data_and_not_what_is_about_them(folder: Path) -> None:
    assert names(folder) == ["a.json.gz", "b.jsonl", "c.PARQUET"]
    assert names("parts", folder.parent) == names(f"file://{folder}") == names(folder)
    files = local(folder)
    assert [(file.format, file.compression) for file in files] == [
        (Format.JSON_LINES, "gzip"),
        (Format.JSON_LINES, None),
        (Format.PARQUET, None),
    ]
    assert {(file.size, file.identity) for file in files} == {(7, None)}


def test_a_folder_of_texts(tmp_path: Path) -> None:
    for name in ("b.md", "a.txt.zst", "c.csv"):
        (tmp_path / name).write_bytes(b"content")
    assert names(tmp_path) == ["a.txt.zst", "b.md"]


def test_a_pattern_gives_what_it_matches(folder: Path) -> None:
    assert names("parts/*.md", folder.parent) == ["README.md"]
    assert names(f"{folder}/**/*.p*") == ["d.pq"]
    assert names(f"{folder}/[ab]*") == ["a.json.gz", "b.jsonl"]
    (folder / "odd[1].jsonl").write_bytes(b"{}")
    assert names(f"{folder}/odd[1].jsonl") == ["odd[1].jsonl"]


def test_a_home_folder_and_a_link(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert names("~/b.jsonl") == ["b.jsonl"]
    (folder.parent / "link.jsonl").symlink_to(folder / "notes.txt")
    (file,) = local(folder.parent / "link.jsonl")
    assert (file.format, Path(file.url).name) == (Format.JSON_LINES, "link.jsonl")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("gone.jsonl", r"the data file '.*gone\.jsonl' does not exist"),
        ("parts/x.csv", "is neither JSONL nor Parquet nor text"),
        ("parts/empty.jsonl", "the data file 'parts/empty.jsonl' is empty"),
        ("parts/e*.jsonl", "is empty"),
        ("parts/*.csv", r"'parts/\*\.csv' finds no"),
        ("nothing", "does not exist"),
        ("parts/deeper/d.pq.gz", "does not exist"),
        ("bare", "the folder 'bare' holds no"),
        ("~nobody-of-this-name/x", "is no path that can be read"),
        ("a\0b", "is no path that can be read"),
    ],
)
def test_a_path_without_data(folder: Path, path: str, said: str) -> None:
    (folder.parent / "bare").mkdir()
    with pytest.raises(DataError, match=said) as caught:
        local(path, base=folder.parent)
    assert caught.value.remedy


def test_what_only_some_paths_have(folder: Path) -> None:
    with pytest.raises(DataError, match="is no repository of the Hub"):
        list_files("parts", base=folder.parent, split="train", subset=None, document="file")
    with pytest.raises(DataError, match="is no repository of the Hub"):
        list_files("parts", base=folder.parent, split=None, subset="a", document="file")
    with pytest.raises(DataError, match=r"'page' is no kind of document\n.*file, line, paragraph"):
        list_files("parts", base=folder.parent, split=None, subset=None, document="page")
