"""A workload as one of run:ai's: its request, which opens nothing, and the client that sends it."""

from __future__ import annotations

import re
import shlex
import threading
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from nemo_runspec.errors import DeniedError, GoneError, PlatformError, RefusedError, UnreachableError, guess
from nemo_runspec.platforms.body import (
    escaped_env,
    merged,
    refuse,
    secret_values,
    spec_problems,
    workload_problems,
)
from nemo_runspec.platforms.creation import before_sending, create
from nemo_runspec.platforms.credentials import ClientCredentials, ClusterCredential
from nemo_runspec.platforms.following import Newborns, follow, stop
from nemo_runspec.platforms.http import Api, Patience
from nemo_runspec.platforms.kubernetes import escape, in_pod_order, pod_log_path, pods_path
from nemo_runspec.platforms.limits import LIMITS, mount_problems, text_problem
from nemo_runspec.platforms.removal import remove_ended
from nemo_runspec.platforms.workload import (
    CLUSTER_ID,
    NAME,
    PROJECT_ID,
    JobState,
    Request,
    Seen,
    Submitted,
    canonical,
)
from nemo_runspec.toml.values import empty_table, thaw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from nemo_runspec.platforms.workload import Workload

_LIMITS: Final = LIMITS["dgxcloud"]
_CLAIM: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_MAX_ARGS_CHARS: Final = 9_500


@dataclass(frozen=True, slots=True, kw_only=True)
class RunaiSettings:
    """What a profile says about run:ai.

    Args:
        project_name: The project that pays.
        pvcs: Tables with `path`, `claimName` and run:ai's other fields of a volume claim.
        distributed_framework: Framework of workloads with several pods.
        custom_spec: More fields of the workload's `spec`.
        max_args_chars: Longest `args` to send, in bytes.
    """

    project_name: str
    pvcs: tuple[Mapping[str, Any], ...] = ()
    distributed_framework: str = "PyTorch"
    custom_spec: Mapping[str, Any] = field(default_factory=empty_table)
    max_args_chars: int = _MAX_ARGS_CHARS


def request(workload: Workload, settings: RunaiSettings) -> Request:
    """Build the create call of a workload (`POST /workloads/trainings` for one pod, `/workloads/distributed` for more).

    The platform splits `command` and `args` into words as a shell does, and the name is taken as it is. It says
    nothing about a master: the pods cope with both of the platform's layouts.

    Args:
        workload: The job.
        settings: The profile's part.

    Raises:
        ProfileError: With everything in it that the platform would refuse.
    """
    words = [escape(word) for word in workload.argv if text_problem(word) is None]  # others are refused below
    command, args = shlex.join(words[:1]), shlex.join(words[1:])
    _check(workload, settings, command=command, args=args)
    variables = escaped_env((*workload.env, *workload.secrets))
    variables += [
        {"name": name, "secret": _secret(name, secret)} for name, secret in workload.secret_references.items()
    ]
    spec: dict[str, Any] = {
        "command": command,
        **({"args": args} if args else {}),
        "image": workload.image,
        "compute": {"gpuDevicesRequest": workload.gpus_per_node, "largeShmRequest": True},
        "storage": {"pvc": thaw(settings.pvcs)},
        "environmentVariables": variables,
        "backoffLimit": workload.retries,
    }
    if workload.nodes > 1:
        replicas = dict.fromkeys(("minReplicas", "maxReplicas", "numWorkers"), workload.nodes)
        spec |= {"distributedFramework": settings.distributed_framework, **replicas}
    return Request(
        platform="dgxcloud",
        kind="distributed" if workload.nodes > 1 else "trainings",
        body={
            "name": NAME,
            "useGivenNameAsPrefix": False,
            "projectId": PROJECT_ID,
            "clusterId": CLUSTER_ID,
            "spec": merged(spec, settings.custom_spec),
        },
        secret_variables=frozenset(name for name, _ in workload.secrets),
        names=MappingProxyType({PROJECT_ID: settings.project_name}),
    )


