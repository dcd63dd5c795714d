"""Conversations as shards, for tests of what is made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron.data_prep.chat import template_text
from nemotron.data_prep.chats import ChatOptions, ChatTask, make_chats, open_encoded
from nemotron.data_prep.holdout import Holdout
from nemotron.data_prep.shards import Made
from tests.nemotron.data_prep.small import engine_of

if TYPE_CHECKING:
    from nemotron.data_prep.sources import Piece
    from nemotron.data_prep.tokenizer import TextTokenizer

PLAIN = ChatOptions(
    messages="messages",
    tools="tools",
    used_in="used_in",
    used_in_filter=None,
    template="",
    split="train",
    holdout=Holdout(0.3, 0.2, 1),
    max_tokens=100_000,
    overlong="drop",
    skip_errors=False,
    limit=None,
)


def talk(*contents: str, **more: object) -> dict[str, object]:
    """Give a record in which user and assistant take turns."""
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[turn % 2], "content": text} for turn, text in enumerate(contents)], **more}


def task_of(folder: Path, tokenizer: TextTokenizer, piece: Piece, **changes: Any) -> ChatTask:  # noqa: ANN401 - options are of several types
    """Give a shard to make below a folder."""
    options = replace(PLAIN, template=template_text(tokenizer, None), **changes)
    named = tuple(sorted(tokenizer.named_tokens.items()))
    return ChatTask(piece, engine_of(tokenizer), str(tokenizer.folder), named, options, str(folder / "shards"))


def made(task: ChatTask) -> Made:
    """Make a shard that nobody else makes."""
    found = make_chats(task)
    assert isinstance(found, Made)
    return found


def sequences(task: ChatTask, split: str = "train") -> list[tuple[list[int], list[int]]]:
    """Make a shard, and give ids and mask of each of its sequences."""
    receipt = made(task).receipt
    if not receipt.counts.get(f"{split}_sequences"):
        return []
    shard = open_encoded(Path(task.store) / receipt.key, split)
    bounds = zip(shard.offsets[:-1].tolist(), shard.offsets[1:].tolist(), strict=True)
    found = [(shard.ids[start:end].tolist(), shard.mask[start:end].tolist()) for start, end in bounds]
    assert receipt.counts[f"{split}_sequences"] == len(found)
    assert receipt.counts[f"{split}_tokens"] == sum(len(ids) for ids, _ in found)
    return found
