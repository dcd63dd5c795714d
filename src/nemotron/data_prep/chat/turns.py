"""The rule that says which text of a rendered conversation belongs to which turn, by rendering its beginnings.

The text of a turn is what it adds to the rendering of the turns before it. The header of an assistant's turn belongs to
the turn before, as the model is given it; so what is learnt is what the model has to say, and the end of its turn.

A conversation without reasoning is one sequence. One with reasoning is a sequence for each turn of the user, because
templates leave out the reasoning of earlier ones: in it, only what follows that turn is learnt.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemotron.data_prep.chat.conversation import Message

NOT_BY_TURNS = "the chat template does not render this conversation turn after turn"
# Stands before an answer without reasoning, in a conversation that has some elsewhere.
_EMPTY_BLOCK = "<|im_start|>assistant\n<think></think>"
_END_OF_TURN = "<|im_end|>\n"


class Chunk(NamedTuple):
    """The text of a turn.

    Args:
        text: What it adds.
        trained: Whether an assistant says it.
    """

    text: str
    trained: bool


class NotByTurnsError(Exception):
    """A beginning of the conversation is not rendered as it is in the whole."""


class Render(Protocol):
    """Renders the beginning of a conversation."""

    def __call__(self, turns: int, *, generate: bool) -> str:
        """Render that many turns, and perhaps the header of an assistant's."""


def cut(messages: Sequence[Message], render: Render, *, reasons: bool) -> list[list[Chunk]]:
    """Render a conversation and cut it into the texts of its turns.

    Args:
        messages: The turns.
        render: Renders the first of them.
        reasons: Whether any of them has reasoning; it also decides how `render` renders.

    Returns:
        The chunks of each sequence.

    Raises:
        NotByTurnsError: The template does not render it turn after turn.
    """
    if not reasons:
        return [_Cutter(messages, render, len(messages), reasons=False).chunks()]
    asked = [number for number, message in enumerate(messages) if message["role"] == "user"]
    return [
        _Cutter(messages, render, end, reasons=True).chunks(turn)
        for turn, end in pairwise([*asked, len(messages)])
        if end > turn + 1
    ]


class _Cutter:
    """Cuts one sequence, the first `turns` of the messages."""

    def __init__(self, messages: Sequence[Message], render: Render, turns: int, *, reasons: bool) -> None:
        self._messages = messages[:turns]
        self._render = render
        self._reasons = reasons
        self._whole = render(turns, generate=False)

    def chunks(self, asked: int | None = None) -> list[Chunk]:
        """Give the texts of all turns, those up to the user's turn `asked` as two."""
        chunks: list[Chunk] = []
        start = 0
        if asked is not None:
            start = self._end(asked)
            system = self._whole.find(_END_OF_TURN, 0, start) + len(_END_OF_TURN)
            # A template of other markup has no such end to find.
            system = 0 if system < len(_END_OF_TURN) else system
            chunks = [Chunk(self._whole[:system], trained=False), Chunk(self._whole[system:start], trained=False)]
        for number in range(0 if asked is None else asked + 1, len(self._messages)):
            role = self._messages[number]["role"]
            if role == "tool" == self._role(number + 1):
                # Templates put the results of several calls into one turn, which ends after the last of them.
                continue
            end = self._end(number)
            if end < start:
                raise NotByTurnsError
            chunks.append(Chunk(self._whole[start:end], role == "assistant"))
            start = end
        return chunks

    def _end(self, number: int) -> int:
        """Give where the text of a turn ends in the whole."""
        generate = self._messages[number]["role"] in ("user", "tool") and self._role(number + 1) == "assistant"
        if number + 1 == len(self._messages):
            return len(self._whole)
        silent = generate and self._reasons and not self._reasoning(number + 1).strip()
        beginning = self._render(number + 1, generate=generate and not silent)
        if silent:
            beginning += _EMPTY_BLOCK
        if not self._whole.startswith(beginning):
            raise NotByTurnsError
        return len(beginning)

    def _role(self, number: int) -> str | None:
        return self._messages[number]["role"] if number < len(self._messages) else None

    def _reasoning(self, number: int) -> str:
        return self._messages[number].get("reasoning_content") or ""
