"""What a stage script sees while it runs: its configuration, its rank, its folder, and where its result goes.

A script of a recipe needs nothing else of the toolkit. It runs the same under the launcher, under torchrun, and by
hand with `python script.py --config train.yaml`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import dataclass, field, replace
from importlib import metadata as distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec.artifacts import (
    MANIFEST_FILE,
    ArtifactStore,
    Manifest,
    Producer,
    check_name,
    digest,
    list_files,
    missing_files,
    read_manifest,
    replace_file,
    write_manifest,
)
from nemo_runspec.errors import EXIT_INTERRUPTED, ConfigError, Location, NemotronError
from nemo_runspec.job_folder import ERROR_FILE, JOB_DIR_VARIABLE, RESULT_FILE
from nemo_runspec.redaction import redact_argv
from nemo_runspec.stage.agreement import announce_work, launch_name, wait_for_decision
from nemo_runspec.stage.given import JobFacts, artifact_name, load_config, load_job, split_arguments, whole_number
from nemo_runspec.stage.lock import hold
from nemo_runspec.stage.parent import die_with_parent
from nemo_runspec.stage.progress import Progress, say
from nemo_runspec.stage.result import StageResult
from nemo_runspec.versions import DISTRIBUTION, package_versions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_FINGERPRINT_LENGTH = 12
# Where a stage's files go and what they are called does not change what is in them.
_PLACE_KEYS = frozenset({"output_dir", "artifact"})


@dataclass(frozen=True)
class Stage:
    """One stage of a recipe, while its script runs.

    Args:
        name: The stage, such as `nano3/pretrain`.
        config: The resolved configuration.
        config_path: The file that it was read from.
        job: What the launcher says about the job.
        arguments: The command line's other arguments, as given.
        rank: This process's number among all, from 0.
        world_size: How many processes there are.
    """

    name: str
    config: dict[str, Any]
    config_path: Path
    job: JobFacts
    arguments: list[str] = field(default_factory=list)
    rank: int = 0
    world_size: int = 1

    @classmethod
    def from_command_line(cls, argv: Sequence[str] | None = None) -> Stage:
        """Read `--config FILE` and what the launcher left in the environment.

        Under a launcher the process is also told to end when the launcher does; see `die_with_parent`.

        Args:
            argv: Arguments without the program's name; by default those of this process.

        Raises:
            UsageError: There is no `--config FILE`.
            ConfigError: The configuration or the launcher's job file is missing, unreadable or unresolved.
        """
        path, arguments = split_arguments(list(sys.argv[1:] if argv is None else argv))
        config = load_config(path)
        job = load_job(os.environ)
        if job.folder is not None or "TORCHELASTIC_RUN_ID" in os.environ:
            die_with_parent()
        return cls(
            name=job.name or artifact_name(config) or path.stem,
            config=config,
            config_path=path,
            job=job,
            arguments=arguments,
            rank=whole_number(os.environ, "RANK", 0),
            world_size=whole_number(os.environ, "WORLD_SIZE", 1),
        )

    @property
    def label(self) -> str:
        """The name without its family, as progress lines show it: `pretrain` of `nano3/pretrain`."""
        return self.name.partition("/")[2] or self.name

    def run_dir(self, *identity: str) -> Path:
        """Give the folder of this very run, made if need be: `<output_dir>/<fingerprint>`.

        The fingerprint covers the configuration without `output_dir` and `artifact`, the identity, and the version of
        the installed package. So the same run finds its checkpoints again, and any other run gets a folder of its own.
        What `publish` will need is checked here, before any work is done, and the folder is this process's alone from
        now on: another run of the same waits until it has ended.

        Args:
            identity: What else the result depends on, such as the digest of an input file.

        Raises:
            ConfigError: `output_dir` is missing, no local path, or cannot be written to, or `artifact.name` is missing.
            ArtifactError: The artifact's name is none, or the store's driver is not installed.
        """
        output_dir = self.output_dir()
        config = {key: value for key, value in self.config.items() if key not in _PLACE_KEYS}
        fingerprint = digest({"config": config, "identity": list(identity), "version": package_version()})
        folder = output_dir / fingerprint[:_FINGERPRINT_LENGTH]
        self._make(folder)
        if self.rank == 0:
            hold(folder, lambda: say(f"{self.label}  waiting for another run of the same to end"))
        return folder

    def output_dir(self) -> Path:
        """Give the folder that all runs with this `output_dir` share, made if need be.

        What `publish` will need is checked here too: a stage that works in this folder before it knows its run's
        identity calls it first.

        Raises:
            ConfigError: `output_dir` is missing, no local path, or cannot be written to, or `artifact.name` is missing.
            ArtifactError: The artifact's name is none, or the store's driver is not installed.
        """
        check_name(self._required_artifact_name())
        ArtifactStore(self.job.root)
        output_dir = self.config.get("output_dir")
        if not isinstance(output_dir, str) or not output_dir or "://" in output_dir:
            message = f"output_dir is {output_dir!r}, which is not a local path"
            raise ConfigError(message, where=Location(self.config_path), remedy="Set output_dir to a folder.")
        folder = Path(output_dir).absolute()
        self._make(folder)
        return folder

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            message = f"cannot make the run's folder {folder}: {error.strerror}"
            remedy = "Set output_dir to a folder that you may write to."
            raise ConfigError(message, where=Location(self.config_path), remedy=remedy) from error

    def finished(self, run_dir: Path) -> Manifest | None:
        """Give the manifest of an earlier run that ended in this folder, or None when there is work to do.

        Every rank asks, and all of one launch get the same answer: the others wait for rank 0, which may be waiting
        for another run of the same. A run whose files have since gone or changed size counts as unfinished, and rank 0
        says so.

        Args:
            run_dir: What `run_dir` gave.

        Raises:
            ArtifactError: The folder's manifest is damaged.
            ConfigError: Nothing is to be seen of rank 0.
        """
        launch = launch_name(os.environ)
        if self.rank != 0:
            return wait_for_decision(run_dir, launch, lambda: self._ended(run_dir))
        manifest = self._ended(run_dir)
        if manifest is None:
            # It would be believed again as soon as files of the old sizes are back, half-way through the new run.
            (run_dir / MANIFEST_FILE).unlink(missing_ok=True)
            for draft in run_dir.glob(f".{MANIFEST_FILE}.*"):
                # Of a run that was killed while it wrote it; nobody else writes here now.
                draft.unlink(missing_ok=True)
            if self.world_size > 1:
                announce_work(run_dir, launch)
        return manifest

    def _ended(self, run_dir: Path) -> Manifest | None:
        try:
            manifest = read_manifest(run_dir / MANIFEST_FILE)
        except FileNotFoundError:
            return None
        missing = missing_files(manifest.path, manifest.files)
        if missing and self.rank == 0:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            say(f"{self.label}  {manifest.path} lacks {missing[0]}{more}: running again")
        return None if missing else manifest

    def publish(
        self,
        run_dir: Path,
        *,
        path: str | os.PathLike[str],
        type: str,  # noqa: A002 the manifest's own word for it, given by keyword only
        metadata: Mapping[str, object] | None = None,
        result: StageResult | None = None,
    ) -> Manifest | None:
        """Register what this stage made as the next version of its artifact; for the other ranks nothing to do.

        The folder's own manifest is written last: it is what says that the run ended.

        Args:
            run_dir: What `run_dir` gave.
            path: The file or folder to publish; a relative path is taken from `run_dir`.
            type: What it is: `model`, `dataset`, `report`.
            metadata: Facts for later stages, asked for by key as `${art:model,key}`.
            result: What was measured.

        Returns:
            The manifest as registered on rank 0, and None on the others.

        Raises:
            ArtifactError: There are no files, metadata has no JSON form, or the store cannot be written.
            ConfigError: The configuration does not say `artifact.name`.
        """
        if self.rank != 0:
            return None
        where = _absolute(run_dir, os.fspath(path))
        manifest = Manifest(
            name=self._required_artifact_name(),
            type=type,
            path=where,
            producer=self._producer(),
            metadata=dict(metadata or {}),
            result=(result or StageResult()).to_dict(),
            inputs=dict(self.job.inputs),
            files=list_files(where, leave_out=_own_manifest(run_dir, where)),
        )
        registered = self._register(manifest, reused=False)
        write_manifest(run_dir / MANIFEST_FILE, registered)
        return registered

    def reuse(self, manifest: Manifest) -> Manifest | None:
        """Make an earlier run's artifact the latest one again, and report its result as this run's.

        Args:
            manifest: What `finished` gave.

        Returns:
            The manifest as registered on rank 0, and None on the others.

        Raises:
            ArtifactError: The store cannot be written.
            ConfigError: The configuration does not say `artifact.name`.
        """
        if self.rank != 0:
            return None
        return self._register(replace(manifest, name=self._required_artifact_name()), reused=True)

    def progress(self, total: int | None, *, unit: str = "step", every_s: float = 2.0, start: int = 0) -> Progress:
        """Give what prints this stage's progress lines; the other ranks' prints nothing.

        Args:
            total: Steps in all, or None when nobody knows.
            unit: What a step is called.
            every_s: Least time between two lines, in seconds.
            start: Steps that an earlier, interrupted run has done.
        """
        write = say if self.rank == 0 else _say_nothing
        return Progress(self.label, total, unit=unit, every_s=every_s, start=start, write=write)

    def _register(self, manifest: Manifest, *, reused: bool) -> Manifest:
        registered = ArtifactStore(self.job.root).publish(manifest)
        if self.job.folder is not None:
            result = {
                "name": self.name,
                "artifact": registered.reference,
                "path": registered.path,
                **manifest.result,
                "reused": reused,
            }
            replace_file(self.job.folder / RESULT_FILE, _json_bytes(result))
        say(f"{self.label}  {'reused' if reused else 'published'} {registered.reference}")
        return registered

    def _producer(self) -> Producer:
        return Producer(
            name=self.name,
            argv=tuple(redact_argv(self.job.argv or sys.argv)),
            git=dict(self.job.git),
            packages={"python": platform.python_version(), **package_versions()},
            config_digest=digest(self.config),
        )

    def _required_artifact_name(self) -> str:
        name = artifact_name(self.config)
        if name is None:
            message = "the configuration does not say what the stage's artifact is called"
            raise ConfigError(message, where=Location(self.config_path), remedy="Add it: artifact: {name: my-model}")
        return name


def run_stage(main: Callable[[Stage], object]) -> int:
    """Run a stage script's main function, and give the script's exit status.

    An expected error becomes its message on stderr and, under the launcher, `error.json` in the job's folder: torchrun
    reports any failure of a rank as status 1, and the launcher gives the error's own instead.

    Args:
        main: Takes the stage.

    Returns:
        0, the error's exit code, or 130 after Ctrl-C.
    """
    try:
        main(Stage.from_command_line())
    except NemotronError as error:
        sys.stderr.write(f"{error.title}: {error}\n")
        folder = os.environ.get(JOB_DIR_VARIABLE)
        if folder:
            document = {"title": error.title, "message": str(error), "exit_code": error.exit_code}
            replace_file(Path(folder) / ERROR_FILE, _json_bytes(document))
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return EXIT_INTERRUPTED
    return 0


def package_version() -> str:
    """Give the version of the installed package, or `unknown` when the source runs without being installed."""
    try:
        return distributions.version(DISTRIBUTION)
    except distributions.PackageNotFoundError:
        return "unknown"


def _absolute(run_dir: Path, path: str) -> str:
    return path if "://" in path else str((run_dir / path).absolute())


def _own_manifest(run_dir: Path, path: str) -> tuple[str, ...]:
    """Name the run's own manifest where it lies in what is published: it is no file of the artifact."""
    own = run_dir.absolute() / MANIFEST_FILE
    return (own.relative_to(path).as_posix(),) if own.is_relative_to(path) else ()


def _json_bytes(document: Mapping[str, object]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _say_nothing(_line: str) -> None:
    """Take a progress line of a rank that does not print."""
