"""A Ray job on Lepton: one workload that is a Ray cluster with the job's driver on it, or a driver on a given cluster.

Everything that starts a job on other platforms is here twice over: what is sent before the cluster is ready, and what
starts the driver then. A cluster that was made for a job does not outlive whoever waits for the job.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from nemo_runspec.config.save import write_private
from nemo_runspec.data_mover.ray_package import ENTRYPOINT, ray_package
from nemo_runspec.env import LeptonProfile
from nemo_runspec.errors import InterruptedJobError, NemotronError, PlatformError
from nemo_runspec.executors.checks import command_problems, storage_problems, variable_problems
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.journal import Journal, nemo_run_home
from nemo_runspec.executors.launch_script import LAUNCH_COMMAND, LAUNCH_SCRIPT, launch_script
from nemo_runspec.executors.once import WISH
from nemo_runspec.executors.request import CloudJob, lepton_settings
from nemo_runspec.executors.source import Source
from nemo_runspec.executors.submission import Sender, send
from nemo_runspec.git_mounts import clone_lines, job_file, parse, pin
from nemo_runspec.job_folder import JOB_DIR_VARIABLE, JOB_LINK, WORKLOAD_FILE
from nemo_runspec.obstacles import missing_image
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.lepton_ray import LINGER_S, cluster_in
from nemo_runspec.platforms.ray_dashboard import Driver
from nemo_runspec.platforms.ray_request import CLUSTER_KIND, RaySettings, cluster_request, job_request
from nemo_runspec.platforms.workload import NAME, JobState, Seen, Workload, job_folder, replace_text
from nemo_runspec.submit.job_files import effective_profile, sent_files, start_command, title_of
from nemo_runspec.submit.ray_watchdog import check_token, watchdog
from nemo_runspec.toml.source import raise_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nemo_runspec.data_mover import Plan
    from nemo_runspec.data_mover.ray_package import RayPackage
    from nemo_runspec.executors.journal import Entry
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.lepton import LeptonSettings
    from nemo_runspec.platforms.lepton_ray import LeptonRayClient
    from nemo_runspec.platforms.workload import Platform, Request, Submitted

PREPARE_SCRIPT: Final = "prepare.sh"
"""What each node of the cluster runs before the driver starts, among the job's files."""

LEAVING: Final = "a Ray job that nobody waits for"
"""What needs the workspace's token on the head."""

_PREPARE_COMMAND: Final = ("bash", f"{JOB_LINK}/{PREPARE_SCRIPT}")


@dataclass(frozen=True, slots=True)
class RayParts:
    """A Ray job before it is sent.

    Args:
        request: The create call.
        plan: What travels.
        package: That as one file.
        env: Variables of the driver and all workers, beside those of the cluster's pods.
    """

    request: Request
    plan: Plan
    package: RayPackage
    env: Mapping[str, str] = field(repr=False)

    def driver(self, name: str) -> Driver:
        """Give the driver of a workload.

        Args:
            name: The workload's name, which is the driver's too.
        """
        env = replace_text(self.env, {NAME: name})
        runtime = {"working_dir": self.package.uri, "env_vars": env}
        return Driver(id=name, entrypoint=ENTRYPOINT, runtime_env=runtime, metadata={"job": name})


@dataclass(frozen=True, slots=True)
class RayWork:
    """A job on a Ray cluster as values, whether it is a recipe's or a notebook's.

    Args:
        job: Where and what it is; its launch script starts the driver.
        ray: What its cluster is.
        prepare: The text of what each node runs before the driver starts; empty for nothing.
    """

    job: CloudJob
    ray: RaySettings
    prepare: str = ""


def on_ray_cluster(job: Job) -> bool:
    """Tell whether a job is run on a Ray cluster of its platform, rather than in pods that make one themselves."""
    profile = job.profile
    if not isinstance(profile, LeptonProfile) or job.spec.run.launch != "ray":
        return False
    return job.nodes > 1 or profile.existing_ray_cluster is not None


def makes_ray_cluster(job: Job) -> bool:
    """Tell whether a job is run on a Ray cluster that is made for it."""
    return on_ray_cluster(job) and cast("LeptonProfile", job.profile).existing_ray_cluster is None


