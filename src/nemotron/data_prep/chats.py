"""One shard of conversations: those of a piece of the input, encoded with their loss mask, for each split."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import orjson
import xxhash

from nemo_runspec.errors import DataError
from nemotron.data_prep.binidx import PairWriter, map_file, read_pair, tokens_file
from nemotron.data_prep.blend import SPLITS
from nemotron.data_prep.chat import ChatEncoder, ChatTemplate, Conversation, Dropped, Sequences, read_conversation, uses
from nemotron.data_prep.encoding import EngineSpec, load_encoder
from nemotron.data_prep.packing import EncodedShard
from nemotron.data_prep.records import UnusableError, digest_piece, make_of_piece, read_piece
from nemotron.data_prep.shards import Address, FileRecord, Written, meter
from nemotron.data_prep.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nemotron.data_prep.holdout import Holdout
    from nemotron.data_prep.records import PieceReader
    from nemotron.data_prep.shards import Busy, Made
    from nemotron.data_prep.sources import Piece

ENCODED_DTYPE = np.dtype("<i4")
OVERLONG = ("drop", "truncate")
_TEMPLATE_REMEDY = (
    "Correct the order and the roles of its turns, or take a template that knows what it has, such as tools: "
    "chat_template=chatml."
)


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """What the sequences of a shard depend on besides its input and its tokenizer.

    Args:
        messages: The field with the turns.
        tools: The field with the functions that can be called.
        used_in: The field that says what a record is for.
        used_in_filter: Only records for this are taken; None takes all.
        template: The chat template's text.
        split: The split that all conversations belong to; None decides for each by `holdout`.
        holdout: Which conversations are kept out of training.
        max_tokens: Most tokens of a sequence.
        overlong: What becomes of a longer one: `drop` or `truncate`.
        skip_errors: Leave out records that cannot be used, instead of failing.
        limit: Read no more records than this.
    """

    messages: str
    tools: str
    used_in: str
    used_in_filter: str | None
    template: str
    split: str | None
    holdout: Holdout
    max_tokens: int
    overlong: str
    skip_errors: bool
    limit: int | None

    def columns(self) -> list[str]:
        """Give the fields that are read."""
        return [self.messages, self.tools, self.used_in]


@dataclass(frozen=True, slots=True)
class ChatTask:
    """A shard to make.

    Args:
        piece: Its input.
        encoder: What encodes it.
        tokenizer: Folder of the tokenizer.
        named_tokens: Its `named_tokens`, sorted, which a template can print.
        options: What else it depends on.
        store: The folder of all shards.
    """

    piece: Piece
    encoder: EngineSpec
    tokenizer: str
    named_tokens: tuple[tuple[str, str], ...]
    options: ChatOptions
    store: str

    def address(self) -> Address:
        """Give the shard's content address; the input is read for it."""
        options = self.options
        facts = {
            "tokenizer": self.encoder.digest,
            "named_tokens": [list(pair) for pair in self.named_tokens],
            "messages": options.messages,
            "tools": options.tools,
            "used_in": options.used_in if options.used_in_filter else None,
            "used_in_filter": options.used_in_filter,
            "template": xxhash.xxh3_128_hexdigest(options.template.encode()),
            "split": options.split or options.holdout.facts(),
            "max_tokens": options.max_tokens,
            "overlong": options.overlong,
            "skip_errors": options.skip_errors,
            "limit": options.limit,
        }
        return Address("conversations", digest_piece(self.piece, options.columns(), options.limit), facts)


def make_chats(task: ChatTask) -> Made | Busy:
    """Make a shard; the function that a crew runs.

    Args:
        task: Which.

    Raises:
        DataError: A record cannot be used and is not to be skipped, or a file cannot be read.
    """
    return make_of_piece(task.store, task.piece, task.address, lambda folder: _write(task, folder))


def open_encoded(folder: Path, split: str) -> EncodedShard:
    """Open the sequences of a shard.

    Args:
        folder: The shard's folder.
        split: Which of its splits; it has sequences of that.
    """
    ids, lengths = read_pair(folder / split)
    mask = map_file(_mask_file(folder, split), np.uint8)
    offsets = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64)))
    return EncodedShard(ids.astype(np.int32, copy=False), mask, offsets)


class _DisagreedError(Exception):
    """Two ways to render a conversation gave different sequences."""


def _write(task: ChatTask, folder: Path) -> Written:
    encoder = _chat_encoder(task.tokenizer, task.named_tokens, task.encoder, task.options.template)
    try:
        return _write_once(task, folder, encoder, exact=False)
    except _DisagreedError:
        shutil.rmtree(folder)
        folder.mkdir()
        return _write_once(task, folder, encoder, exact=True)


