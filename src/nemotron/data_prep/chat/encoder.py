"""Conversations -> token ids and a loss mask, through a chat template.

`turns` has the rule, which renders a conversation once for each of its turns. Most conversations are encoded with a
single rendering: `shapes` knows what the template makes of a conversation of the same shape, and where its turns end;
if the rendering is that, these ends are right. Otherwise, and now and then to see that both ways agree, the rule is
followed as it stands.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from nemo_runspec.errors import DataError
from nemotron.data_prep.chat.conversation import Conversation, Dropped
from nemotron.data_prep.chat.exact import ExactRenderer, ReactsError
from nemotron.data_prep.chat.quoting import SpecialNames
from nemotron.data_prep.chat.shapes import Frame, make_frame, marked, outline
from nemotron.data_prep.chat.template import ChatTemplate, TemplateRefusalError
from nemotron.data_prep.chat.turns import NOT_BY_TURNS, NotByTurnsError
from nemotron.data_prep.encoding import EngineSpec, Ragged, load_encoder, read_definition

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from numpy.typing import NDArray

    from nemotron.data_prep.chat.conversation import Message, Tools
    from nemotron.data_prep.chat.exact import Chunks
    from nemotron.data_prep.encoding import Encoder
    from nemotron.data_prep.tokenizer import TextTokenizer

QUOTED = "the chat template looks for a special token whose name a message quotes"
NO_QUESTION = "it has reasoning, and nothing follows a turn of the user's"
# Of each piece of data, these conversations are encoded in both ways.
_FIRST, _EVERY = 16, 256
_SHAPES = 4096


@dataclass(frozen=True, slots=True)
class Sequences:
    """The sequences of a conversation.

    Args:
        ids: Their token ids.
        mask: 1 where the token that follows in the same sequence is trained on, uint8 of the shape of all ids.
    """

    ids: Ragged
    mask: NDArray[np.uint8]


class ChatEncoder:
    """Renders and encodes conversations.

    Args:
        tokenizer: Whose special tokens the markup has.
        encoder: Encodes the texts between them; None for the trusted engine.
        template: The chat template, or None for the one in the tokenizer's folder.

    Raises:
        DataError: There is no template, or one that is no Jinja.
    """

    def __init__(
        self, tokenizer: TextTokenizer, encoder: Encoder | None = None, template: ChatTemplate | None = None
    ) -> None:
        """Prepare the template."""
        self._encoder = encoder or _trusted(tokenizer)
        template = template or ChatTemplate(tokenizer)
        names = SpecialNames(tokenizer.specials)
        self._renderer = ExactRenderer(template, names)
        self._known = _KnownShapes(template, names, self._renderer)
        self.start_piece()

    def start_piece(self, *, exact: bool = False) -> None:
        """Begin with a piece of data, of which some conversations are encoded in both ways.

        Args:
            exact: Whether to follow the rule for all of them.
        """
        self._exact = exact
        self._seen = 0
        self.agreed = True

    def encode_many(self, conversations: Sequence[Conversation]) -> list[Sequences | Dropped]:
        """Encode conversations for training, the next ones of the piece.

        Where `agreed` is false afterwards, the two ways have differed within this piece: it is to be begun again, with
        `start_piece(exact=True)`.

        Args:
            conversations: As many as give a few MB of text.

        Returns:
            For each its sequences, or why it has none.
        """
        return self._encode([self._render(conversation) for conversation in conversations])

    def encode_prompt(self, messages: list[Message], tools: Tools = None, *, thinking: bool = False) -> list[int]:
        """Encode a conversation up to where the assistant begins to speak.

        Args:
            messages: Its turns.
            tools: The functions that can be called in it.
            thinking: Whether the assistant is to reason.

        Raises:
            DataError: The template refuses it.
        """
        try:
            segments = self._renderer.prompt(Conversation(messages, tools), thinking=thinking)
        except TemplateRefusalError as error:
            raise DataError(error.reason, remedy="Correct the order and the roles of its turns.") from error
        except ReactsError as error:
            raise DataError(QUOTED, remedy="Take it out of the message.") from error
        return list(self._encoder.encode_segments([segments]).ids.tolist())

    def _render(self, conversation: Conversation) -> list[Chunks] | Dropped:
        checked = self._seen < _FIRST or self._seen % _EVERY == 0
        self._seen += 1
        quick = None if self._exact else self._known.sequences(conversation)
        if quick is not None and not checked:
            return quick
        exact = self._follow(conversation)
        if quick not in (None, exact):
            self.agreed = False
            self._exact = True
        return exact

    def _follow(self, conversation: Conversation) -> list[Chunks] | Dropped:
        """Follow the rule as it stands."""
        try:
            return self._renderer.sequences(conversation) or Dropped(NO_QUESTION)
        except TemplateRefusalError as error:
            return Dropped(error.reason, fault=True)
        except NotByTurnsError:
            return Dropped(NOT_BY_TURNS)
        except ReactsError:
            return Dropped(QUOTED)

    def _encode(self, rendered: list[list[Chunks] | Dropped]) -> list[Sequences | Dropped]:
        """Encode all chunks of all sequences in one call."""
        sequences = list(chain.from_iterable(item for item in rendered if not isinstance(item, Dropped)))
        chunks = list(chain.from_iterable(sequences))
        by_chunk = self._encoder.encode_segments([segments for _, segments in chunks])
        ends = np.cumsum([0, *map(len, sequences)])
        offsets = by_chunk.offsets[ends]
        trained = np.fromiter((trained for trained, _ in chunks), dtype=np.uint8, count=len(chunks))
        learnt = np.repeat(trained, np.diff(by_chunk.offsets))
        mask = np.zeros_like(learnt)
        mask[:-1] = learnt[1:]
        # The first token of a sequence is nothing that the one before it could predict.
        mask[offsets[1:][np.diff(offsets) > 0] - 1] = 0
        made: list[Sequences | Dropped] = []
        first = 0
        for item in rendered:
            if isinstance(item, Dropped):
                made.append(item)
                continue
            own = offsets[first : first + len(item) + 1]
            start, end = own[0], own[-1]
            made.append(Sequences(Ragged(by_chunk.ids[start:end], own - start), mask[start:end]))
            first += len(item)
        return made


def _trusted(tokenizer: TextTokenizer) -> Encoder:
    definition = read_definition(tokenizer.folder / "tokenizer.json")
    return load_encoder(EngineSpec(str(definition.path), "hf", definition.digest), definition)


@dataclass(frozen=True, slots=True)
class _Shape:
    """What is known of a shape.

    Args:
        frames: Its sequences.
        turns: How many turns the last of them has.
    """

    frames: tuple[Frame, ...]
    turns: int


class _KnownShapes:
    """Renders conversations of known shapes, once each."""

    def __init__(self, template: ChatTemplate, names: SpecialNames, renderer: ExactRenderer) -> None:
        self._template = template
        self._renderer = renderer
        self._names = {number: name for name, number in names.ids.items()}
        self._shapes: OrderedDict[Hashable, _Shape | None] = OrderedDict()

    def sequences(self, conversation: Conversation) -> list[Chunks] | None:
        """Give the sequences of a conversation, or None where the rule has to be followed."""
        key, leaves = outline(conversation)
        if key in self._shapes:
            self._shapes.move_to_end(key)
        else:
            # It costs what following the rule costs, so it is worth it for a shape that comes twice.
            self._shapes[key] = self._learn(conversation)
            if len(self._shapes) > _SHAPES:
                self._shapes.popitem(last=False)
        shape = self._shapes[key]
        # The end of a turn is looked for in what is rendered, also where it is no special token.
        if shape is None or self._template.watched.reacts(leaves, "<|im_end|>"):
            return None
        filled = [frame.fill(leaves) for frame in shape.frames]
        try:
            text = self._template.render(
                conversation.messages[: shape.turns], conversation.tools, generate=False, thinking=conversation.reasons
            )
        except TemplateRefusalError:
            return None
        if text != "".join(filled[-1]):
            return None
        return [frame.segments(pieces) for frame, pieces in zip(shape.frames, filled, strict=True)]

    def _learn(self, conversation: Conversation) -> _Shape | None:
        example = marked(conversation)
        if example is None:
            return None
        try:
            sequences = self._renderer.sequences(example)
        except (TemplateRefusalError, NotByTurnsError, ReactsError):
            return None
        frames = [make_frame(chunks, self._names) for chunks in sequences]
        if not frames or None in frames:
            return None
        return _Shape(tuple(frame for frame in frames if frame), self._last_turns(conversation))

    @staticmethod
    def _last_turns(conversation: Conversation) -> int:
        """Give how many turns the last sequence has."""
        messages = conversation.messages
        # Where a conversation reasons, a question without an answer at its end makes no sequence.
        return len(messages) - (conversation.reasons and messages[-1]["role"] == "user")