def ray_parts(job: Job, *, pinned: bool = False) -> RayParts:
    """Build a Ray job's request, and what travels with it. Reads the source's files, and sends nothing.

    Args:
        job: A job that runs on a Ray cluster.
        pinned: Whether to ask the repositories to mount for the commits that their refs are.

    Raises:
        NemotronError: The platform would refuse it.
    """
    return parts_of(_work_of(job, pinned=pinned))


def parts_of(work: RayWork) -> RayParts:
    """Do the same for work that is values already.

    Args:
        work: The work.

    Raises:
        NemotronError: The platform would refuse it.
    """
    job, ray = work.job, work.ray
    settings = cast("LeptonSettings", job.settings)
    # Each node gets the job's folder from Ray, whether or not they share a volume.
    problems = [
        *storage_problems(job.home, settings, 1),
        *variable_problems("lepton", {**job.env, **job.secrets, **job.secret_references}.items()),
        *command_problems(job.launch),
    ]
    raise_problems(problems, NemotronError, summary="this job for Lepton")
    prepare = {PREPARE_SCRIPT: (work.prepare.encode(), True)} if work.prepare else {}
    folder = job_folder(job.home)
    new_nodes = 1 if ray.existing else job.nodes + (1 if ray.head_resource_shape else 0)
    orders = {
        "nodes": new_nodes,
        "prepare": list(_PREPARE_COMMAND) if prepare else [],
        "run": list(LAUNCH_COMMAND),
    }
    source = job.source or Source()
    package, plan = ray_package(
        script_path=source.script_path,
        repo_root=source.repo_root,
        exclude=source.exclude,
        files={**job.files, LAUNCH_SCRIPT: (job.launch.encode(), True), **prepare},
        orders=orders,
        job_dir=folder,
    )
    own = {JOB_DIR_VARIABLE: folder, "PYTHONPATH": f"{folder}/code/src"}
    if ray.existing:
        return RayParts(job_request(ray, package=package.sha256, env=job.env), plan, package, {**job.env, **own})
    request = cluster_request(cluster_workload(job), settings, ray, package=package.sha256)
    return RayParts(request, plan, package, own)


def ray_settings(place: Any, *, existing: str | None = None) -> RaySettings:  # noqa: ANN401 - a profile, or an executor of nemo-run, which ships no types
    """Give what a `LeptonProfile` or a `LeptonExecutor`, whose fields have the same names, says about Ray clusters.

    Args:
        place: The profile or executor.
        existing: A cluster that is there, whatever the place says.
    """
    return RaySettings(
        version=place.ray_version,
        head_resource_shape=place.head_resource_shape or None,
        existing=existing or place.existing_ray_cluster or None,
    )


def cluster_workload(job: CloudJob) -> Workload:
    """Give what the pods of a cluster are; variables that the platform delivers itself are left to it.

    Args:
        job: Has its image, its nodes, and its variables.
    """
    references = dict(sorted(job.secret_references.items()))
    secrets = {name: value for name, value in job.secrets.items() if name not in references}
    return Workload(
        image=job.image,
        nodes=job.nodes,
        gpus_per_node=job.gpus_per_node,
        argv=("ray", "start"),
        env=tuple(sorted((name, value) for name, value in job.env.items() if name not in {*references, *secrets})),
        secrets=tuple(sorted(secrets.items())),
        secret_references=references,
    )


def _work_of(job: Job, *, pinned: bool) -> RayWork:
    profile = cast("LeptonProfile", effective_profile(job))
    if profile.container_image is None and profile.existing_ray_cluster is None:
        raise missing_image(job.spec, profile)
    mounts = [pin(parse(mount)) if pinned else parse(mount) for mount in profile.git_mounts]
    prepare = ""
    if mounts or profile.pip_extras or profile.pre_launch_commands or profile.startup_commands:
        prepare = launch_script(
            "true",
            pip_extras=profile.pip_extras,
            pre_launch_commands=profile.pre_launch_commands,
            startup_commands=profile.startup_commands,
            clone_lines=clone_lines(mounts, profile.job_root) if mounts else (),
        )
    clone = dict([job_file()]) if mounts else {}
    cloud = CloudJob(
        settings=lepton_settings(profile),
        image=profile.container_image or "",
        nodes=job.nodes,
        gpus_per_node=job.gpus_per_node,
        home=profile.job_root,
        launch=launch_script(start_command(job)),
        files={**sent_files(job), **{name: (content, False) for name, content in clone.items()}},
        env={variable.name: variable.value for variable in job.env if not variable.secret},
        secrets={variable.name: variable.value for variable in job.env if variable.secret},
        secret_references=profile.secret_references,
        source=Source(script_path=job.spec.script_path, repo_root=profile.repo_root, exclude=tuple(profile.exclude)),
    )
    return RayWork(cloud, ray_settings(profile), prepare)


