"""What the preparations share."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep import preparing
from nemotron.data_prep.blend import load_blend
from nemotron.data_prep.encoding import Ragged
from nemotron.data_prep.options import TokenizerSettings, WorkOptions
from nemotron.data_prep.preparing import (
    Preparation,
    left_out,
    place_file,
    report,
    sample_documents,
    spread_texts,
    total_counts,
    write_skipped,
)
from nemotron.data_prep.records import PieceReader
from nemotron.data_prep.shards import (
    Address,
    FileRecord,
    Made,
    Problem,
    Receipt,
    ShardStore,
    Written,
    make_shard,
    open_crew,
    run_apart,
)
from nemotron.data_prep.sources import digest, origin
from nemotron.data_prep.watching import Goal
from tests.nemotron.data_prep.small import TEXTS, engine_of, pieces_of, small_tokenizer, whole, write_lines
from tests.nemotron.stages import stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nemotron.data_prep.blend import Blend, DataSet
    from nemotron.data_prep.shards import Busy


def blend_of(folder: Path, **sets: list[str]) -> Blend:
    """Write data sets of texts, and their blend."""
    for name, texts in sets.items():
        write_lines(folder / f"{name}.jsonl", ({"text": text} for text in texts))
    entries = [{"name": name, "path": f"{name}.jsonl"} for name in sets]
    (folder / "blend.json").write_text(json.dumps({"datasets": entries}))
    return load_blend(folder / "blend.json")


def text_of(data_set: DataSet, values: dict[str, object]) -> str | None:
    text = values.get(data_set.text_field)
    return text if isinstance(text, str) else None


def made_with(counts: dict[str, int], *problems: Problem) -> Made:
    return Made(Receipt("key", {}, {}, counts, problems), reused=False)


def preparation(folder: Path, **options: object) -> Preparation:
    return Preparation(stage(folder), WorkOptions(**options))  # type: ignore[arg-type]  # entries are of several types


class TestTokenizer:
    def texts(self) -> Iterator[str]:
        yield from TEXTS

    def test_one_that_is_trained_is_found_again(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        settings = TokenizerSettings(path=None, vocab_size=280)
        one = preparation(tmp_path).tokenizer(settings, self.texts)
        assert capsys.readouterr().out == "test  training the tokenizer\n"
        again = preparation(tmp_path).tokenizer(settings, self.texts)
        assert again == one
        assert one.vocabulary == 280
        assert one.folder.parent == tmp_path / "out" / "tokenizers"
        assert capsys.readouterr().out == ""

    def test_others_texts_or_another_size_train_another(self, tmp_path: Path) -> None:
        made = preparation(tmp_path)
        found = [
            made.tokenizer(TokenizerSettings(path=None, vocab_size=280), self.texts).folder,
            made.tokenizer(TokenizerSettings(path=None, vocab_size=270), self.texts).folder,
            made.tokenizer(TokenizerSettings(path=None, vocab_size=280), lambda: iter(TEXTS[:1])).folder,
        ]
        assert len(set(found)) == 3

    def test_one_that_was_being_trained_when_its_run_was_killed_is_trained_again(self, tmp_path: Path) -> None:
        settings = TokenizerSettings(path=None, vocab_size=280)
        folder = preparation(tmp_path).tokenizer(settings, self.texts).folder
        whole_file = (folder / "tokenizer.json").read_bytes()
        (folder / "tokenizer.json").write_bytes(b"")
        (folder / "tokenizer_config.json").unlink()
        assert preparation(tmp_path).tokenizer(settings, self.texts).folder == folder
        assert (folder / "tokenizer.json").read_bytes() == whole_file

    def test_one_that_is_named_is_loaded(self, tmp_path: Path) -> None:
        small = small_tokenizer(tmp_path / "mine")
        settings = TokenizerSettings(path=str(tmp_path / "mine"))
        assert preparation(tmp_path).tokenizer(settings, self.texts) == small
        with pytest.raises(DataError, match=r"no tokenizer\.json"):
            preparation(tmp_path).tokenizer(TokenizerSettings(path=str(tmp_path)), self.texts)

    def test_one_of_the_hub_is_where_all_nodes_find_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        small = small_tokenizer(tmp_path / "home" / "0123abc")
        monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(small.folder))
        found = preparation(tmp_path).tokenizer(TokenizerSettings(path="org/name"), self.texts)
        assert found.folder.parent == tmp_path / "out" / "tokenizers"
        assert found == replace(small, folder=found.folder, revision="0123abc")


def test_the_engine_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    spec = preparation(tmp_path).encoder(tokenizer, "hf", TEXTS)
    assert spec == engine_of(tokenizer)
    assert capsys.readouterr().out == "test  encoding with tokenizers, as the configuration says\n"


def test_the_engine_to_judge_is_in_another_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    asked: list[str] = []

    def apart(work: Callable[[object], object], task: object) -> object:
        asked.append(work.__name__)
        return run_apart(work, task)

    monkeypatch.setattr(preparing, "run_apart", apart)
    assert preparation(tmp_path).encoder(tokenizer, "auto", ["a", "b"]).engine == "gigatoken"
    assert asked == ["_encode", "_encode_segments"]


def test_an_engine_with_other_ids_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")

    def apart(work: Callable[[object], object], task: object) -> Ragged:
        right = run_apart(work, task)
        assert isinstance(right, Ragged)
        return Ragged(right.ids + 1, right.offsets)

    monkeypatch.setattr(preparing, "run_apart", apart)
    assert preparation(tmp_path).encoder(tokenizer, "auto", ["a", "b"]) == engine_of(tokenizer)
    assert "encoding with tokenizers: gigatoken gives other ids than tokenizers for 'a'" in capsys.readouterr().out


def test_an_engine_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = small_tokenizer(tmp_path / "tokenizer")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="gigatoken is not installed"):
        preparation(tmp_path).encoder(tokenizer, "gigatoken", ["a"])
    assert preparation(tmp_path).encoder(tokenizer, "auto", ["a"]).engine == "hf"


def test_a_sample_is_one_piece(tmp_path: Path) -> None:
    (data_set,) = blend_of(tmp_path, a=["text"] * 100)
    pieces = preparation(tmp_path, shard_size="200B").pieces(data_set)
    assert len(pieces) > 3
    (piece,) = preparation(tmp_path, shard_size="200B", sample=5).pieces(data_set)
    assert piece == tuple(span for piece in pieces for span in piece)


@dataclass(frozen=True, slots=True)
class Number:
    """A shard with one file."""

    store: str
    number: int


def make_number(task: Number) -> Made | Busy:
    def write(folder: Path) -> Written:
        (folder / "number").write_text(str(task.number))
        return Written({"number": FileRecord.of(folder / "number")}, {"bytes": 10, "tokens": 1})

    return make_shard(ShardStore(Path(task.store)), Address("number", (str(task.number),), {}), write)


def test_shards_are_made_once_and_what_was_left_behind_goes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = preparation(tmp_path, workers=2)
    tasks = [Number(str(one.store.root), number) for number in range(5)]
    goal = Goal(50)
    one.store.root.mkdir(parents=True)
    left = one.store.root / ".building-gone-00000000"
    left.mkdir()
    made = one.make(make_number, tasks, goal)
    assert [(one.store.folder(item.receipt.key) / "number").read_text() for item in made] == list("01234")
    assert not left.exists()
    assert " 100%  " in capsys.readouterr().out
    again = one.make(make_number, tasks, goal)
    assert all(item.reused for item in again)
    assert capsys.readouterr().out.endswith("test  5 of 5 shards were there already\n")


def test_a_single_task_needs_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int | None] = []

    def noted(workers: int | None) -> object:
        sizes.append(workers)
        return open_crew(1)

    monkeypatch.setattr(preparing, "open_crew", noted)
    one = preparation(tmp_path, workers=2)
    for count in (1, 2):
        one.make(make_number, [Number(str(one.store.root), number) for number in range(count)], Goal(1))
    assert sizes == [1, 2]


def test_what_there_is_to_read(tmp_path: Path) -> None:
    blend = blend_of(tmp_path, a=["one"], b=["two", "three"])
    size = sum((tmp_path / f"{name}.jsonl").stat().st_size for name in "ab")
    assert preparation(tmp_path).reading(blend) == Goal(size)
    assert preparation(tmp_path, sample=1).reading(blend) == Goal(None)


def test_documents_of_the_beginning_the_middle_and_the_end(tmp_path: Path) -> None:
    long = "word " * 200
    blend = blend_of(tmp_path, a=[f"{number} {long}" for number in range(13_000)], b=["one", "", "two"])
    texts = sample_documents(blend, text_of)
    numbers = [int(text.partition(" ")[0]) for text in texts if text[0].isdecimal()]
    assert numbers[0] == 0
    assert {number // 4000 for number in numbers} == {0, 1, 2}
    assert texts[-2:] == ["one", "two"]
    assert len(texts) < 210


def test_no_more_text_is_compared_than_an_engine_needs(tmp_path: Path) -> None:
    blend = blend_of(tmp_path, a=["word " * 20_000] * 50)
    assert 1_000_000 < sum(map(len, sample_documents(blend, text_of))) < 1_200_000


def test_a_table_without_rows_has_no_documents(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    (tmp_path / "blend.json").write_text('{"datasets": [{"name": "a", "path": "a.parquet"}]}')
    blend = load_blend(tmp_path / "blend.json")
    assert sample_documents(blend, text_of) == []
    assert list(spread_texts(list(blend), text_of)) == []


def test_a_tokenizer_learns_from_texts_that_are_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blend = blend_of(tmp_path, a=[f"a{number:03}" for number in range(100)], b=["", *(f"b{n:03}" for n in range(100))])
    assert len(list(spread_texts(list(blend), text_of))) == 200
    monkeypatch.setattr(preparing, "_TOKENIZER_BYTES", preparing.input_bytes(blend) // 4)
    texts = list(spread_texts(list(blend), text_of))
    assert texts == [f"{name}{number:03}" for name in "ab" for number in range(0, 100, 4)]


class TestPlacing:
    def test_a_file_has_two_names(self, tmp_path: Path) -> None:
        (tmp_path / "one").write_bytes(b"content")
        place_file(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "one").samefile(tmp_path / "two")

    def test_where_links_fail_it_is_copied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        (tmp_path / "one").write_bytes(b"content")
        place_file(tmp_path / "one", tmp_path / "two")
        assert (tmp_path / "two").read_bytes() == b"content"
        assert not (tmp_path / "one").samefile(tmp_path / "two")

    def test_what_had_the_name_before_keeps_its_content(self, tmp_path: Path) -> None:
        for name in ("one", "other"):
            (tmp_path / name).write_text(name)
            place_file(tmp_path / name, tmp_path / "placed")
        assert [(tmp_path / name).read_text() for name in ("one", "other", "placed")] == ["one", "other", "other"]


class TestSkipped:
    def test_each_is_listed_with_its_line(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lines = [f'{{"text": {number}}}' for number in range(100)]
        path = write_lines(tmp_path / "a.jsonl", lines)
        starts = np.cumsum([0, *(len(line) + 1 for line in lines)]).tolist()
        pieces = pieces_of(path, shard_bytes=300)
        assert len(pieces) > 2
        made = [
            (pieces[0], made_with({}, Problem(0, starts[2], "second"), Problem(0, 0, "first"))),
            (pieces[-1], made_with({}, Problem(0, starts[99] - origin(pieces[-1][0]), "last"))),
        ]
        write_skipped(stage(tmp_path), tmp_path / "data", made)
        listed = [json.loads(line) for line in (tmp_path / "data" / "skipped.jsonl").read_text().splitlines()]
        assert listed == [
            {"where": f"{path}:{line}", "message": message}
            for line, message in ((1, "first"), (3, "second"), (100, "last"))
        ]
        assert capsys.readouterr().out == f"test  what is not usable is listed in {tmp_path}/data/skipped.jsonl\n"

    def test_a_row_of_a_table_has_its_number(self, tmp_path: Path) -> None:
        first = write_lines(tmp_path / "a.jsonl", ["{}"])
        table = tmp_path / "b.parquet"
        pq.write_table(pa.table({"text": [1, 2, 3]}), table)
        write_skipped(stage(tmp_path), tmp_path, [(whole(first, table), made_with({}, Problem(1, 2, "no text")))])
        (listed,) = map(json.loads, (tmp_path / "skipped.jsonl").read_text().splitlines())
        assert listed == {"where": str(table), "message": "row 3: no text"}

    def test_what_is_found_again_in_another_place_is_told_there(self, tmp_path: Path) -> None:
        bad, good = pa.table({"text": pa.array([None, "x"])}), pa.table({"text": ["a", "b", "c"]})
        table = tmp_path / "a.parquet"
        receipts = []
        for groups in ([bad], [good, bad]):
            with pq.ParquetWriter(table, bad.schema) as writer:
                for group in groups:
                    writer.write_table(group)
            piece = pieces_of(table, shard_bytes=1)[-1]
            reader = PieceReader(piece, ["text"], None, skip_errors=True)
            for records in reader:
                records.texts("text")
            receipts.append((digest(piece[0], ["text"]), tuple(reader.problems)))
        assert receipts[0] == receipts[1]
        write_skipped(stage(tmp_path), tmp_path, [(piece, made_with({}, *receipts[0][1]))])
        (listed,) = map(json.loads, (tmp_path / "skipped.jsonl").read_text().splitlines())
        assert listed["message"].startswith("row 4: ")

    def test_where_there_are_many_the_first_are_listed(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "a.jsonl", ["{}"] * 3000)
        many = made_with({}, *(Problem(0, 3 * number, "no text") for number in range(700)))
        write_skipped(stage(tmp_path), tmp_path, [(whole(path), many), (whole(path), many)])
        assert len((tmp_path / "skipped.jsonl").read_text().splitlines()) == 1000

    def test_where_there_are_none_there_is_no_file(self, tmp_path: Path) -> None:
        path = write_lines(tmp_path / "a.jsonl", ["{}"])
        write_skipped(stage(tmp_path), tmp_path / "data", [(whole(path), made_with({}))])
        assert not (tmp_path / "data").exists()


def test_counts_are_added_up_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = {"records": 1500, "truncated": 2, "dropped: it has no messages": 1, "tokens": 7}
    other = {"records": 500, "empty": 3, "dropped: it has no messages": 1, "skipped": 0}
    counts = total_counts([made_with(one), made_with(other)])
    assert left_out(counts) == {"truncated": 2, "empty": 3, "dropped: it has no messages": 2}
    report(stage(tmp_path), counts, {"documents": 12_345, "tokens": counts["tokens"]})
    assert capsys.readouterr().out.splitlines() == [
        "test  2k records -> 12.3k documents, 7 tokens",
        "test    2 cut to max_tokens",
        "test    3 empty",
        "test    2 dropped: it has no messages",
    ]
