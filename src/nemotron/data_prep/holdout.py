"""Which records are kept out of training."""

from __future__ import annotations

from dataclasses import dataclass

import xxhash

from nemo_runspec.errors import ConfigError

_RANGE = 2**64


def check_fraction(name: str, value: float) -> None:
    """Refuse a share that is not between 0 and 1.

    Raises:
        ConfigError: Naming the entry.
    """
    if not 0 <= value < 1:
        message = f"{name} is {value}"
        raise ConfigError(message, remedy="It must be at least 0 and below 1.")


@dataclass(frozen=True, slots=True)
class Holdout:
    """Decides for one record by its text alone, so that equal records are always in the same split.

    Args:
        valid: Share of the records that is for validation.
        test: Share of the records that is for testing.
        seed: Another seed chooses others.
    """

    valid: float
    test: float = 0.0
    seed: int = 0

    def split_of(self, text: str) -> str:
        """Give `train`, `valid` or `test`.

        Args:
            text: What tells the record from others.
        """
        place = xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass"), self.seed % _RANGE) / _RANGE
        if place < self.valid:
            return "valid"
        return "test" if place < self.valid + self.test else "train"

    def facts(self) -> dict[str, float]:
        """Give what the decision depends on, for a content address."""
        return {"valid": self.valid, "test": self.test, "seed": self.seed}
