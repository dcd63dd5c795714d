"""How bytes travel in environment variables: as text, cut into values that a platform takes."""

from __future__ import annotations

import base64

from nemo_runspec.data_mover.pod.variables import SAFE_CHARACTERS, UNSAFE_CHARACTERS

_SAFE = bytes.maketrans(UNSAFE_CHARACTERS, SAFE_CHARACTERS)


def encode(data: bytes) -> str:
    """Give bytes as text: five characters for four bytes, where base64 needs five and a third.

    Of Python's base 85, `$` is replaced, which Kubernetes expands, and `&`, `<`, `>`, which Go writes as six
    characters each in JSON (https://pkg.go.dev/encoding/json#HTMLEscape).
    """
    return base64.b85encode(data).translate(_SAFE).decode("ascii")


def in_variables(text: str, prefix: str, value_bytes: int) -> dict[str, str]:
    """Cut a text into numbered variables.

    Args:
        text: ASCII text.
        prefix: What the names begin with.
        value_bytes: What one value may hold.
    """
    chunks = [text[start : start + value_bytes] for start in range(0, len(text), value_bytes)]
    return {f"{prefix}{number}": chunk for number, chunk in enumerate(chunks)}
