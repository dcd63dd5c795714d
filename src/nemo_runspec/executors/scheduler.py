"""The scheduler through which torchx, and so nemo-run, starts, watches and stops the jobs of every platform.

What differs between platforms is in their clients. torchx finds it by the entry points `nemo_runspec_lepton`,
`nemo_runspec_dgxcloud`, `nemo_runspec_slurm` and `nemo_runspec_docker`.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_run.config import get_nemorun_home
from nemo_run.run.torchx_backend.schedulers.api import SchedulerMixin
from torchx.schedulers.api import DescribeAppResponse, ListAppResponse, Scheduler
from torchx.specs import AppDryRunInfo, AppState, ReplicaStatus, Role, RoleStatus, runopts

from nemo_runspec.errors import NemotronError
from nemo_runspec.executors.command import command_text
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.follow import log_lines
from nemo_runspec.executors.journal import Entry, Journal, name_in
from nemo_runspec.executors.platform import Task
from nemo_runspec.platforms.workload import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torchx.specs import AppDef

    from nemo_runspec.executors.platform import PlatformExecutor
    from nemo_runspec.platforms.workload import Platform, Seen

log = logging.getLogger(__name__)

_STATES: Final[Mapping[JobState, AppState]] = {
    JobState.QUEUED: AppState.PENDING,
    JobState.STARTING: AppState.PENDING,
    JobState.RUNNING: AppState.RUNNING,
    # Not yet CANCELLED: nemo-run would take the job for ended, and not cancel it.
    JobState.STOPPING: AppState.RUNNING,
    JobState.SUCCEEDED: AppState.SUCCEEDED,
    JobState.FAILED: AppState.FAILED,
    JobState.CANCELLED: AppState.CANCELLED,
    # How it ended is not known; what is known is that nothing more will come, and that is no success.
    JobState.LOST: AppState.CANCELLED,
    JobState.UNKNOWN: AppState.UNKNOWN,
    JobState.UNREACHABLE: AppState.UNKNOWN,
}

_MESSAGES: Final[Mapping[JobState, str]] = {
    JobState.LOST: "the platform does not know the job any more",
    JobState.UNKNOWN: "the platform does not say how the job stands",
    JobState.UNREACHABLE: "the platform cannot be reached; the job may well be running",
}


@dataclass(frozen=True, slots=True)
class PlatformJob:
    """A job that is ready to be sent.

    Args:
        executor: Where it runs.
        title: What it is called.
        tasks: Its tasks, with commands that are quoted for a shell.
    """

    executor: PlatformExecutor
    title: str
    tasks: tuple[Task, ...]

    def __str__(self) -> str:
        """Show it without the values of its variables."""
        place = f"{self.executor.nodes} x {self.executor.container_image or 'node'} on {self.executor.platform}"
        lines = [f"{self.title}: {place}"]
        for task in self.tasks:
            lines += [task.command, f"variables: {', '.join(sorted(task.env or {}))}"]
        return "\n".join(lines)


class PlatformScheduler(SchedulerMixin, Scheduler[Any]):  # type: ignore[misc]  # neither ships types
    """A scheduler whose jobs are what the journal has a record of."""

    def __init__(self, backend: str, session_name: str) -> None:
        """Take torchx' names for the scheduler and its session."""
        super().__init__(backend, session_name)
        self._telling = threading.Lock()
        self._told: set[str] = set()

    def _run_opts(self) -> runopts:
        return runopts()

    def _validate(self, app: AppDef, scheduler: str) -> None:
        """Check nothing here: the request is checked when it is built, with all that it needs."""

    def _submit_dryrun(self, app: AppDef, cfg: PlatformExecutor) -> AppDryRunInfo[PlatformJob]:
        tasks = tuple(Task(role.name, command_text(role, cfg, cfg.path_of), dict(role.env)) for role in app.roles)
        title = app.name if len(tasks) > 1 else tasks[0].name
        return AppDryRunInfo(PlatformJob(cfg, title, tasks), str)

    def schedule(self, dryrun_info: AppDryRunInfo[PlatformJob]) -> str:
        """Send a job, and give the identifier under which it is found again."""
        job: PlatformJob = dryrun_info.request
        for task in job.tasks:
            job.executor.package(job.executor.packager, task.name)
        return job.executor.submit(job.title, job.tasks).app_id

    def describe(self, app_id: str) -> DescribeAppResponse | None:
        """Tell how a job stands; None for one that was not sent from here.

        Raises:
            NemotronError: The platform does not let us ask, or a credential is not there. It is logged as well:
                nemo-run's `status` shows an older state instead of it.
        """
        entry = self._journal().find(name_in(app_id))
        if entry is None:
            return None
        try:
            seen = _platform(entry).look(entry.submitted)
        except NemotronError as error:
            self._tell(error)
            raise
        state = _STATES[seen.state]
        replicas = [ReplicaStatus(id=0, role=entry.title, state=state, hostname="")]
        return DescribeAppResponse(
            app_id=app_id,
            roles=[Role(name=entry.title, image="", num_replicas=1)],
            roles_statuses=[RoleStatus(entry.title, replicas=replicas)],
            state=state,
            msg=_message(seen),
        )

    def log_iter(self, app_id: str, *_: object, **__: object) -> Iterable[str]:
        """Give the lines of all of a job's pods until it has ended."""
        entry = self._journal().read(name_in(app_id))
        return (f"{line}\n" for line in log_lines(_platform(entry), entry.submitted))

    def list(self) -> list[ListAppResponse]:
        """Give the jobs of this platform that were sent from here, with what is known of them without asking."""
        mine = (entry for entry in self._journal().entries() if self.backend.endswith(entry.platform))
        return [ListAppResponse(app_id=entry.app_id, state=AppState.UNKNOWN) for entry in mine]

    def _cancel_existing(self, app_id: str) -> None:
        entry = self._journal().read(name_in(app_id))
        _platform(entry).cancel(entry.submitted)

    def _tell(self, error: NemotronError) -> None:
        # Once: nemo-run asks twice for each line that it shows.
        with self._telling:
            if str(error) not in self._told:
                self._told.add(str(error))
                log.error("%s", error)

    def _journal(self) -> Journal:
        return Journal(get_nemorun_home())


def _platform(entry: Entry) -> Platform:
    return connect(entry.platform, entry.connection)


def _message(seen: Seen) -> str:
    return _MESSAGES.get(seen.state, "") or seen.word


def create_lepton_scheduler(session_name: str, **_: object) -> PlatformScheduler:
    """Make the scheduler of Lepton's jobs; torchx calls it with its session and what nemo-run gives to every one."""
    return PlatformScheduler("nemo_runspec_lepton", session_name)


def create_dgxcloud_scheduler(session_name: str, **_: object) -> PlatformScheduler:
    """Make the scheduler of run:ai's jobs, likewise."""
    return PlatformScheduler("nemo_runspec_dgxcloud", session_name)


def create_slurm_scheduler(session_name: str, **_: object) -> PlatformScheduler:
    """Make the scheduler of Slurm jobs, likewise."""
    return PlatformScheduler("nemo_runspec_slurm", session_name)


def create_docker_scheduler(session_name: str, **_: object) -> PlatformScheduler:
    """Make the scheduler of Docker jobs, likewise."""
    return PlatformScheduler("nemo_runspec_docker", session_name)
