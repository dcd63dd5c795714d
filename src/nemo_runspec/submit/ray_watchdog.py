"""The job of a Ray cluster that has the cluster suspended by its own head."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from nemo_runspec.data_mover.boot import POD_FOLDER, bare
from nemo_runspec.data_mover.pod.ray_watchdog import TOKEN_VARIABLE
from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.ray_dashboard import Driver

if TYPE_CHECKING:
    from collections.abc import Container

    from nemo_runspec.errors import Location
    from nemo_runspec.platforms.lepton_ray import LeptonRayClient

WATCHDOG: Final = "ttl"
"""What such a job is labelled with as its role."""


def check_token(references: Container[str], what: str, profile: str, where: Location | None = None) -> None:
    """See that the head of a cluster can have it suspended.

    Args:
        references: The variables that the platform delivers there from its own secrets.
        what: What needs that, for the message.
        profile: The profile that says so.
        where: Its place, where that is known.

    Raises:
        ProfileError: It lacks the token.
    """
    if TOKEN_VARIABLE not in references:
        message = f"{what} needs the workspace's token on the head, which ends the cluster itself"
        remedy = (
            f"Keep the token as a secret of the workspace, and name that in the profile '{profile}': "
            f'secrets = {{ {TOKEN_VARIABLE} = "SECRET" }}'
        )
        raise ProfileError(message, where=where, remedy=remedy)


def watchdog(
    client: LeptonRayClient,
    name: str,
    identifier: str,
    *,
    until_s: float | None = None,
    after: str | None = None,
    linger_s: float = 0,
) -> Driver:
    """Give the job that has a cluster suspended.

    Args:
        client: The workspace's client, which knows its address.
        name: The cluster.
        identifier: The job's own.
        until_s: Unix time at which it does so at the latest.
        after: The job at whose end it does.
        linger_s: How long after that end, in seconds.
    """
    words = ["--cluster", f"{client.base_url}/rayclusters/{name}"]
    words += ["--origin", client.origin] if client.origin else []
    words += ["--until", f"{until_s:.0f}"] if until_s is not None else []
    words += ["--after", after, "--linger", f"{linger_s:.0f}"] if after else []
    code = bare((POD_FOLDER / "ray_watchdog.py").read_text(encoding="utf-8"))
    metadata = {"role": WATCHDOG, **({"until": f"{until_s:.0f}"} if until_s is not None else {})}
    return Driver(id=identifier, entrypoint=shlex.join(["python3", "-c", code, *words]), metadata=metadata)
