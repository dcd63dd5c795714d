"""The names of the execution layer that users import; the code lives in the modules named here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.env_vars import build_env_vars
from nemo_runspec.executors import create_executor, get_executor_type, get_startup_commands
from nemo_runspec.executors.local import create_local_executor
from nemo_runspec.prepare.clones import clone_git_repos_via_tunnel
from nemo_runspec.submit.local import execute_local
from nemo_runspec.submit.platform import execute_on_platform as execute_cloud
from nemo_runspec.submit.platform import execute_ray_on_platform as execute_cloud_ray

if TYPE_CHECKING:
    from nemo_runspec.executors.dgxcloud import create_dgxcloud_executor
    from nemo_runspec.executors.docker import create_docker_executor
    from nemo_runspec.executors.lepton import create_lepton_executor
    from nemo_runspec.executors.slurm import create_slurm_executor

__all__ = [
    "build_env_vars",
    "clone_git_repos_via_tunnel",
    "create_dgxcloud_executor",
    "create_docker_executor",
    "create_executor",
    "create_lepton_executor",
    "create_local_executor",
    "create_slurm_executor",
    "execute_cloud",
    "execute_cloud_ray",
    "execute_local",
    "get_executor_type",
    "get_startup_commands",
]

_WITH_NEMO_RUN: Final = {
    "create_dgxcloud_executor": "nemo_runspec.executors.dgxcloud",
    "create_docker_executor": "nemo_runspec.executors.docker",
    "create_lepton_executor": "nemo_runspec.executors.lepton",
    "create_slurm_executor": "nemo_runspec.executors.slurm",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the signature that PEP 562 gives
    """Import what subclasses nemo-run's executors when it is asked for: nemo-run takes seconds to import."""
    if name in _WITH_NEMO_RUN:
        return getattr(import_module(_WITH_NEMO_RUN[name]), name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
