"""What the executors of all platforms have in common: tasks become one job of their platform.

The classes here are dataclasses of plain fields, because nemo-run clones and stores executors through fiddle.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from nemo_run.config import get_nemorun_home
from nemo_run.core.execution.base import Executor
from nemo_run.core.execution.launcher import FaultTolerance
from nemo_run.core.packaging.git import GitArchivePackager

from nemo_runspec.data_mover import JOB_LINK
from nemo_runspec.data_mover.packager import SourcePackager
from nemo_runspec.env_vars import is_secret_variable
from nemo_runspec.errors import PayloadError, ProfileError
from nemo_runspec.executors import job_files
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.follow import log_lines, printable
from nemo_runspec.executors.groups import merge_own_group
from nemo_runspec.executors.held_secrets import scripts_to_be_written, without_secrets
from nemo_runspec.executors.journal import Entry, Journal, name_in
from nemo_runspec.executors.source import Source
from nemo_runspec.executors.submission import Sender, send
from nemo_runspec.platforms.workload import JobState
from nemo_runspec.redaction import is_secret_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from nemo_run.core.packaging.base import Packager

    from nemo_runspec.env import Profile
    from nemo_runspec.platforms.workload import Request

_BUILDING: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Task:
    """One of the tasks that become a job together.

    Args:
        name: What nemo-run calls it, and its files.
        command: Its command, quoted for a shell.
        env: Its variables; they win over `secrets` of the same name, and are secret like those.
    """

    name: str
    command: str
    env: Mapping[str, str] | None = field(default=None, repr=False)


@dataclass(kw_only=True)
class PlatformExecutor:
    """The common part of this library's executors; its methods take the place of nemo-run's.

    Args:
        profile: The profile that it was made from, for messages.
        workspace: Folder for results, as the job sees it, which finds it in `NEMO_RUN_DIR`.
        secrets: Names of variables whose values are taken from the environment when a task is launched.
        startup_commands: Shell commands that each node runs before the task.
        git_mounts: Repositories that the job sees, as `git+URL@REF,/TARGET`.
        nprocs_per_node: Processes that torchrun starts on each node; 0 for one for each GPU.
    """

    platform: ClassVar[str]
    groups_share_a_job: ClassVar[bool] = False
    """Whether a group of tasks of nemo-run becomes one job."""

    profile: str = ""
    workspace: str = ""
    secrets: list[str] = field(default_factory=list)
    startup_commands: list[str] = field(default_factory=list)
    git_mounts: list[str] = field(default_factory=list)
    nprocs_per_node: int = 0

    if TYPE_CHECKING:
        # nemo-run's fields, which all of its executors have.
        packager: Packager = field(init=False)
        env_vars: dict[str, str] = field(init=False)
        launcher: Any = field(init=False)
        retries: int = field(init=False)
        experiment_id: str | None = field(init=False)
        job_dir: str = field(init=False)
        job_name: str = field(init=False)
        experiment_dir: str = field(init=False)
        container_image: str | None = field(init=False)
        nodes: int = field(init=False)
        gpus_per_node: int | None = field(init=False)

    @property
    def home(self) -> str:
        """The folder that keeps jobs and sources, as the job sees it."""
        raise NotImplementedError

    @property
    def connection(self) -> Mapping[str, str]:
        """How the platform is reached, as plain texts; references stand for secrets."""
        return {"profile": self.profile}

    def request(self, tasks: Sequence[Task]) -> Request:
        """Give the one create call of a job: what `launch` sends.

        Args:
            tasks: Its tasks.

        Raises:
            NemotronError: A secret is not in the environment, a file cannot be read, or the platform would refuse it.
        """
        raise NotImplementedError

    def settle(self) -> None:
        """Hold no secret, because nemo-run writes executors to disk.

        Raises:
            ProfileError: A secret's value is not in the environment, so that it could not be found again by its name.
        """
        self.env_vars = self._without_secrets("env_vars of the executor", self.env_vars)

    def _without_secrets(self, holder: str, env: Mapping[str, str]) -> dict[str, str]:
        plain, secret = without_secrets(holder, env, {*self.secrets, *self.delivered})
        self.secrets = [*self.secrets, *(name for name in secret if name not in self.secrets)]
        return plain

    def to_config(self) -> Any:  # noqa: ANN401 - a configuration of fiddle, which nemo-run writes to disk
        """Give nemo-run's description of the executor.

        Raises:
            ProfileError: As `settle`.
        """
        self.settle()
        return super().to_config()  # type: ignore[misc]  # nemo-run's method

    # What nemo-run calls before it launches.

    def nproc_per_node(self) -> int:
        """Tell how many processes torchrun starts on a node: those asked for, else one for each GPU, else one."""
        return self.nprocs_per_node or self.gpus_per_node or 1

    def assign(self, exp_id: str, exp_dir: str, task_id: str, task_dir: str) -> None:
        """Take the folders of a task of an experiment; nothing is made."""
        self.job_name = task_id
        self.experiment_id = exp_id
        self.experiment_dir = exp_dir
        self.job_dir = str(Path(exp_dir) / task_dir)

    def create_job_dir(self) -> None:
        """Make the task's folder, and let nobody else see it or what nemo-run keeps beside it.

        nemo-run writes the tasks and their executors after this.

        Raises:
            ProfileError: A plugin has put a secret into `env_vars`, or the task's own variables hold one, that is not
                in the environment.
        """
        self.settle()
        if self.groups_share_a_job:
            merge_own_group(self)
        for name, script, executor in scripts_to_be_written(self):
            if isinstance(executor, PlatformExecutor):
                script.env = executor._without_secrets(f"env of the task '{name}'", script.env or {})  # noqa: SLF001 - another of this class
        job_files.prepare(Path(self.job_dir))
        for folder in (self.experiment_dir, self.job_dir):
            if folder:
                job_files.make_private(Path(folder), deep=False)

    def package(self, packager: Packager, job_name: str) -> None:
        """Put what a packager gives into a folder of the task's own; `SourcePackager` gives nothing here.

        Args:
            packager: The packager.
            job_name: The task's name, which no other task of the experiment has.

        Raises:
            PayloadError: The packager's archive cannot be used, or its repository cannot be found.
        """
        base = _repository() if isinstance(packager, GitArchivePackager) else Path.cwd()
        # A folder and a name of our own: nemo-run's packagers put both into shell commands, unquoted.
        with tempfile.TemporaryDirectory(prefix="nemo-runspec-") as folder:
            archive = packager.package(base, folder, re.sub(r"[^A-Za-z0-9_.-]", "-", job_name))
            if archive:
                job_files.unpack(Path(archive), job_files.code_folder(Path(self.job_dir), job_name))

    def _setup_launcher(self) -> None:
        Executor._setup_launcher(self)  # noqa: SLF001 - nemo-run's own hook, without what its executors add
        if isinstance(self.launcher, FaultTolerance):
            name = f"{JOB_LINK}/{self.job_name}"
            self.launcher.cfg_path = f"{name}_ft_cfg.yml"
            self.launcher.finished_flag_file = f"{name}_finished_flag"
            self.launcher.job_results_file = f"{name}_job_results"

    # From a task to a job.

    @property
    def delivered(self) -> Collection[str]:
        """Names of the variables that the platform itself delivers, from a store of secrets."""
        return ()

    def variables(self, env: Mapping[str, str] | None) -> tuple[dict[str, str], dict[str, str]]:
        """Part a task's variables into plain and secret ones.

        Args:
            env: The task's variables; the executor's own when not given.

        Raises:
            ProfileError: A secret is not in the environment.
        """
        self.settle()
        launcher = self.get_launcher()  # type: ignore[attr-defined]  # nemo-run's method
        given = {"NEMO_RUN_DIR": self.workspace} if self.workspace else {}
        given |= self.env_vars if env is None else env
        if isinstance(launcher, FaultTolerance):
            given["FAULT_TOL_CFG_PATH"] = launcher.cfg_path
            given["FAULT_TOL_FINISHED_FLAG_FILE"] = launcher.finished_flag_file
        secret = {name for name in given if name in self.secrets or is_secret_name(name)}
        plain = {name: value for name, value in given.items() if name not in secret}
        return plain, {**self._secret_values(secret), **{name: given[name] for name in secret}}

    def files_of(self, title: str) -> dict[str, tuple[bytes, bool]]:
        """Give the files of a task below the job's folder.

        Args:
            title: What nemo-run calls them; the job's name when empty.

        Raises:
            PayloadError: One cannot be read.
        """
        files = dict(job_files.collect(Path(self.job_dir), title or self.job_name)) if self.job_dir else {}
        if isinstance(self.packager, SourcePackager):
            files |= {name: job_files.read(Path(path)) for name, path in self.packager.files.items()}
        return files

    def path_of(self, word: str) -> str:
        """Give a word of nemo-run's own commands as the job sees it: a path below `/nemo_run` may be another there."""
        return word

    def source(self) -> Source | None:
        """Give the source that travels; None where nemo-run's own packagers bring what there is."""
        if not isinstance(self.packager, SourcePackager):
            return None
        given = self.packager
        return Source(script_path=given.script_path, repo_root=given.repo_root, exclude=tuple(given.exclude))

    def _secret_values(self, given: Collection[str]) -> dict[str, str]:
        names = [name for name in self.secrets if name not in self.delivered and name not in given]
        lacking = [name for name in names if not os.environ.get(name)]
        if lacking:
            message = f"the executor takes the secret {', '.join(lacking)} from the environment, where it is not set"
            raise ProfileError(message, remedy="Set it in os.environ, or take it out of `secrets`.")
        return {name: os.environ[name] for name in names}

    # The job on the platform.

    def submit(self, title: str, tasks: Sequence[Task]) -> Entry:
        """Send a job, in one create call, and give its record.

        Args:
            title: What the job is called.
            tasks: Its tasks.

        Raises:
            NemotronError: The job cannot be built, is too large, or the platform refuses it or cannot be reached.
        """
        if self.job_dir:
            job_files.make_private(Path(self.job_dir))
        # nemo-run sends tasks from threads, and the plan parses Python, which CPython 3.11 cannot do in two of them:
        # https://github.com/python/cpython/issues/106905
        with _BUILDING:
            request = self.request(tasks)
        sender = Sender(
            connection=self.connection,
            journal=_journal(),
            home=self.home,
            experiment=self.experiment_id or "",
            job_dir=self.job_dir,
            nodes=self.nodes,
        )
        return send(request, title, sender)

    def launch(self, name: str, cmd: list[str], env: Mapping[str, str] | None = None) -> tuple[str, JobState]:
        """Send a command, and give the job's identifier and state.

        Args:
            name: What the job is called; the platform's name is made from it.
            cmd: The command, word for word.
            env: Its variables; the executor's own when not given.
        """
        return self.submit(name, [Task(name, shlex.join(cmd), env)]).id, JobState.QUEUED

    def status(self, job_id: str) -> JobState:
        """Ask how a job stands.

        Args:
            job_id: The platform's identifier or the job's name, of a job that was sent from here.
        """
        entry = recorded(job_id)
        return connect(entry.platform, entry.connection).look(entry.submitted).state

    def cancel(self, job_id: str) -> None:
        """Stop a job, whatever it is doing.

        Args:
            job_id: As for `status`.
        """
        entry = recorded(job_id)
        connect(entry.platform, entry.connection).cancel(entry.submitted)

    def fetch_logs(self, job_id: str, *_: object, **__: object) -> Iterator[str]:
        """Yield the lines of all of a job's pods until it has ended.

        Args:
            job_id: As for `status`.
        """
        entry = recorded(job_id)
        return log_lines(connect(entry.platform, entry.connection), entry.submitted)

    @classmethod
    def logs(cls, app_id: str, fallback_path: str | None = None) -> None:  # noqa: ARG003 - nemo-run's signature
        """Write the lines of all of a job's pods to standard output until it has ended; nemo-run calls it.

        Args:
            app_id: torchx' identifier of the job.
            fallback_path: nemo-run's; not needed.
        """
        entry = _journal().read(name_in(app_id))
        for line in log_lines(connect(entry.platform, entry.connection), entry.submitted, entry.title):
            sys.stdout.write(printable(f"{line}\n"))
            sys.stdout.flush()

    def cleanup(self, handle: str) -> None:
        """Leave the job as it is: the platform removes it in its own time, and its log can be read until then."""


