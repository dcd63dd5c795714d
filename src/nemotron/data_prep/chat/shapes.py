"""The shape of a conversation: all but its texts; and what a template makes of any conversation of one shape.

A shape is rendered once with marks in the place of the texts, by the exact rule. What comes out is the template's own
text with the places between, where a real conversation's texts go.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemotron.data_prep.chat.conversation import Conversation

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from nemotron.data_prep.chat.conversation import Message
    from nemotron.data_prep.chat.exact import Chunks

_TEXT, _WHOLE, _BROKEN, _OPEN, _CLOSE = (object() for _ in range(5))
# White space around a mark tells whether the template trims a text, the quotation mark in it whether it is written as
# JSON. Numbers have marks that are numbers.
_PAD = "\t\n \n\t"
_JSON_PAD = json.dumps(_PAD)[1:-1]
_EITHER = "|".join(map(re.escape, (_PAD, _JSON_PAD)))
_NUMBER = 9173645
_MARK = re.compile(
    rf'({_EITHER})?\ue002([0-9]+)(\\*)"\ue003({_EITHER})?|{_NUMBER}([0-9]{{8}})(?![0-9])|(?<![0-9])([0-9]+)\.{_NUMBER}(?![0-9])'
)
_FOREIGN = re.compile(f"[\ue002\ue003]|{_NUMBER}")


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for a text.

    Args:
        piece: Which of the pieces it is.
        leaf: Which of the conversation's texts comes there.
        change: What the template does to it, if anything.
    """

    piece: int
    leaf: int
    change: Callable[[str], str] | None


@dataclass(frozen=True, slots=True)
class Frame:
    """A sequence, with places for the texts.

    Args:
        pieces: The template's own texts, and something in each place.
        slots: The places.
        chunks: For each chunk whether it is trained, and its runs of text, as ranges of pieces, and special tokens.
    """

    pieces: tuple[str, ...]
    slots: tuple[Slot, ...]
    chunks: tuple[tuple[bool, tuple[int | tuple[int, int], ...]], ...]

    def fill(self, leaves: Sequence[str]) -> list[str]:
        """Give the pieces with texts in the places."""
        pieces = list(self.pieces)
        for slot in self.slots:
            leaf = leaves[slot.leaf]
            pieces[slot.piece] = slot.change(leaf) if slot.change else leaf
        return pieces

    def segments(self, pieces: list[str]) -> Chunks:
        """Give the chunks of filled pieces."""
        return [
            (trained, [run if type(run) is int else "".join(pieces[run[0] : run[1]]) for run in runs])  # type: ignore[index]
            for trained, runs in self.chunks
        ]


def outline(conversation: Conversation) -> tuple[Hashable, list[str]]:
    """Give a conversation's shape and, in order, its texts.

    Blank texts, switches and zeros belong to the shape, since templates ask for them; so do roles, names of fields and
    arguments, and the whole of the tools.
    """
    shape: list[Any] = []
    leaves: list[str] = []
    for message in conversation.messages:
        for key, value in message.items():
            shape.append(key)
            if type(value) is str and value and key != "role" and not value.isspace():
                shape.append(_TEXT)
                leaves.append(value)
            elif key == "tool_calls":
                _outline_calls(value, shape, leaves)
            elif type(value) is str:
                shape.append(value)
            else:
                _outline(value, shape, leaves)
        shape.append(_CLOSE)
    if conversation.tools:
        shape.append(repr(conversation.tools))
    return tuple(shape), leaves


def _outline_calls(calls: list[dict[str, Any]], shape: list[Any], leaves: list[str]) -> None:
    for call in calls:
        for key, value in call.items():
            shape.append(key)
            if key == "type":
                shape.append(repr(value))
            else:
                _outline(value, shape, leaves)
        shape.append(_CLOSE)


def _outline(value: Any, shape: list[Any], leaves: list[str]) -> None:  # noqa: ANN401 whatever JSON holds
    kind = _kind(value)
    if kind is not None:
        shape.append(kind)
        leaves.append(value if kind is _TEXT else repr(value))
    elif isinstance(value, dict):
        shape.append(_OPEN)
        for key, item in value.items():
            shape.append(key)
            _outline(item, shape, leaves)
        shape.append(_CLOSE)
    elif isinstance(value, list):
        shape.append(_OPEN)
        for item in value:
            _outline(item, shape, leaves)
        shape.append(_CLOSE)
    else:
        shape.append(repr(value))


