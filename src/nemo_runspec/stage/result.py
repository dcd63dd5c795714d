"""What a stage measured, as its manifest and the report hold it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import plain_dict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class StageResult:
    """What a stage measured.

    Args:
        metric: What `first`, `last` and `curve` are values of: `loss`, `reward`, `documents`; None when nothing is.
        first: Its first value.
        last: Its last value.
        tokens: Tokens seen, over all runs of the stage; None for a stage that counts none.
        seconds: Seconds worked, over all runs of the stage.
        curve: (step, value) pairs. Values that are not finite are left out of what is stored: JSON has none.
        details: More numbers for the report.
    """

    metric: str | None = None
    first: float | None = None
    last: float | None = None
    tokens: int | None = None
    seconds: float = 0.0
    curve: Sequence[tuple[int, float]] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """Give what a manifest holds, with `tokens_per_s` worked out (None without tokens or time)."""
        per_s = self.tokens / self.seconds if self.tokens is not None and self.seconds > 0 else None
        values = {
            "metric": self.metric,
            "first": self.first,
            "last": self.last,
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_s": per_s,
            "curve": [[int(step), float(value)] for step, value in self.curve if math.isfinite(value)],
            "details": self.details,
        }
        return plain_dict(values, "result")
