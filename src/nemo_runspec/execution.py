"""The names of the execution layer that users import; the code lives in the modules named here."""

from nemo_runspec.env_vars import build_env_vars
from nemo_runspec.executors import create_executor, get_executor_type, get_startup_commands
from nemo_runspec.executors.local import create_local_executor
from nemo_runspec.submit.local import execute_local

__all__ = [
    "build_env_vars",
    "create_executor",
    "create_local_executor",
    "execute_local",
    "get_executor_type",
    "get_startup_commands",
]
