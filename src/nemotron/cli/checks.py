"""What is checked of a whole pipeline before its first stage starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.executors import require_supported
from nemotron.needs import packages_needed

if TYPE_CHECKING:
    from nemo_runspec.pipeline import Plan


def check_executors(plan: Plan) -> None:
    """Refuse a plan with a stage on an executor that cannot start jobs.

    Raises:
        ProfileError: Such a stage.
    """
    for job in plan.jobs:
        require_supported(job.profile)


def check_ready(plan: Plan) -> None:
    """Refuse a plan that a later stage would stop at: a mistake in the last one must not be found after hours.

    Raises:
        ProfileError: Something keeps a stage from starting, such as a secret that is not set.
        DataError: A stage's data blend cannot be read, or names data that is not there.
    """
    for obstacle in (obstacle for job in plan.jobs for obstacle in job.obstacles):
        raise obstacle
    blends = [blend for job in plan.jobs if isinstance(blend := job.train_config.get("blend"), str)]
    if not blends:
        return
    with packages_needed("data preparation"):
        from nemotron.data_prep.blend import load_blend  # noqa: PLC0415 - pyarrow takes time to import
    for blend in blends:
        load_blend(Path(blend).expanduser())
