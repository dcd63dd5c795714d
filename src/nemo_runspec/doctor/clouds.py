"""What a job on a cloud needs: the profile, which is checked when it is read, and what lets one in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from nemo_runspec.doctor.findings import Check, ok
from nemo_runspec.env import DGXCloudProfile
from nemo_runspec.executors.credentials import read_secret, reference_for
from nemo_runspec.platforms.credentials import find_lepton_workspace
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.lepton import LeptonClient
from nemo_runspec.platforms.runai import RunaiClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.doctor.findings import Finding
    from nemo_runspec.env import CloudProfile

_NOBODYS_JOB: Final = "nemotron-doctor-000000"
"""A name that no job has: looking it up needs a token that is accepted, and changes nothing."""
_MARGIN_S: Final = 0.3


def checks(profile: CloudProfile, *, online: bool, timeout_s: float) -> tuple[Check, ...]:
    """Give the questions about a cloud.

    Args:
        profile: The profile.
        online: Whether to ask the platform.
        timeout_s: How long it may take, in seconds.
    """
    found = [
        Check("profile", lambda: (ok("profile", "complete, as far as it can be told without the platform"),)),
        Check("credentials", lambda: credentials(profile)),
    ]
    if online:
        found.append(Check("platform", lambda: platform(profile, timeout_s - _MARGIN_S)))
    return tuple(found)


def credentials(profile: CloudProfile) -> Iterator[Finding]:
    """Say where the credentials are; whether they are accepted, only the platform knows."""
    if isinstance(profile, DGXCloudProfile):
        read_secret(reference_for(profile))
        yield ok("credentials", f"client_id {profile.client_id} and its secret are there")
    else:
        workspace = find_lepton_workspace(profile.name)
        yield ok("credentials", f"{workspace.url}, token from {workspace.token_from}")


def platform(profile: CloudProfile, timeout_s: float) -> Iterator[Finding]:
    """Ask the platform something that needs a token."""
    patience = Patience(connect_s=timeout_s, read_s=timeout_s, deadline_s=timeout_s, look_s=timeout_s, list_s=timeout_s)
    if isinstance(profile, DGXCloudProfile):
        client = RunaiClient(
            profile.base_url,
            profile.kube_apiserver_url,
            profile.client_id,
            partial(read_secret, reference_for(profile)),
            profile.project_name,
            profile.name,
            patience=patience,
        )
        client.find("trainings", _NOBODYS_JOB)
        yield ok("platform", f"{profile.base_url} accepts the credentials, and knows project {profile.project_name}")
    else:
        lepton = LeptonClient.from_environment(profile.name, patience=patience)
        lepton.find("job", _NOBODYS_JOB)
        yield ok("platform", f"{lepton.base_url} accepts the token")
