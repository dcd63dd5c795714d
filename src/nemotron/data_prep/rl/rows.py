"""What a record has to be, what makes two of them the same, and the line that becomes of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson
import xxhash

from nemo_runspec.errors import DataError
from nemotron.data_prep.chat import Dropped, read_conversation
from nemotron.data_prep.records import UnusableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nemotron.data_prep.chat import ChatEncoder

Record = dict[str, Any]

KEY_BYTES = 16

_POINTER = "_hf_placeholder"
# What a reader of lines may take for the end of one. JSON has a carriage return only between values, and the others
# only inside texts.
_ENDS = (
    (b"\r", b" "),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
    ("\u0085".encode(), rb"\u0085"),
)
# `json` knows no time either; orjson would write its own idea of one.
_STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS


class Rows(Protocol):
    """A kind of rows."""

    def key(self, values: Record, line: bytes | None) -> bytes | None:
        """Check a record and give what it is told from others by, in `KEY_BYTES` bytes.

        Rows with the same key are repeats. The first half is the prompt's alone: it decides what is measured on.

        Args:
            values: The record.
            line: The line that it stands in, or None where it does not stand in one.

        Returns:
            The key, or None where the prompt has too many tokens.

        Raises:
            UnusableError: The record is not what it should be.
        """

    def line(self, values: Record, line: bytes | None) -> bytes:
        """Give the line, without its end, of a record that has been checked."""


class AnyRows:
    """Rows of any kind, which pass through as they are."""

    def key(self, values: Record, line: bytes | None) -> bytes:
        """Give the key of the whole record: rows with one prompt may differ in their tools or in what is expected."""
        _refuse_pointer(values)
        if line is None:
            _as_json(values)
        whole = orjson.dumps(values, option=orjson.OPT_SORT_KEYS)
        return prompt_key(values)[: KEY_BYTES // 2] + xxhash.xxh3_64_digest(whole)

    def line(self, values: Record, line: bytes | None) -> bytes:
        """Give the very line, or a record that has none as JSON."""
        return line if line is not None else _as_json(values)


@dataclass(frozen=True, slots=True)
class FunctionRows:
    """Prompts with the name and the arguments of a function to write.

    Args:
        encoder: Measures prompts.
        longest: The most tokens of a prompt.
    """

    encoder: ChatEncoder
    longest: int

    def key(self, values: Record, line: bytes | None) -> bytes | None:
        """Give the key of the prompt."""
        del line
        row = self._row(values)
        try:
            length = len(self.encoder.encode_prompt(row["prompt"]))
        except DataError as error:
            raise _unusable(error) from error
        return prompt_key(row) if length <= self.longest else None

    def line(self, values: Record, line: bytes | None) -> bytes:
        """Give the prompt, as messages, and what is expected."""
        del line
        return orjson.dumps(self._row(values))

    def _row(self, values: Record) -> Record:
        _refuse_pointer(values)
        return {"prompt": _messages(values), "expected": expected_answer(values)}


@dataclass(frozen=True, slots=True)
class _Fields:
    messages: str = "prompt"
    tools: str = "tools"


def prompt_key(values: Mapping[str, Any]) -> bytes:
    """Give what makes a record's prompt the same as another's, as NeMo Gym has it or as the field `prompt`.

    A record without a known prompt is its own.

    Args:
        values: The record.
    """
    params = values.get("responses_create_params")
    prompt = params.get("input") if isinstance(params, dict) else values.get("prompt")
    same = values if prompt is None else {"prompt": prompt}
    return xxhash.xxh3_128_digest(orjson.dumps(same, option=orjson.OPT_SORT_KEYS))


def expected_answer(values: Mapping[str, Any]) -> Record:
    """Give the `expected` of a record, checked.

    Args:
        values: The record.

    Raises:
        UnusableError: It lacks the name or the arguments, or they are of another kind.
    """
    remedy = 'Write "expected": {"name": "add", "arguments": ["a", "b"]}, or set the config entry \'rows\' to any.'
    expected = values.get("expected")
    if "expected" not in values:
        message = "the record has no field 'expected'"
        raise UnusableError(message, remedy)
    if not isinstance(expected, dict) or not {"name", "arguments"} <= set(expected):
        message = "the field 'expected' lacks 'name' or 'arguments'"
        raise UnusableError(message, remedy)
    name, arguments = expected["name"], expected["arguments"]
    if not isinstance(name, str) or not name.isidentifier():
        message = f"expected.name is {name!r}, not the name of a function"
        raise UnusableError(message, remedy)
    if not isinstance(arguments, list) or not all(isinstance(item, str) for item in arguments):
        message = "expected.arguments is not a list of names"
        raise UnusableError(message, remedy)
    return {"name": name, "arguments": arguments}


def as_lines(lines: Iterable[bytes]) -> bytes:
    """Put lines together, each of which is one line to every reader.

    Args:
        lines: JSON without line ends.
    """
    block = b"\n".join((*lines, b""))
    # Most blocks are ASCII, of which only the first can be in them; to find that out is quick.
    for end, instead in _ENDS[:1] if block.isascii() else _ENDS:
        if end in block:
            block = block.replace(end, instead)
    return block


def _messages(values: Record) -> list[Record]:
    prompt = values.get("prompt")
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    try:
        read = read_conversation(values, _Fields())
    except DataError as error:
        raise _unusable(error) from error
    if isinstance(read, Dropped):
        message = f"the field 'prompt' cannot be used: {read.reason}"
        raise UnusableError(message, 'Write a text, or [{"role": "user", "content": "..."}, ...].')
    return read.messages


def _unusable(error: DataError) -> UnusableError:
    return UnusableError(error.message, error.remedy or "Correct this row.")


def _refuse_pointer(values: Mapping[str, Any]) -> None:
    if values.get(_POINTER) is None:
        return
    message = f"the record is only a pointer to a row of another data set ('{_POINTER}'), and has no prompt of its own"
    remedy = (
        "Run the script that comes with this data for it, which puts question and answer in, and name the file that "
        "it writes; or leave such records out with on_error=skip."
    )
    raise UnusableError(message, remedy)


def _as_json(values: Record) -> bytes:
    """Give a record as JSON, without what Parquet and Python know and JSON does not: times, bytes, NaN."""
    try:
        line = orjson.dumps(values, option=_STRICT)
        if b"null" in line:
            json.dumps(values, allow_nan=False)  # orjson writes null for a number that is none
    except (TypeError, ValueError) as error:
        message = f"the record cannot be written as JSON: {error}"
        raise UnusableError(message, "Give the value as text or as a finite number.") from error
    return line
