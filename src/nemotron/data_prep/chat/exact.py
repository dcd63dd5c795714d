"""The rule for turns, followed as it stands, on a rendering in which quoted names are no special tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from nemotron.data_prep.chat.template import TemplateRefusalError
from nemotron.data_prep.chat.turns import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemotron.data_prep.chat.conversation import Conversation, Message, Tools
    from nemotron.data_prep.chat.quoting import SpecialNames
    from nemotron.data_prep.chat.template import ChatTemplate

Segments = list[str | int]
# The chunks of a sequence: whether each is trained, and its texts and special tokens.
Chunks = list[tuple[bool, Segments]]

_Made = TypeVar("_Made")


class ReactsError(Exception):
    """A template renders stand-ins otherwise than what they stand for."""


class ExactRenderer:
    """Renders conversations, with a rendering for each turn.

    Args:
        template: The chat template.
        names: The special tokens of its markup.
    """

    def __init__(self, template: ChatTemplate, names: SpecialNames) -> None:
        """Keep both."""
        self._template = template
        self._names = names

    def sequences(self, conversation: Conversation) -> list[Chunks]:
        """Give the sequences of a conversation, as the chunks of each.

        Raises:
            TemplateRefusalError: The template refuses the conversation, or fails on it.
            NotByTurnsError: It does not render it turn after turn.
            ReactsError: It looks for a special token that is quoted.
        """
        reasons = conversation.reasons

        def make(view: _View) -> list[Chunks]:
            return [
                [(chunk.trained, view.split(chunk.text)) for chunk in chunks]
                for chunks in cut(conversation.messages, view.render, reasons=reasons)
            ]

        return self._through_views(conversation, make, thinking=reasons)

    def prompt(self, conversation: Conversation, *, thinking: bool) -> Segments:
        """Give the texts and special tokens up to where the assistant begins to speak.

        Args:
            conversation: The conversation.
            thinking: Whether the assistant is to reason.

        Raises:
            TemplateRefusalError: The template refuses the conversation, or fails on it.
            ReactsError: It looks for a special token that is quoted.
        """

        def make(view: _View) -> Segments:
            return view.split(view.render(len(conversation.messages), generate=True))

        return self._through_views(conversation, make, thinking=thinking)

    def _through_views(self, conversation: Conversation, make: Callable[[_View], _Made], *, thinking: bool) -> _Made:
        try:
            return make(_View(self._template, self._names, conversation, thinking=thinking, middles=True))
        except ReactsError:
            return make(_View(self._template, self._names, conversation, thinking=thinking, middles=False))


class _View:
    """A conversation with stand-ins."""

    def __init__(
        self, template: ChatTemplate, names: SpecialNames, conversation: Conversation, *, thinking: bool, middles: bool
    ) -> None:
        self._template = template
        self._names = names
        self._conversation = conversation
        self._thinking = thinking
        self._messages, self._tools, self._standins = names.hide(conversation, middles=middles)

    def split(self, text: str) -> Segments:
        return self._names.split(text, self._standins)

    def render(self, turns: int, *, generate: bool) -> str:
        plain = self._render(self._conversation.messages, self._conversation.tools, turns, generate=generate)
        if not self._standins:
            return plain
        try:
            hidden = self._render(self._messages, self._tools, turns, generate=generate)
        except TemplateRefusalError as error:
            raise ReactsError from error
        if self._standins.show(hidden) != plain:
            raise ReactsError
        return hidden

    def _render(self, messages: list[Message], tools: Tools, turns: int, *, generate: bool) -> str:
        return self._template.render(messages[:turns], tools, generate=generate, thinking=self._thinking)
