"""Plain JSON values: the only ones that manifests, results and fingerprints are made of."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import PurePath

from nemo_runspec.errors import ArtifactError


def plain(value: object, where: str) -> object:
    """Give `value` as what JSON can hold.

    Scalars of numpy and torch become Python numbers, paths become text, tuples become lists, and a number that is
    not finite becomes None, since JSON has no word for it.

    Args:
        value: Anything.
        where: What to call the value in an error, such as `metadata`.

    Raises:
        ArtifactError: The value, or one inside it, has no JSON form; the message names its key.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, Mapping):
        return plain_dict(value, where)
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{number}]") for number, item in enumerate(value)]
    item = getattr(value, "item", None)
    if callable(item) and getattr(value, "ndim", None) == 0:
        return plain(item(), where)
    message = f"{where} is a {type(value).__name__}, which a manifest cannot hold"
    raise ArtifactError(message, remedy="Give numbers, text, lists and tables of them.")


def plain_dict(values: Mapping[object, object] | Mapping[str, object], where: str) -> dict[str, object]:
    """Give a mapping as a dict of text to JSON values; see `plain`."""
    return {str(key): plain(value, f"{where}.{key}") for key, value in values.items()}


def digest(value: object) -> str:
    """Give the SHA-256, in hex, of a value's canonical JSON: the same for any order of keys."""
    text = json.dumps(plain(value, "value"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
