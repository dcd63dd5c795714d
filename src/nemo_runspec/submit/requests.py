"""The request that a job becomes: what a dry-run shows, and what nemo-run makes of the same job on its way.

Nothing of nemo-run is imported here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from nemo_runspec.env import DockerProfile, LeptonProfile, SlurmProfile
from nemo_runspec.executors.docker_request import docker_request, docker_settings
from nemo_runspec.executors.launch_script import launch_script
from nemo_runspec.executors.request import CloudJob, build_request, lepton_settings, runai_settings
from nemo_runspec.executors.slurm_request import mounted, repositories, slurm_request, slurm_settings
from nemo_runspec.executors.source import Source
from nemo_runspec.git_mounts import clone_lines, job_file, parse, pin
from nemo_runspec.obstacles import missing_image
from nemo_runspec.submit.job_files import effective_profile, sent_files, start_command, title_of
from nemo_runspec.submit.ray import on_ray_cluster, ray_parts

if TYPE_CHECKING:
    from nemo_runspec.data_mover import Plan
    from nemo_runspec.env import CloudProfile
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import Request


def planned(job: Job, *, pinned: bool = False) -> tuple[Request, Plan]:
    """Give the create call of a cloud's job, and what travels with it.

    Args:
        job: A cloud's job.
        pinned: As for `cloud_job`.

    Raises:
        NemotronError: The platform would refuse it.
    """
    if on_ray_cluster(job):
        parts = ray_parts(job, pinned=pinned)
        return parts.request, parts.plan
    return build_request(cloud_job(job, pinned=pinned))


def request_of(job: Job, *, pinned: bool = False) -> Request:
    """Give the request of a job on any platform.

    Args:
        job: A job that a platform runs.
        pinned: As for `cloud_job`.

    Raises:
        NemotronError: The platform would refuse it.
    """
    profile = effective_profile(job)
    if isinstance(profile, SlurmProfile):
        repos = [str(pin(parse(text))) if pinned else text for text in repositories(profile)]
        return slurm_request(
            slurm_settings(profile, clones=[mounted(repository, profile.job_root) for repository in repos]),
            {title_of(job): launch_script(start_command(job), startup_commands=profile.startup_commands)},
            files=sent_files(job),
            env=_plain(job),
            secrets=_secret(job),
            source=_source(job),
        )
    if isinstance(profile, DockerProfile):
        if profile.container_image is None:
            raise missing_image(job.spec, profile)
        secrets = _secret(job)
        launch = launch_script(start_command(job), startup_commands=profile.startup_commands, has_secrets=bool(secrets))
        return docker_request(
            docker_settings(profile, image=profile.container_image),
            {title_of(job): launch},
            files=sent_files(job),
            env=_plain(job),
            secrets=secrets,
            source=_source(job),
        )
    return planned(job, pinned=pinned)[0]


def cloud_job(job: Job, *, pinned: bool = False) -> CloudJob:
    """Give a job as it is sent; what nemo-run makes of the same job on its way there is equal to it.

    Args:
        job: A cloud's job.
        pinned: Whether to ask the repositories to mount for the commits that their refs are, as a submission does.
            Otherwise nothing is asked, and they stand at the refs as written.

    Raises:
        ProfileError: There is no container image.
        ConfigError: A repository cannot be asked.
    """
    profile = cast("CloudProfile", effective_profile(job))
    if profile.container_image is None:
        raise missing_image(job.spec, profile)
    mounts = [pin(parse(mount)) if pinned else parse(mount) for mount in profile.git_mounts]
    home = profile.job_root
    clone = dict([job_file()]) if mounts else {}
    return CloudJob(
        settings=lepton_settings(profile) if isinstance(profile, LeptonProfile) else runai_settings(profile),
        image=profile.container_image,
        nodes=job.nodes,
        gpus_per_node=job.gpus_per_node,
        home=home,
        launch=launch_script(
            start_command(job),
            pip_extras=profile.pip_extras,
            pre_launch_commands=profile.pre_launch_commands if isinstance(profile, LeptonProfile) else (),
            startup_commands=profile.startup_commands,
            clone_lines=clone_lines(mounts, home) if mounts else (),
        ),
        files={**sent_files(job), **{name: (content, False) for name, content in clone.items()}},
        env=_plain(job),
        secrets=_secret(job),
        secret_references=profile.secret_references,
        source=_source(job),
    )


def _plain(job: Job) -> dict[str, str]:
    return {variable.name: variable.value for variable in job.env if not variable.secret}


def _secret(job: Job) -> dict[str, str]:
    return {variable.name: variable.value for variable in job.env if variable.secret}


def _source(job: Job) -> Source:
    profile = job.profile
    return Source(script_path=job.spec.script_path, repo_root=profile.repo_root, exclude=tuple(profile.exclude))
