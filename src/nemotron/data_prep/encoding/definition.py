"""What a `tokenizer.json` says, read without building the tokenizer."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import orjson

from nemo_runspec.errors import DataError, Location

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

REMEDY = "Take a folder with the tokenizer.json of a fast tokenizer, as `save_pretrained` writes it."
# White space as Unicode has it; what Python strips by itself are four control characters more.
_WHITE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_MODELS = ("BPE", "Unigram", "WordPiece", "WordLevel")


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is looked for in a text before the model sees it.

    Args:
        content: The text that it stands for.
        id: Its id.
        special: Whether it is a control token, which a text of the data cannot hold.
        single_word: Whether it is found only where no letter or digit stands beside it.
        lstrip: Whether it takes the white space before it along.
        rstrip: Whether it takes the white space behind it along.
    """

    content: str
    id: int
    special: bool = False
    single_word: bool = False
    lstrip: bool = False
    rstrip: bool = False


class Specials(dict[str, int]):
    """Ids of special tokens by name, and how the names are found in markup.

    Args:
        tokens: The tokens.
    """

    def __init__(self, tokens: Iterable[AddedToken]) -> None:
        """Keep the ids, and build the pattern once."""
        # Where one name begins another, the longer one counts.
        found = sorted((token for token in tokens if token.content), key=lambda token: -len(token.content))
        super().__init__((token.content, token.id) for token in found)
        # One group for all that stand together: of names alone, the compiler makes a search for their first characters.
        together = (list(run) for _, run in groupby(found, _surroundings))
        self._pattern = re.compile("|".join(map(_expression, together)) or "(?!)")

    def split(self, text: str) -> list[str | int]:
        """Take markup apart, in which the names are meant as special tokens.

        Args:
            text: A piece of a rendered chat template.

        Returns:
            The texts between special tokens, and the tokens' ids, in order. No text is empty.
        """
        parts: list[str | int] = []
        end = 0
        for found in self._pattern.finditer(text):
            if found.start() > end:
                parts.append(text[end : found.start()])
            parts.append(self[found[found.lastindex or 0]])
            end = found.end()
        if end < len(text):
            parts.append(text[end:])
        return parts


@dataclass(frozen=True, slots=True)
class TokenizerFile:
    """A `tokenizer.json` as it lies on the disk.

    Args:
        path: Where it is.
        digest: SHA-256 of its bytes, in hexadecimal.
        data: Its bytes.
    """

    path: Path
    digest: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Definition(TokenizerFile):
    """A `tokenizer.json`, parsed; large, so nobody holds on to it.

    Args:
        document: Its content.
        added: Its added tokens, in the file's order.
    """

    document: dict[str, Any]
    added: tuple[AddedToken, ...]

    def specials(self) -> Specials:
        """Give the id of each special token by name."""
        return Specials(token for token in self.added if token.special)

    def control_tokens(self) -> dict[str, int]:
        """Give the ids by name of what no text may hold: the special tokens, but for the one of unknown words."""
        unknown = self.document["model"].get("unk_token")
        return {token.content: token.id for token in self.added if token.special and token.content != unknown}

    def token_id(self, name: str) -> int | None:
        """Give the id of a token, or None where there is none of that name."""
        found = {token.content: token.id for token in self.added}.get(name)
        if found is None:
            found = _vocabulary(self.document["model"]).get(name)
        return found

    def size(self) -> int:
        """Give the number of ids that a model's embedding needs: one more than the largest."""
        ids = [*_vocabulary(self.document["model"]).values(), *(token.id for token in self.added)]
        return max(ids, default=-1) + 1

    def without_specials(self) -> bytes:
        """Give the file without its special added tokens: what reads it takes their names for text."""
        added = [token for token in self.document["added_tokens"] if not token["special"]]
        return orjson.dumps({**self.document, "added_tokens": added})


def read_file(path: Path) -> TokenizerFile:
    """Read a `tokenizer.json` without parsing it.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"the tokenizer cannot be read: {error.strerror}"
        raise DataError(message, where=Location(path), remedy=REMEDY) from error
    return TokenizerFile(path, hashlib.sha256(data).hexdigest(), data)


def read_definition(path: Path) -> Definition:
    """Read a `tokenizer.json`, once for those who ask for it one after the other; see `forget_definition`.

    Args:
        path: The file.

    Raises:
        DataError: It cannot be read, or is none.
    """
    try:
        status = path.stat()
    except OSError as error:
        message = f"the tokenizer cannot be read: {error.strerror}"
        raise DataError(message, where=Location(path), remedy=REMEDY) from error
    return _read(path, status.st_mtime_ns, status.st_size)


def forget_definition() -> None:
    """Give back the memory of the file that was read last: 100 MB for a large vocabulary."""
    _read.cache_clear()


@lru_cache(maxsize=1)
def _read(path: Path, _changed: int, _size: int) -> Definition:
    file = read_file(path)
    try:
        document = orjson.loads(file.data)
    except orjson.JSONDecodeError as error:
        message = f"the tokenizer is not JSON: {error.msg}"
        raise DataError(message, where=Location(path, error.lineno), remedy=REMEDY) from error
    model = document.get("model") if isinstance(document, dict) else None
    if not isinstance(model, dict):
        message = "the file is no tokenizer: it has no 'model'"
        raise DataError(message, where=Location(path), remedy=REMEDY)
    try:
        _check_model(model)
        document["added_tokens"] = document.get("added_tokens") or []
        added = tuple(map(_added_token, document["added_tokens"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        message = f"the file is no tokenizer that can be used: {error}"
        raise DataError(message, where=Location(path), remedy=REMEDY) from error
    return Definition(path, file.digest, file.data, document, added)


def split_special(text: str, specials: Mapping[str, int]) -> list[str | int]:
    """Take markup apart as `Specials.split` does.

    Args:
        text: A piece of a rendered chat template.
        specials: The id of each special token's name.
    """
    if not isinstance(specials, Specials):
        specials = Specials(AddedToken(name, number, special=True) for name, number in specials.items())
    return specials.split(text)


def _surroundings(token: AddedToken) -> tuple[str, str]:
    """Give the expressions for what a token needs, or takes along, before and behind its name."""
    white = f"[{_WHITE}]*"
    before = (white if token.lstrip else "") + (r"(?<!\w)" if token.single_word else "")
    behind = (r"(?!\w)" if token.single_word else "") + (white if token.rstrip else "")
    return before, behind


def _expression(tokens: Sequence[AddedToken]) -> str:
    before, behind = _surroundings(tokens[0])
    return f"{before}({'|'.join(re.escape(token.content) for token in tokens)}){behind}"


def _check_model(model: dict[str, Any]) -> None:
    # Files of the first releases name no type.
    kind = model.get("type")
    if kind is not None and kind not in _MODELS:
        message = f"its model is of the type {kind!r}, and known are {', '.join(_MODELS)}"
        raise ValueError(message)
    if not all(isinstance(number, int) for number in _vocabulary(model).values()):
        message = "its vocabulary has ids that are not numbers"
        raise TypeError(message)


def _vocabulary(model: dict[str, Any]) -> dict[str, int]:
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        return vocabulary
    if isinstance(vocabulary, list):
        return {entry[0]: number for number, entry in enumerate(vocabulary)}
    message = "its model has no 'vocab'"
    raise ValueError(message)


def _added_token(token: dict[str, Any]) -> AddedToken:
    token.setdefault("special", False)
    flags = [bool(token.get(key)) for key in ("special", "single_word", "lstrip", "rstrip")]
    return AddedToken(str(token["content"]), int(token["id"]), *flags)
