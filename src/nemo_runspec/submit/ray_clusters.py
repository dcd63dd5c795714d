"""Ray clusters of Lepton that outlive a job: made, listed, attached to, and ended by their names."""

from __future__ import annotations

import os
import re
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from nemo_runspec.env import LeptonProfile, load_env_profile
from nemo_runspec.env_vars import is_secret_variable
from nemo_runspec.errors import GoneError, PlatformError, ProfileError, RefusedError, UsageError
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.request import CloudJob, lepton_settings
from nemo_runspec.platforms.lepton_ray import READY, STOPPED, STOPPING
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.names import new_token, workload_name
from nemo_runspec.platforms.ray_dashboard import Driver, seen
from nemo_runspec.platforms.ray_request import JOB_KIND, cluster_request
from nemo_runspec.platforms.workload import Submitted
from nemo_runspec.submit.ray import cluster_workload, ray_settings
from nemo_runspec.submit.ray_watchdog import WATCHDOG, check_token, watchdog

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nemo_runspec.platforms.lepton import LeptonSettings
    from nemo_runspec.platforms.lepton_ray import LeptonRayClient
    from nemo_runspec.platforms.ray_cluster import Cluster
    from nemo_runspec.platforms.ray_request import RaySettings

_NAME: Final = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_CONFLICT: Final = 409
_STOP_S: Final = 180.0


@dataclass(frozen=True, slots=True)
class RayCluster:
    """A cluster, and what runs on it.

    Args:
        cluster: What the platform says of it.
        running: How many jobs run on it; None where it does not answer.
        until_s: Unix time at which it ends itself; None where it does not.
    """

    cluster: Cluster
    running: int | None = None
    until_s: float | None = None

    def as_data(self) -> dict[str, Any]:
        """Give it as plain data; the keys stay what they are."""
        found = self.cluster
        return {
            "name": found.name,
            "state": found.state,
            "workers_ready": found.ready,
            "workers": found.wanted,
            "ray_version": found.ray_version or None,
            "created": found.created_s or None,
            "running_jobs": self.running,
            "ends": self.until_s,
        }


def lepton_profile(name: str) -> LeptonProfile:
    """Give a profile whose platform has Ray clusters.

    Raises:
        UsageError: It is another platform's.
    """
    profile = load_env_profile(name)
    if not isinstance(profile, LeptonProfile):
        message = f"profile '{name}' is for {profile.executor}, and clusters that outlive a job are Lepton's"
        raise UsageError(message, remedy="Everywhere else a Ray job brings its own cluster: give it --run PROFILE.")
    return profile


def client_of(profile: str) -> LeptonRayClient:
    """Give the client of the workspace that a profile, given by its name, leads to."""
    return cast("LeptonRayClient", connect("lepton", {"profile": profile}))


def up(
    profile: LeptonProfile, name: str, *, nodes: int | None, ttl_s: float | None, say: Callable[[str], None]
) -> RayCluster:
    """Make a cluster, and wait until it is ready.

    Args:
        profile: Says what its nodes are.
        name: What it is called; no other cluster of the workspace is.
        nodes: How many nodes; the profile's number without it.
        ttl_s: How long it may live, in seconds, from its readiness on.
        say: Called with each thing worth knowing.

    Raises:
        UsageError: The platform does not take the name.
        ProfileError: The profile lacks what it takes.
        PlatformError: The platform does not make it.
    """
    check_name(name)
    if ttl_s is not None:
        check_token(profile.secret_references, "--ttl", profile.name, profile.source)
    if profile.container_image is None:
        message = f"profile '{profile.name}' names no container image"
        raise ProfileError(message, where=profile.source, remedy='Add container_image = "...", an image with Ray.')
    plain = {key: value for key, value in profile.env_vars.items() if not is_secret_variable(key, profile)}
    secret = {key: value for key, value in profile.env_vars.items() if key not in plain}
    names = [key for key in profile.secret_names if key not in {**profile.secret_references, **secret}]
    lacking = [key for key in names if not os.environ.get(key)]
    if lacking:
        message = f"profile '{profile.name}' takes {', '.join(lacking)} from your environment, where it is not set"
        raise ProfileError(message, where=profile.where("secrets"), remedy="Export it, or take it out of `secrets`.")
    job = CloudJob(
        settings=lepton_settings(profile),
        image=profile.container_image,
        nodes=nodes or profile.nodes or 1,
        gpus_per_node=profile.gpus_per_node or 0,
        home=profile.job_root,
        launch="",
        env={"NEMO_RUN_DIR": profile.pod_workspace, **plain},
        secrets={**{key: os.environ[key] for key in names}, **secret},
        secret_references=profile.secret_references,
    )
    client = client_of(profile.name)
    make(client, name, job, ray_settings(profile), say)
    if ttl_s is not None:
        live_until(client, name, time.time() + ttl_s)
    return look(client, client.cluster(name))


def check_name(name: str) -> None:
    """See that a cluster can have a name.

    Args:
        name: The name.

    Raises:
        UsageError: The platform does not take it.
    """
    limits = LIMITS["lepton"]
    if not _NAME.fullmatch(name) or len(name) > limits.name_length or name.endswith(limits.refused_endings):
        message = f"'{name}' cannot be the name of a Ray cluster on Lepton"
        remedy = f"Give at most {limits.name_length} small letters, digits and '-', from a letter to no '-'."
        raise UsageError(message, remedy=remedy)


