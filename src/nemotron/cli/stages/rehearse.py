"""Rehearse a cloud's job on this machine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from nemo_runspec.errors import NemotronError, ProfileError
from nemo_runspec.paths import absolute
from nemo_runspec.submit.platform import execute_on_platform
from nemo_runspec.submit.requests import planned
from nemotron.cli import show_cloud
from nemotron.cli.checks import difference

if TYPE_CHECKING:
    from nemo_runspec.env import DGXCloudProfile
    from nemo_runspec.job import Job

REHEARSALS = "output/rehearsal"
"""Folder for what rehearsals leave: volumes, logs and the last one's requests."""


def rehearse_job(job: Job) -> None:
    """Run a job on this machine as its cloud would, and tell what that proves.

    Raises:
        NemotronError: The job failed, or the twin refused it.
        PayloadError: The twin received something else than the dry-run shows.
    """
    from nemo_runspec.rehearsal.session import rehearse  # noqa: PLC0415 - only a rehearsal needs a twin

    folder = absolute(f"{REHEARSALS}/{job.profile.name}", error=ProfileError)
    expected = planned(job, pinned=True)
    failure: NemotronError | None = None
    seconds: list[float] = []
    profile = cast("DGXCloudProfile", job.profile)  # or Lepton's: what comes back is of the same kind
    with rehearse(profile, folder=folder, with_master=job.request.with_master) as rehearsal:
        show_cloud.rehearsing(job, folder)
        try:
            execute_on_platform(
                replace(job, profile=rehearsal.profile), accepted=lambda _, took_s: seconds.append(took_s)
            )
        except NemotronError as error:
            failure = error
        evidence = rehearsal.evidence()
    if failure is None and evidence.body_sha256 != expected[0].digest:
        failure = difference(job, expected, evidence)
    show_cloud.rehearsed(job, *expected, evidence, submit_seconds=sum(seconds), failure=failure)
    if failure is not None:
        raise failure
