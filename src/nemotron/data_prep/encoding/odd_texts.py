"""Texts at which a fast encoder may go wrong: what the engines are compared on, beside the data's own."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nemotron.data_prep.encoding.definition import AddedToken

_RUN = 1000
_BYTES = b"".join(hashlib.sha256(bytes([number])).digest() for number in range(64))

_FIXED = (
    "",
    " ",
    "\n",
    "The quick brown fox can't jump; it's 1,234.56 metres (5\u2032 6\u2033) away \u2014 \u201cwhy?\u201d",
    "def f(x: int) -> str:\n\treturn f'{x!r:>10}'  # a comment\r\n\r\n\n    \t \n",
    (
        "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3001\u6f22\u5b57\u3002\ud55c\uad6d\uc5b4 "
        "\u4e2d\u6587\uff0c\u6807\u70b9\uff01\u3000\U00020000"
    ),
    (
        "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439 \u03ba\u03cc\u03c3\u03bc\u03b5 "
        "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947 "
        "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"
    ),
    # Composed and not, compatibility forms, case mappings that change the length.
    (
        "e\u0301\u0302\u0303 \u00e9 \u1e69 s\u0323\u0307 \u212b \u00c5 A\u030a \ufb01 \uff21 \u2460 \u00df "
        "\u1e9e \u0130stanbul \u01c5 \ufdfa"
    ),
    "\u0301 \u0301a\u200d\u200c\u200b \ufeff\u00a0\u2028\u2029\u0085\u3000 \u202eabc\u202c \u00ad",
    "".join(map(chr, range(0x20))) + "\x7f" + "".join(map(chr, range(0x80, 0xA0))),
    "a\x00b\x1c\x1d\x1e\x1fc \x0b\x0c d",
    (
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 "
        "\U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd \u2764\ufe0f 1\ufe0f\u20e3"
    ),
    "\u0378 \ue000\ue001 \U000e0001 \U0010ffff \ufffd \ufffe \U0001fbff \U00031350",
    "0123456789 1234567 007 \u0661\u0662\u0663 \u00b2\u00b3 \u2167 3.14e-10 0xDEADBEEF 1_000",
    " " * _RUN,
    "\n" * _RUN,
    " \t" * _RUN,
    "a" * _RUN,
    "\u6f22" * _RUN,
    "=-" * _RUN,
    "9" * _RUN,
    "e\u0301" * _RUN,
    _BYTES.hex(),
    base64.b64encode(_BYTES).decode(),
    _BYTES.decode("latin-1"),
    "https://example.org/a/b?c=%20d&e=f#g user@example.org C:\\path\\to\\file.txt /usr/lib/x86_64/",
    "WE'RE I'M they'LL don'T O'Neil's camelCaseWords SCREAMING_SNAKE kebab-case x'S 'S '\u017f",
)


def odd_texts(added: Iterable[AddedToken]) -> list[str]:
    """Give texts of unusual characters, long runs, and the added tokens' texts in several surroundings.

    Args:
        added: The tokenizer's added tokens.
    """
    names = [token.content for token in added]
    placed = [f"{name} a{name}b {name}{name}\n{name}\t {name}  {name.swapcase()}.{name}\u00e9" for name in names]
    return [*_FIXED, *placed]


def odd_rows(texts: Sequence[str], specials: Sequence[int]) -> list[list[str | int]]:
    """Give rows of texts and special tokens: none, alone, in front, behind, and next to each other.

    Args:
        texts: What stands between special tokens.
        specials: Ids of special tokens.
    """
    rows: list[list[str | int]] = [[], [""], [*texts[:2]]]
    if specials:
        last = specials[-1]
        rows += [[last], [last, specials[0], "", last]]
        rows += [[specials[number % len(specials)], text, last] for number, text in enumerate(texts)]
    return rows