def common_fields(profile: Profile, env_vars: Mapping[str, str]) -> dict[str, Any]:
    """Give the fields of an executor that a profile of any platform fills.

    Of its secrets only the names are taken, also of those in `env_vars`: their values have to be in the environment
    when a task is launched.

    Args:
        profile: The profile, with its values filled in.
        env_vars: Variables of the job, beside the profile's own.
    """
    plain = {name: value for name, value in profile.env_vars.items() if not is_secret_variable(name, profile)}
    secret = dict.fromkeys((*profile.secret_names, *(name for name in profile.env_vars if name not in plain)))
    return {
        "profile": profile.name,
        "nodes": profile.nodes or 1,
        "gpus_per_node": profile.gpus_per_node or 0,
        "nprocs_per_node": profile.nprocs_per_node or 0,
        "env_vars": {**env_vars, **plain},
        "secrets": list(secret),
        "startup_commands": list(profile.startup_commands),
        "packager": SourcePackager(repo_root=profile.repo_root, exclude=list(profile.exclude)),
    }


def _journal() -> Journal:
    # Read at each use: `set_nemorun_home` may have been called since this module was imported.
    return Journal(get_nemorun_home())


def recorded(job_id: str) -> Entry:
    """Find a job by the platform's identifier or by its name."""
    journal = _journal()
    found = (entry for entry in journal.entries() if entry.id == job_id)
    return journal.find(job_id) or next(found, None) or journal.read(job_id)


def _repository() -> Path:
    done = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, check=False)  # noqa: S607 - the user's own git
    if done.returncode:
        message = f"the packager takes the code from a git repository, and {Path.cwd()} is in none"
        raise PayloadError(message, remedy="Start from within the repository, or use another packager.")
    return Path(done.stdout.rstrip("\n"))
