"""What is asked of a platform, as values: a workload, the request that it becomes, and a submitted workload."""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME: Final = "<workload name>"
"""Stands in a request for the workload's unique name, which is chosen when it is sent."""
NODE_GROUP_ID: Final = "<node group id>"
PROJECT_ID: Final = "<project id>"
CLUSTER_ID: Final = "<cluster id>"
"""These stand for what the platform is asked for when a request is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A job as every cloud platform understands it.

    Args:
        image: Container image.
        nodes: Number of pods.
        gpus_per_node: GPUs of each pod; 0 for none.
        argv: The command of each pod, word for word.
        env: Variables in order, with exact values; a value may hold `NAME`.
        secrets: Variables whose values are secret, with exact values: sent like `env`, never shown.
        secret_references: Variable -> the platform's own secret.
        retries: How often the platform may start a failed pod again.
    """

    image: str
    nodes: int = 1
    gpus_per_node: int = 0
    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secret_references: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    retries: int = 0


def job_folder(home: str, name: str = NAME) -> str:
    """Give the folder of a job.

    Args:
        home: The folder that keeps jobs and sources.
        name: The workload's unique name.
    """
    return f"{home.rstrip('/')}/jobs/{name}"


JobFiles = Mapping[str, tuple[bytes, bool]]
"""Path below the job's folder -> content, and whether it is executable."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A source tree that travels by content: a place that has it is not sent it again.

    Args:
        sha256: Its address: the digest of the archive.
        tar: The uncompressed archive, the same for the same files on every machine.
    """

    sha256: str
    tar: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One create call, before the platform has assigned anything.

    Args:
        platform: `lepton`, `dgxcloud`, `slurm` or `docker`.
        kind: The platform's word for the workload, such as `job`, `trainings` or `distributed`.
        body: What the job is, as JSON, with `NAME`, `NODE_GROUP_ID`, `PROJECT_ID` and `CLUSTER_ID` where those belong.
            A cloud is sent nothing else. Where files travel beside it, it holds their digests.
        secret_variables: Names of the variables in the body whose values must not be shown.
        names: Placeholder -> the name, given by the user, of the thing whose identifier belongs there.
        files: What lies in the job's folder before it starts; `NAME` in a text is filled in.
        secrets: Variables whose values are secret: they become one private file of the job's folder, and are neither in
            the body nor in its digest.
        source: The source that travels beside the body.
        after: Identifiers of jobs of the same platform that have to succeed first; no part of the digest.
    """

    platform: str
    kind: str
    body: Mapping[str, Any] = field(repr=False)
    secret_variables: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    files: JobFiles = field(default_factory=lambda: MappingProxyType({}), repr=False)
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    source: Tree | None = None
    after: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The SHA-256 of the body: the same for a dry-run, a rehearsal and a submission of one job."""
        return body_digest(self.body)

    def filled(self, assigned: Mapping[str, str]) -> dict[str, Any]:
        """Give the body to send.

        Args:
            assigned: Placeholder -> what stands there.
        """
        filled: dict[str, Any] = replace_text(self.body, assigned)
        return filled


def body_digest(body: Mapping[str, Any]) -> str:
    """Give the SHA-256 of a body, whatever the order of its keys."""
    return hashlib.sha256(canonical(body)).hexdigest()


def canonical(body: Mapping[str, Any]) -> bytes:
    """Give a body as the bytes that are sent."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def replace_text(value: Any, replacements: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON value
    """Replace texts in every string and key of a JSON value; the value itself is not changed."""
    if isinstance(value, str):
        for old, new in replacements.items():
            value = value.replace(old, new)
        return value
    if isinstance(value, dict | MappingProxyType):
        return {replace_text(key, replacements): replace_text(item, replacements) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [replace_text(item, replacements) for item in value]
    return value


class JobState(enum.Enum):
    """How a job stands, the same words for every place."""

    QUEUED = "queued"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"
    """The platform knows it no longer: deleted or expired; how it ended is not known."""
    UNKNOWN = "unknown"
    """The platform answers, and does not say (yet)."""
    UNREACHABLE = "unreachable"
    """The platform cannot be asked; that says nothing about the job."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self in {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST}


@dataclass(frozen=True, slots=True)
class Submitted:
    """A workload that the platform has accepted.

    Args:
        platform: As in `Request`.
        kind: As in `Request`.
        id: The platform's identifier.
        name: The unique name; its pods' names begin with it.
    """

    platform: str
    kind: str
    id: str
    name: str


class Cause(enum.Enum):
    """Why a job failed, where it was not the job's own program that ended with an exit code."""

    TIMEOUT = "its time limit has passed"
    MEMORY = "it was out of memory"
    NODE = "a node failed"
    PREEMPTED = "it was preempted"
    NEVER = "a job that it depends on did not succeed"
    LAUNCH = "it could not be started"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the platform says about a workload.

    Args:
        state: In our words.
        word: In the platform's words.
        exit_code: The job's own exit code, where the platform tells it and the job has ended.
        cause: Why it failed, where that was not its own doing.
        attempt: How often the platform has started it again.
    """

    state: JobState
    word: str = ""
    exit_code: int | None = None
    cause: Cause | None = None
    attempt: int = 0


class Platform(Protocol):
    """A platform's client. Every method raises the errors of `nemo_runspec.errors.PlatformError`'s tree."""

    def submit(self, request: Request, name: str) -> Submitted:
        """Send one create call; a lost reply is resolved by looking, so that a workload is never made twice.

        Called again with the same name, also by another process, it gives the workload that is there.
        """

    def find(self, kind: str, name: str) -> Submitted | None:
        """Look a workload up by its unique name; None only where the platform has said that it has none of it.

        Raises:
            UnreachableError: It cannot be asked, so that nothing is known.
        """

    def look(self, workload: Submitted) -> Seen:
        """Ask how a workload stands; UNREACHABLE and GONE are answers, not errors."""

    def pods(self, workload: Submitted) -> tuple[str, ...]:
        """List the names of its pods, as far as they exist."""

    def log(self, workload: Submitted, pod: str) -> Iterator[str]:
        """Give a pod's log line by line until it ends."""

    def cancel(self, workload: Submitted) -> None:
        """Stop a workload, whatever it is doing, and return when the platform has stopped it."""

    def read(self, workload: Submitted, name: str) -> bytes | None:
        """Give a small file of the job's folder; None where there is none, or the platform gives none to us."""

    def remove(self, workload: Submitted) -> None:
        """Remove what an ended workload has left on its platform beside its results; nothing left is fine."""
