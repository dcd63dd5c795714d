"""Names of special tokens that a conversation quotes: rendered as stand-ins, so that they do not become such tokens.

A message that quotes `<|im_end|>` does not end its turn. It cannot do so together with the markup around it either:
where a text begins or ends with a part of such a name, that end has a stand-in too, and so has a text that is the
middle of one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nemotron.data_prep.encoding import split_special

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemotron.data_prep.chat.conversation import Conversation, Message, Tools

# Private-use characters: where a text holds them itself, they get a stand-in as well.
_OPEN, _CLOSE = "\ue000", "\ue001"
_STAND_IN = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")


class StandIns:
    """The stand-ins of one conversation.

    Args:
        names: What is to be hidden.
        middles: Whether a text that is the middle of a name is hidden.
    """

    def __init__(self, names: SpecialNames, *, middles: bool) -> None:
        """Begin with none."""
        self._names = names
        self._middles = middles
        self._hidden: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._hidden)

    def hide(self, value: Any) -> Any:  # noqa: ANN401 whatever JSON holds
        """Give a value with stand-ins for all names in its texts and keys."""
        if isinstance(value, str):
            return self._names.replace(value, self._stand_in, middles=self._middles)
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        if isinstance(value, dict):
            return {self.hide(key): self.hide(item) for key, item in value.items()}
        return value

    def show(self, text: str) -> str:
        """Put back what was hidden in a text."""
        if not self._hidden:
            return text
        names = list(self._hidden)
        return _STAND_IN.sub(lambda found: names[int(found[1])], text)

    def _stand_in(self, text: str) -> str:
        number = self._hidden.setdefault(text, len(self._hidden))
        return f"{_OPEN}{number}{_CLOSE}"


class SpecialNames:
    """The names of a tokenizer's special tokens.

    Args:
        specials: The id of each.
    """

    def __init__(self, specials: Mapping[str, int]) -> None:
        """Prepare the search for them."""
        self.ids = specials
        longest_first = sorted(specials, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, [*longest_first, _OPEN, _CLOSE])))
        self._heads = frozenset(name[:end] for name in specials for end in range(1, len(name)))
        self._tails = frozenset(name[start:] for name in specials for start in range(1, len(name)))
        self._joined = "\0".join(specials)
        self._longest = max(map(len, specials), default=0)

    def hide(self, conversation: Conversation, *, middles: bool) -> tuple[list[Message], Tools, StandIns]:
        """Give a conversation's messages and tools with stand-ins for the names they quote.

        Args:
            conversation: The conversation.
            middles: Whether a text that is the middle of a name is hidden too. It is the safer way, but a template may
                have to know such a text: `object`, say, where there is a token `<|object|>`.
        """
        standins = StandIns(self, middles=middles)
        messages = [
            {key: value if key == "role" else standins.hide(value) for key, value in message.items()}
            for message in conversation.messages
        ]
        return messages, standins.hide(conversation.tools), standins

    def replace(self, text: str, stand_in: Callable[[str], str], *, middles: bool) -> str:
        """Replace the names in a text, and a part of one at either end.

        Args:
            text: The text.
            stand_in: Gives what to write instead.
            middles: Whether to replace a whole text that is the middle of a name.
        """
        text = self._pattern.sub(lambda found: stand_in(found[0]), text)
        core = text.strip()
        if not core:
            return text
        start = text.index(core)
        before, after = text[:start], text[start + len(core) :]
        if middles and len(core) < self._longest and core in self._joined:
            return before + stand_in(core) + after
        sizes = range(1, min(self._longest, len(core)))
        if any(core[:size] in self._tails for size in sizes):
            core = stand_in(core[0]) + core[1:]
        if any(core[-size:] in self._heads for size in sizes):
            core = core[:-1] + stand_in(core[-1])
        return before + core + after

    def split(self, text: str, standins: StandIns) -> list[str | int]:
        """Take rendered markup apart into texts, with their names shown again, and special tokens.

        Args:
            text: The markup.
            standins: What was hidden in it.
        """
        parts = split_special(text, self.ids)
        return [part if isinstance(part, int) else standins.show(part) for part in parts] if standins else parts
