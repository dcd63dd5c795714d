"""Conversations -> token ids and a loss mask, through the tokenizer's own chat template.

The template sees what the messages say, because it may look at it (to trim it, or to find a part). Only the name of a
special token inside a message is rendered as a stand-in, and encoded as the characters it is made of: a message that
quotes `<|im_end|>` does not end its turn.

The text of a message is what its turn adds to the rendering of the turns before it. The header of an assistant's turn
belongs to the turn before, as the model is given it; so the mask covers what the model has to say, and the end of its
turn.

No message holds reasoning, so `enable_thinking` is false in every rendering: a template that opens a block of reasoning
by default would begin the model's turn otherwise than it renders the turn itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from nemo_runspec.errors import DataError
from nemotron.data_prep.packing import Sample
from nemotron.data_prep.template import ChatTemplate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemotron.data_prep.blend import Row
    from nemotron.data_prep.tokenizer import TextTokenizer

Message = dict[str, str]

ROLES = ("system", "user", "assistant", "tool")
# Private-use characters: no text is expected to hold them, and one that does is refused.
_OPEN, _CLOSE = "\ue000", "\ue001"
_STAND_IN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class ChatEncoder:
    """Renders and encodes conversations.

    Args:
        tokenizer: A tokenizer with a chat template.

    Raises:
        DataError: It has none, or one that is no Jinja.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Compile the template."""
        self._tokenizer = tokenizer
        self._template = ChatTemplate(tokenizer)
        self._special = tokenizer.special_names()
        self._quoted = re.compile("|".join(map(re.escape, self._special)) or "(?!)")

    def encode(self, messages: Sequence[Message]) -> Sample:
        """Encode one conversation for training.

        Args:
            messages: Its turns, each with `role` and `content`.

        Raises:
            DataError: The template refuses it, or does not render turn after turn.
        """
        safe = self._hide_quoted(messages)
        whole = self._template.render(safe, generate=False)
        ids: list[int] = []
        trained: list[int] = []
        start = 0
        for index, message in enumerate(messages):
            following = messages[index + 1]["role"] if index + 1 < len(messages) else None
            if message["role"] == following == "tool":
                # Templates put the results of several calls into one turn, which ends after the last of them.
                continue
            generate = following == "assistant" and message["role"] != "assistant"
            rendered = self._template.render(safe[: index + 1], generate=generate)
            if not whole.startswith(rendered):
                text = "the chat template does not render this conversation turn after turn"
                remedy = "Take a template whose text for a turn does not depend on later turns, nor on <think> in one."
                raise DataError(text, remedy=remedy)
            piece = self._encode_piece(whole[start : len(rendered)])
            ids += piece
            trained += [int(message["role"] == "assistant")] * len(piece)
            start = len(rendered)
        mask = np.asarray([*trained[1:], 0], dtype=np.uint8)
        return Sample(np.asarray(ids, dtype=np.int32), mask)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Encode a conversation up to where the assistant begins to speak.

        Args:
            messages: Its turns.
        """
        return self._encode_piece(self._template.render(self._hide_quoted(messages), generate=True))

    def _hide_quoted(self, messages: Sequence[Message]) -> list[Message]:
        """Put stand-ins for the special tokens' names that messages quote; refuse where the template looks for them."""
        hidden = [{**message, "content": self._quoted.sub(self._stand_in, message["content"])} for message in messages]
        if hidden != list(messages):
            shown = _STAND_IN.sub(
                lambda found: self._special[int(found[1])], self._template.render(hidden, generate=False)
            )
            if shown != self._template.render(messages, generate=False):
                names = sorted({name for message in messages for name in self._quoted.findall(message["content"])})
                text = f"the chat template changes a message because of {', '.join(names)} in it"
                raise DataError(text, remedy="Take it out of the message; reasoning is not supported.")
        return hidden

    def _stand_in(self, found: re.Match[str]) -> str:
        return f"{_OPEN}{self._special.index(found[0])}{_CLOSE}"

    def _encode_piece(self, piece: str) -> list[int]:
        ids: list[int] = []
        # The pattern's group makes every second part the number of a special token's name.
        for position, part in enumerate(_STAND_IN.split(piece)):
            if position % 2:
                ids += next(self._tokenizer.encode_texts([self._special[int(part)]])).tolist()
            elif part:
                ids += self._tokenizer.encode_markup(part)
        return ids


def read_messages(row: Row, field: str) -> list[Message]:
    """Give the conversation in a record.

    Args:
        row: The record.
        field: Its field with the list of turns.

    Raises:
        DataError: There is no such field, or it is not a list of turns with a known role and a text.
    """
    turns = row.get(field)
    if not isinstance(turns, list) or not turns:
        message = f"the field '{field}' is not a list of messages"
        raise row.error(message, 'Write [{"role": "user", "content": "..."}, ...].')
    return [_read_turn(row, number, turn) for number, turn in enumerate(turns, 1)]


def _read_turn(row: Row, number: int, turn: Any) -> Message:  # noqa: ANN401 whatever JSON holds
    role = turn.get("role") if isinstance(turn, dict) else None
    content = turn.get("content") if isinstance(turn, dict) else None
    if role not in ROLES:
        message = f"message {number} has the role {role!r}"
        raise row.error(message, f"Known roles: {', '.join(ROLES)}.")
    if not isinstance(content, str):
        message = f"message {number} has no text as 'content'"
        raise row.error(message, 'Write {"role": "user", "content": "..."}.')
    if _OPEN in content or _CLOSE in content:
        message = f"message {number} holds the private-use character U+E000 or U+E001"
        raise row.error(message, "Remove it.")
    # Parquet gives every turn the keys of all turns, with null where one lacks them.
    others = sorted(key for key, value in turn.items() if key not in ("role", "content") and value is not None)
    if others:
        message = f"message {number} has the key '{others[0]}', which is not supported"
        raise row.error(message, "Leave it out, or put it into 'content' as the template would write it.")
    return {"role": str(role), "content": content}
