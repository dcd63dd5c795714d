"""Shards of conversations: what the encoder gives, chosen, cut and counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.blend import SPLITS
from nemotron.data_prep.chat import ChatEncoder, Conversation, Sequences, read_conversation
from nemotron.data_prep.chat import encoder as chat_encoder
from nemotron.data_prep.chat.exact import ExactRenderer
from nemotron.data_prep.holdout import Holdout
from nemotron.data_prep.tokenizer import CHAT_TEMPLATE
from tests.nemotron.data_prep.small import pieces_of, small_tokenizer, whole, write_lines
from tests.nemotron.data_prep.talking import PLAIN, made, sequences, talk, task_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemotron.data_prep.chat.exact import Chunks
    from nemotron.data_prep.tokenizer import TextTokenizer

TALKS = [
    talk(f"question {number} <|im_end|>", f"answer {number}", "and", "more " * (number % 5)) for number in range(60)
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return small_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def encoded(tokenizer: TextTokenizer, records: Sequence[dict[str, object]]) -> list[tuple[list[int], list[int]]]:
    """Encode conversations without shards, by the rule alone."""
    encoder = ChatEncoder(tokenizer)
    encoder.start_piece(exact=True)
    found = []
    for record in records:
        conversation = read_conversation(record, PLAIN)
        assert isinstance(conversation, Conversation)
        (item,) = encoder.encode_many([conversation])
        assert isinstance(item, Sequences)
        for ids, start in zip(item.ids.rows(), item.ids.offsets.tolist(), strict=False):
            found.append((ids.tolist(), item.mask[start : start + len(ids)].tolist()))
    return found


def test_a_shard_holds_what_the_encoder_gives(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", TALKS)
    task = task_of(tmp_path, tokenizer, whole(path))
    expected = encoded(tokenizer, TALKS)
    assert len(expected) == 60
    assert sequences(task) == expected
    counts = made(task).receipt.counts
    assert counts["records"] == counts["train_conversations"] == 60
    assert counts["tokens"] == sum(len(ids) for ids, _ in expected)


def test_nothing_depends_on_how_the_input_is_cut(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", TALKS)
    pieces = pieces_of(path, shard_bytes=2000)
    assert len(pieces) > 3
    parts = [found for piece in pieces for found in sequences(task_of(tmp_path, tokenizer, piece))]
    assert parts == encoded(tokenizer, TALKS)


def test_each_conversation_is_in_the_split_that_its_text_decides(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", [*TALKS, *TALKS])
    task = task_of(tmp_path, tokenizer, whole(path), split=None)
    found = {split: [tuple(ids) for ids, _ in sequences(task, split)] for split in SPLITS}
    assert sum(map(len, found.values())) == 120
    assert sum(len(set(ids)) for ids in found.values()) == 60, "no conversation is in two splits"
    assert all(found.values())


def test_one_that_is_too_long_is_dropped(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    records = [talk("short", "yes"), talk("long", "word " * 100)]
    path = write_lines(tmp_path / "a.jsonl", records)
    short, long = encoded(tokenizer, records)
    longest = len(long[0])
    assert sequences(task_of(tmp_path, tokenizer, whole(path), max_tokens=longest)) == [short, long]
    task = task_of(tmp_path, tokenizer, whole(path), max_tokens=longest - 1)
    assert sequences(task) == [short]
    assert made(task).receipt.counts["too_long"] == 1


def test_one_that_is_too_long_is_cut(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    records = [talk("long", "word " * 100), talk("much to ask " * 100, "yes"), talk("short", "yes")]
    path = write_lines(tmp_path / "a.jsonl", records)
    long, _, short = encoded(tokenizer, records)
    task = task_of(tmp_path, tokenizer, whole(path), max_tokens=60, overlong="truncate")
    ids, mask = long[0][:60], [*long[1][:59], 0]
    assert mask[-2] == long[1][59] == 1, "what is masked was to be learnt"
    assert sequences(task) == [(ids, mask), short]
    counts = made(task).receipt.counts
    assert counts["truncated"] == 2
    assert counts["all_masked"] == 1, "of the second only the question is left"
    assert counts["train_conversations"] == 3


def test_only_records_for_the_purpose_are_taken(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    marks: list[dict[str, object]] = [{"used_in": ["sft", "rl"]}, {"used_in": "rl, sft"}, {"used_in": ["rl"]}, {}]
    records = [talk(str(number), "yes", **mark) for number, mark in enumerate(marks)]
    # What is not for this is not looked at, so it cannot be wrong.
    broken = {"messages": "nothing", "used_in": ["rl"]}
    path = write_lines(tmp_path / "a.jsonl", [*records, broken])
    task = task_of(tmp_path, tokenizer, whole(path), used_in_filter="sft")
    assert sequences(task) == encoded(tokenizer, records[:2])
    counts = made(task).receipt.counts
    assert counts["records"] == 5
    assert counts["train_conversations"] == 2
    assert "skipped" not in counts


@pytest.mark.parametrize("form", ["lists", "text"])
def test_parquet_without_the_columns_that_need_not_be(tmp_path: Path, tokenizer: TextTokenizer, form: str) -> None:
    turns = [record["messages"] for record in TALKS]
    column = turns if form == "lists" else [json.dumps(one) for one in turns]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": column}), path, row_group_size=7)
    assert sequences(task_of(tmp_path, tokenizer, whole(path))) == encoded(tokenizer, TALKS)
    assert sequences(task_of(tmp_path, tokenizer, whole(path), used_in_filter="sft")) == []


def test_parquet_with_all_columns_is_jsonl(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    function = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    records = [talk(str(number), "yes", tools=[function], used_in=["sft"] * (number % 2)) for number in range(9)]
    lines = write_lines(tmp_path / "a.jsonl", records)
    table = tmp_path / "a.parquet"
    columns = {
        "messages": [record["messages"] for record in records],
        "tools": [json.dumps(record["tools"]) for record in records],
        "used_in": [record["used_in"] for record in records],
        "more": [b"\xff"] * 9,
    }
    pq.write_table(pa.table(columns), table)
    of_lines, of_table = (
        sequences(task_of(tmp_path, tokenizer, whole(path), used_in_filter="sft")) for path in (lines, table)
    )
    assert of_table == of_lines
    assert len(of_lines) == 4
    by_text = [task_of(tmp_path, tokenizer, whole(path), split=None, holdout=Holdout(0.5)) for path in (lines, table)]
    assert sequences(by_text[0]) == sequences(by_text[1]), "equal conversations are in one split, from any format"
    assert 0 < len(sequences(by_text[0])) < 9


def test_turns_with_what_json_has_no_form_for(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    turns = [{"role": "user", "content": "a", "raw": b"\xff"}, {"role": "assistant", "content": "b", "raw": None}]
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"messages": [turns]}), path)
    task = task_of(tmp_path, tokenizer, whole(path), split=None, holdout=Holdout(0.0))
    assert sequences(task) == encoded(tokenizer, [talk("a", "b")])


@pytest.mark.parametrize("skip_errors", [False, True])
def test_a_record_that_is_no_conversation(tmp_path: Path, tokenizer: TextTokenizer, *, skip_errors: bool) -> None:
    good = talk("a", "b")
    wrong = [{"chat": []}, {"messages": 5}, {"messages": [{"role": "nobody", "content": "a"}]}]
    path = write_lines(tmp_path / "a.jsonl", [good, *wrong, "{broken"])
    task = task_of(tmp_path, tokenizer, whole(path), skip_errors=skip_errors)
    if not skip_errors:
        with pytest.raises(DataError, match=r"a\.jsonl:[25]: "):
            made(task)
        return
    assert sequences(task) == encoded(tokenizer, [good])
    receipt = made(task).receipt
    assert receipt.counts["skipped"] == 4
    assert [problem.message for problem in sorted(receipt.problems, key=lambda one: one.number)] == [
        "the record has no field 'messages'",
        "the field 'messages' is not a list of messages",
        "'messages[0].role' is 'nobody'",
        "the line is not JSON: Expecting property name enclosed in double quotes",
    ]


def test_a_conversation_that_the_template_refuses_is_named(tmp_path: Path) -> None:
    strict = small_tokenizer(tmp_path / "strict")
    refuse = "{% if 'bad' in messages[0].content %}{{ raise_exception('no') }}{% endif %}"
    (strict.folder / "chat_template.jinja").write_text(refuse + CHAT_TEMPLATE)
    path = write_lines(tmp_path / "a.jsonl", [talk("good", "a"), talk("bad", "a"), talk("good", "b")])
    plain = task_of(tmp_path, strict, whole(path))
    task = replace(plain, options=replace(plain.options, template=refuse + CHAT_TEMPLATE))
    with pytest.raises(DataError, match=r"a\.jsonl:2: .*no"):
        made(task)
    skipping = replace(task, options=replace(task.options, skip_errors=True))
    assert len(sequences(skipping)) == 2
    assert made(skipping).receipt.counts["skipped"] == 1


def test_what_is_not_worth_learning_is_dropped_with_its_reason(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", [talk("a", "b"), {"messages": []}, talk("only a question")])
    task = task_of(tmp_path, tokenizer, whole(path))
    assert len(sequences(task)) == 1
    counts = made(task).receipt.counts
    assert counts["dropped: it has no messages"] == 1
    assert counts["all_masked"] == 1
    assert "skipped" not in counts


CHANGES: dict[str, dict[str, object]] = {
    "messages": {"messages": "chat"},
    "tools": {"tools": "functions"},
    "used_in_filter": {"used_in_filter": "sft"},
    "used_in": {"used_in_filter": "sft", "used_in": "purpose"},
    "split": {"split": "valid"},
    "by text": {"split": None},
    "holdout": {"split": None, "holdout": Holdout(0.5)},
    "max_tokens": {"max_tokens": 9},
    "overlong": {"overlong": "truncate"},
    "skip_errors": {"skip_errors": True},
    "limit": {"limit": 2},
}


def test_the_address_changes_with_each_option(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    path = write_lines(tmp_path / "a.jsonl", TALKS[:3])
    plain = task_of(tmp_path, tokenizer, whole(path))
    keys = {name: task_of(tmp_path, tokenizer, whole(path), **change).address().key for name, change in CHANGES.items()}
    keys["template"] = replace(plain, options=replace(plain.options, template="another")).address().key
    keys["tokenizer"] = replace(plain, encoder=replace(plain.encoder, digest="another")).address().key
    keys["named tokens"] = replace(plain, named_tokens=(("eos_token", "another"),)).address().key
    keys["nothing"] = plain.address().key
    assert len(set(keys.values())) == len(keys) == len(CHANGES) + 4
    renamed = path.rename(tmp_path / "b.jsonl")
    assert task_of(tmp_path / "elsewhere", tokenizer, whole(renamed)).address().key == keys["nothing"]


def test_a_shard_on_which_the_two_ways_disagree_is_made_by_the_rule(
    tmp_path: Path, tokenizer: TextTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Conversation] = []

    def rule(_: object, conversation: Conversation) -> list[Chunks]:
        return [[(False, [str(conversation.messages[0]["content"])]), (True, ["right"])]]

    def quick(_: object, conversation: Conversation) -> list[Chunks]:
        asked.append(conversation)
        return rule(None, conversation) if len(asked) <= 8 else [[(True, ["wrong"])]]

    monkeypatch.setattr(chat_encoder._KnownShapes, "sequences", quick)  # noqa: SLF001 - the quick way is faked
    monkeypatch.setattr(ExactRenderer, "sequences", rule)
    monkeypatch.setattr(chat_encoder, "_FIRST", 0)
    monkeypatch.setattr(chat_encoder, "_EVERY", 8)
    # Of two files, so that the sequences of one are written when the difference is found in the other.
    first, second = (write_lines(tmp_path / f"{name}.jsonl", TALKS[:8]) for name in "ab")
    task = task_of(tmp_path, small_tokenizer(tmp_path / "own"), whole(first, second))
    said = [str(tokenizer.backend.decode(ids, skip_special_tokens=False)) for ids, _ in sequences(task)]
    assert said == [f"question {number} <|im_end|>right" for number in range(8)] * 2
    assert len(asked) == 9, "once they differ, the quick way is not asked again"
    assert made(task).receipt.counts["records"] == 16
    assert sorted(one.name for one in (Path(task.store) / made(task).receipt.key).iterdir()) == [
        "receipt.json",
        "train.bin",
        "train.idx",
        "train.mask",
    ]
