"""Which sequences are packed, in what order, into which files."""

from __future__ import annotations

import random
import resource
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nemotron.data_prep import packs
from nemotron.data_prep.mixing import share_out
from nemotron.data_prep.packing import ROW_GROUP, PackedFile, pack_metadata, read_packed
from nemotron.data_prep.packs import (
    PACKED_FILE,
    Encoded,
    PackOptions,
    PackTask,
    choose_sequences,
    make_pack,
    metadata_of,
    pack_tasks,
)
from nemotron.data_prep.shards import Made
from tests.nemotron.data_prep.small import small_tokenizer, whole, write_lines
from tests.nemotron.data_prep.talking import made, sequences, talk, task_of

SIZE = 128
OPTIONS = PackOptions(SIZE, 1)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoded, list[tuple[list[int], list[int]]]]:
    """Give two encoded shards, and what they hold."""
    folder = tmp_path_factory.mktemp("encoded")
    tokenizer = small_tokenizer(folder / "tokenizer")
    dice = random.Random(3)  # noqa: S311 - no secret, lengths
    keys = []
    held = []
    for number in range(2):
        records = [talk(f"{number} {item}", "x" * dice.randint(1, 60)) for item in range(150)]
        path = write_lines(folder / f"{number}.jsonl", records)
        task = task_of(folder, tokenizer, whole(path))
        held += sequences(task)
        keys.append((made(task).receipt.key, "train"))
    return Encoded(task.store, tuple(keys), 1, tokenizer.end_of_text), held


def packed(task: PackTask) -> Made:
    found = make_pack(task)
    assert isinstance(found, Made)
    return found


def file_of(task: PackTask) -> Path:
    return Path(task.encoded.store) / task.address().key / PACKED_FILE


@given(
    st.lists(st.tuples(st.integers(1, 300), st.sampled_from([0.5, 1.0, 2.0, 3.0])), min_size=1, max_size=5),
    st.integers(0, 2**40),
)
def test_as_many_are_chosen_as_the_weights_say(sets: list[tuple[int, float]], seed: int) -> None:
    counts, weights = [count for count, _ in sets], [weight for _, weight in sets]
    chosen = choose_sequences(counts, weights, seed)
    assert len(set(chosen.tolist())) == len(chosen), "none comes twice"
    of_set = np.repeat(np.arange(len(counts)), counts)[chosen]
    assert Counter(of_set.tolist()) == Counter(dict(enumerate(share_out(counts, weights))))
    assert chosen.tolist() == choose_sequences(counts, weights, seed).tolist()


def test_another_seed_chooses_others_in_another_order() -> None:
    one, other = (choose_sequences([1000, 1000], [1.0, 3.0], seed) for seed in (1, 2))
    assert len(one) == len(other) == 1333
    assert set(one.tolist()) != set(other.tolist())
    everything = choose_sequences([1000], [1.0], 1)
    assert everything.tolist() != sorted(everything.tolist())
    assert (np.diff(choose_sequences([10, 1000], [1.0, 1.0], 1) < 10) != 0).sum() > 2, "sets are mixed"


