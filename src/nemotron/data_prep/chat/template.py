"""Chat templates in the environment that Transformers gives them, without importing it.

They have loop controls, `raise_exception`, `strftime_now`, a `tojson` that escapes nothing for HTML, the tokenizer's
special tokens by their names (`bos_token`), and `{% generation %}`, which marks what an assistant says, and adds
nothing to it. A field of a message that is null is not there.
"""

from __future__ import annotations

import json
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.runtime import LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from nemo_runspec.errors import DataError, Location, guess
from nemotron.data_prep.chat.watched import Watched, find_watched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jinja2.parser import Parser

    from nemotron.data_prep.chat.conversation import Message, Tools
    from nemotron.data_prep.tokenizer import TextTokenizer

BUNDLED = ("chatml", "nano3")
_OF_DICT = frozenset(dir(dict))
_OF_LOOPS = frozenset(("first", "last", "index", "index0", "length", "previtem", "nextitem", "revindex", "revindex0"))


class TemplateRefusalError(Exception):
    """A template does not render a conversation.

    Args:
        reason: Why, as half a sentence.
    """

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__(reason)


class ChatTemplate:
    """A chat template, ready to render.

    Args:
        tokenizer: Whose special tokens the template may name.
        wanted: `chatml` or `nano3`, the path of a file, or Jinja text; None for the one in the tokenizer's folder.

    Raises:
        DataError: There is none, or it is no Jinja.
    """

    def __init__(self, tokenizer: TextTokenizer, wanted: str | None = None) -> None:
        """Find and compile the template."""
        source, where = _find(tokenizer, wanted)
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation])
        environment.globals |= {**tokenizer.named_tokens, "raise_exception": _refuse, "strftime_now": _now}
        environment.filters["tojson"] = _to_json
        try:
            self._template = environment.from_string(source)
            self.watched: Watched = find_watched(environment.parse(source))
        except TemplateSyntaxError as error:
            message = f"the chat template is not Jinja: line {error.lineno}: {error.message}"
            raise DataError(message, where=where, remedy="Correct it, or take another.") from error

    def render(self, messages: Sequence[Message], tools: Tools = None, *, generate: bool, thinking: bool) -> str:
        """Render a conversation.

        Args:
            messages: Its turns.
            tools: The functions that can be called in it.
            generate: Whether to add the header of an assistant's turn.
            thinking: What the template finds as `enable_thinking`.

        Raises:
            TemplateRefusalError: The template refuses the conversation, or fails on it.
        """
        if any(None in message.values() for message in messages):
            messages = [{key: value for key, value in message.items() if value is not None} for message in messages]
        if self.watched.thinking:
            messages = [_with_thinking(message) for message in messages]
        try:
            return self._template.render(
                messages=messages,
                tools=tools,
                documents=None,
                add_generation_prompt=generate,
                enable_thinking=thinking,
                chat_template_kwargs={"enable_thinking": thinking},
            )
        except TemplateError as error:
            message = f"the chat template refuses the conversation: {error}"
            raise TemplateRefusalError(message) from error
        # A template is a program from elsewhere: it can fail in any way.
        except Exception as error:
            message = f"the chat template fails on the conversation: {type(error).__name__}: {error}"
            raise TemplateRefusalError(message) from error


def template_text(tokenizer: TextTokenizer, wanted: str | None) -> str:
    """Give the text of a template.

    Args:
        tokenizer: Whose folder may have one.
        wanted: As for `ChatTemplate`.

    Raises:
        DataError: There is none.
    """
    return _find(tokenizer, wanted)[0]


def _find(tokenizer: TextTokenizer, wanted: str | None) -> tuple[str, Location]:
    """Give the text of a template, and where errors in it are."""
    if wanted is None:
        where = Location(tokenizer.folder)
        if tokenizer.chat_template is None:
            message = "the tokenizer has no chat template"
            remedy = "Take the tokenizer of a chat model, or name a template: chatml, nano3 or a file."
            raise DataError(message, where=where, remedy=remedy)
        return tokenizer.chat_template, where
    if wanted in BUNDLED:
        bundled = files("nemotron.data_prep.chat") / "templates" / f"{wanted}.jinja"
        return bundled.read_text(encoding="utf-8"), Location(Path(str(bundled)))
    # No path has these, and no template is without one of them.
    if any(mark in wanted for mark in ("{{", "{%", "{#")):
        return wanted, Location(Path("<the chat template of the configuration>"))
    path = Path(wanted).expanduser()
    try:
        return path.read_text(encoding="utf-8"), Location(path)
    except (OSError, UnicodeDecodeError) as error:
        message = f"the chat template '{wanted}' is no bundled one, no Jinja text, and no file that can be read"
        raise DataError(message, remedy=guess(wanted, BUNDLED, what="bundled templates")) from error


def _with_thinking(message: Message) -> Message:
    # Some templates read reasoning under this name, and Transformers gives it to them.
    reasoning = message.get("reasoning_content")
    return message if reasoning is None else {"thinking": reasoning, **message}


class _Environment(ImmutableSandboxedEnvironment):
    """Looks up what templates ask for most without the sandbox's questions, whose answers are known for it."""

    def getattr(self, obj: Any, attribute: str) -> Any:  # noqa: ANN401 values of a template
        kind = type(obj)
        if kind is dict and attribute not in _OF_DICT:
            try:
                return obj[attribute]
            except KeyError:
                return self.undefined(obj=obj, name=attribute)
        if (kind is LoopContext and attribute in _OF_LOOPS) or (kind is Namespace and not attribute.startswith("_")):
            try:
                return getattr(obj, attribute)
            except AttributeError:
                return self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)


class _Generation(Extension):
    """The block `{% generation %}`: what stands in it, unchanged."""

    tags = {"generation"}  # noqa: RUF012 the base class declares its type

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_unchanged"), [], [], body).set_lineno(line)

    def _unchanged(self, caller: Any) -> str:  # noqa: ANN401 a macro of the template
        return str(caller())


def _refuse(message: str) -> str:
    raise TemplateError(message)


def _now(form: str) -> str:
    return datetime.now().astimezone().strftime(form)


def _to_json(
    value: object,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002 templates may give it by its place
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002 as above
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
