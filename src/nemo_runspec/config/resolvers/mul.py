"""`${mul:A,B,...}`: a product of numbers, for sizes that follow from others."""

from __future__ import annotations

import math

from nemo_runspec.errors import ConfigError


def resolve(*factors: object) -> int | float:
    """Multiply numbers.

    Raises:
        ConfigError: A factor is not a number.
    """
    numbers = [factor for factor in factors if isinstance(factor, int | float) and not isinstance(factor, bool)]
    if len(numbers) != len(factors):
        message = f"${{mul:...}} takes numbers, got {', '.join(map(repr, factors))}"
        raise ConfigError(message, remedy="Give numbers, or interpolations that are numbers.")
    return math.prod(numbers)
