"""A workload as a job of DGX Cloud Lepton: its request, which opens nothing, and the client that sends it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from nemo_runspec.errors import GoneError, PlatformError, RefusedError, UnreachableError, guess
from nemo_runspec.platforms.body import (
    escaped_env,
    merged,
    refuse,
    secret_values,
    spec_problems,
    workload_problems,
)
from nemo_runspec.platforms.creation import before_sending, create
from nemo_runspec.platforms.credentials import FixedToken, find_lepton_workspace
from nemo_runspec.platforms.following import Newborns, follow, stop
from nemo_runspec.platforms.http import Api, Patience
from nemo_runspec.platforms.kubernetes import escape, in_pod_order
from nemo_runspec.platforms.limits import LIMITS, lacking_problems, mount_problems
from nemo_runspec.platforms.removal import remove_ended
from nemo_runspec.platforms.storage import NODE_LOCAL
from nemo_runspec.platforms.workload import (
    NAME,
    NODE_GROUP_ID,
    JobState,
    Request,
    Seen,
    Submitted,
    canonical,
)
from nemo_runspec.toml.values import empty_table, thaw

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.platforms.workload import Workload

_LIMITS: Final = LIMITS["lepton"]
_VOLUME: Final = re.compile(rf"{NODE_LOCAL}|node-[a-z0-9]+:.+")
_KEPT_S: Final = 259_200
"""How long the platform keeps an ended job: three days, as its own `lep job create` asks."""
_PRIORITY: Final = "mid-4000"
"""The priority class that nemo-run asks for where a profile has a preemption flag and names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeptonSettings:
    """What a profile says about Lepton; the keys of its `[lepton]` profile have the same names.

    Args:
        resource_shape: Machine shape of each pod.
        node_group: Name of the dedicated node group.
        node_reservation: Reservation within it.
        shared_memory_size: Size of /dev/shm in MiB.
        mounts: Tables with `path`, `mount_path`, `from` and perhaps `mount_options`.
        image_pull_secrets: The workspace's registry secrets.
        can_be_preempted: Whether jobs of higher priority may take its nodes.
        can_preempt: Whether it may take the nodes of others.
        queue_priority: Priority class.
        custom_spec: More fields of the job's `spec`.
    """

    resource_shape: str | None = None
    node_group: str | None = None
    node_reservation: str | None = None
    shared_memory_size: int | None = None
    mounts: tuple[Mapping[str, Any], ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    can_be_preempted: bool | None = None
    can_preempt: bool | None = None
    queue_priority: str | None = None
    custom_spec: Mapping[str, Any] = field(default_factory=empty_table)


def request(workload: Workload, settings: LeptonSettings) -> Request:
    """Build the create call of a job (`POST /jobs`).

    The pods are not tied to single nodes: which of the group's nodes can take them is the platform's to say.

    Args:
        workload: The job.
        settings: The profile's part.

    Raises:
        ProfileError: With everything in it that the platform would refuse.
    """
    refuse([*problems_of(workload, settings), *spec_problems(settings.custom_spec, _LIMITS.job_fields)], _LIMITS)
    envs = escaped_env((*workload.env, *workload.secrets))
    envs += [
        {"name": name, "value_from": {"secret_name_ref": secret}} for name, secret in workload.secret_references.items()
    ]
    spec: dict[str, Any] = {
        "resource_shape": settings.resource_shape,
        "affinity": {"allowed_dedicated_node_groups": [NODE_GROUP_ID]},
        "container": {"image": workload.image, "command": [escape(word) for word in workload.argv]},
        "completions": workload.nodes,
        "parallelism": workload.nodes,
        "envs": envs,
        "mounts": thaw(settings.mounts),
        "image_pull_secrets": list(settings.image_pull_secrets),
        "intra_job_communication": True,
        "ttl_seconds_after_finished": _KEPT_S,
        **placement(settings),
    }
    if workload.retries:
        spec["max_failure_retry"] = workload.retries
    return Request(
        platform="lepton",
        kind="job",
        body={"metadata": {"id": NAME}, "spec": merged(spec, settings.custom_spec)},
        secret_variables=frozenset(name for name, _ in workload.secrets),
        names=MappingProxyType({NODE_GROUP_ID: settings.node_group or ""}),
    )


def placement(settings: LeptonSettings) -> dict[str, Any]:
    """Give the fields of a pod's specification about where and how it runs, as far as a profile sets them."""
    fields: dict[str, Any] = {}
    if settings.shared_memory_size is not None:
        fields["shared_memory_size"] = settings.shared_memory_size
    if settings.node_reservation:
        fields["reservation_config"] = {"reservation_id": settings.node_reservation}
    queue = {"can_be_preempted": settings.can_be_preempted, "can_preempt": settings.can_preempt}
    flags = {name: flag for name, flag in queue.items() if flag is not None}
    if settings.queue_priority or any(flags.values()):
        fields["queue_config"] = {"priority_class": settings.queue_priority or _PRIORITY, **flags}
    return fields


def problems_of(workload: Workload, settings: LeptonSettings) -> list[str]:
    """Say what the platform has against a job, whatever kind of workload it becomes."""
    problems = workload_problems(workload, _LIMITS)
    problems += lacking_problems({name: getattr(settings, name) for name in _LIMITS.needed}, _LIMITS)
    if settings.shared_memory_size is not None and settings.shared_memory_size < 1:
        problems.append(f"shared_memory_size is {settings.shared_memory_size} MiB; it must be 1 or more")
    for number, mount in enumerate(settings.mounts):
        lacking = [key for key in ("path", "mount_path", "from") if not mount.get(key)]
        problems += [f"mounts[{number}] lacks '{key}'" for key in lacking]
        volume = str(mount.get("from") or NODE_LOCAL)
        if not _VOLUME.fullmatch(volume):
            problems.append(
                f"mounts[{number}] is from '{volume}'; Lepton knows '{NODE_LOCAL}' and 'node-<type>:<volume>', such as "
                "'node-nfs:shared'"
            )
    problems += mount_problems(
        (str(mount["mount_path"]) for mount in settings.mounts if mount.get("mount_path")), _LIMITS
    )
    problems += [
        f"the secret of '{name}' has no name" for name, secret in workload.secret_references.items() if not secret
    ]
    return problems


_STATES: Final = MappingProxyType(
    {
        "Queueing": JobState.QUEUED,
        "Awaiting": JobState.QUEUED,
        "Starting": JobState.STARTING,
        "PendingRetry": JobState.STARTING,
        "Restarting": JobState.STARTING,
        "Running": JobState.RUNNING,
        "Stopping": JobState.STOPPING,
        "Deleting": JobState.STOPPING,
        "Terminating": JobState.STOPPING,
        "Completed": JobState.SUCCEEDED,
        "Failed": JobState.FAILED,
        "Stopped": JobState.CANCELLED,
        "Deleted": JobState.LOST,
        "Archived": JobState.LOST,
    }
)
"""The platform's words (leptonai, `LeptonJobState`, and 0.47's `Terminating`) -> ours; any other is UNKNOWN."""
_ENDED: Final = frozenset(state for state in JobState if state.is_final)
_ALL: Final = (("job_query_mode", "alive_and_archive"),)
_ALIVE: Final = (("job_query_mode", "alive_only"),)


class LeptonClient:
    """Lepton's API, as a `nemo_runspec.platforms.workload.Platform`.

    Args:
        base_url: Address of the workspace's API.
        token: Its token.
        origin: Value of the `Origin` header, where the workspace needs one.
        token_from: Where the token comes from, for messages.
        patience: How long to wait.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        origin: str | None = None,
        *,
        token_from: str = "LEPTON_WORKSPACE_TOKEN",  # noqa: S107 - names where the token is, and holds none
        patience: Patience | None = None,
    ) -> None:
        """Send nothing yet."""
        self.base_url = base_url.rstrip("/")
        self.origin = origin
        self._patience = patience or Patience()
        self._api = Api(
            base_url=self.base_url,
            label="Lepton",
            credential=FixedToken(token, token_from),
            patience=self._patience,
            headers={"origin": origin} if origin else {},
        )
        self._newborns = Newborns(self._patience)

    @classmethod
    def from_environment(cls, profile: str, *, patience: Patience | None = None) -> Self:
        """Find the workspace as `find_lepton_workspace` does.

        Args:
            profile: Name of the profile that asks, for messages.
            patience: How long to wait.

        Raises:
            DeniedError: Something is missing; says what.
        """
        found = find_lepton_workspace(profile)
        token_from = f"the workspace's token ({found.token_from}), which profile '{profile}' uses"
        return cls(found.url, found.token, found.origin_url, token_from=token_from, patience=patience)

    def submit(self, request: Request, name: str) -> Submitted:
        """Create the job; see `Platform.submit`."""
        assigned = {
            NAME: name,
            NODE_GROUP_ID: before_sending(lambda: self._node_group_id(request.names[NODE_GROUP_ID])),
        }
        try:
            identifier = create(
                self._api,
                "/jobs",
                canonical(request.filled(assigned)),
                name=name,
                read=_id_of,
                find=lambda: self._find(name),
                hide=secret_values(request),
            )
        except UnreachableError:
            self._newborns.add(name)  # it may have been made
            raise
        self._newborns.add(identifier)
        return Submitted("lepton", request.kind, identifier, name)

    def find(self, kind: str, name: str) -> Submitted | None:
        """Look a job up by its name; see `Platform.find`."""
        path = f"/jobs/{quote(name, safe='')}"
        try:
            job = self._api.call("GET", path, query=_ALL, deadline_s=self._patience.look_s, doubting=True)
        except GoneError:
            return None
        return Submitted("lepton", kind, _id_of(job) or name, name)

    def look(self, workload: Submitted) -> Seen:
        """Ask how the job stands; see `Platform.look`."""
        try:
            job = self._api.call("GET", _path(workload), query=_ALL, deadline_s=self._patience.look_s, doubting=True)
        except GoneError:
            return Seen(JobState.UNKNOWN) if workload.id in self._newborns else Seen(JobState.LOST)
        except UnreachableError:
            return Seen(JobState.UNREACHABLE)
        self._newborns.seen(workload.id)
        return _seen(job)

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        """List the job's replicas; see `Platform.pods`."""
        try:
            found = self._api.call("GET", f"{_path(workload)}/replicas", query=_ALL, deadline_s=self._patience.list_s)
        except GoneError:
            return ()
        return in_pod_order(workload.name, [name for name in map(_id_of, _items(found)) if name])

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        """Give a replica's log; see `Platform.log`."""
        path = f"{_path(workload)}/replicas/{quote(pod, safe='')}/log"
        return follow(lambda: self._api.stream(path), lambda: self.look(workload), self._patience)

    def cancel(self, workload: Submitted) -> None:
        """Stop the job, and keep its record and logs; delete it only where that does not stop it."""

        def look() -> Seen:
            return self.look(workload)

        if look().state.is_final:
            return
        stopped = json.dumps({"spec": {"stopped": True}}).encode()
        if stop(lambda: self._api.call("PATCH", _path(workload), body=stopped), look, _ENDED, self._patience):
            return
        if not stop(lambda: self._api.call("DELETE", _path(workload), query=_ALIVE), look, _ENDED, self._patience):
            message = f"Lepton has not stopped the job '{workload.name}': it is '{look().word}'"
            raise PlatformError(message, remedy="Cancel it again, or stop it on the dashboard.")

    def read(self, workload: Submitted, name: str) -> bytes | None:  # noqa: ARG002 - volumes are the pods' alone
        """Give nothing: the platform lets only pods see its volumes."""
        return None

    def remove(self, workload: Submitted) -> None:
        """Delete the record and the logs of an ended job; see `Platform.remove`."""
        remove_ended(
            workload.name,
            self.look(workload),
            lambda: self._api.call("DELETE", _path(workload), query=_ALIVE),
        )

    def _find(self, name: str) -> str | None:
        try:
            return _id_of(self._api.call("GET", f"/jobs/{quote(name, safe='')}", query=_ALL))
        except GoneError:
            return None

    def _node_group_id(self, name: str) -> str:
        try:
            groups = _items(self._api.call("GET", "/dedicated-node-groups"))
        except GoneError as error:
            message = f"there is no Lepton workspace at {self.base_url}: {error.message}"
            raise RefusedError(message, status=error.status, remedy="Check LEPTON_WORKSPACE_ID.") from error
        known = {str(_metadata(group).get("name")): _id_of(group) for group in groups}
        identifier = known.get(name)
        if identifier is None:
            message = f"the Lepton workspace has no node group '{name}'"
            raise RefusedError(message, remedy=guess(name, known, what="node groups"))
        return identifier


def _path(workload: Submitted) -> str:
    # The identifier is the one that was asked for, so the name does where the reply to the create call never came.
    return f"/jobs/{quote(workload.id or workload.name, safe='')}"


def _items(answer: object) -> list[object]:
    return answer if isinstance(answer, list) else []


def _table(item: object, name: str) -> Mapping[str, Any]:
    table = item.get(name) if isinstance(item, dict) else None
    return table if isinstance(table, dict) else {}


def _metadata(item: object) -> Mapping[str, Any]:
    return _table(item, "metadata")


def _id_of(item: object) -> str | None:
    """Give the identifier of a job, replica or node group; its own `id` stands in for one in `metadata`."""
    identifier = _metadata(item).get("id") or (item.get("id") if isinstance(item, dict) else None)
    return str(identifier) if identifier else None


def _seen(job: object) -> Seen:
    status = _table(job, "status")
    word = str(status.get("state") or "")
    state = _STATES.get(word, JobState.UNKNOWN)
    # The platform says Running from the first pod on.
    if state is JobState.RUNNING and _count(status, "ready") < _count(status, "active"):
        state = JobState.STARTING
    # A record that has been put away still tells how the job ended.
    if state is JobState.LOST and 0 < _count(_table(job, "spec"), "completions") <= _count(status, "succeeded"):
        state = JobState.SUCCEEDED
    elif state is JobState.LOST and _count(status, "failed"):
        state = JobState.FAILED
    return Seen(state, word)


def _count(table: Mapping[str, Any], name: str) -> int:
    count = table.get(name)
    return count if isinstance(count, int) else 0
