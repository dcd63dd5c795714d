"""The job: one frozen value that a dry-run prints and a submission sends."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.config.load import MergedConfig, build_job_config, parse_config
from nemo_runspec.config.resolvers import Resolution, resolve
from nemo_runspec.config.resolvers.workspace import workspace_of
from nemo_runspec.config.save import extract_train_config, generate_job_dir, train_file
from nemo_runspec.env import EXECUTORS, LocalProfile, Origin, Profile, known_keys, load_env_file, load_env_profile
from nemo_runspec.env_vars import EnvVar, build_env_vars, job_redactor
from nemo_runspec.errors import ProfileError, SpecError
from nemo_runspec.job_folder import JOB_DIR_VARIABLE
from nemo_runspec.redaction import Redactor, redact_named
from nemo_runspec.spec import Runspec, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nemo_runspec.context import RecipeConfig
    from nemo_runspec.errors import ArtifactNotFoundError

DEFAULT_COMMAND = "python {script} --config {config}"


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that is known of a job before it starts.

    Args:
        spec: The recipe's own description.
        request: What the command line asked.
        profile: Where it runs, with the configuration's `run.env` and the command line laid over it.
        config: The merged configuration with origins.
        run: The resolved `run` section.
        train_config: The resolved rest, which the script reads.
        workspace: Where results are kept; an absolute path or a URL.
        artifact_root: The artifact store's URL.
        inputs: Artifacts that the configuration read, `key -> name:vN`.
        missing: `reference -> error` for each artifact that the store lacks; not empty only when the caller allowed it.
        obstacles: What keeps the job from starting here and now, beside missing artifacts; a dry-run shows it.
        job_dir: The job's own folder; not made yet.
        command: The command to run, as arguments.
        env: The job's variables.
        redactor: Takes the secrets that this job knows out of what is shown or written.
    """

    spec: Runspec
    request: RecipeConfig
    profile: Profile
    config: MergedConfig
    run: Mapping[str, Any]
    train_config: Mapping[str, Any]
    workspace: str
    artifact_root: str
    inputs: Mapping[str, str]
    missing: Mapping[str, ArtifactNotFoundError]
    obstacles: tuple[ProfileError, ...]
    job_dir: Path
    command: tuple[str, ...]
    env: tuple[EnvVar, ...]
    redactor: Redactor


def compile_job(recipe: str | Path | Runspec, request: RecipeConfig, *, allow_missing: bool = False) -> Job:
    """Build the job that a command line asks for. Reads files; writes, starts and sends nothing.

    Args:
        recipe: The script, or what `spec.parse` made of it.
        request: What the command line asked.
        allow_missing: List missing artifacts in the job instead of raising; for a dry-run, and for the later
            stages of a pipeline whose artifacts are yet to be made.

    Raises:
        NemotronError: Whatever is wrong with the script, the profile, the configuration, or an override.
    """
    spec = recipe if isinstance(recipe, Runspec) else parse(recipe)
    env_file = load_env_file()
    chosen = load_env_profile(request.profile, env_file) if request.profile is not None else LocalProfile.default()
    config = build_job_config(
        parse_config(request, spec), profile=chosen, env_file=env_file, overrides=request.overrides
    )
    workspace = workspace_of(config.tree)
    artifact_root = str(config.tree.run.get("artifacts", {}).get("root") or f"{workspace}/artifacts")
    resolution = Resolution(ArtifactStore(artifact_root), missing={} if allow_missing else None)
    resolved = resolve(config.tree, resolution, path=config.path)
    run: dict[str, Any] = resolved["run"]
    profile = effective_profile(chosen, run["env"])
    job_dir = generate_job_dir(spec.name, workspace)
    command_config = job_dir / train_file(spec.config.format)
    env = (
        *build_env_vars(spec, profile, run=run, workspace=workspace, origins=config.origins),
        EnvVar(JOB_DIR_VARIABLE, str(job_dir), "this job's folder"),
    )
    return Job(
        spec=spec,
        request=request,
        profile=profile,
        config=config,
        run=run,
        train_config=extract_train_config(resolved),
        workspace=workspace,
        artifact_root=artifact_root,
        inputs=resolution.inputs,
        missing=resolution.missing or {},
        obstacles=tuple(_obstacles(spec, profile, workspace, artifact_root)),
        job_dir=job_dir,
        command=compose_command(spec, profile, config=command_config, passthrough=request.passthrough),
        env=env,
        redactor=job_redactor(profile, request, config=resolved),
    )


