"""Shards of documents, held to a model of a few lines."""

from __future__ import annotations

import gzip
import json
import os
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from nemo_runspec.errors import DataError
from nemotron.data_prep.blend import SPLITS
from nemotron.data_prep.documents import DocumentOptions, DocumentTask, make_documents
from nemotron.data_prep.holdout import Holdout
from nemotron.data_prep.shards import Made, Problem
from tests.nemotron.data_prep.small import engine_of, pieces_of, read_sequences, small_tokenizer, whole, write_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemotron.data_prep.shards import Address, Receipt
    from nemotron.data_prep.sources import Piece
    from nemotron.data_prep.tokenizer import TextTokenizer

PLAIN = DocumentOptions(
    text_field="text",
    split=None,
    holdout=Holdout(0.3, 0.2, 1),
    end_of_text=0,
    dtype="<u2",
    max_tokens=None,
    min_chars=None,
    skip_errors=False,
    limit=None,
)
WORDS = st.sampled_from(["def add(a, b):\n", "return", " ", "\n\n", "<|endoftext|>", "<|im_start|>", "漢字", "é", "x"])
# Words of this vocabulary, any characters, and now and then a long one.
DOCUMENTS = st.lists(
    st.one_of(
        st.lists(WORDS, max_size=12).map("".join),
        st.text(st.characters(codec="utf-8"), max_size=30),
        st.integers(1, 400).map(lambda times: "word " * times),
        st.just(""),
    ),
    min_size=1,
    max_size=30,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def trusted(tokenizer: TextTokenizer) -> Tokenizer:
    """Give the library itself, as it comes from the file."""
    found = Tokenizer.from_file(str(tokenizer.json_file))
    found.encode_special_tokens = True
    return found


def task_of(folder: Path, tokenizer: TextTokenizer, piece: Piece, **changes: Any) -> DocumentTask:  # noqa: ANN401 - options are of several types
    options = replace(PLAIN, end_of_text=tokenizer.end_of_text, **changes)
    return DocumentTask(piece, engine_of(tokenizer), options, str(folder / "shards"))


def made(task: DocumentTask) -> Made:
    found = make_documents(task)
    assert isinstance(found, Made)
    return found


def sequences(task: DocumentTask, receipt: Receipt, split: str) -> list[list[int]]:
    """Read what a shard holds, and see that its receipt says the same."""
    found = read_sequences(Path(task.store) / receipt.key / split)
    assert receipt.counts.get(f"{split}_documents", 0) == len(found)
    assert receipt.counts.get(f"{split}_tokens", 0) == sum(map(len, found))
    assert (f"{split}.bin" in receipt.files) == bool(found)
    return found


def modelled(
    texts: Sequence[str], trusted: Tokenizer, options: DocumentOptions
) -> tuple[dict[str, list[list[int]]], dict[str, int]]:
    """Say what a shard of these texts has to hold, and what is left out."""
    found: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
    left_out = {"empty": 0, "too_short": 0, "truncated": 0}
    for text in islice(texts, options.limit):
        if not text:
            left_out["empty"] += 1
            continue
        if options.min_chars is not None and len(text) < options.min_chars:
            left_out["too_short"] += 1
            continue
        ids = trusted.encode(text, add_special_tokens=False).ids
        if options.max_tokens is not None and len(ids) + 1 > options.max_tokens:
            ids = ids[: options.max_tokens - 1]
            left_out["truncated"] += 1
        if not ids:
            left_out["empty"] += 1
            continue
        found[options.split or options.holdout.split_of(text)].append([*ids, options.end_of_text])
    return found, left_out


@settings(max_examples=60, deadline=None)
@given(
    texts=DOCUMENTS,
    max_tokens=st.sampled_from([None, 1, 2, 3, 8, 50]),
    min_chars=st.sampled_from([None, 1, 4, 20]),
    split=st.sampled_from([None, "train", "valid", "test"]),
    limit=st.sampled_from([None, 1, 7]),
)
def test_a_shard_holds_what_the_model_says(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer: TextTokenizer,
    trusted: Tokenizer,
    texts: list[str],
    max_tokens: int | None,
    min_chars: int | None,
    split: str | None,
    limit: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    path = write_lines(folder / "a.jsonl", ({"text": text} for text in texts))
    choice = {"max_tokens": max_tokens, "min_chars": min_chars, "split": split, "limit": limit}
    task = task_of(folder, tokenizer, whole(path), **choice)
    receipt = made(task).receipt
    expected, left_out = modelled(texts, trusted, task.options)
    assert {split: sequences(task, receipt, split) for split in SPLITS} == expected
    assert {name: receipt.counts.get(name, 0) for name in left_out} == left_out
    assert receipt.counts.get("records", 0) == len(texts[:limit])
    assert receipt.counts.get("tokens", 0) == sum(len(one) for split in SPLITS for one in expected[split])


@settings(max_examples=30, deadline=None)
@given(texts=DOCUMENTS, shard_bytes=st.integers(20, 3000))
def test_nothing_depends_on_how_the_input_is_cut(
    tmp_path_factory: pytest.TempPathFactory, tokenizer: TextTokenizer, texts: list[str], shard_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("documents")
    path = write_lines(folder / "a.jsonl", ({"text": text} for text in texts))
    one = task_of(folder, tokenizer, whole(path))
    whole_shard = made(one).receipt
    tasks = [task_of(folder, tokenizer, piece) for piece in pieces_of(path, shard_bytes=shard_bytes)]
    receipts = [made(task).receipt for task in tasks]
    for split in SPLITS:
        parts = [
            found for task, receipt in zip(tasks, receipts, strict=True) for found in sequences(task, receipt, split)
        ]
        assert parts == sequences(one, whole_shard, split)
    for name in ("records", "tokens", "empty"):
        assert sum(receipt.counts.get(name, 0) for receipt in receipts) == whole_shard.counts.get(name, 0)


def test_equal_texts_are_in_one_split(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    texts = [f"text {number % 40}" for number in range(200)]
    path = write_lines(tmp_path / "a.jsonl", ({"id": number, "text": text} for number, text in enumerate(texts)))
    tasks = [task_of(tmp_path, tokenizer, piece) for piece in pieces_of(path, shard_bytes=1000)]
    assert len(tasks) > 3
    found: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
    for task in tasks:
        receipt = made(task).receipt
        for split in SPLITS:
            found[split] += sequences(task, receipt, split)
    assert sum(map(len, found.values())) == 200
    sets = [{tuple(one) for one in found[split]} for split in SPLITS]
    assert all(sets)
    assert sum(map(len, sets)) == 40, "no text is in two splits"


def test_a_cut_document_keeps_its_end(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "word " * 300}, {"text": "a"}])
    task = task_of(tmp_path, tokenizer, whole(path), max_tokens=16, split="train")
    long, short = sequences(task, made(task).receipt, "train")
    assert len(long) == 16
    assert long[-1] == short[-1] == tokenizer.end_of_text
    assert tokenizer.end_of_text not in long[:-1]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet", "a.txt"])
def test_every_format_gives_the_same_tokens(
    tmp_path: Path, tokenizer: TextTokenizer, trusted: Tokenizer, name: str
) -> None:
    texts = [f"line {number} of some text <|endoftext|>" for number in range(50)]
    path = tmp_path / name
    lines = "".join(json.dumps({"text": text, "more": 1}) + "\n" for text in texts).encode()
    if name.endswith(".txt"):
        path.write_text("\n".join(texts))
    elif name.endswith(".parquet"):
        pq.write_table(pa.table({"more": [1] * 50, "text": texts}), path, row_group_size=7)
    else:
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    task = task_of(tmp_path, tokenizer, whole(path, document="line"))
    receipt = made(task).receipt
    expected, _ = modelled(texts, trusted, task.options)
    assert {split: sequences(task, receipt, split) for split in SPLITS} == expected


def test_a_shard_is_found_again_under_another_name(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "one"}, {"text": "two"}])
    first = made(task_of(tmp_path, tokenizer, whole(path)))
    assert not first.reused
    renamed = path.rename(tmp_path / "renamed.jsonl")
    os.utime(renamed, (1, 1))
    again = made(task_of(tmp_path, tokenizer, whole(renamed)))
    assert again.reused
    assert again.receipt == first.receipt
    with renamed.open("a") as stream:
        stream.write('{"text": "three"}\n')
    assert not made(task_of(tmp_path, tokenizer, whole(renamed))).reused


