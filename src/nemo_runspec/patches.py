"""Patches of nemo-run's own classes, for those who use them instead of this library's executors.

Each is a function that changes nothing until it is called, and nothing when it is called again. This library's own
executors need none of them.
"""

from __future__ import annotations

import copy
import functools
import inspect
import re
import shlex
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nemo_run.core.execution.dgxcloud import DGXCloudExecutor, DGXCloudRequest
from nemo_run.core.execution.lepton import LeptonExecutor
from nemo_run.run.ray.slurm import SlurmRayCluster, SlurmRayRequest

from nemo_runspec.data_mover import is_transport_variable
from nemo_runspec.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import ModuleType

LEGACY_NAMES: Final = {"app_id": "client_id", "app_secret": "client_secret"}
"""Earlier names of fields of `DGXCloudExecutor` -> what they are called now."""

_RELEASE = "0.11"
_MARK = "_nemo_runspec_patch"


def _replace_method(
    owner: type | ModuleType, name: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]
) -> None:
    """Put a wrapper in place of a method, or of a module's function, once.

    Raises:
        UsageError: nemo-run is not of the release that the patches are written against.
    """
    installed = version("nemo_run")
    if not installed.startswith(f"{_RELEASE}."):
        message = (
            f"this patch of {owner.__name__}.{name} is written for nemo-run {_RELEASE}, and {installed} is installed"
        )
        remedy = f"Install nemo_run=={_RELEASE}.*, or leave the patch out if this release no longer needs it."
        raise UsageError(message, remedy=remedy)
    original = getattr(owner, name)
    if not hasattr(original, _MARK):
        wrapper = wrap(original)
        setattr(wrapper, _MARK, True)
        setattr(owner, name, wrapper)


def patch_cloud_data_mover_skip_configs() -> None:
    """Keep `configs/*.yaml` of a job folder out of what nemo-run's two cloud executors send to the platform.

    nemo-run writes the whole executor there, with `client_secret` and the values of `env_vars`, and then packs the job
    folder into the command of its data mover, where the platform keeps it in clear. Nothing in a pod reads these
    files; the serialised task and packager beside them, which `run.Partial` needs there, still travel.

    Source: nemo-run 0.11.1 writes them in
    https://github.com/NVIDIA-NeMo/Run/blob/main/nemo_run/run/torchx_backend/packaging.py and sends them in
    https://github.com/NVIDIA-NeMo/Run/tree/main/nemo_run/core/execution, lepton.py and dgxcloud.py.
    Remove when nemo-run neither writes secrets into a job folder nor sends `configs/`.

    Raises:
        UsageError: nemo-run is not of the release that this is written against.
    """
    for owner in (LeptonExecutor, DGXCloudExecutor):
        _replace_method(owner, "copy_directory_data_command", _without_configs)
    _replace_method(DGXCloudExecutor, "move_data", _moving_without_configs)