def _write_once(task: ChatTask, folder: Path, encoder: ChatEncoder, *, exact: bool) -> Written:
    options = task.options
    encoder.start_piece(exact=exact)
    writers = {split: _SplitWriter(folder, split) for split in SPLITS}
    counts: Counter[str] = Counter()
    records = read_piece(task.piece, options.columns(), limit=options.limit, skip_errors=options.skip_errors)
    for batch in records:
        records_found = batch.each(lambda values: _found(values, options))
        found = [item for item in records_found if item[1].wanted]
        counts["not_used"] += len(records_found) - len(found)
        chats = [one.conversation for _, one in found if isinstance(one.conversation, Conversation)]
        encoded = iter(encoder.encode_many(chats))
        if not encoder.agreed:
            raise _DisagreedError
        before = counts["tokens"]
        for number, one in found:
            made = one.conversation if isinstance(one.conversation, Dropped) else next(encoded)
            if isinstance(made, Sequences):
                writers[one.split].take(made, options, counts)
            elif made.fault:
                batch.refuse(number, made.reason, _TEMPLATE_REMEDY)
            else:
                counts[f"dropped: {made.reason}"] += 1
        for writer in writers.values():
            writer.flush()
        meter.add(batch.bytes_read, counts["tokens"] - before)
    return _written(writers, counts, records)


def _written(writers: dict[str, _SplitWriter], counts: Counter[str], records: PieceReader) -> Written:
    counts.update(records.counts)
    files = {name: record for writer in writers.values() for name, record in writer.close().items()}
    return Written(files, counts, tuple(records.problems))


@dataclass(frozen=True, slots=True)
class _Found:
    """A record's conversation, and the split that it belongs to; not wanted where it is used for something else."""

    conversation: Conversation | Dropped
    split: str
    wanted: bool


def _found(values: dict[str, object], options: ChatOptions) -> _Found:
    try:
        if options.used_in_filter and options.used_in_filter not in uses(values, options.used_in):
            return _Found(Dropped("not used here"), "", wanted=False)
        conversation = read_conversation(values, options)
    except DataError as error:
        raise UnusableError(error.message, error.remedy or "Correct this record.") from error
    return _Found(conversation, options.split or _split_of(conversation, options.holdout), wanted=True)


def _split_of(conversation: Conversation | Dropped, holdout: Holdout) -> str:
    """Decide by the turns as they were read, which are the same from every format."""
    if isinstance(conversation, Dropped):
        return "train"
    # Parquet has values that JSON has no form for.
    turns = orjson.dumps(conversation.messages, default=repr, option=orjson.OPT_SORT_KEYS)
    return holdout.split_of(turns.decode())


class _SplitWriter:
    """Writes the sequences of one split: ids as a pair of files, and the mask, a byte a token, beside them."""

    def __init__(self, folder: Path, split: str) -> None:
        self._folder, self._split = folder, split
        self._pair = PairWriter(folder / split, ENCODED_DTYPE)
        self._ids: list[NDArray[np.int32]] = []
        self._masks: list[NDArray[np.uint8]] = []
        self._digest = xxhash.xxh64()
        self._size = 0

    def take(self, sequences: Sequences, options: ChatOptions, counts: Counter[str]) -> None:
        """Take the sequences of a conversation that are worth learning from."""
        counts[f"{self._split}_conversations"] += 1
        for ids, start in zip(sequences.ids.rows(), sequences.ids.offsets.tolist(), strict=False):
            mask = sequences.mask[start : start + len(ids)]
            if len(ids) > options.max_tokens:
                if options.overlong == "drop":
                    counts["too_long"] += 1
                    continue
                counts["truncated"] += 1
                ids, mask = ids[: options.max_tokens], mask[: options.max_tokens].copy()  # noqa: PLW2901 - the cut one takes its place
                mask[-1] = 0
            if not mask.any():
                counts["all_masked"] += 1
                continue
            self._ids.append(ids)
            self._masks.append(mask)
            counts[f"{self._split}_sequences"] += 1
            counts[f"{self._split}_tokens"] += len(ids)
            counts["tokens"] += len(ids)

    def flush(self) -> None:
        """Write what was taken."""
        if not self._ids:
            return
        lengths = np.asarray([len(ids) for ids in self._ids], dtype=np.int32)
        self._pair.append(np.concatenate(self._ids), lengths)
        content = np.concatenate(self._masks).tobytes()
        with _mask_file(self._folder, self._split).open("ab") as stream:
            stream.write(content)
        self._digest.update(content)
        self._size += len(content)
        self._ids, self._masks = [], []

    def close(self) -> dict[str, FileRecord]:
        """Give the records of the files; none where there was nothing to write."""
        files = self._pair.close()
        if files:
            files[_mask_file(self._folder, self._split).name] = FileRecord(self._size, self._digest.hexdigest())
        return files


def _mask_file(folder: Path, split: str) -> Path:
    return tokens_file(folder / split).with_suffix(".mask")


@lru_cache(maxsize=2)
def _chat_encoder(
    tokenizer: str, named_tokens: tuple[tuple[str, str], ...], encoder: EngineSpec, template: str
) -> ChatEncoder:
    # The names are those of the address, whatever has become of the folder.
    loaded = replace(load_tokenizer(tokenizer), named_tokens=dict(named_tokens))
    return ChatEncoder(loaded, load_encoder(encoder), ChatTemplate(loaded, template))