CHANGES: dict[str, dict[str, object]] = {
    "text_field": {"text_field": "body"},
    "split": {"split": "train"},
    "valid": {"holdout": Holdout(0.31, 0.2, 1)},
    "test": {"holdout": Holdout(0.3, 0.21, 1)},
    "seed": {"holdout": Holdout(0.3, 0.2, 2)},
    "dtype": {"dtype": "<i4"},
    "max_tokens": {"max_tokens": 9},
    "min_chars": {"min_chars": 3},
    "skip_errors": {"skip_errors": True},
    "limit": {"limit": 2},
}


def test_the_address_changes_with_each_option(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "one", "body": "two"}] * 3)
    plain = task_of(tmp_path, tokenizer, whole(path))
    keys = {name: task_of(tmp_path, tokenizer, whole(path), **change).address().key for name, change in CHANGES.items()}
    keys["end_of_text"] = replace(plain, options=replace(plain.options, end_of_text=1)).address().key
    keys["tokenizer"] = replace(plain, encoder=replace(plain.encoder, digest="another")).address().key
    keys["nothing"] = plain.address().key
    assert len(set(keys.values())) == len(keys) == len(CHANGES) + 3


def test_the_address_has_no_place_and_no_engine_in_it(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "one"}])
    plain = task_of(tmp_path, tokenizer, whole(path))
    elsewhere = small_tokenizer(tmp_path / "copy")
    same = task_of(tmp_path / "elsewhere", elsewhere, whole(path))
    fast = replace(plain, encoder=replace(plain.encoder, engine="gigatoken"))
    assert plain.address() == same.address() == fast.address()


