"""How bytes travel in environment variables: as text, cut into values that a platform takes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from nemo_runspec.data_mover.pod.variables import (
    BOOT_VARIABLE,
    JOB_PREFIX,
    POD_VARIABLE,
    SAFE_SIGNS,
    SOURCE_PREFIX,
    UNSAFE_SIGNS,
    is_transport_variable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

TRANSPORT_PREFIXES: Final = (SOURCE_PREFIX, JOB_PREFIX, BOOT_VARIABLE, POD_VARIABLE)
"""What the names of transport variables begin with; `is_transport_variable` knows them exactly."""

_SAFE = bytes.maketrans(UNSAFE_SIGNS, SAFE_SIGNS)
_UNSAFE = bytes.maketrans(SAFE_SIGNS, UNSAFE_SIGNS)


def encode(data: bytes) -> str:
    """Give bytes as text: five characters for four bytes, where base64 needs five and a third.

    Of Python's base 85, `$` is replaced, which Kubernetes expands, and `&`, `<`, `>`, which Go writes as six
    characters each in JSON (https://pkg.go.dev/encoding/json#HTMLEscape).
    """
    return base64.b85encode(data).translate(_SAFE).decode("ascii")


def decode(text: str) -> bytes:
    """Give back what `encode` was given.

    Raises:
        ValueError: The text is not what `encode` gives.
    """
    return base64.b85decode(text.encode("ascii").translate(_UNSAFE))


def payload(env: Mapping[str, str], prefix: str) -> bytes:
    """Join and decode the pieces in an environment, as the pod does.

    Args:
        env: The variables.
        prefix: `SOURCE_PREFIX` or `JOB_PREFIX`.
    """
    numbers = sorted(
        int(name.removeprefix(prefix)) for name in env if name.startswith(prefix) and is_transport_variable(name)
    )
    return decode("".join(env[f"{prefix}{number}"] for number in numbers))


def in_variables(text: str, prefix: str, value_bytes: int) -> dict[str, str]:
    """Cut a text into numbered variables.

    Args:
        text: ASCII text.
        prefix: What the names begin with.
        value_bytes: What one value may hold.
    """
    pieces = [text[start : start + value_bytes] for start in range(0, len(text), value_bytes)]
    return {f"{prefix}{number}": piece for number, piece in enumerate(pieces)}