def _obstacles(spec: Runspec, profile: Profile, workspace: str, artifact_root: str) -> Iterator[ProfileError]:
    unset = [name for name in profile.secret_names if not os.environ.get(name)]
    if unset:
        message = f"profile '{profile.name}' takes {', '.join(unset)} from your environment, where it is not set"
        yield ProfileError(message, where=profile.where("secrets"), remedy="Export it, or take it out of `secrets`.")
    address = redact_named(artifact_root)
    if address != artifact_root:
        message = f"the address of the artifact store, {address}, holds a secret, which every manifest would repeat"
        remedy = "Leave it out: the store's driver takes it from the environment or from fsspec's configuration."
        yield ProfileError(message, remedy=remedy)
    if profile.executor != "local":
        return
    nodes = profile.nodes or spec.resources.nodes
    if nodes > 1:
        message = f"the job wants {nodes} nodes, and the local executor is this one machine"
        remedy = "Choose a cluster's profile with --run, a smaller configuration with -c, or set run.env.nodes=1."
        yield ProfileError(message, remedy=remedy)
    if "://" in workspace:
        message = f"the workspace is {workspace}, and a job on this machine needs a folder"
        yield ProfileError(message, where=profile.where("workspace"), remedy="Set `workspace` to a folder's path.")


def effective_profile(profile: Profile, run_env: Mapping[str, Any]) -> Profile:
    """Lay the resolved `run.env` over a profile.

    A configuration's `run.env` may hold keys of several executors; those of another executor do not count.

    Raises:
        ProfileError: A key that no executor has, or a value of the wrong type.
    """
    known = known_keys(type(profile))
    elsewhere = {key for kind in EXECUTORS.values() for key in known_keys(kind)}
    values = {key: value for key, value in run_env.items() if key in known or key not in elsewhere}
    return profile.with_overrides(values, Origin("run.env"))


def compose_command(spec: Runspec, profile: Profile, *, config: Path, passthrough: tuple[str, ...]) -> tuple[str, ...]:
    """Compose the command that runs a recipe's script on this machine.

    Args:
        spec: The recipe; its `cmd` is a template with `{script}` and `{config}`, and `$NAME` for a variable of the
            environment.
        profile: Gives the number of processes.
        config: The path of the script's configuration.
        passthrough: Appended unchanged.

    Raises:
        SpecError: `launch = "torchrun"` with a `cmd` that does not start with `python`.
    """
    template = shlex.split(spec.run.cmd or DEFAULT_COMMAND)
    # Variables first: what a path holds is not for the shell.
    words = [
        os.path.expandvars(word).replace("{script}", str(spec.script_path)).replace("{config}", str(config))
        for word in template
    ]
    if words[0] in {"python", "python3"}:
        launcher = [sys.executable]
        if spec.run.launch == "torchrun":
            processes = str(profile.processes_per_node)
            launcher += ["-m", "nemo_runspec.torchrun", "--standalone", "--nnodes", "1", "--nproc-per-node", processes]
        words[:1] = launcher
    elif spec.run.launch == "torchrun":
        message = f"cmd = \"{spec.run.cmd}\" does not start with 'python', which torchrun replaces"
        raise SpecError(message, remedy='Write cmd = "python {script} --config {config}", or launch = "direct".')
    return (*words, *passthrough)
