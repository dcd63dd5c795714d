"""Token ids back into text, with special tokens told from text that only looks like one."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.inspect.view import Piece
from nemotron.data_prep.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from nemotron.data_prep.tokenizer import TextTokenizer

# What a decoder puts where the bytes of a character are not all there.
_INCOMPLETE = "\ufffd"
_GIVE_ONE = "Give its folder with --tokenizer DIR."


class Decoder:
    """Turns ids into pieces of text; without a tokenizer into the ids themselves.

    Args:
        tokenizer: The tokenizer that made the ids, if it is known.
    """

    def __init__(self, tokenizer: TextTokenizer | None) -> None:
        """Look up the names of the special tokens."""
        self._tokenizer = tokenizer
        added = tokenizer.backend.get_added_tokens_decoder() if tokenizer else {}
        self._specials = {number: token.content for number, token in added.items() if token.special}
        if tokenizer:
            self._specials.setdefault(tokenizer.end_of_text, str(tokenizer.backend.id_to_token(tokenizer.end_of_text)))

    def facts(self) -> dict[str, object]:
        """Give the tokenizer's folder, and how many ids it knows."""
        if self._tokenizer is None:
            return {"tokenizer": None}
        return {"tokenizer": str(self._tokenizer.folder), "vocabulary": self._tokenizer.vocabulary}

    def pieces(
        self, ids: NDArray[np.integer], trained: NDArray[np.bool_] | None = None, *, cut: bool = False
    ) -> tuple[Piece, ...]:
        """Decode a sequence.

        Args:
            ids: Token ids, shape (tokens,).
            trained: Whether a model is trained to say each token, same shape; None means of none.
            cut: Whether more of the sequence follows, so that the last character may be incomplete.

        Raises:
            DataError: The tokenizer has no such id, so it is another's.
        """
        numbers = ids.tolist()
        flags = [False] * len(numbers) if trained is None else [bool(flag) for flag in trained.tolist()]
        tokens = list(zip(numbers, flags, strict=True))
        if self._tokenizer is None:
            runs = groupby(enumerate(tokens), key=lambda token: token[1][1])
            return tuple(
                Piece("".join(f" {number}" if place else str(number) for place, (number, _) in run), flag)
                for flag, run in runs
            )
        if numbers and not 0 <= min(numbers) <= max(numbers) < self._tokenizer.vocabulary:
            message = f"the data has token ids from {min(numbers)} to {max(numbers)}, and the tokenizer not all of them"
            raise DataError(
                message, where=Location(self._tokenizer.folder), remedy=f"It is not the data's. {_GIVE_ONE}"
            )
        pieces = list(self._decoded(self._tokenizer.backend, tokens))
        if cut and pieces:
            pieces[-1] = replace(pieces[-1], text=pieces[-1].text.rstrip(_INCOMPLETE))
        return tuple(pieces)

    def _decoded(self, backend: Tokenizer, tokens: list[tuple[int, bool]]) -> Iterator[Piece]:
        before: list[int] = []
        for (name, flag), run in groupby(tokens, key=lambda token: (self._specials.get(token[0]), token[1])):
            numbers = [number for number, _ in run]
            if name is not None:
                yield Piece(name, flag, special=True, times=len(numbers))
                before = []
            elif text := _text(backend, before, numbers):
                yield Piece(text, flag)
                before = numbers[-1:]


def _text(backend: Tokenizer, before: list[int], numbers: list[int]) -> str:
    """Decode a run; some decoders drop a space at the start of a text, so it is decoded behind what precedes it."""
    start = backend.decode(before, skip_special_tokens=False) if before else ""
    whole = backend.decode(before + numbers, skip_special_tokens=False)
    if before and whole.startswith(start) and _INCOMPLETE not in start:
        return str(whole[len(start) :])
    return str(backend.decode(numbers, skip_special_tokens=False))


def find_decoder(given: str | None, places: Iterable[Path]) -> tuple[Decoder, tuple[str, ...]]:
    """Load the tokenizer of some data.

    Args:
        given: Its folder or Hub id, or None to look for `tokenizer/` and `tokenizers/*/` beside the data and above.
        places: Where the data is.

    Returns:
        The decoder, and what to tell about the tokenizer: that there is none, or several.

    Raises:
        DataError: The given one cannot be loaded.
    """
    if given is not None:
        try:
            return Decoder(load_tokenizer(given)), ()
        except DataError as error:
            raise DataError(error.message, where=error.where, remedy=f"{_GIVE_ONE} It holds tokenizer.json.") from error
    found = next((folders for folders in map(_beside, places) if folders), [])
    if len(found) > 1:
        note = f"{len(found)} tokenizers are beside the data, in {found[0].parent}, so these are ids. {_GIVE_ONE}"
        return Decoder(None), (note,)
    if not found:
        return Decoder(None), (f"no tokenizer is beside the data, so these are token ids. {_GIVE_ONE}",)
    try:
        return Decoder(load_tokenizer(str(found[0]))), ()
    except DataError as error:
        return Decoder(None), (f"the tokenizer beside the data cannot be loaded: {error.message}. {_GIVE_ONE}",)


def _beside(path: Path) -> list[Path]:
    for folder in (path, *path.parents):
        for pattern in ("tokenizer/tokenizer.json", "tokenizers/*/tokenizer.json"):
            if files := sorted(folder.glob(pattern)):
                return [file.parent for file in files]
    return []