def _kind(value: object) -> object | None:
    """Tell which kind of leaf a value is, or None where it belongs to the shape."""
    if type(value) is str:
        return _TEXT if value and not value.isspace() else None
    if type(value) is int:
        return _WHOLE if value else None
    return _BROKEN if type(value) is float and value else None


def marked(conversation: Conversation) -> Conversation | None:
    """Give a conversation with a mark in the place of each text, numbered as `outline` orders them.

    Returns:
        The conversation, or None where it holds in another place what looks like a mark.
    """
    marks = _Marks()
    messages = [marks.message(message) for message in conversation.messages]
    shape, _ = outline(conversation)
    return None if _FOREIGN.search(repr(shape)) else Conversation(messages, conversation.tools)


class _Marks:
    def __init__(self) -> None:
        self._count = 0

    def message(self, message: Message) -> Message:
        return {key: self._field(key, value) for key, value in message.items()}

    def _field(self, key: str, value: Any) -> Any:  # noqa: ANN401 whatever JSON holds
        if key == "role":
            return value
        if key == "tool_calls":
            return [
                {name: item if name == "type" else self._mark(item) for name, item in call.items()} for call in value
            ]
        return self._mark(value)

    def _mark(self, value: Any) -> Any:  # noqa: ANN401 as above
        if isinstance(value, dict):
            return {key: self._mark(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._mark(item) for item in value]
        kind = _kind(value)
        if kind is None:
            return value
        number = self._count
        self._count += 1
        if kind is _WHOLE:
            return int(f"{_NUMBER}{number:08d}")
        return float(f"{number}.{_NUMBER}") if kind is _BROKEN else f'{_PAD}\ue002{number}"\ue003{_PAD}'


def make_frame(chunks: Chunks, names: dict[int, str]) -> Frame | None:
    """Turn the chunks of a marked conversation into a frame.

    Args:
        chunks: Whether each is trained, and its texts and special tokens.
        names: The name of each special token, by its id.

    Returns:
        The frame, or None where the template has changed a mark in a way that is not known.
    """
    pieces: list[str] = []
    slots: list[Slot] = []
    framed: list[tuple[bool, tuple[int | tuple[int, int], ...]]] = []
    for trained, segments in chunks:
        runs: list[int | tuple[int, int]] = []
        for segment in segments:
            if isinstance(segment, int):
                pieces.append(names[segment])
                runs.append(segment)
                continue
            start = len(pieces)
            for piece in _split_marks(segment):
                if isinstance(piece, str):
                    if _FOREIGN.search(piece):
                        return None
                    pieces.append(piece)
                else:
                    slots.append(Slot(len(pieces), *piece))
                    pieces.append("")
            runs.append((start, len(pieces)))
        framed.append((trained, tuple(runs)))
    return Frame(tuple(pieces), tuple(slots), tuple(framed))


def _split_marks(text: str) -> Iterator[str | tuple[int, Callable[[str], str] | None]]:
    end = 0
    for found in _MARK.finditer(text):
        before, leaf, escapes, after, whole, broken = found.groups()
        if len(escapes or "") > 1:
            continue
        if found.start() > end:
            yield text[end : found.start()]
        number = int(leaf or whole or broken)
        yield number, _CHANGES[bool(before) or leaf is None, bool(after) or leaf is None, bool(escapes)]
        end = found.end()
    if end < len(text):
        yield text[end:]


def _as_json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


# By what has stayed of the white space before and after, and whether it was written as JSON.
_CHANGES: dict[tuple[bool, bool, bool], Callable[[str], str] | None] = {
    (True, True, False): None,
    (False, True, False): str.lstrip,
    (True, False, False): str.rstrip,
    (False, False, False): str.strip,
    (True, True, True): _as_json,
    (False, True, True): lambda text: _as_json(text.lstrip()),
    (True, False, True): lambda text: _as_json(text.rstrip()),
    (False, False, True): lambda text: _as_json(text.strip()),
}
