"""The choice of the engine: the fast one, where it gives the ids that the trusted one gives."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import numpy as np

from nemo_runspec.errors import ConfigError, DataError, Location
from nemotron.data_prep.encoding.definition import Definition, read_definition
from nemotron.data_prep.encoding.engines import GIGATOKEN, HF, Encoder, EngineSpec, forget, load_encoder, refusals
from nemotron.data_prep.encoding.odd_texts import odd_rows, odd_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

AUTO = "auto"
ENGINES = (AUTO, HF, GIGATOKEN)

# The trusted engine takes a quarter of a second for so much.
_SAMPLE_CHARACTERS = 500_000
_CHARACTERS_OF_ONE = 8_000
_ROWS = 100
_SHOWN = 40
_NOT_INSTALLED = "gigatoken is not installed"


def choose_engine(
    tokenizer_json: Path,
    wanted: str,
    samples: Iterable[str],
    *,
    load_fast: Callable[[EngineSpec], Encoder] = load_encoder,
) -> tuple[EngineSpec, str]:
    """Choose what encodes.

    "auto" takes gigatoken where it is installed, accepts the tokenizer, and gives the same ids as the `tokenizers`
    library on the samples and on a fixed set of odd texts. Both engines are loaded for that, if they are not already,
    and the one that is not chosen is dropped.

    Args:
        tokenizer_json: The tokenizer's file.
        wanted: "auto", "hf" or "gigatoken".
        samples: Texts of the data. Of each no more than a part is compared, and of all half a million characters.
        load_fast: Gives the engine to judge; another process may have it.

    Returns:
        The engine, and one line that says which it is, and why.

    Raises:
        ConfigError: There is no such engine, or gigatoken is wanted and not installed.
        DataError: The tokenizer cannot be used, or not with gigatoken where that is wanted.
    """
    if wanted not in ENGINES:
        message = f"there is no engine '{wanted}'"
        raise ConfigError(message, remedy=f"Known engines: {', '.join(ENGINES)}.")
    definition = read_definition(tokenizer_json)
    if wanted == HF:
        return _spec(definition, HF), "encoding with tokenizers, as the configuration says"
    texts = [*_sample(samples), *odd_texts(definition.added)]
    reason = _refusal(definition, texts, load_fast)
    forget(_spec(definition, GIGATOKEN if reason else HF))
    if reason is None:
        line = f"encoding with gigatoken, which gives the same ids as tokenizers on {len(texts)} texts"
        return _spec(definition, GIGATOKEN), line
    if wanted == GIGATOKEN and reason == _NOT_INSTALLED:
        raise ConfigError(reason, remedy="Run `pip install 'nemotron[fast]'`, or leave the engine to 'auto'.")
    if wanted == GIGATOKEN:
        message = f"gigatoken cannot encode with this tokenizer: {reason}"
        raise DataError(message, where=Location(tokenizer_json), remedy="Leave the engine to 'auto', or take 'hf'.")
    return _spec(definition, HF), f"encoding with tokenizers: {reason}"


def first_difference(trusted: Encoder, other: Encoder, texts: Sequence[str], specials: Sequence[int]) -> str | None:
    """Tell where one engine first gives other ids than another.

    Args:
        trusted: The engine that is right.
        other: The one to judge.
        texts: What is compared, each for itself and in rows with special tokens.
        specials: Ids of special tokens.

    Returns:
        The beginning of the text or row, as it would be written in Python, or None where all ids are the same.
    """
    # Rows differ from texts by what is put between them, so a part is enough.
    rows = odd_rows(texts[-_ROWS:], specials)
    for items, right, judged in (
        (texts, trusted.encode(texts), other.encode(texts)),
        (rows, trusted.encode_segments(rows), other.encode_segments(rows)),
    ):
        if len(judged) != len(right):
            return f"{len(right)} texts, for which it gives {len(judged)} rows"
        for item, expected, given in zip(items, right.rows(), judged.rows(), strict=True):
            if not np.array_equal(expected, given):
                return repr(item)[:_SHOWN]
    return None


def _refusal(definition: Definition, texts: Sequence[str], load_fast: Callable[[EngineSpec], Encoder]) -> str | None:
    """Say why gigatoken is not to be used, or None."""
    if importlib.util.find_spec(GIGATOKEN) is None:
        return _NOT_INSTALLED
    # First, because what it says of a tokenizer is no reason for another engine.
    trusted = load_encoder(_spec(definition, HF), definition)
    try:
        fast = load_fast(_spec(definition, GIGATOKEN))
        with refusals(definition.path):
            difference = first_difference(trusted, fast, texts, list(definition.specials().values()))
    except (ImportError, DataError) as error:
        return error.message if isinstance(error, DataError) else str(error)
    return difference and f"gigatoken gives other ids than tokenizers for {difference}"


def _sample(samples: Iterable[str]) -> list[str]:
    taken: list[str] = []
    left = _SAMPLE_CHARACTERS
    for text in samples:
        taken.append(text[: min(left, _CHARACTERS_OF_ONE)])
        left -= len(taken[-1])
        if left <= 0:
            break
    return taken


def _spec(definition: Definition, engine: str) -> EngineSpec:
    return EngineSpec(str(definition.path), engine, definition.digest)
