"""What is known of a finished shard: its files with their checksums, what they hold, and what was left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from nemotron.data_prep.checksums import FileRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

RECEIPT_FILE = "receipt.json"
# Changes whenever the same input and options would give other bytes, so that old shards are not taken for new ones.
_FORMAT = 2
_KEY_LENGTH = 32
LISTED_PROBLEMS = 1000
"""How many of a shard's skipped records a receipt names; all are counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A record that was skipped.

    A receipt does not name files: the same bytes may lie under another name when the shard is found again.

    Args:
        span: Which span of the shard's piece it stands in, from 0.
        number: Where in the span: the byte offset of its line, or its row, from the span's `origin` in `sources`.
        message: What is wrong with it.
    """

    span: int
    number: int
    message: str


@dataclass(frozen=True, slots=True)
class Address:
    """What a shard is made of, and nothing else.

    Names, weights, times and versions are no part of it, so renaming a file or changing a weight finds the same shard.

    Args:
        kind: What is made of the input.
        inputs: Digests of the input's bytes.
        options: Everything else that the output depends on, as JSON; the tokenizer by the digest of its file.
    """

    kind: str
    inputs: tuple[str, ...]
    options: Mapping[str, object]

    @property
    def key(self) -> str:
        """Give the name of the shard's folder."""
        text = json.dumps(self.to_dict(), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
        return sha256(text.encode()).hexdigest()[:_KEY_LENGTH]

    def to_dict(self) -> dict[str, object]:
        """Give the address as JSON."""
        return {"format": _FORMAT, "kind": self.kind, "inputs": list(self.inputs), "options": dict(self.options)}


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished shard.

    Args:
        key: The name of its folder.
        made_of: Its address, as JSON.
        files: Its files, by their name in its folder.
        counts: What it holds and what was left out, by name; numbers that can be added up over shards.
        problems: The first of the records that were skipped.
    """

    key: str
    made_of: Mapping[str, object]
    files: Mapping[str, FileRecord]
    counts: Mapping[str, int]
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> str:
        """Give the text of its file, which holds no time and no name: equal shards have equal receipts."""
        document = {
            "key": self.key,
            "made_of": self.made_of,
            "files": {name: {"bytes": one.bytes, "xxh64": one.xxh64} for name, one in sorted(self.files.items())},
            "counts": dict(sorted(self.counts.items())),
            "problems": [[one.span, one.number, one.message] for one in self.problems],
        }
        return json.dumps(document, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Receipt:
        """Read a receipt's file.

        Raises:
            ValueError: It is none.
        """
        try:
            document: dict[str, Any] = json.loads(text)
            files = {name: FileRecord(int(one["bytes"]), str(one["xxh64"])) for name, one in document["files"].items()}
            counts = {str(name): int(count) for name, count in document["counts"].items()}
            problems = tuple(Problem(int(span), int(row), str(text)) for span, row, text in document["problems"])
            return cls(str(document["key"]), dict(document["made_of"]), files, counts, problems)
        except (KeyError, TypeError, AttributeError) as error:
            message = f"not a receipt: {error!r}"
            raise ValueError(message) from error
