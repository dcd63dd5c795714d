"""One shard of pretraining data: the documents of a piece of the input, tokenised into a pair of files per split."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nemotron.data_prep.binidx import PairWriter
from nemotron.data_prep.blend import SPLITS
from nemotron.data_prep.encoding import EngineSpec, load_encoder
from nemotron.data_prep.records import digest_piece, make_of_piece, read_piece
from nemotron.data_prep.shards import Address, Written, meter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    from nemotron.data_prep.encoding import Ragged
    from nemotron.data_prep.holdout import Holdout
    from nemotron.data_prep.shards import Busy, Made
    from nemotron.data_prep.sources import Piece


@dataclass(frozen=True, slots=True)
class DocumentOptions:
    """What the tokens of a shard depend on besides its input and its tokenizer.

    Args:
        text_field: The field with a document's text.
        split: The split that all documents belong to; None decides for each by `holdout`.
        holdout: Which documents are kept out of training.
        end_of_text: Id of the token that ends each document.
        dtype: Type of a stored token, such as "<i4".
        max_tokens: Most tokens of a document, its end included; a longer one is cut, and still ends with that token.
        min_chars: Documents of fewer characters are left out.
        skip_errors: Leave out records that cannot be used, instead of failing.
        limit: Read no more records than this.
    """

    text_field: str
    split: str | None
    holdout: Holdout
    end_of_text: int
    dtype: str
    max_tokens: int | None
    min_chars: int | None
    skip_errors: bool
    limit: int | None


@dataclass(frozen=True, slots=True)
class DocumentTask:
    """A shard to make.

    Args:
        piece: Its input.
        encoder: What encodes it.
        options: What else it depends on.
        store: The folder of all shards.
    """

    piece: Piece
    encoder: EngineSpec
    options: DocumentOptions
    store: str

    def address(self) -> Address:
        """Give the shard's content address; the input is read for it."""
        options = self.options
        facts = {
            "tokenizer": self.encoder.digest,
            "text_field": options.text_field,
            "split": options.split or options.holdout.facts(),
            "end_of_text": options.end_of_text,
            "dtype": options.dtype,
            "max_tokens": options.max_tokens,
            "min_chars": options.min_chars,
            "skip_errors": options.skip_errors,
            "limit": options.limit,
        }
        return Address("documents", digest_piece(self.piece, [options.text_field], options.limit), facts)


def make_documents(task: DocumentTask) -> Made | Busy:
    """Make a shard; the function that a crew runs.

    Args:
        task: Which.

    Raises:
        DataError: A record cannot be used and is not to be skipped, or a file cannot be read.
    """
    return make_of_piece(task.store, task.piece, task.address, lambda folder: _write(task, folder))


def _write(task: DocumentTask, folder: Path) -> Written:
    options = task.options
    encoder = load_encoder(task.encoder)
    writers = {split: PairWriter(folder / split, np.dtype(options.dtype)) for split in SPLITS}
    counts: Counter[str] = Counter()
    records = read_piece(task.piece, [options.text_field], limit=options.limit, skip_errors=options.skip_errors)
    for batch in records:
        texts = batch.texts(options.text_field)
        written = 0
        for split, chosen in _by_split(texts, options, counts).items():
            ids, lengths = _ended(encoder.encode(chosen), options, counts)
            writers[split].append(ids, lengths)
            counts[f"{split}_documents"] += len(lengths)
            counts[f"{split}_tokens"] += len(ids)
            written += len(ids)
        counts["tokens"] += written
        meter.add(batch.bytes_read, written)
    counts.update(records.counts)
    files = {name: record for writer in writers.values() for name, record in writer.close().items()}
    return Written(files, counts, tuple(records.problems))


def _by_split(texts: Sequence[str], options: DocumentOptions, counts: Counter[str]) -> dict[str, list[str]]:
    """Sort documents by their split, and leave out those that are too short."""
    chosen: dict[str, list[str]] = {}
    least = max(1, options.min_chars or 1)
    for text in texts:
        if len(text) < least:
            counts["empty" if not text else "too_short"] += 1
            continue
        chosen.setdefault(options.split or options.holdout.split_of(text), []).append(text)
    return chosen


def _ended(
    rows: Ragged, options: DocumentOptions, counts: Counter[str]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """End each document with its token, after cutting what is too long; a document without any token is left out."""
    lengths = rows.lengths()
    ids = rows.ids
    if options.max_tokens is not None and len(lengths) and int(lengths.max()) >= options.max_tokens:
        kept = np.minimum(lengths, options.max_tokens - 1)
        counts["truncated"] += int((kept < lengths).sum())
        place = np.arange(len(ids), dtype=np.int64) - np.repeat(rows.offsets[:-1], lengths)
        ids = ids[place < np.repeat(kept, lengths)]
        lengths = kept
    nothing = lengths == 0
    if nothing.any():
        counts["empty"] += int(nothing.sum())
        lengths = lengths[~nothing]
    ended: npt.NDArray[np.int32] = np.insert(ids, np.cumsum(lengths), options.end_of_text)
    return ended, lengths + 1
