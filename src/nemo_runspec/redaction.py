"""Which names hold secrets, and how their values are kept out of what is shown or written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

REDACTED = "***"
SHORTEST_SECRET = 6
"""A shorter value is not searched for in text: it would match everywhere."""

# Names are judged by their words, so that `authToken`, `auth-token` and `AUTH_TOKEN` are one name.
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_ANYWHERE = re.compile(
    r"(?:passwords?|passwd|passphrases?|secret|credentials?|authorization"
    r"|(?:api|access|private|secret|ssh|signing|encryption|deploy|account|master|storage|shared)_?keys?)(?:_|$)"
)
_AT_END = re.compile(r"(?P<owner>[a-z]*)_?(?:token|pass)$")
_WORD_AT_END = re.compile(r"(?:^|_)(?:auth|oauth|bearer)$|_pwd$|(?:git|gh|github|gitlab)_?pat$")
# In capitals, which is how environment variables are written; `prompt_key` and `file_pat` of a configuration are not.
_VARIABLE_AT_END = re.compile(r"(?<!public)_(?:key|pat)$")

_QUALIFIERS = frozenset({"read", "write", "prod", "dev", "value", "plain"})
"""Words behind a secret's name that leave it one: `HF_TOKEN_READ`."""

_ABOUT = frozenset({"file", "path", "dir", "folder", "name", "names", "type", "length", "env", "var", "variable"})
"""Words behind a secret's name that make it something about the secret: `HF_TOKEN_PATH`."""

_VOCABULARY = """
added audio begin blank bos bot byte cls current decoder draft dummy each end eod eos eot extra fill first image
implicit last latent mask max media min new newline next num pad padding pause per placeholder prompt reserved response
sep separator sos source special speech start stop sub target think tool unk video vision
"""
_PASSES = """
ask backward bwd by com dry encom forward full fwd multi one over second single sur third tres two under warmup
"""
_NO_OWNERS = frozenset((*_VOCABULARY.split(), *_PASSES.split()))
"""What a `token` or a `pass` may belong to that is no account: `eos_token`, `forward_pass`, `SSH_ASKPASS`."""


def is_secret_name(name: str) -> bool:
    """Tell whether a variable, option or key of this name holds a secret.

    Args:
        name: One name, without the sections around it; its words are told apart by case, `_`, `-` or other characters.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1] in _QUALIFIERS:
        words.pop()
    if not words or words[-1] in _ABOUT:
        return False
    text = "_".join(words)
    at_end = _AT_END.search(text)
    return bool(
        _ANYWHERE.search(text)
        or (at_end and at_end["owner"] not in _NO_OWNERS)
        or _WORD_AT_END.search(text)
        or (name.isupper() and _VARIABLE_AT_END.search(text))
    )


_ARGUMENT = re.compile(r"(?P<sign>\+\+|--?)?(?P<key>[A-Za-z_][\w.-]*)(?:=(?P<value>.*))?", re.DOTALL)


def redact_argv(argv: Iterable[str]) -> list[str]:
    """Give a command line without the values of secret names.

    Known forms: `key=value` and `++key=value`, of which the last part of the key counts, `--name=value`, and
    `--name value`.
    """
    return [shown + (REDACTED if secret else "") for shown, secret in _parted(argv)]


def secret_arguments(argv: Iterable[str]) -> list[str]:
    """Give the values that `redact_argv` takes out of a command line."""
    return [secret for _, secret in _parted(argv) if secret]


def _parted(argv: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Part each word into what may be shown and the secret behind it."""
    awaited = False
    for word in argv:
        if awaited and not word.startswith("--"):
            awaited = False
            yield "", word
            continue
        found = _ARGUMENT.fullmatch(word)
        secret = found is not None and is_secret_name(_last(found["key"]))
        value = (found["value"] or "") if found is not None and secret else ""
        awaited = found is not None and secret and found["value"] is None and found["sign"] in {"-", "--"}
        yield word.removesuffix(value), value


def _last(key: str) -> str:
    return key.rpartition(".")[2]


# `//user:password@`, and of http also `//token@`, as git remotes are written.
_URL_LOGIN = re.compile(r"(?P<start>\b[A-Za-z][\w+.-]*://[^\s/@:]*:|\bhttps?://)(?P<login>[^\s/@]+)(?=@)")
# Begins at the beginning of a word and gives nothing back: a word of a hundred thousand letters is read once.
_NAMED = re.compile(r"(?<![\w.-])(?:[^\WA-Za-z_]|[.-])*+(?P<name>[A-Za-z_][\w.-]*+)(?:=|[\"']?:\s+|[\"']:)")
_VALUE = re.compile(r"\"[^\"]+\"|'[^']+'|(?:(?:Bearer|Basic)\s+)?[^\s&#;,}\"'$*][^\s&#;,}\"']*")


