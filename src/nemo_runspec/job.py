"""The job: one frozen value that a dry-run prints and a submission sends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.config.load import COMMAND_LINE, PROFILE_SECTION, MergedConfig, build_job_config, parse_config
from nemo_runspec.config.resolvers import Resolution, resolve
from nemo_runspec.config.resolvers.workspace import DEFAULT, workspace_of
from nemo_runspec.config.save import extract_train_config, generate_job_dir, train_file
from nemo_runspec.data_mover import select
from nemo_runspec.env import (
    EXECUTORS,
    CloudProfile,
    LeptonProfile,
    LocalProfile,
    Origin,
    Profile,
    SlurmProfile,
    known_keys,
    load_env_file,
    load_env_profile,
)
from nemo_runspec.env_vars import EnvVar, build_env_vars, job_redactor
from nemo_runspec.errors import ConfigError
from nemo_runspec.job_folder import JOB_DIR_VARIABLE
from nemo_runspec.obstacles import obstacles, readable_secrets
from nemo_runspec.paths import absolute
from nemo_runspec.place import POD_JOB_DIR, Place
from nemo_runspec.platforms.workload import job_folder
from nemo_runspec.spec import Runspec, parse

if TYPE_CHECKING:
    from collections.abc import Container, Mapping
    from pathlib import Path

    from nemo_runspec.context import RecipeConfig
    from nemo_runspec.env import EnvFile
    from nemo_runspec.errors import ArtifactNotFoundError, ProfileError
    from nemo_runspec.redaction import Redactor


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
        workspace: Where results are kept, as the job sees it; an absolute path or a URL.
        nodes: Number of nodes.
        gpus_per_node: GPUs of each node; 0 for none.
        artifact_root: The artifact store's URL.
        inputs: Artifacts that the configuration read, `key -> name:vN`.
        missing: `reference -> error` for each artifact that the store lacks; not empty only when the caller allowed it.
        obstacles: What keeps the job from starting here and now, beside missing artifacts; a dry-run shows it.
        job_dir: The job's own folder on this machine; not made yet.
        command: The command to run, as arguments; `Expanded` ones hold variables that only the job knows.
        folder: The job's own folder as the job sees it; it may hold `NAME` of `nemo_runspec.platforms.workload`.
        deferred: Whether the job looks up itself what cannot be read from here: artifacts, and manifests of data.
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
    nodes: int
    gpus_per_node: int
    artifact_root: str
    inputs: Mapping[str, str]
    missing: Mapping[str, ArtifactNotFoundError]
    obstacles: tuple[ProfileError, ...]
    job_dir: Path
    command: tuple[str, ...]
    folder: PurePosixPath
    deferred: bool
    env: tuple[EnvVar, ...]
    redactor: Redactor

    @property
    def in_pods(self) -> bool:
        """Whether it runs on a cloud, away from this machine's files."""
        return isinstance(self.profile, CloudProfile)

    @property
    def on_platform(self) -> bool:
        """Whether a platform runs it: a cloud, a cluster, or a container engine; else it is a process of ours."""
        return _is_on_platform(self.profile)


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
    chosen = _chosen_profile(request, env_file)
    config = build_job_config(
        parse_config(request, spec), profile=chosen, env_file=env_file, overrides=request.overrides
    )
    on_platform, elsewhere = _is_on_platform(chosen), not chosen.shares_files
    workspace = workspace_of(config.tree)
    artifact_root = str(config.tree.run.get("artifacts", {}).get("root") or f"{workspace}/artifacts")
    # A path on a cluster's volumes says nothing here; a URL does.
    deferred = elsewhere and "://" not in artifact_root
    missing: dict[str, Any] | None = {} if allow_missing or deferred else None
    resolution = Resolution(ArtifactStore(artifact_root), missing=missing, deferred=deferred, elsewhere=elsewhere)
    resolved = resolve(config.tree, resolution, path=config.path, places=config.places)
    run: dict[str, Any] = resolved["run"]
    profile = effective_profile(chosen, run["env"], overridden=_overridden(config))
    nodes = _nodes(spec, profile, config)
    job_dir = generate_job_dir(spec.name, absolute(DEFAULT, error=ConfigError) if elsewhere else workspace)
    gpus = spec.resources.gpus_per_node or 0 if profile.gpus_per_node is None else profile.gpus_per_node
    place = _place(spec, profile, job_dir=PurePosixPath(job_dir), nodes=nodes)
    own = () if on_platform else (EnvVar(JOB_DIR_VARIABLE, str(job_dir), "this job's folder"),)
    train_config: dict[str, Any] = extract_train_config(resolved)
    redactor = job_redactor(profile, request, config=resolved)
    found = obstacles(spec, profile, workspace, artifact_root, nodes)
    readable = readable_secrets(redactor, train_config, request.passthrough) if on_platform else ()
    return Job(
        spec=spec,
        request=request,
        profile=profile,
        config=config,
        run=run,
        train_config={key: place.relocate(value) for key, value in train_config.items()},
        workspace=workspace,
        nodes=nodes,
        gpus_per_node=gpus,
        artifact_root=artifact_root,
        inputs=resolution.inputs,
        missing=resolution.missing or {},
        obstacles=(*found, *readable),
        job_dir=job_dir,
        command=(*_command(spec, profile, place, gpus), *request.passthrough),
        folder=place.job_dir,
        deferred=resolution.unfilled,
        env=(*build_env_vars(spec, profile, run=run, workspace=workspace, origins=config.origins), *own),
        redactor=redactor,
    )


