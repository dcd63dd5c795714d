"""Several recipes, one plan: everything is checked before the first one starts."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from nemo_runspec.artifacts import parse_reference
from nemo_runspec.context import Override
from nemo_runspec.errors import ConfigError, MissingValueError, guess
from nemo_runspec.job import Job, compile_job
from nemo_runspec.spec import is_path
from nemo_runspec.step import Step, StepReport, read_report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nemo_runspec.context import RecipeConfig

SHARED_PREFIX = "run"


class Observer(Protocol):
    """Told before each step."""

    def __call__(self, step: Step, number: int, total: int) -> None:
        """Show that step `number` of `total` starts."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A checked pipeline.

    Args:
        steps: In order.
        jobs: The job of each, as far as it can be built now: artifacts that an earlier step makes are open.
        requests: Each step's part of the command line.
    """

    steps: tuple[Step, ...]
    jobs: tuple[Job, ...]
    requests: tuple[RecipeConfig, ...]


def plan(steps: Sequence[Step], request: RecipeConfig) -> Plan:
    """Build the jobs of a pipeline and check that they fit together. Starts nothing.

    `pretrain.KEY=VALUE` goes to one step (spaces in its name become `_`), `run.KEY=VALUE` to every step.

    Args:
        steps: In order.
        request: The command line.

    Raises:
        NemotronError: Whatever is wrong in any step.
        ConfigError: An override for no step.
        ArtifactNotFoundError: An artifact that is neither in the store nor made by an earlier step.
    """
    _check_config_name(request)
    _check_prefixes(steps, request)
    requests = tuple(_request_for(step, request) for step in steps)
    jobs: list[Job] = []
    made: set[str] = set()
    for step, own in zip(steps, requests, strict=True):
        try:
            job = compile_job(step.script, own, allow_missing=True)
        except MissingValueError as error:
            msg = f"{step.prefix}.{error.key}"
            raise MissingValueError(msg, where=error.where) from error
        for reference, not_found in job.missing.items():
            if parse_reference(reference).name not in made:
                raise not_found
        made.add(published_name(job))
        jobs.append(job)
    return Plan(tuple(steps), tuple(jobs), requests)


def published_name(job: Job) -> str:
    """Give the name of the artifact that a job publishes, or an empty text."""
    artifact = job.train_config.get("artifact")
    return str(artifact.get("name", "")) if isinstance(artifact, dict) else ""


def run_plan(plan: Plan, execute: Callable[[Job], None], observe: Observer) -> Iterator[StepReport]:
    """Run a plan step by step, giving each step's report as it ends.

    Each job is built again when its turn comes, now that the artifacts it reads are there.

    Args:
        plan: What `plan` gave.
        execute: Runs one job and waits for it.
        observe: Told before each step.

    Raises:
        JobFailedError: A step failed; the later ones are not started.
    """
    total = len(plan.steps)
    for number, (step, request) in enumerate(zip(plan.steps, plan.requests, strict=True), 1):
        job = compile_job(step.script, request)
        observe(step, number, total)
        start = time.monotonic()
        execute(job)
        yield read_report(step, job.job_dir, time.monotonic() - start)


def _check_config_name(request: RecipeConfig) -> None:
    if request.config is not None and is_path(request.config):
        message = f"'{request.config}' is one file, and each stage of a pipeline has a configuration of its own"
        remedy = "Name a configuration that every stage has, or run the stage by itself."
        raise ConfigError(message, remedy=remedy)


def _check_prefixes(steps: Sequence[Step], request: RecipeConfig) -> None:
    prefixes = [SHARED_PREFIX, *(step.prefix for step in steps)]
    for override in request.overrides:
        prefix = override.key.partition(".")[0]
        if prefix not in prefixes or "." not in override.key:
            message = f"override '{override}' belongs to no stage of the pipeline"
            hint = "" if prefix in prefixes else f"{guess(prefix, prefixes, what='stages')} "
            remedy = f"{hint}Write STAGE.KEY=VALUE, with one of these for STAGE: {', '.join(prefixes)}."
            raise ConfigError(message, remedy=remedy)


def _request_for(step: Step, request: RecipeConfig) -> RecipeConfig:
    own: list[Override] = []
    for override in request.overrides:
        prefix, _, rest = override.key.partition(".")
        if prefix == SHARED_PREFIX:
            own.append(override)
        elif prefix == step.prefix:
            own.append(Override(rest, override.value, add=override.add, stage=f"{prefix}."))
    return replace(request, overrides=tuple(own))