def _secret(variable: str, reference: str) -> dict[str, str]:
    """Give `SECRET/KEY` or `SECRET` as run:ai takes it; without a key, it is the variable's name."""
    name, _, key = reference.partition("/")
    return {"name": name, "key": key or variable}


def _check(workload: Workload, settings: RunaiSettings, *, command: str, args: str) -> None:
    problems = workload_problems(workload, _LIMITS)
    if not settings.project_name:
        problems.append("run:ai needs 'project_name'")
    longest = (("command", command, _LIMITS.argument_bytes), ("args", args, settings.max_args_chars))
    for name, text, most in longest:
        if most is not None and len(text.encode()) > most:
            problems.append(f"the command's '{name}' has {len(text.encode()):,} bytes; run:ai takes {most:,}")
    for number, pvc in enumerate(settings.pvcs):
        claim = str(pvc.get("claimName") or "")
        problems += [f"pvcs[{number}] lacks '{key}'" for key in ("path", "claimName") if not pvc.get(key)]
        if claim and not _CLAIM.fullmatch(claim):
            problems.append(
                f"pvcs[{number}] has the claimName '{claim}': up to 63 small letters, digits, '-' and '.' can be one"
            )
    problems += mount_problems((str(pvc["path"]) for pvc in settings.pvcs if pvc.get("path")), _LIMITS)
    problems += [
        f"the secret of '{name}' is '{secret}'; it must be SECRET or SECRET/KEY"
        for name, secret in workload.secret_references.items()
        if not re.fullmatch(r"[^/]+(/[^/]+)?", secret)
    ]
    problems += spec_problems(settings.custom_spec, _LIMITS.job_fields)
    refuse(problems, _LIMITS)


_PHASES: Final = MappingProxyType(
    {
        "Creating": JobState.QUEUED,
        "Pending": JobState.QUEUED,
        "Initializing": JobState.STARTING,
        "Resuming": JobState.STARTING,
        "Running": JobState.RUNNING,
        "Updating": JobState.RUNNING,
        "Degraded": JobState.RUNNING,
        "Stopping": JobState.STOPPING,
        "Deleting": JobState.STOPPING,
        "Terminating": JobState.STOPPING,
        "Completed": JobState.SUCCEEDED,
        "Failed": JobState.FAILED,
        "Stopped": JobState.CANCELLED,
        "Deleted": JobState.LOST,
    }
)
"""The platform's phases (its OpenAPI's `Phase`) -> our words; Degraded may recover, and any other is UNKNOWN."""
_ENDED: Final = frozenset(state for state in JobState if state.is_final)
_GONE: Final = frozenset({JobState.LOST})
_PAGE: Final = 500
_FORBIDDEN: Final = 403


