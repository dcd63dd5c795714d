from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep import corpus
from nemotron.data_prep.corpus import (
    Document,
    corpus_identity,
    split_of,
    standard_library,
    standard_library_blend,
    written_blend,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemotron.data_prep.blend import DataSet
    from nemotron.data_prep.corpus import Split


def test_the_library_of_this_interpreter_is_large_and_holds_known_modules() -> None:
    documents = standard_library()
    texts = {document.name: document.text for document in documents}
    assert sum(map(len, texts.values())) > 5_000_000
    assert "def dedent" in texts["textwrap.py"]
    assert not [name for name in texts if "site-packages" in name or "dist-packages" in name]
    assert list(texts) == sorted(texts, key=lambda name: name.split("/"))


def test_what_is_no_text_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\r\n")
    (tmp_path / "empty.py").write_bytes(b" \n")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "b.py").write_text("y = 2\n")
    assert standard_library(tmp_path) == [Document("a.py", "x = 1\n")]


def test_a_folder_without_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Python source"):
        standard_library(tmp_path)


def test_the_split_is_fixed_and_has_the_shares_it_says() -> None:
    splits = [split_of(f"module_{number}.py") for number in range(5000)]
    shares = {split: splits.count(split) / 5000 for split in ("train", "rl", "valid")}
    assert shares == pytest.approx({"train": 0.78, "rl": 0.14, "valid": 0.08}, abs=0.02)
    assert split_of("textwrap.py") == split_of("textwrap.py")


def test_little_of_what_is_held_out_is_learnt() -> None:
    parts: dict[str, set[tuple[str, ...]]] = {"train": set(), "rl": set(), "valid": set()}
    for document in standard_library():
        lines = [line.strip() for line in document.text.split("\n") if line.strip()]
        parts[split_of(document.name)].update(zip(*(lines[start:] for start in range(10)), strict=False))
    assert len(parts["valid"] & parts["train"]) / len(parts["valid"]) < 0.01


def test_near_copies_are_in_one_part() -> None:
    assert len({split_of(f"encodings/table_{number}.py") for number in range(50)}) == 1
    assert len({split_of(f"email/table_{number}.py") for number in range(50)}) > 1


def test_the_identity_follows_names_and_texts() -> None:
    one = corpus_identity([Document("a", "x")])
    assert one == corpus_identity([Document("a", "x")])
    assert len({one, corpus_identity([Document("b", "x")]), corpus_identity([Document("a", "y")])}) == 3


def records_of(data_set: DataSet) -> list[dict[str, object]]:
    (file,) = data_set.files
    return [json.loads(line) for line in Path(file.url).read_text(encoding="utf-8").splitlines()]


def test_the_library_as_a_blend_is_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = [Document(f"m{number}.py", f"x = {number}  # \u2028 \xe9\n") for number in range(60)]
    monkeypatch.setattr(corpus, "standard_library", lambda: documents)
    blend = standard_library_blend(tmp_path)
    assert list(blend.splits) == ["train", "valid"]
    for split, (data_set,) in blend.splits.items():
        expected = [{"name": one.name, "text": one.text} for one in documents if split_of(one.name) == split]
        assert expected
        assert records_of(data_set) == expected
        assert data_set.weight == 1.0
        assert data_set.files[0].size == Path(data_set.files[0].url).stat().st_size
    before = [path.stat().st_ino for path in sorted(tmp_path.rglob("*"))]
    assert standard_library_blend(tmp_path) == blend
    assert [path.stat().st_ino for path in sorted(tmp_path.rglob("*"))] == before
    documents.append(Document("new.py", "x"))
    assert standard_library_blend(tmp_path).path != blend.path


def two_records() -> Iterator[tuple[Split, Mapping[str, object]]]:
    yield "train", {"text": "one"}
    yield "valid", {"text": "two"}


def test_records_that_are_there_are_not_asked_for(tmp_path: Path) -> None:
    blend = written_blend(tmp_path, "identity", ("train", "valid"), two_records())

    def none() -> Iterator[tuple[Split, Mapping[str, object]]]:
        message = "nobody needs them"
        raise AssertionError(message)
        yield

    assert written_blend(tmp_path, "identity", ("train", "valid"), none()) == blend


def test_files_that_were_being_written_when_their_run_was_killed_do_not_count(tmp_path: Path) -> None:
    def killed() -> Iterator[tuple[Split, Mapping[str, object]]]:
        yield "train", {"text": "one"}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        written_blend(tmp_path, "identity", ("train", "valid"), killed())
    blend = written_blend(tmp_path, "identity", ("train", "valid"), two_records())
    assert [records_of(data_set) for (data_set,) in blend.splits.values()] == [[{"text": "one"}], [{"text": "two"}]]


def test_of_two_runs_that_write_the_same_the_first_one_s_stay(tmp_path: Path) -> None:
    def overtaken() -> Iterator[tuple[Split, Mapping[str, object]]]:
        written_blend(tmp_path, "identity", ("train", "valid"), two_records())
        yield from two_records()

    blend = written_blend(tmp_path, "identity", ("train", "valid"), overtaken())
    assert [records_of(data_set) for (data_set,) in blend.splits.values()] == [[{"text": "one"}], [{"text": "two"}]]
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == [blend.path.name]