def submit_ray(job: Job) -> tuple[Submitted, Platform]:
    """Make the cluster of a Ray job, wait until it is ready, and start the driver; the same call again goes on.

    How it is to be submitted says `nemo_runspec.executors.once.WISH`.

    Args:
        job: The job.

    Raises:
        ProfileError: Nobody stays to end the cluster that is made for it, and its head cannot.
        NemotronError: Something of it cannot be done; the cluster that was made for it is suspended then.
        InterruptedJobError: The submission was given up.
    """
    if WISH.get().leaves and makes_ray_cluster(job):
        profile = job.profile
        check_token(profile.secret_references, LEAVING, profile.name, profile.source)
    path = job.job_dir / WORKLOAD_FILE
    entry, client = start_ray(
        _work_of(job, pinned=True),
        title_of(job),
        profile=job.profile.name,
        job_dir=str(job.job_dir),
        sent=lambda entry: write_private(path, json.dumps({**asdict(entry.submitted), "experiment": ""}, indent=2)),
    )
    return entry.submitted, client


def start_ray(
    work: RayWork,
    title: str,
    *,
    profile: str,
    job_dir: str = "",
    sent: Callable[[Entry], object] = lambda _entry: None,
) -> tuple[Entry, LeptonRayClient]:
    """Do what `submit_ray` does for work that is values already.

    Args:
        work: The work; where nobody stays to wait for its end, and a cluster is made for it, `check_token` has passed.
        title: What it is called; the name of the cluster begins with it.
        profile: The profile that leads to the workspace.
        job_dir: The job's folder on this machine, where there is one.
        sent: Called with its record as soon as the platform has it.

    Raises:
        NemotronError: As `submit_ray`.
    """
    job, makes, wish = work.job, work.ray.existing is None, WISH.get()
    parts = parts_of(work)
    kept = sorted({*job.secret_references, *job.secrets})
    if kept and not makes:
        wish.say(f"nothing secret is sent to a cluster that is there; it has to have {', '.join(kept)} itself")
    sender = Sender(
        connection={"profile": profile},
        journal=Journal(nemo_run_home()),
        home=job.home,
        job_dir=job_dir,
        nodes=job.nodes,
    )
    entry = send(parts.request, title, sender)
    client = cast("LeptonRayClient", connect(entry.platform, entry.connection))
    sent(entry)
    try:
        client.await_ready(cluster_in(entry.submitted), wish.say)
        if makes and wish.leaves:
            ending = watchdog(client, entry.name, f"{entry.name}-end", after=entry.name, linger_s=LINGER_S)
            client.dashboard(entry.name).submit(ending)
        client.start(entry.submitted, parts.driver(entry.name), (parts.package.name, parts.package.data))
    except BaseException as error:  # whatever it is, nobody is left to end the cluster
        _take_back(entry, client, sender.journal, wish.say)
        if isinstance(error, AbandonedError):
            message = f"{title} was interrupted before its driver was started, and {entry.name} was stopped"
            raise InterruptedJobError(message, remedy="Run the same command again to submit it.") from error
        raise
    return entry, client


def _take_back(entry: Entry, client: LeptonRayClient, journal: Journal, say: Callable[[str], None]) -> None:
    """Leave no cluster behind that waits for a driver."""
    ABANDONED.set(None)  # this has to be done also where nobody waits for it any more
    try:
        if entry.kind == CLUSTER_KIND:
            say(f"{entry.name}: suspending the Ray cluster")
        client.cancel(entry.submitted)
    except PlatformError as error:
        say(f"{entry.name} could not be stopped: {error}")
        return
    journal.saw(entry.name, Seen(JobState.CANCELLED))
