"""How a job's source and files reach the place where it runs, as a value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nemo_runspec.data_mover import boot, chunks
from nemo_runspec.data_mover.archive import Archive, Entry, pack, read
from nemo_runspec.data_mover.budget import check_raw
from nemo_runspec.data_mover.pod.variables import (
    BOOT_VARIABLE,
    CODE_FOLDER,
    EXIT_FOLDER,
    JOB_PREFIX,
    LOG_FOLDER,
    OWN_SOURCE,
    SOURCE_PREFIX,
)
from nemo_runspec.data_mover.select import Selection, select
from nemo_runspec.errors import ConfigError, PayloadError, guess
from nemo_runspec.job_folder import JOB_LINK
from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.workload import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

CODE_DIR: Final = f"{JOB_LINK}/{CODE_FOLDER}"
"""Where it starts, and sees the source."""

SOURCE_ROOT: Final = f"{CODE_DIR}/src"
TREES: Final = "_nemotron"
"""Folder of `pod_nemotron_home` that holds the sources, named by their digests."""

DIGEST_CHARACTERS: Final = 16
NATIVE: Final = ("docker", "slurm")
"""Executors whose nemo-run packager unpacks the code where the command sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What travels with a job, and what the pod runs.

    Args:
        executor_type: Kind of the executor.
        env: Every variable that carries the job; without cloud transport only `PYTHONPATH`.
        command: Words that stand before the job's command; empty without cloud transport.
        sha256: Digest of the source archive before it is compressed, "" without one. It depends on the files alone,
            and not on this machine's version of xz.
        raw_bytes: Size of the source's files.
        archive_bytes: Size of the source archive.
        encoded_bytes: Size of the source archive in the environment.
        files: Archive path and size of each source file.
        left_out: Links that lead out of the source tree, which stay here.
        pod_src_root: The source's `src` as the command sees it.
        pod_script: The script as the command sees it, None without a script.
        job_files: Name and size of each of the job's own files.
        job_encoded_bytes: Size of their archive in the environment.
    """

    executor_type: str = ""
    env: Mapping[str, str] = field(repr=False)
    command: tuple[str, ...] = field(default=(), repr=False)
    sha256: str = ""
    raw_bytes: int = 0
    archive_bytes: int = 0
    encoded_bytes: int = 0
    files: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    left_out: tuple[str, ...] = ()
    pod_src_root: str = SOURCE_ROOT
    pod_script: str | None = None
    job_files: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    job_encoded_bytes: int = 0


def plan_for(  # noqa: PLR0913 - each is a fact of the job; all but one have a default
    *,
    executor_type: str,
    script_path: Path | str | None = None,
    repo_root: Path | str | None = None,
    pod_nemotron_home: str | None = None,
    exclude: Sequence[str] = (),
    source: bool = True,
    job_files: Mapping[str, tuple[bytes, bool]] | None = None,
    pod_job_dir: str | None = None,
    nodes: int = 1,
    value_bytes: int | None = None,
) -> Plan:
    """Plan how a job's source and its own files reach the pod. Reads the files, and changes and sends nothing.

    Args:
        executor_type: `lepton` or `dgxcloud` carry everything in the environment of the job; `slurm` and `docker`
            leave it to nemo-run.
        script_path: The script that the job runs.
        repo_root: The repository whose `src` travels; see `select`.
        pod_nemotron_home: Folder on the job's volume that keeps sources and job folders; required for clouds.
        exclude: Globs of archive paths that stay here.
        source: Whether the source travels at all.
        job_files: Name in the job's folder -> content, and whether it is executable.
        pod_job_dir: The job's folder; `<pod_nemotron_home>/jobs/<name of the workload>` when not given.
        nodes: How many pods the job needs.
        value_bytes: What one variable may hold; the platform's usual amount when not given.

    Raises:
        ConfigError: The executor is none of these, or the folder is missing or not absolute.
        PayloadError: A file that should travel cannot: it cannot be read, all together are too large, or a file of
            the job has a name that the pod needs.
    """
    if executor_type not in (*NATIVE, *LIMITS):
        message = f"the source of a job does not travel to executor '{executor_type}'"
        raise ConfigError(message, remedy=guess(executor_type, (*NATIVE, *LIMITS), what="executors"))
    chosen = select(script_path, repo_root, exclude) if source or script_path is not None else Selection(())
    pod_script = f"{CODE_DIR}/{chosen.script}" if chosen.script else None
    if executor_type in NATIVE:
        return Plan(
            executor_type=executor_type, env=MappingProxyType({"PYTHONPATH": SOURCE_ROOT}), pod_script=pod_script
        )
    home = _absolute(pod_nemotron_home, "pod_nemotron_home")
    orders = {
        "job_dir": _absolute(pod_job_dir or f"{home}/jobs/{NAME}", "pod_job_dir"),
        "link": JOB_LINK,
        "name": NAME,
        "nodes": nodes,
        "script": chosen.script or "",
        "trees": f"{home}/{TREES}",
    }
    own_files = job_files or {}
    _check_names(own_files)
    check_raw(chosen.files if source else (), own_files, chosen.script)
    tree = pack(read(chosen.files)) if source else None
    own = pack(Entry(name, data, executable) for name, (data, executable) in own_files.items()) if own_files else None
    usual = LIMITS[executor_type].value_bytes
    code = boot.pod_variables(usual)  # a smaller value_bytes is for what the job brings
    carried = _carried(tree, own, orders, code, value_bytes or usual)
    return replace(carried, executor_type=executor_type, pod_script=pod_script, left_out=chosen.left_out)


def _check_names(job_files: Iterable[str]) -> None:
    """See that the job's own files do not take the place of what the pod makes in the job's folder.

    Files below `code` stand beside the source, and hide what has the same name there.
    """
    for name in job_files:
        first, _, rest = name.partition("/")
        if first in (EXIT_FOLDER, OWN_SOURCE) or (first in (CODE_FOLDER, LOG_FOLDER) and not rest):
            message = f"a file of the job is called {name!r}, and the pod needs that place in the job's folder"
            raise PayloadError(message, remedy="Give it another name.")


def _carried(
    tree: Archive | None, own: Archive | None, orders: Mapping[str, object], code: Mapping[str, str], value_bytes: int
) -> Plan:
    """Give the plan of a job that carries everything in its environment.

    Args:
        tree: The source.
        own: The job's own files.
        orders: What else the pod has to know.
        code: The variables with the pod's code.
        value_bytes: What one variable may hold.
    """
    source_env, source_part = _in_environment(tree, SOURCE_PREFIX, value_bytes)
    job_env, job_part = _in_environment(own, JOB_PREFIX, value_bytes)
    named = source_part | {"name": f"src-{tree.sha256[:DIGEST_CHARACTERS]}"} if tree else None
    env = {
        BOOT_VARIABLE: boot.boot_value({**orders, "source": named, "job": job_part or None}),
        **code,
        **job_env,
        **source_env,
    }
    return Plan(
        env=MappingProxyType(env),
        command=boot.command_prefix(),
        sha256=tree.sha256 if tree else "",
        raw_bytes=tree.raw_bytes if tree else 0,
        archive_bytes=len(tree.data) if tree else 0,
        encoded_bytes=sum(map(len, source_env.values())),
        files=tree.files if tree else (),
        job_files=own.files if own else (),
        job_encoded_bytes=sum(map(len, job_env.values())),
    )


def _absolute(path: str | None, what: str) -> str:
    if path is None or not path.startswith("/") or ".." in PurePosixPath(path).parts:
        message = f"{what} is {path!r}, and has to be an absolute path in the pod"
        raise ConfigError(message, remedy="Give the profile's nemo_run_dir (lepton) or pvc_nemo_run_dir (dgxcloud).")
    return path.rstrip("/") or "/"


def _in_environment(archive: Archive | None, prefix: str, value_bytes: int) -> tuple[dict[str, str], dict[str, object]]:
    """Give the variables that hold an archive, and what the pod has to know about them."""
    if archive is None:
        return {}, {}
    if not archive.files:
        message = "no file is left that could travel"
        raise PayloadError(message, remedy="Change the profile's exclude, or see that src holds the packages.")
    variables = chunks.in_variables(chunks.encode(archive.data), prefix, value_bytes)
    return variables, {"chunks": len(variables), "sha256": archive.sha256, "bytes": archive.tar_bytes}