def test_what_is_skipped_is_counted_and_listed(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    lines = ['{"text": "a"}', "{broken", '{"txt": "b"}', '{"text": 5}', '{"text": "\\ud800"}', "[1]", '{"text": "c"}']
    path = write_lines(tmp_path / "a.jsonl", lines)
    task = task_of(tmp_path, tokenizer, whole(path), skip_errors=True, split="train")
    receipt = made(task).receipt
    assert len(sequences(task, receipt, "train")) == 2
    assert receipt.counts["skipped"] == 5
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    assert sorted(one.number for one in receipt.problems) == starts[1:6]
    assert all(isinstance(one, Problem) and one.span == 0 and one.message for one in receipt.problems)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "the line is not JSON"),
        ('{"txt": "b"}', "the record has no field 'text'"),
        ('{"text": 5}', "the field 'text' holds a number, not text"),
        ('{"text": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_record_that_cannot_be_used_stops_the_shard(
    tmp_path: Path, tokenizer: TextTokenizer, line: str, said: str
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [*(['{"text": "good"}'] * 40), line])
    pieces = pieces_of(path, shard_bytes=200)
    assert len(pieces) > 2
    task = task_of(tmp_path, tokenizer, pieces[-1])
    with pytest.raises(DataError, match=rf"a\.jsonl:41: .*{said}"):
        make_documents(task)
    assert [name.name for name in (tmp_path / "shards").iterdir()] == [".leases"], "nothing is left of it"


def test_a_file_that_is_written_to_between_the_two_readings_makes_no_shard(
    tmp_path: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{"text": "good"}])
    task = task_of(tmp_path, tokenizer, whole(path), split="train")
    named = DocumentTask.address

    def address(self: DocumentTask) -> Address:
        found = named(self)
        write_lines(path, [{"text": "evil"}])
        os.utime(path, ns=(1, 1))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(DocumentTask, "address", address)
        with pytest.raises(DataError, match=r"a\.jsonl: the file has changed while it was read"):
            make_documents(task)
    assert [name.name for name in (tmp_path / "shards").iterdir()] == [".leases"], "nothing is left of it"
    assert not made(task).reused