def make(client: LeptonRayClient, name: str, job: CloudJob, ray: RaySettings, say: Callable[[str], None]) -> None:
    """Make a cluster of values, and wait until it is ready.

    Args:
        client: The workspace's client.
        name: What it is called.
        job: Has its image, its nodes, and its variables; nothing of it is started.
        ray: The rest.
        say: Called with each state that it is in meanwhile.

    Raises:
        RefusedError: There is one of that name, or the platform does not make it.
    """
    request = cluster_request(cluster_workload(job), cast("LeptonSettings", job.settings), ray)
    try:
        client.make(request, name)
    except RefusedError as error:
        if error.status != _CONFLICT:
            raise
        message = f"there is a Ray cluster '{name}' already"
        raise RefusedError(message, status=error.status, remedy=f"Use it: nemotron ray attach {name}") from error
    client.await_ready(name, say)


def live_until(client: LeptonRayClient, name: str, until_s: float) -> None:
    """Have a cluster suspended by its own head at a time; a time that was set before counts no more.

    Args:
        client: The workspace's client.
        name: The cluster.
        until_s: Unix time.
    """
    dashboard = client.dashboard(name)
    for job in dashboard.jobs():
        if (job.get("metadata") or {}).get("role") == WATCHDOG and not seen(job).state.is_final:
            dashboard.stop(str(job["submission_id"]))
    dashboard.submit(watchdog(client, name, workload_name(WATCHDOG, new_token(), None), until_s=until_s))


def listed(client: LeptonRayClient) -> tuple[RayCluster, ...]:
    """List the workspace's clusters, with what runs on those that are ready."""
    return tuple(look(client, found) for found in client.clusters())


def look(client: LeptonRayClient, found: Cluster) -> RayCluster:
    """Ask a cluster what runs on it, where it is ready."""
    if found.state != READY:
        return RayCluster(found)
    try:
        jobs = client.dashboard(found.name).jobs()
    except PlatformError:
        return RayCluster(found)
    alive = [job for job in jobs if not seen(job).state.is_final]
    own = [job for job in alive if (job.get("metadata") or {}).get("role") == WATCHDOG]
    ends = [float(job["metadata"]["until"]) for job in own if job["metadata"].get("until")]
    return RayCluster(found, running=len(alive) - len(own), until_s=min(ends, default=None))


def attach(
    profile: LeptonProfile, name: str, *, ttl_s: float | None, say: Callable[[str], None]
) -> tuple[LeptonRayClient, RayCluster]:
    """Give a cluster that is ready; one that was suspended is started again.

    Args:
        profile: Leads to its workspace.
        name: The cluster.
        ttl_s: How long it may live from now on, in seconds.
        say: Called with each thing worth knowing.

    Raises:
        UsageError: There is none of that name.
        PlatformError: It does not get ready.
    """
    if ttl_s is not None:
        check_token(profile.secret_references, "--ttl", profile.name, profile.source)
    client = client_of(profile.name)
    have_ready(client, known(client, name), say)
    if ttl_s is not None:
        live_until(client, name, time.time() + ttl_s)
    return client, look(client, client.cluster(name))


def have_ready(client: LeptonRayClient, found: Cluster, say: Callable[[str], None]) -> None:
    """Wait until a cluster is ready; one that was suspended is started again.

    Args:
        client: The workspace's client.
        found: The cluster.
        say: Called with each thing worth knowing.

    Raises:
        PlatformError: It does not get ready.
    """
    name = found.name
    if found.suspended or found.state == STOPPED or found.state in STOPPING:
        say(f"{name}: starting the Ray cluster again")
        client.resume(name)
        _await(client, name, lambda state: state not in {STOPPED, *STOPPING})
    client.await_ready(name, say)


def run_on(client: LeptonRayClient, name: str, command: Sequence[str]) -> Submitted:
    """Start a command on a cluster's head, as a job of it.

    Args:
        client: The workspace's client.
        name: The cluster.
        command: Word for word.
    """
    identifier = workload_name(f"{name}-run", new_token(), None)
    client.dashboard(name).submit(Driver(id=identifier, entrypoint=shlex.join(command)))
    return job_on(name, identifier)


def job_on(name: str, identifier: str) -> Submitted:
    """Give a job of a cluster as a workload that can be followed."""
    return Submitted("lepton", JOB_KIND, f"{name}/{identifier}", identifier)


def down(profile: str, name: str, *, delete: bool) -> None:
    """Suspend a cluster, or delete it, and return when its pods have ended.

    Args:
        profile: Name of a profile that leads to its workspace.
        name: The cluster.
        delete: Remove its record as well.

    Raises:
        UsageError: There is none of that name.
        PlatformError: It does not end.
    """
    client = client_of(profile)
    known(client, name)
    (client.delete if delete else client.suspend)(name)
    _await(client, name, lambda state: state in {STOPPED, ""})


def known(client: LeptonRayClient, name: str) -> Cluster:
    """Give what the platform says of a cluster.

    Raises:
        UsageError: There is none of that name.
    """
    try:
        return client.cluster(name)
    except GoneError as error:
        message = f"the workspace has no Ray cluster '{name}'"
        raise UsageError(message, remedy="`nemotron ray list` shows all.") from error


def _await(client: LeptonRayClient, name: str, is_there: Callable[[str], bool]) -> None:
    end = time.monotonic() + _STOP_S
    while time.monotonic() < end:
        try:
            state = client.cluster(name).state
        except GoneError:
            state = ""
        if is_there(state):
            return
        time.sleep(1)
    message = f"the Ray cluster '{name}' has not changed within {_STOP_S:g} s"
    raise PlatformError(message, remedy="Look at it: nemotron ray list")
