"""What keeps a job from starting here and now; a dry-run shows it, a submission stops at it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from nemo_runspec.env import CloudProfile
from nemo_runspec.env.cloud_rules import unshared
from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.limits import LIMITS, refused_variables
from nemo_runspec.redaction import redact_named

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.env import Profile
    from nemo_runspec.redaction import Redactor
    from nemo_runspec.spec import Runspec


def obstacles(
    spec: Runspec, profile: Profile, workspace: str, artifact_root: str, nodes: int
) -> Iterator[ProfileError]:
    """Yield what is wrong about a job's place.

    Args:
        spec: The recipe.
        profile: The profile that the job runs with.
        workspace: Where the job keeps its results.
        artifact_root: The artifact store's address.
        nodes: How many nodes the job takes.
    """
    delivered = profile.secret_references if isinstance(profile, CloudProfile) else ()
    unset = [name for name in profile.secret_names if name not in delivered and not os.environ.get(name)]
    if unset:
        message = f"profile '{profile.name}' takes {', '.join(unset)} from your environment, where it is not set"
        yield ProfileError(message, where=profile.where("secrets"), remedy="Export it, or take it out of `secrets`.")
    address = redact_named(artifact_root)
    if address != artifact_root:
        message = f"the address of the artifact store, {address}, holds a secret, which every manifest would repeat"
        remedy = "Leave it out: the store's driver takes it from the environment or from fsspec's configuration."
        yield ProfileError(message, remedy=remedy)
    if isinstance(profile, CloudProfile) and profile.container_image is None and spec.image is None:
        yield missing_image(spec, profile)
    if isinstance(profile, CloudProfile):
        yield from _in_pods(spec, profile)
    if spec.run.launch == "ray" and profile.executor == "docker" and nodes > 1:
        message = f"{spec.script_path.name} runs on Ray, whose containers of {nodes} nodes would share this machine"
        yield ProfileError(message, remedy="Set run.env.nodes=1: on one node, Ray is started by the script itself.")
    if profile.executor != "local":
        return
    if nodes > 1:
        message = f"the job wants {nodes} nodes, and the local executor is this one machine"
        remedy = "Choose a cluster's profile with --run, a smaller configuration with -c, or set run.env.nodes=1."
        yield ProfileError(message, remedy=remedy)
    if "://" in workspace:
        message = f"the workspace is {workspace}, and a job on this machine needs a folder"
        yield ProfileError(message, where=profile.where("workspace"), remedy="Set `workspace` to a folder's path.")


def _in_pods(spec: Runspec, profile: CloudProfile) -> Iterator[ProfileError]:
    """Yield what a script asks for itself and pods cannot give; a profile's own wishes are judged with it."""
    refused = refused_variables(spec.env, LIMITS[profile.executor])
    if refused:
        message = f"{spec.script_path.name} [tool.runspec.env]: {'; '.join(refused)}"
        yield ProfileError(message, where=spec.source, remedy="Take it out of the script's block.")
    if profile.nodes is None and spec.run.launch != "direct":
        for problem in unshared(profile, spec.resources.nodes):
            yield ProfileError(problem.message, where=problem.where, remedy=problem.remedy)


def missing_image(spec: Runspec, profile: Profile) -> ProfileError:
    """Give the error of a job for pods that nobody names an image for."""
    message = f"neither {spec.script_path.name} nor profile '{profile.name}' names a container image"
    return ProfileError(message, where=profile.source, remedy='Add, for example: container_image = "nvcr.io/..."')


def readable_secrets(
    redactor: Redactor, train_config: Mapping[str, Any], passthrough: tuple[str, ...]
) -> Iterator[ProfileError]:
    """Yield secrets in what a platform keeps with the job, for everybody who may look at it.

    Args:
        redactor: Knows the secrets.
        train_config: What the script reads.
        passthrough: The script's arguments.
    """
    found = [key for key, value in train_config.items() if redactor.data({key: value}) != {key: value}]
    if found:
        message = (
            f"the configuration holds a secret below {', '.join(map(repr, found))}, and the platform would keep it"
        )
        yield ProfileError(message, remedy="Leave it out, and give its variable to the script with `secrets`.")
    if redactor.argv(list(passthrough)) != list(passthrough):
        message = "the script's arguments hold a secret, and the platform would keep it"
        yield ProfileError(message, remedy="Leave it out, and give its variable to the script with `secrets`.")