def _without_configs(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def copy_directory_data_command(self: Any, local_dir_path: str, dest_path: str) -> Any:  # noqa: ANN401 - nemo-run's
        with _stripped(local_dir_path) as folder:
            return original(self, str(folder), dest_path)

    return copy_directory_data_command


def _moving_without_configs(original: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap what sends files one by one where the whole does not fit."""

    @functools.wraps(original)
    def move_data(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - nemo-run's
        with _stripped(self.job_dir) as folder:
            moving = copy.copy(self)
            moving.job_dir = str(folder)
            return original(moving, *args, **kwargs)

    return move_data


@contextmanager
def _stripped(folder: str) -> Iterator[Path]:
    """Give a copy of a job folder without `configs/*.yaml`, nor a `configs` that would be empty then."""
    with tempfile.TemporaryDirectory() as temporary:
        # Its name becomes no part of the archive, and mkdtemp's 0700 keeps the copy to this user.
        stripped = Path(temporary) / "job"
        shutil.copytree(folder, stripped, symlinks=True)
        configs = stripped / "configs"
        if configs.is_dir():
            for path in configs.glob("*.yaml"):
                path.unlink()
            if not any(configs.iterdir()):
                configs.rmdir()
        yield stripped


def patch_dgxcloud_strip_source_chunks_from_exports() -> None:
    """Keep the chunks of a source archive out of the script that nemo-run writes for run:ai.

    `plan_for` gives the archive as environment variables. nemo-run sends an executor's variables with the workload,
    and a second time as `export` lines of `torchrun_job.sh`, which its data mover then has to carry to the volume.

    Source: nemo-run 0.11.1, DGXCloudRequest.materialize in
    https://github.com/NVIDIA-NeMo/Run/blob/main/nemo_run/core/execution/dgxcloud.py.
    Remove when that script repeats no variable that the workload already has.

    Raises:
        UsageError: nemo-run is not of the release that this is written against.
    """
    _replace_method(DGXCloudRequest, "materialize", _without_chunks)


def _without_chunks(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def materialize(self: Any) -> Any:  # noqa: ANN401 - nemo-run's
        executor = copy.copy(self.executor)
        executor.env_vars = _without_transport(executor.env_vars)
        return original(replace(self, executor=executor, extra_env=_without_transport(self.extra_env)))

    return materialize


def _without_transport(variables: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if not is_transport_variable(name)}


def patch_dgxcloud_accept_legacy_kwargs() -> None:
    """Let `DGXCloudExecutor` take `app_id` and `app_secret`, which are called `client_id` and `client_secret` now.

    Experiments and configurations of before the change hold the old names; `status` and `logs` of such an experiment
    end in a TypeError otherwise. Call it before the first `run.Config(DGXCloudExecutor, ...)`: fiddle remembers what a
    class takes.

    Source: nemo-run 0.11.1, core/execution/dgxcloud.py; changed by https://github.com/NVIDIA-NeMo/Run/pull/480.
    Remove when nemo-run takes the old names, or no experiment of before is left.

    Raises:
        UsageError: nemo-run is not of the release that this is written against.
    """
    _replace_method(DGXCloudExecutor, "__init__", _taking_legacy_names)


def _taking_legacy_names(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, N807 - stands in for nemo-run's
        for old, new in LEGACY_NAMES.items():
            if old in kwargs and new in kwargs:
                message = f"DGXCloudExecutor got both '{new}' and '{old}', its old name"
                raise TypeError(message)
        original(self, *args, **{LEGACY_NAMES.get(name, name): value for name, value in kwargs.items()})

    # Fiddle, on which `run.Config` rests, takes the arguments that the signature names.
    __init__.__signature__ = _with_legacy_names(inspect.signature(original))  # type: ignore[attr-defined] # as PEP 362 says
    return __init__


def _with_legacy_names(signature: inspect.Signature) -> inspect.Signature:
    """Add the old names, and let the new ones be left out for them."""
    parameters = [
        parameter.replace(default=None) if name in LEGACY_NAMES.values() else parameter
        for name, parameter in signature.parameters.items()
    ]
    legacy = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in LEGACY_NAMES]
    return signature.replace(parameters=[*parameters, *legacy])


RSYNC_MODULES: Final = ("nemo_run.core.tunnel.rsync", "nemo_run.run.experiment", "nemo_run.run.ray.slurm")
"""Where nemo-run's `rsync` is, and where it has been imported from there."""

SSH_OPTIONS: Final = "-o StrictHostKeyChecking=accept-new -o BatchMode=yes"
STAYING: Final = (
    *(".git", ".hg", ".svn"),
    *("__pycache__", "*.pyc", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".ipynb_checkpoints"),
    *(".venv", "node_modules", "*.egg-info"),
)
"""What rsync leaves out: histories, caches and environments of this machine, which no job reads."""

_EXECUTORS: Final = "configs/*_executor.yaml"


def patch_nemo_run_rsync_accept_new_host_keys() -> None:
    """Let the rsync of nemo-run's `SSHTunnel` take the key of a host that is met for the first time, and ask nothing.

    nemo-run's own connection (paramiko) takes any key and remembers none, so that on a new machine the first `ssh` to
    look at keys is that of rsync: it fails, or asks where there is a terminal, behind the folder that was made on the
    cluster already. With this patch it remembers a new key, still refuses one that has changed, and never asks for a
    password. What the caller gives as `ssh_opts` comes first, and wins. Besides, histories, caches and environments
    (`STAYING`) stay here, and so do the executors of an experiment, which are written with all their variables.

    Source: nemo-run 0.11.1, https://github.com/NVIDIA-NeMo/Run/blob/main/nemo_run/core/tunnel/rsync.py.
    Remove when nemo-run looks at host keys itself, and hands its choice to rsync.

    Raises:
        UsageError: nemo-run is not of the release that this is written against.
    """
    for name in RSYNC_MODULES:
        _replace_method(import_module(name), "rsync", _accepting_new_hosts)


def _accepting_new_hosts(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def rsync(
        c: Any,  # noqa: ANN401 - a connection of fabric, which ships no types
        source: str,
        target: str,
        exclude: str | Iterable[str] = (),
        *args: Any,  # noqa: ANN401 - nemo-run's
        ssh_opts: str = "",
        **kwargs: Any,  # noqa: ANN401 - nemo-run's
    ) -> Any:  # noqa: ANN401 - nemo-run's
        given = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        # Behind a source with a `/` at its end are other folders: then it is no experiment.
        executors = () if source.endswith("/") else (f"/{Path(source).name}/*/{_EXECUTORS}",)
        options = f"{ssh_opts} {SSH_OPTIONS}".strip()
        return original(c, source, target, (*given, *STAYING, *executors), *args, ssh_opts=options, **kwargs)

    return rsync


_MPI: Final = "NEMO_RUN_SRUN_MPI"
_FIRST: Final = "set -eoux pipefail\n"
"""The template's first line."""
_CPUS: Final = re.compile(r"(?<=^CPUS_PER_WORKER=\${CPUS_PER_WORKER:-).*(?=}$)", re.MULTILINE)
"""How many CPUs it asks for on each node where its user says nothing."""


def patch_nemo_run_ray_template_for_cpu() -> None:
    """Let nemo-run's `SlurmRayCluster` and `SlurmRayJob` run where there are no GPUs, and under a name that is new.

    Their script counts on eight GPUs on each node, from which it takes how many CPUs to ask for and how many workers
    to wait for; it asks for PMIx, which a Slurm may lack; and Slurm opens the job's log in a folder that nobody has
    made, so that the first job of each name fails without a word. With this patch the script has the GPUs of the
    executor's `gpus_per_node`, each node counts as a worker where there are none, Ray has the CPUs that Slurm has given
    the job, `--mpi=pmix` is asked for where a step with it starts, and the folder is made first. The template still
    needs a container, `jq`, and a Slurm whose `scontrol` knows `--json` (23.02).

    Source: nemo-run 0.11.1, https://github.com/NVIDIA-NeMo/Run/blob/main/nemo_run/run/ray/slurm.py and
    https://github.com/NVIDIA-NeMo/Run/blob/main/nemo_run/run/ray/templates/ray.sub.j2.
    Remove when the template takes `gpus_per_node` from the executor, and `create` makes the folder of the logs.

    Raises:
        UsageError: nemo-run is not of the release that this is written against.
    """
    _replace_method(SlurmRayRequest, "materialize", _with_the_executors_resources)
    _replace_method(SlurmRayCluster, "create", _making_the_logs_folder)


def _with_the_executors_resources(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def materialize(self: Any) -> str:  # noqa: ANN401 - nemo-run's
        gpus = int(self.executor.gpus_per_node or 0)
        units = gpus or 1
        # Only a step tells: Slurm lists the plugin also where the library that it needs is not there.
        probe = "srun --mpi=pmix --nodes=1 --ntasks=1 true >/dev/null 2>&1"
        pmix = f"{_MPI}=$({probe} && echo --mpi=pmix || true)\n"
        changes = {
            " --mpi=pmix ": f" ${{{_MPI}}} ",
            "\ngpus_per_node=8\n": f"\ngpus_per_node={gpus}\n",
            '\\"worker_units\\": $gpus_per_node': f'\\"worker_units\\": {units}',
            "$((gpus_per_node * SLURM_JOB_NUM_NODES))": f"$(({units} * SLURM_JOB_NUM_NODES))",
        }
        script = _CPUS.sub("${SLURM_CPUS_ON_NODE:-1}", str(original(self)))
        for old, new in changes.items():
            script = script.replace(old, new)
        return script.replace(_FIRST, f"{_FIRST}{pmix}", 1)

    return materialize


def _making_the_logs_folder(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def create(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - nemo-run's
        if not inspect.signature(original).bind(self, *args, **kwargs).arguments.get("dryrun"):
            tunnel, details = self.executor.tunnel, self.executor.job_details
            tunnel.connect()
            tunnel.run(f"mkdir -p {shlex.quote(details.folder or f'{tunnel.job_dir}/{self.name}/logs')}")
        return original(self, *args, **kwargs)

    return create