def redact_named(text: str) -> str:
    """Give a text without the secrets that it names itself: `token=...`, `api-key: ...`, `https://user:password@host`.

    A reference such as `$HF_TOKEN` is no secret.
    """
    parts: list[str] = []
    at = 0
    for found in _NAMED.finditer(text):
        if found.start("name") < at or not is_secret_name(_last(found["name"])):
            continue
        value = _VALUE.match(text, found.end())
        if value is not None:
            parts += [text[at : value.start()], REDACTED]
            at = value.end()
    return _URL_LOGIN.sub(rf"\g<start>{REDACTED}", "".join((*parts, text[at:])))


class Redactor:
    """Takes secret values out of text, command lines and nested data.

    Args:
        values: Secret values; short ones are left out, because they would match everywhere.
        names: Names that hold secrets although they do not look like it.
        references: Secret name -> the name of a platform's own secret, which is not the secret itself and is shown.
    """

    def __init__(
        self, values: Iterable[str] = (), *, names: Iterable[str] = (), references: Mapping[str, str] | None = None
    ) -> None:
        """Order the values so that the longest is replaced first."""
        self._names = frozenset(names)
        self._references = dict(references or {})
        self._values = sorted({value for value in values if len(value) >= SHORTEST_SECRET}, key=len, reverse=True)

    def knows(self, name: str) -> bool:
        """Tell whether a variable or key of this name holds a secret."""
        return name in self._names or is_secret_name(name)

    def learning(self, *, data: Iterable[Any] = (), argv: Sequence[str] = ()) -> Redactor:
        """Give a redactor that also knows the secrets in nested data and in a command line.

        Args:
            data: Nested tables and lists; what stands in them under a secret's name is a secret everywhere.
            argv: Words of a command line.
        """
        found = chain(self._values, secret_arguments(argv), chain.from_iterable(map(self._secrets_in, data)))
        return Redactor(found, names=self._names, references=self._references)

    def _secrets_in(self, data: object, key: str = "", *, secret: bool = False) -> Iterator[str]:
        secret = secret or self.knows(key)
        if isinstance(data, Mapping):
            for name, value in data.items():
                yield from self._secrets_in(value, str(name), secret=secret)
        elif isinstance(data, list | tuple):
            if not secret and _is_argv(data):
                yield from secret_arguments(data)
            for value in data:
                yield from self._secrets_in(value, key, secret=secret)
        elif secret and _may_be_secret(data) and self._references.get(key) != data:
            yield str(data)

    def text(self, text: str) -> str:
        """Give the text without any known secret, and without those that it names itself."""
        return redact_named(self.values(text))

    def values(self, text: str) -> str:
        """Give the text without any known secret, for texts whose own words such as `secret: 'name'` are needed."""
        for value in self._values:
            text = text.replace(value, REDACTED)
        return text

    def argv(self, argv: Iterable[str]) -> list[str]:
        """Give a command line without secrets."""
        return [self.text(word) for word in redact_argv(argv)]

    def data(self, data: Any, key: str = "", *, secret: bool = False) -> Any:  # noqa: ANN401 - nested JSON-like data
        """Give nested data without secret values and without anything that stands under a secret's name.

        A list of texts may be a command line and is treated as one.

        Args:
            data: Tables, lists and values.
            key: The name that it stands under.
            secret: Whether a table around it has a secret's name.
        """
        secret = secret or self.knows(key)
        if isinstance(data, Mapping):
            return {name: self.data(value, str(name), secret=secret) for name, value in data.items()}
        if isinstance(data, list | tuple):
            if not secret and _is_argv(data):
                return self.argv(data)
            return [self.data(value, key, secret=secret) for value in data]
        if secret and _may_be_secret(data) and self._references.get(key) != data:
            return REDACTED
        return self.text(data) if isinstance(data, str) else data


def _may_be_secret(value: object) -> bool:
    """Tell whether a value is a text or a number: nothing is learned from true, false or an empty text."""
    return not isinstance(value, bool) and isinstance(value, str | int | float) and value != ""


def _is_argv(data: Sequence[object]) -> bool:
    return all(isinstance(value, str) for value in data)