class RunaiClient:
    """run:ai's API and its cluster's, as a `nemo_runspec.platforms.workload.Platform`.

    Args:
        base_url: Address of run:ai's API, with `/api/v1`.
        kube_apiserver_url: Address of the cluster's Kubernetes API, which alone has the pods' logs.
        client_id: The application that signs in.
        client_secret: Gives its secret whenever a token is needed.
        project_name: The project.
        profile: Name of the profile, for messages.
        patience: How long to wait.
    """

    def __init__(
        self,
        base_url: str,
        kube_apiserver_url: str,
        client_id: str,
        client_secret: Callable[[], str],
        project_name: str,
        profile: str,
        *,
        patience: Patience | None = None,
    ) -> None:
        """Send nothing yet."""
        self.base_url = base_url.rstrip("/")
        self._patience = patience or Patience()
        credential = ClientCredentials(
            self.base_url, client_id, client_secret, profile=profile, patience=self._patience
        )
        self._api = Api(base_url=self.base_url, label="run:ai", credential=credential, patience=self._patience)
        self._cluster = Api(
            base_url=kube_apiserver_url.rstrip("/"),
            label="the cluster's Kubernetes API",
            credential=ClusterCredential(credential),
            patience=self._patience,
        )
        self._project_name = project_name
        self._known_project: Mapping[str, Any] = {}
        self._lock = threading.Lock()
        self._newborns = Newborns(self._patience)
        self._identifiers: dict[str, str] = {}

    def submit(self, request: Request, name: str) -> Submitted:
        """Create the workload; see `Platform.submit`."""
        project = before_sending(self._project)
        identifiers = {PROJECT_ID: str(project["id"]), CLUSTER_ID: str(project.get("clusterId") or "")}
        try:
            identifier = create(
                self._api,
                f"/workloads/{request.kind}",
                canonical(request.filled({NAME: name, **identifiers})),
                name=name,
                read=_id_of,
                find=lambda: self._find(name),
                hide=secret_values(request),
            )
        except UnreachableError:
            self._newborns.add(name)  # it may have been made
            raise
        self._newborns.add(identifier)
        return Submitted("dgxcloud", request.kind, identifier, name)

    def find(self, kind: str, name: str) -> Submitted | None:
        """Look a workload up by its name in the project's list; see `Platform.find`."""
        found = self._find(name, self._patience.look_s)
        return Submitted("dgxcloud", kind, found, name) if found else None

    def look(self, workload: Submitted) -> Seen:
        """Ask how the workload stands; see `Platform.look`."""
        try:
            path = self._path(workload)
            answer = self._api.call("GET", path, deadline_s=self._patience.look_s, doubting=True)
        except GoneError:
            is_new = (workload.id or workload.name) in self._newborns
            return Seen(JobState.UNKNOWN if is_new else JobState.LOST)
        except (RefusedError, UnreachableError):
            return Seen(JobState.UNREACHABLE)
        self._newborns.seen(workload.id or workload.name)
        phase = str(_table(answer).get("actualPhase") or _table(answer).get("phase") or "")
        return Seen(_PHASES.get(phase, JobState.UNKNOWN), phase)

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        """List the workload's pods; see `Platform.pods`.

        An application may be refused run:ai's own list; then the cluster is asked.
        """
        try:
            found = [str(pod.get("name")) for pod in self._pods(workload, self._patience.list_s)]
        except GoneError:
            return ()
        except DeniedError as error:
            if error.status != _FORBIDDEN:
                raise
            path = pods_path(self._namespace())
            answer = _table(self._cluster.call("GET", path, deadline_s=self._patience.list_s))
            names = (str(_table(_table(pod).get("metadata")).get("name")) for pod in _items(answer, "items"))
            found = [name for name in names if name.startswith(f"{workload.name}-")]
        return in_pod_order(workload.name, found)

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        """Give a pod's log; see `Platform.log`. run:ai's API has none, so the cluster is asked."""
        path = pod_log_path(self._namespace(), pod)
        return follow(
            lambda: self._cluster.stream(path, query=(("follow", "true"),)),
            lambda: self.look(workload),
            self._patience,
            lambda: self._restarts(workload, pod),
        )

    def cancel(self, workload: Submitted) -> None:
        """Suspend the workload, which stops its pods, and delete it, which frees what it holds.

        One that has already ended is left alone.
        """

        def look() -> Seen:
            return self.look(workload)

        if look().state.is_final:
            return
        stop(lambda: self._api.call("POST", f"{self._path(workload)}/suspend"), look, _ENDED, self._patience)
        if look().state in _ENDED - {JobState.CANCELLED}:
            return

        def delete() -> None:
            self._api.call("DELETE", self._path(workload))
            self._newborns.seen(workload.id or workload.name)

        if not stop(delete, look, _GONE, self._patience):
            message = f"run:ai has not deleted the workload '{workload.name}': it is '{look().word}'"
            raise PlatformError(message, remedy="Cancel it again, or delete it in run:ai's own view.")

    def read(self, workload: Submitted, name: str) -> bytes | None:  # noqa: ARG002 - volumes are the pods' alone
        """Give nothing: the platform lets only pods see its volumes."""
        return None

    def remove(self, workload: Submitted) -> None:
        """Delete the record of an ended workload; see `Platform.remove`."""
        remove_ended(workload.name, self.look(workload), lambda: self._api.call("DELETE", self._path(workload)))

    def _path(self, workload: Submitted) -> str:
        return f"/workloads/{workload.kind}/{quote(self._id(workload), safe='')}"

    def _id(self, workload: Submitted) -> str:
        """Give run:ai's identifier; where only the name was kept, as the reply never came, run:ai's list has it.

        Raises:
            GoneError: The list has no such name.
        """
        if workload.id not in {"", workload.name}:
            return workload.id
        found = self._identifiers.get(workload.name) or self._find(workload.name, self._patience.look_s)
        if found is None:
            message = f"run:ai has no workload '{workload.name}' in the project '{self._project_name}'"
            raise GoneError(message)
        self._identifiers[workload.name] = found
        return found

    def _find(self, name: str, deadline_s: float | None = None) -> str | None:
        project_id = str(self._project()["id"])
        for workload in self._pages("/workloads", "workloads", f"name=={name}", deadline_s=deadline_s):
            if workload.get("name") == name and str(workload.get("projectId", project_id)) == project_id:
                return _id_of(workload)
        return None

    def _pods(self, workload: Submitted, deadline_s: float) -> Iterator[Mapping[str, Any]]:
        path = f"/workloads/{quote(self._id(workload), safe='')}/pods"
        return self._pages(path, "pods", deadline_s=deadline_s)

    def _restarts(self, workload: Submitted, pod: str) -> str:
        """Tell a pod's containers that came one after the other apart; an empty text where run:ai does not."""
        try:
            found = [one for one in self._pods(workload, self._patience.poll_s) if one.get("name") == pod]
        except PlatformError:
            return ""
        counts = [_table(container).get("restarts") for one in found for container in _items(one, "containers")]
        return " ".join(str(count) for count in counts if isinstance(count, int))

    def _namespace(self) -> str:
        """Give the Kubernetes namespace of the project: as run:ai says, or else as it usually calls it."""
        return str(_table(self._project().get("status")).get("namespace") or f"runai-{self._project_name}")

    def _project(self) -> Mapping[str, Any]:
        with self._lock:
            if not self._known_project:
                self._known_project = self._ask_for_project()
            return self._known_project

    def _ask_for_project(self) -> Mapping[str, Any]:
        try:
            for project in self._pages("/org-unit/projects", "projects", f"name=={self._project_name}"):
                if project.get("name") == self._project_name and project.get("id"):
                    return project
            names = [str(project.get("name")) for project in self._pages("/org-unit/projects", "projects")]
        except GoneError as error:
            message = f"there is no run:ai API at {self.base_url}: {error.message}"
            raise RefusedError(message, status=error.status, remedy="base_url ends with /api/v1.") from error
        message = f"run:ai has no project '{self._project_name}' for this application"
        raise RefusedError(message, remedy=guess(self._project_name, names, what="projects"))

    def _pages(
        self, path: str, key: str, filter_by: str = "", *, deadline_s: float | None = None
    ) -> Iterator[Mapping[str, Any]]:
        """Give the items of a list, page by page; a platform may give fewer on a page than asked for."""
        offset = 0
        while True:
            query = (("offset", str(offset)), ("limit", str(_PAGE)), *((("filterBy", filter_by),) if filter_by else ()))
            answer = _table(self._api.call("GET", path, query=query, deadline_s=deadline_s))
            items = [item for item in _items(answer, key) if isinstance(item, dict)]
            yield from items
            offset += len(items)
            if not items or (answer.get("next") is None and len(items) < _PAGE):
                return


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(table: object, key: str) -> list[object]:
    items = _table(table).get(key)
    return items if isinstance(items, list) else []


def _id_of(answer: object) -> str | None:
    identifier = _table(answer).get("workloadId") or _table(answer).get("id")
    return str(identifier) if identifier else None
