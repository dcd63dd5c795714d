"""Which records are kept out of training."""

from __future__ import annotations

import hashlib

from nemo_runspec.errors import ConfigError


def check_fraction(name: str, value: float) -> None:
    """Refuse a share that is not between 0 and 1.

    Raises:
        ConfigError: Naming the entry.
    """
    if not 0 <= value < 1:
        message = f"{name} is {value}"
        raise ConfigError(message, remedy="It must be at least 0 and below 1.")


def is_held_out(key: str, fraction: float, seed: int) -> bool:
    """Decide for one record whether it is kept out of training, the same whatever stands beside it.

    Args:
        key: What tells the record from others.
        fraction: Share of the records that is held out.
        seed: Another seed holds out others.
    """
    digest = hashlib.sha256(f"{seed}:{key}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64