def _chosen_profile(request: RecipeConfig, env_file: EnvFile) -> Profile:
    if request.profile is None:
        return LocalProfile.default()
    chosen = load_env_profile(request.profile, env_file)
    if chosen.workspace is None and chosen.default_workspace is not None:
        folder, origin = chosen.default_workspace
        return chosen.with_overrides({"workspace": folder}, Origin(f"{chosen.name}, {origin}"))
    return chosen


def _is_on_platform(profile: Profile) -> bool:
    return profile.executor != "local"


def _command(spec: Runspec, profile: Profile, place: Place, gpus: int) -> tuple[str, ...]:
    config = train_file(spec.config.format)
    if _is_on_platform(profile):
        # A launcher is one task of its node, which starts the processes that others count as tasks.
        processes = profile.nprocs_per_node or gpus or profile.ntasks_per_node or 1
        template = getattr(profile, "run_command", None)
        return place.compose(spec, config=config, processes=processes, gpus=gpus, template=template)
    # Here nobody counts on the GPUs that a script would like to have.
    return place.compose(spec, config=config, processes=profile.processes_per_node)


def _nodes(spec: Runspec, profile: Profile, config: MergedConfig) -> int:
    """Tell how many nodes a job takes.

    A profile's number is meant for trainings. A script that no launcher spreads over nodes does its work once, and one
    on Ray that needs no GPU has one node's work as a rule; only who asks for more on the command line gets it.
    """
    asked = config.origins.get("run.env.nodes") == COMMAND_LINE
    alone = spec.run.launch == "direct" or (spec.run.launch == "ray" and spec.resources.gpus_per_node == 0)
    if alone and _is_on_platform(profile) and not asked:
        return 1
    return profile.nodes or spec.resources.nodes


def _place(spec: Runspec, profile: Profile, *, job_dir: PurePosixPath, nodes: int) -> Place:
    if not _is_on_platform(profile):
        return Place.here(job_dir, PurePosixPath(spec.script_path))
    chosen = select(spec.script_path, profile.repo_root, profile.exclude)
    root = PurePosixPath(chosen.root.as_posix()) if chosen.root else None
    folder = POD_JOB_DIR
    if isinstance(profile, SlurmProfile) and profile.image_of(spec.image) is None:
        folder = PurePosixPath(job_folder(profile.job_root))
    place = Place.away(chosen.script or "", nodes=nodes, repo_root=root, job_dir=folder)
    # There the cluster is Lepton's, and the job only its driver.
    return replace(place, forms_ray=not isinstance(profile, LeptonProfile))


def _overridden(config: MergedConfig) -> frozenset[str]:
    """Give the profile's keys that the command line has touched."""
    inside = f"{PROFILE_SECTION}."
    touched = (key for key, origin in config.origins.items() if origin == COMMAND_LINE and key.startswith(inside))
    return frozenset(key.removeprefix(inside).split(".")[0] for key in touched)


def effective_profile(profile: Profile, run_env: Mapping[str, Any], *, overridden: Container[str] = ()) -> Profile:
    """Lay the resolved `run.env` over a profile.

    A configuration's `run.env` may hold keys of several executors; those of another executor do not count.

    Args:
        profile: As env.toml has it.
        run_env: The section.
        overridden: Keys that the command line has touched; the profile's others keep their places in env.toml.

    Raises:
        ProfileError: A key that no executor has, or a value of the wrong type.
    """
    known = known_keys(type(profile))
    elsewhere = {key for kind in EXECUTORS.values() for key in known_keys(kind)}
    own = profile.as_config()
    changed = {key: value for key, value in run_env.items() if key not in own or own[key] != value}
    values = {key: value for key, value in changed.items() if key in known or key not in elsewhere}
    filled = {key: origin for key, origin in profile.origins.items() if key not in overridden}
    return profile.with_overrides(values, Origin("run.env"), filled=filled)