def test_every_chosen_sequence_is_in_one_row(
    encoded: tuple[Encoded, list[tuple[list[int], list[int]]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, held = encoded
    # Files of one row group, and packing in several parts.
    monkeypatch.setattr(packs, "_TOKENS_A_FILE", SIZE * ROW_GROUP)
    monkeypatch.setattr(packs, "_PACKED_TOGETHER", 120)
    numbers = choose_sequences([150, 150], [1.0, 2.0], 7)
    tasks = list(pack_tasks(source, numbers, OPTIONS))
    found: list[tuple[list[int], list[int]]] = []
    rows = []
    for task in tasks:
        receipt = packed(task).receipt
        file = PackedFile(file_of(task))
        rows.append(file.rows)
        samples = list(read_packed(file_of(task).parent))
        found += [(sample.ids.tolist(), sample.mask.tolist()) for sample in samples]
        for group in range(len(file.group_rows)):
            columns = file.read(group)
            file.check(group, columns)
            assert columns["input_ids"].lengths.max() <= SIZE
        tokens = sum(len(sample.ids) for sample in samples)
        assert receipt.counts == {"rows": file.rows, "sequences": len(samples), "tokens": tokens, "bytes": tokens}
    assert sorted(found) == sorted(held[number] for number in numbers.tolist())
    parts = [len(numbers[start : start + 120]) for start in range(0, len(numbers), 120)]
    assert len(parts) > 1
    assert len(tasks) > len(parts), "a part has several files"
    assert set(rows) > {ROW_GROUP}, "files are full but for the last of a part"
    assert max(rows) == ROW_GROUP


def test_a_file_has_whole_row_groups(monkeypatch: pytest.MonkeyPatch, encoded: tuple[Encoded, object]) -> None:
    # The room of a file is no multiple of a row group: it is cut to one, and at least one there is.
    monkeypatch.setattr(packs, "_TOKENS_A_FILE", int(SIZE * ROW_GROUP * 2.9))
    numbers = np.arange(300)
    assert len(next(pack_tasks(encoded[0], numbers, OPTIONS)).bins()) == 2 * ROW_GROUP
    monkeypatch.setattr(packs, "_TOKENS_A_FILE", 1)
    assert len(next(pack_tasks(encoded[0], numbers, OPTIONS)).bins()) == ROW_GROUP


def test_nothing_to_pack_makes_no_file(encoded: tuple[Encoded, object]) -> None:
    assert list(pack_tasks(encoded[0], np.empty(0, dtype=np.int64), OPTIONS)) == []


def test_a_file_is_found_again(encoded: tuple[Encoded, object]) -> None:
    (task,) = pack_tasks(encoded[0], np.arange(50), OPTIONS)
    assert not packed(task).reused
    content = file_of(task).read_bytes()
    assert packed(task).reused
    file_of(task).write_bytes(content[:-1])
    again = packed(task)
    assert not again.reused, "a damaged one is made again"
    assert file_of(task).read_bytes() == content


def test_the_same_sequences_padded_or_in_other_rows_are_another_file(encoded: tuple[Encoded, object]) -> None:
    source = encoded[0]
    changed = [
        (source, OPTIONS, 50),
        (source, PackOptions(SIZE, 2), 50),
        (source, PackOptions(SIZE + 1, 1), 50),
        (source, OPTIONS, 49),
        (Encoded(source.store, source.shards, 8, source.pad_id), OPTIONS, 50),
        (Encoded(source.store, source.shards, 1, source.pad_id + 1), OPTIONS, 50),
        (Encoded(source.store, source.shards[::-1], 1, source.pad_id), OPTIONS, 50),
    ]
    keys = {next(pack_tasks(one, np.arange(count), how)).address().key for one, how, count in changed}
    assert len(keys) == len(changed)


@pytest.mark.parametrize("multiple", [1, 8])
def test_padding_counts_as_tokens(encoded: tuple[Encoded, list[tuple[list[int], list[int]]]], multiple: int) -> None:
    source, held = encoded
    padded = Encoded(source.store, source.shards, multiple, source.pad_id)
    (task,) = pack_tasks(padded, np.arange(60), OPTIONS)
    packed(task)
    samples = list(read_packed(file_of(task).parent))
    assert all((len(sample.ids) - 1) % multiple == 0 for sample in samples)
    stored = sorted(ids + [source.pad_id] * (-(len(ids) - 1) % multiple) for ids, _ in held[:60])
    assert sorted(sample.ids.tolist() for sample in samples) == stored
    lengths = np.asarray([len(sample.ids) for sample in samples])
    metadata = metadata_of(task)
    assert metadata == pack_metadata(padded.open().lengths, task.bins(), SIZE)
    assert metadata["dataset_max_seqlen"] == lengths.max() - 1


def test_more_shards_than_a_process_may_have_open_files(
    encoded: tuple[Encoded, list[tuple[list[int], list[int]]]],
) -> None:
    source, held = encoded
    many = Encoded(source.store, source.shards * 100, 1, source.pad_id)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, hard))
    try:
        numbers = np.arange(0, len(many.open()), 99)
        (task,) = pack_tasks(many, numbers, OPTIONS)
        packed(task)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    found = [(sample.ids.tolist(), sample.mask.tolist()) for sample in read_packed(file_of(task).parent)]
    assert sorted(found) == sorted(held[number % len(held)] for number in numbers.tolist())
