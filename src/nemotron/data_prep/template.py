"""Chat templates in the environment that Transformers gives them, without importing it.

They have loop controls, `raise_exception`, `strftime_now`, a `tojson` that escapes nothing for HTML, the tokenizer's
special tokens by their names (`bos_token`), and `{% generation %}`, which marks what an assistant says, and adds
nothing to it.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2.parser import Parser

    from nemotron.data_prep.tokenizer import TextTokenizer


class ChatTemplate:
    """The chat template of a tokenizer, ready to render.

    Args:
        tokenizer: A tokenizer with a chat template.

    Raises:
        DataError: It has none, or one that is no Jinja.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        """Compile the template."""
        self._where = Location(tokenizer.folder)
        if tokenizer.chat_template is None:
            message = "the tokenizer has no chat template"
            remedy = "Take the tokenizer of a chat model, or add chat_template.jinja to the folder."
            raise DataError(message, where=self._where, remedy=remedy)
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
        )
        environment.globals |= {**tokenizer.named_tokens, "raise_exception": _refuse, "strftime_now": _now}
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(tokenizer.chat_template)
        except TemplateSyntaxError as error:
            message = f"the chat template is not Jinja: line {error.lineno}: {error.message}"
            raise DataError(message, where=self._where, remedy="Correct it, or take another tokenizer.") from error

    def render(self, messages: Sequence[Mapping[str, str]], *, generate: bool) -> str:
        """Render a conversation without reasoning.

        Args:
            messages: Its turns.
            generate: Whether to add the header of an assistant's turn.

        Raises:
            DataError: The template refuses the conversation, or fails on it.
        """
        try:
            return self._template.render(
                messages=messages, add_generation_prompt=generate, tools=None, enable_thinking=False
            )
        except TemplateError as error:
            message = f"the chat template refuses the conversation: {error}"
            raise DataError(
                message, where=self._where, remedy="Correct the order and the roles of its turns."
            ) from error
        # A template is a program from elsewhere: it can fail in any way.
        except Exception as error:
            message = f"the chat template fails on the conversation: {type(error).__name__}: {error}"
            raise DataError(message, where=self._where, remedy="Correct it, or take another tokenizer.") from error


class _Generation(Extension):
    """The block `{% generation %}`: what stands in it, unchanged."""

    tags = {"generation"}  # noqa: RUF012 the base class declares its type

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _refuse(message: str) -> str:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def _to_json(value: object, indent: int | None = None, *, ensure_ascii: bool = False, sort_keys: bool = False) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, sort_keys=sort_keys)
