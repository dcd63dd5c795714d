"""From a cloud job to the platform's request: pure, the same for a dry-run, a rehearsal and a submission.

Nothing of nemo-run is imported here, because a dry-run of the command line goes through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.data_mover import check_budget, plan_for
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.checks import command_problems, storage_problems, variable_problems
from nemo_runspec.executors.launch_script import LAUNCH_COMMAND, LAUNCH_SCRIPT
from nemo_runspec.executors.source import Source
from nemo_runspec.platforms import lepton, runai
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.workload import JobFiles, Request, Workload, canonical, job_folder
from nemo_runspec.toml.source import raise_problems
from nemo_runspec.toml.values import empty_table

if TYPE_CHECKING:
    from nemo_runspec.data_mover import Plan
    from nemo_runspec.platforms.lepton import LeptonSettings
    from nemo_runspec.platforms.runai import RunaiSettings

SHARED_MEMORY_MIB: Final = 65_536
"""Size of /dev/shm that nemo-run 0.11.1 asks for where nothing is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudJob:
    """A job on a cloud platform, as values, before anything is packed.

    Args:
        settings: How the platform is to place it; its type says which platform.
        image: Container image.
        nodes: Number of pods.
        gpus_per_node: GPUs of each pod; 0 for none.
        retries: How often the platform may start a failed pod again.
        home: `nemo_run_dir` or `pvc_nemo_run_dir`: the folder of a volume that keeps jobs and sources.
        launch: The text of the launch script, as `launch_script` gives it.
        files: The job's other files.
        env: Variables with exact values; a value may hold `platforms.workload.NAME`.
        secrets: Variables whose values are secret: sent like `env`, never shown.
        secret_references: Variable -> the platform's own secret.
        source: The source that travels, or None for none.
    """

    settings: LeptonSettings | RunaiSettings
    image: str
    nodes: int = 1
    gpus_per_node: int = 0
    retries: int = 0
    home: str
    launch: str
    files: JobFiles = field(default_factory=empty_table, repr=False)
    env: Mapping[str, str] = field(default_factory=empty_table, repr=False)
    secrets: Mapping[str, str] = field(default_factory=empty_table, repr=False)
    secret_references: Mapping[str, str] = field(default_factory=empty_table)
    source: Source | None = None

    @property
    def executor(self) -> str:
        """The platform's name among executors: `lepton` or `dgxcloud`."""
        return "lepton" if isinstance(self.settings, lepton.LeptonSettings) else "dgxcloud"


def build_request(job: CloudJob) -> tuple[Request, Plan]:
    """Build the one create call of a job, and say what travels in it.

    Reads the source's files; opens no connection and writes nothing.

    Raises:
        PayloadError: What should travel is too large, or cannot be read.
        NemotronError: The platform would refuse the job; all that is wrong is told at once.
    """
    _check(job)
    source = job.source or Source()
    plan = plan_for(
        executor_type=job.executor,
        script_path=source.script_path,
        repo_root=source.repo_root,
        exclude=source.exclude,
        source=job.source is not None,
        pod_nemotron_home=job.home,
        pod_job_dir=job_folder(job.home),
        job_files={**job.files, LAUNCH_SCRIPT: (job.launch.encode(), True)},
        nodes=job.nodes,
    )
    workload = _workload(job, plan)
    if isinstance(job.settings, lepton.LeptonSettings):
        request = lepton.request(workload, job.settings)
    else:
        request = runai.request(workload, job.settings)
    check_budget(
        plan,
        LIMITS[job.executor],
        other_env=[*((name, value) for name, value in workload.env if name not in plan.env), *workload.secrets],
        other_argv=LAUNCH_COMMAND,
        body_bytes=len(canonical(request.body)),
    )
    return request, plan


def _check(job: CloudJob) -> None:
    variables = (*job.env.items(), *job.secrets.items(), *job.secret_references.items())
    problems = [
        *storage_problems(job.home, job.settings, job.nodes),
        *variable_problems(job.executor, variables),
        *command_problems(job.launch),
    ]
    raise_problems(problems, ProfileError, summary=f"this job for {LIMITS[job.executor].label}")


def _workload(job: CloudJob, plan: Plan) -> Workload:
    """Name every variable once: a platform's own secret wins over a value from here, and the transport over both.

    They are in the order of their names, so that a job is one request, wherever its variables were put together.
    """
    references = {name: secret for name, secret in job.secret_references.items() if name not in plan.env}
    taken = {*plan.env, *references}
    secrets = {name: value for name, value in job.secrets.items() if name not in taken}
    plain = {name: value for name, value in job.env.items() if name not in taken | secrets.keys()}
    return Workload(
        image=job.image,
        nodes=job.nodes,
        gpus_per_node=job.gpus_per_node,
        argv=(*plan.command, *LAUNCH_COMMAND),
        env=(*sorted(plain.items()), *sorted(plan.env.items())),
        secrets=tuple(sorted(secrets.items())),
        secret_references=MappingProxyType(dict(sorted(references.items()))),
        retries=job.retries,
    )


def lepton_settings(place: object) -> LeptonSettings:
    """Give Lepton's settings of a profile or of an executor, whose fields have the same names.

    Args:
        place: A `LeptonProfile` or a `LeptonExecutor`; what is not set in it is left to the default, which for
            `shared_memory_size` is nemo-run's.
    """
    given = {"shared_memory_size": SHARED_MEMORY_MIB, **_given(place, lepton.LeptonSettings)}
    return lepton.LeptonSettings(**given)


def runai_settings(place: object) -> RunaiSettings:
    """Give run:ai's settings of a profile or of an executor, whose fields have the same names.

    Args:
        place: A `DGXCloudProfile` or a `DGXCloudExecutor`; what is not set in it is left to the default.
    """
    given = _given(place, runai.RunaiSettings)
    # The profile's name for it, and nemo-run's.
    longest = getattr(place, "dgxcloud_max_args_chars", None) or getattr(place, "MAX_ARGS_CHARS", None)
    return runai.RunaiSettings(**given, **({"max_args_chars": longest} if longest else {}))


def _given(place: object, settings: type[LeptonSettings | RunaiSettings]) -> dict[str, Any]:
    """Give the values that are set; nemo-run's executors have an empty text or False for what is not."""
    given: dict[str, Any] = {}
    for item in fields(settings):
        value = getattr(place, item.name, None)
        if isinstance(value, list | tuple):
            # A mount that is a text is a git repository, which the launch script clones; the platform mounts tables.
            given[item.name] = tuple(entry for entry in value if item.name != "mounts" or isinstance(entry, Mapping))
        elif value is not None and value is not False and value != "":
            given[item.name] = value
    return given
