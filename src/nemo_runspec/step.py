"""One step of a pipeline: a recipe, the prefix of its overrides, and what came of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nemo_runspec.job_folder import RESULT_FILE

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Step:
    """One recipe in a pipeline.

    Args:
        name: As on the command line, such as `data prep sft`.
        script: The recipe's script.
    """

    name: str
    script: Path

    @property
    def prefix(self) -> str:
        """Give the first part of an override that is meant for this step alone, such as `data_prep_sft`."""
        return self.name.replace(" ", "_")


@dataclass(frozen=True, slots=True)
class StepReport:
    """What came of a step: one row of the pipeline's table.

    Args:
        name: The step.
        seconds: Wall time, start-up included.
        tokens: Tokens processed.
        tokens_per_s: Tokens over seconds of the stage's own work.
        metric: What `first` and `last` measure ("loss", "reward", ...); None where the stage measures nothing.
        first: Its first value.
        last: Its last value.
        artifact: What was published, as `name:vN`.
        reused: True when an earlier, identical run's result was taken over.
        curve: `[step, value]` pairs.
        details: More numbers of the stage.
    """

    name: str
    seconds: float
    tokens: int | None = None
    tokens_per_s: float | None = None
    metric: str | None = None
    first: float | None = None
    last: float | None = None
    artifact: str = ""
    reused: bool = False
    curve: tuple[tuple[float, float], ...] = ()
    details: dict[str, Any] | None = None

    def as_row(self) -> dict[str, Any]:
        """Give the report without its curve."""
        return {key: value for key, value in asdict(self).items() if key not in {"curve", "details"}}


def read_report(step: Step, job_dir: Path, seconds: float) -> StepReport:
    """Read what a step's script left in its job folder.

    A script that leaves no result gets a row with its name and time only.

    Args:
        step: The step.
        job_dir: Its job's folder.
        seconds: Its wall time.
    """
    path = job_dir / RESULT_FILE
    if not path.is_file():
        return StepReport(step.name, seconds)
    result = json.loads(path.read_text(encoding="utf-8"))
    return StepReport(
        name=step.name,
        seconds=seconds,
        tokens=result["tokens"],
        tokens_per_s=result["tokens_per_s"],
        metric=result["metric"],
        first=result["first"],
        last=result["last"],
        artifact=result["artifact"],
        reused=result["reused"],
        curve=tuple((x, y) for x, y in result["curve"]),
        details=result["details"],
    )
