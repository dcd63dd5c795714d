"""Ray from a notebook: nemo-run's `RayJob` and `RayCluster` for the executors of this library.

A job is one job of its platform, found again by its name from any process:

    from nemo_runspec import load_executor
    from nemo_runspec.ray import RayJob

    job = RayJob(name="count", executor=load_executor("my-slurm", nodes=2))
    job.start(command="python driver.py", workdir=".")
    job.wait()

This module imports nemo-run, which takes seconds.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nemo_run import LocalExecutor
from nemo_run.run.ray import cluster as stock_cluster
from nemo_run.run.ray import job as stock_job

from nemo_runspec import jobs
from nemo_runspec.errors import ConfigError, GoneError, UsageError, guess
from nemo_runspec.executors.follow import printable
from nemo_runspec.executors.lepton import LeptonExecutor
from nemo_runspec.executors.once import WISH, Wish
from nemo_runspec.executors.platform import PlatformExecutor
from nemo_runspec.submit import ray_clusters
from nemo_runspec.submit.platform import to_stderr
from nemo_runspec.submit.ray import ray_settings
from nemo_runspec.submit.ray_commands import RayCommand, sending

if TYPE_CHECKING:
    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.jobs import JobStatus
    from nemo_runspec.platforms.lepton_ray import LeptonRayClient

_DASHBOARD_PORT: Final = 8265


@dataclass(kw_only=True)
class RayJob(stock_job.RayJob):  # type: ignore[misc]  # nemo-run ships no types
    """A command that is the driver of a Ray, as one job.

    On Slurm, DGX Cloud, Docker and this machine the job's nodes form a Ray of their own, which ends with the command;
    on several nodes of Lepton, or with `cluster_name`, it is a cluster of the platform. The name means the newest job
    of that name that was submitted from here with the executor's profile, whoever has started it.

    The fields are nemo-run's; its `cluster_ready_timeout` is not used, as a cluster is waited for however long it
    takes, and `log_level` neither.
    """

    def __post_init__(self) -> None:
        """Send nothing.

        Raises:
            ConfigError: The executor is none of this library's, or `cluster_name` is given for another than Lepton's.
        """
        _require_own(self.executor, "RayJob")
        if self.cluster_name and not isinstance(self.executor, LeptonExecutor):
            message = f"cluster_name is '{self.cluster_name}', and clusters that outlive a job are Lepton's"
            raise ConfigError(message, remedy="Leave it out: everywhere else the job brings its own Ray.")

    def start(
        self,
        command: str,
        workdir: str | Path = ".",
        runtime_env_yaml: str | None = None,
        pre_ray_start_commands: list[str] | None = None,
        dryrun: bool = False,  # noqa: FBT001, FBT002 - nemo-run's signature
    ) -> None:
        """Submit the job, and return when its platform has it; the same job that still goes on is taken over.

        On Lepton that is when the cluster is ready and the driver has started.

        Args:
            command: A shell command, such as `python driver.py`. It finds Ray in `RAY_ADDRESS`.
            workdir: Folder of this machine whose files travel, and are the command's working directory.
            runtime_env_yaml: nemo-run's; give `runtime_env` to `ray.init` instead.
            pre_ray_start_commands: Shell commands that each node runs before Ray starts; those of the constructor
                without it.
            dryrun: Build and check the job, show it in a line, and send nothing.

        Raises:
            ConfigError: A `runtime_env_yaml`, no folder, or more than one node with Docker.
            NemotronError: The job cannot be built, or its platform refuses it or cannot be reached.
        """
        if runtime_env_yaml is not None:
            message = "a RayJob takes no runtime_env_yaml"
            raise ConfigError(message, remedy="Give it in the driver: ray.init(runtime_env=...).")
        before = tuple(pre_ray_start_commands or self.pre_ray_start_commands or ())
        work = RayCommand(self.name, command, Path(workdir), before, existing=self.cluster_name or "")
        # Nobody is sure to stay: a notebook's kernel ends when it likes.
        token = WISH.set(Wish(also_told=True, leaves=True, say=to_stderr))
        try:
            way = sending(self.executor, work)
            if dryrun:
                request = way.request()
                _show(f"{self.name}: would be sent to {request.platform} as {request.kind} {request.digest[:12]}")
                return
            entry = way.send()
        finally:
            WISH.reset(token)
        _show(f"{self.name}: {entry.name} on {entry.platform}")

    def status(self, display: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002 - nemo-run's signature
        """Ask how the job stands.

        Args:
            display: Whether to show it in a line, too.

        Returns:
            What `nemotron jobs status --json` prints: `state`, `exit_code`, `final`, `id` and the others.

        Raises:
            UsageError: No job of that name was started from here.
        """
        return self._told(jobs.status(self._entry(), jobs.own_journal()), display=display)

    def logs(self, *, follow: bool = False, lines: int = 100, timeout: float = 100) -> None:
        """Show what the job has printed; after its end too.

        Args:
            follow: Show all from the beginning, and go on until the job has ended.
            lines: How many of the last lines are shown otherwise.
            timeout: How long the first line is waited for then, in seconds.

        Raises:
            UsageError: No job of that name was started from here.
            PlatformError: Its platform cannot be asked, or has kept nothing.
        """
        entry = jobs.status(self._entry(), jobs.own_journal()).entry
        redactor = jobs.redactor_of(entry)
        found = jobs.logs(entry, follow=follow, first_s=timeout)
        for line in found if follow else deque(found, maxlen=lines):
            _show(redactor.text(f"[{line.short}] {line.line}" if entry.nodes > 1 else line.line))

    def wait(self) -> dict[str, Any]:
        """Wait for the job's end; its output is kept, and shown by `logs`. Ctrl-C leaves the job to go on.

        Returns:
            As `status`, of a job that has succeeded.

        Raises:
            JobFailedError: It failed, was stopped, or is lost; `exit_code` is the command's own, where it is known.
            InterruptedJobError: Ctrl-C.
            UsageError: No job of that name was started from here.
            PlatformError: Its platform cannot be asked.
        """
        entry = self._entry()
        ended = jobs.reattach(entry, jobs.own_journal(), jobs.redactor_of(entry), say=to_stderr, quiet=True)
        return self._told(ended, display=False)

    def stop(self, wait: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - nemo-run's signature
        """Stop the job, whatever it is doing, and return when its platform has; one that has ended stays as it is.

        Args:
            wait: nemo-run's: it is always waited for.

        Raises:
            UsageError: No job of that name was started from here.
            PlatformError: Whether it has stopped is not known, or its platform does not stop it.
        """
        self._told(jobs.cancel(self._entry(), jobs.own_journal()), display=True)

    def _entry(self) -> Entry:
        platform = getattr(self.executor, "platform", "local")
        profile = getattr(self.executor, "profile", "")
        known = [e for e in jobs.own_journal().entries() if (e.platform, e.profile) == (platform, profile)]
        found = next((entry for entry in known if entry.title == self.name), None)
        if found is None:
            message = f"no job '{self.name}' was started from here on {platform}"
            raise UsageError(message, remedy=guess(self.name, [entry.title for entry in known], what="jobs"))
        return found

    def _told(self, job: JobStatus, *, display: bool) -> dict[str, Any]:
        code = "" if job.seen.exit_code is None else f", exit code {job.seen.exit_code}"
        why = f": {job.why}" if job.why else ""
        if display:
            _show(f"{self.name}: {job.entry.name} is {job.seen.state.value}{code}{why}")
        return job.as_data()


@dataclass(kw_only=True)
class RayCluster(stock_cluster.RayCluster):  # type: ignore[misc]  # nemo-run ships no types
    """A Ray cluster of Lepton that outlives a job; the fields are nemo-run's, whose `log_level` is not used."""

    def __post_init__(self) -> None:
        """Send nothing.

        Raises:
            ConfigError: The executor is none of this library's, or for a place where a Ray lives as long as its job.
            UsageError: The platform does not take the name.
        """
        _require_own(self.executor, "RayCluster")
        if not isinstance(self.executor, LeptonExecutor):
            place = getattr(self.executor, "platform", "this machine")
            message = f"'{self.name}' cannot be a cluster: on {place} a Ray lives as long as its job"
            raise ConfigError(message, remedy="Use a RayJob, which brings its own Ray.")
        ray_clusters.check_name(self.name)

    def start(
        self,
        wait_until_ready: bool = True,  # noqa: ARG002, FBT001, FBT002 - nemo-run's signature
        timeout: int = 1000,  # noqa: ARG002 - as above
        dryrun: bool = False,  # noqa: FBT001, FBT002 - as above
        pre_ray_start_commands: list[str] | None = None,
    ) -> None:
        """Have the cluster ready: it is made, or started again where it is suspended.

        Args:
            wait_until_ready: nemo-run's: it is always waited for.
            timeout: nemo-run's: it is waited for however long it takes.
            dryrun: Only look whether it is there.
            pre_ray_start_commands: nemo-run's; a `RayJob` takes them.

        Raises:
            ConfigError: `pre_ray_start_commands`.
            NemotronError: The platform does not make it, or cannot be reached.
        """
        if pre_ray_start_commands:
            message = "the nodes of a cluster of Lepton run no commands before Ray"
            raise ConfigError(message, remedy="Give pre_ray_start_commands to the RayJob that runs there.")
        if dryrun:
            self.status()
            return
        client = self._client()
        try:
            found = client.cluster(self.name)
        except GoneError:
            job = self.executor.cloud_job("true")
            ray_clusters.make(client, self.name, job, ray_settings(self.executor), to_stderr)
        else:
            ray_clusters.have_ready(client, found, to_stderr)

    def status(self, display: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002 - nemo-run's signature
        """Ask how the cluster stands.

        Args:
            display: Whether to show it in a line, too.

        Returns:
            What `nemotron ray list --json` prints of it; only `name` and an empty `state` where there is none.
        """
        client = self._client()
        try:
            told = ray_clusters.look(client, client.cluster(self.name)).as_data()
        except GoneError:
            told = {"name": self.name, "state": ""}
        if display:
            _show(json.dumps(told) if told["state"] else f"{self.name}: there is no such cluster")
        return told

    def port_forward(self, port: int = _DASHBOARD_PORT, target_port: int = _DASHBOARD_PORT, wait: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - nemo-run's signature
        """Say where the dashboard is: no port of a pod can be reached.

        Args:
            port: nemo-run's.
            target_port: nemo-run's.
            wait: nemo-run's.

        Raises:
            ConfigError: Always.
        """
        message = f"no port of the cluster '{self.name}' can be forwarded: Lepton reaches its dashboard itself"
        where = f"{self._client().base_url}/rayclusters/{self.name}/dashboard"
        raise ConfigError(
            message, remedy=f"It is at {where}, with the workspace's token; commands go there as a RayJob."
        )

    def stop(self) -> None:
        """Suspend the cluster, so that `start` starts it again, and return when its pods have ended.

        Raises:
            UsageError: There is none of that name.
            PlatformError: It does not end.
        """
        ray_clusters.down(self.executor.profile, self.name, delete=False)

    def _client(self) -> LeptonRayClient:
        return ray_clusters.client_of(self.executor.profile)


def _require_own(executor: Any, what: str) -> None:  # noqa: ANN401 - an executor of nemo-run, which ships no types
    if not isinstance(executor, PlatformExecutor | LocalExecutor):
        name = type(executor).__name__
        message = f"nemo_runspec.ray.{what} takes an executor of this library, and got nemo-run's own {name}"
        remedy = f'Build it with load_executor("PROFILE"), or use nemo_run.run.ray\'s {what}.'
        raise ConfigError(message, remedy=remedy)


def _show(text: str) -> None:
    sys.stdout.write(printable(f"{text}\n"))
    sys.stdout.flush()
