"""What can be wrong with a Slurm profile before anything is sent: values that could not arrive as they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nemo_runspec.env.tables import known_keys, sound_part
from nemo_runspec.git_mounts import is_git_mount
from nemo_runspec.platforms.slurm.job import PROFILE_FLAGS, flag_name
from nemo_runspec.platforms.slurm.values import (
    argument_problems,
    home_problems,
    line_problem,
    mount_problem,
    option_problems,
    setup_problem,
    variables_problems,
)
from nemo_runspec.toml.source import Problem

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from typing import Any

    from nemo_runspec.env.profiles import SlurmProfile

NO_CONTAINER: Final = "none"
"""A profile's `container_image` that means to run without a container."""

_PARTITIONS: Final = ("partition", "run_partition", "batch_partition")


def slurm_problems(profile: SlurmProfile, wrong: Container[str]) -> Iterator[Problem]:
    """Yield every value that sbatch, srun or a shell would not get as it is written.

    An expression that is filled in later, such as `${oc.env:HOME}`, is judged when it is.

    Args:
        profile: The profile.
        wrong: Keys that are wrong by themselves.
    """
    for name in (*dict.fromkeys((*PROFILE_FLAGS, *_PARTITIONS)), "container_image"):
        value = getattr(profile, name)
        if name not in wrong and isinstance(value, str) and "${" not in value:
            yield from _told(profile, name, line_problem(value))
    yield from _home(profile, wrong)
    yield from _mounts(profile)
    yield from _flags(profile)
    words = [word for word in _sound(profile, "srun_args") or () if "${" not in word]
    for told in argument_problems(words):
        yield _problem(profile, "srun_args", f"srun_args: {told}")
    if "setup_lines" not in wrong and profile.setup_lines is not None:
        yield from _told(profile, "setup_lines", setup_problem(profile.setup_lines))
    yield from _variables(profile)


def _sound(profile: SlurmProfile, name: str) -> Any:  # noqa: ANN401 - whatever the key may hold
    return sound_part(known_keys(type(profile))[name].kind, getattr(profile, name))


def _problem(profile: SlurmProfile, name: str, message: str, remedy: str | None = None) -> Problem:
    return Problem(f"profile '{profile.name}': {message}", profile.where(name), remedy)


def _told(profile: SlurmProfile, name: str, told: str | None) -> Iterator[Problem]:
    if told is not None:
        yield _problem(profile, name, f"{name} {told}")


def _home(profile: SlurmProfile, wrong: Container[str]) -> Iterator[Problem]:
    home = profile.remote_job_dir
    if home is None or "remote_job_dir" in wrong or "${" in home:
        return
    image = profile.container_image
    mounted = "container_image" not in wrong and image is not None and image != NO_CONTAINER
    for told in home_problems(home, mounted=mounted):
        yield _problem(profile, "remote_job_dir", f"remote_job_dir {told}", "Name a folder such as /lustre/me/jobs.")


def _mounts(profile: SlurmProfile) -> Iterator[Problem]:
    mounts = [item for item in _sound(profile, "mounts") or () if isinstance(item, str)]
    for mount in mounts:
        told = None if is_git_mount(mount) or "${" in mount else mount_problem(mount)
        if told is not None:
            yield _problem(profile, "mounts", f"mounts: {told}")
    if mounts and profile.container_image == NO_CONTAINER:
        message = f'mounts need a container, and container_image = "{NO_CONTAINER}" is none'
        yield _problem(profile, "mounts", message, "Take out the mounts: without a container, paths are the cluster's.")


def _flags(profile: SlurmProfile) -> Iterator[Problem]:
    additional = _sound(profile, "additional_parameters") or {}
    options = [(flag_name(name), value) for name, value in additional.items()]
    known = [option for option in options if not (isinstance(option[1], str) and "${" in option[1])]
    for flag, told in option_problems(known):
        yield _problem(profile, "additional_parameters", f"additional_parameters: '--{flag}' {told}", "Take it out.")
    keys = {"partition": _PARTITIONS, **{name: (name,) for name in PROFILE_FLAGS if name != "partition"}}
    for name, meant in keys.items():
        given = next((key for key in meant if getattr(profile, key) not in (None, False)), None)
        if given is not None and flag_name(name) in dict(options):
            message = f"additional_parameters sets '--{flag_name(name)}', which the key '{given}' sets too"
            yield _problem(profile, "additional_parameters", message, "Keep one of them.")


def _variables(profile: SlurmProfile) -> Iterator[Problem]:
    known = {name: value for name, value in (_sound(profile, "env_vars") or {}).items() if "${" not in value}
    for told in variables_problems(known.items()):
        yield _problem(profile, "env_vars", told)
    for told in variables_problems((), tuple(_sound(profile, "secrets") or ())):
        yield _problem(profile, "secrets", told)
