"""`${workspace:}`: the folder under which a job keeps its results."""

from __future__ import annotations

from omegaconf import DictConfig, OmegaConf

from nemo_runspec.errors import ConfigError
from nemo_runspec.paths import absolute

DEFAULT = "output"


def workspace_of(tree: DictConfig) -> str:
    """Give the workspace of a merged configuration.

    It is `run.env.workspace` (from the profile or the command line); without one, `output` below the working
    directory.

    Raises:
        ConfigError: It begins with the home of an unknown user.
    """
    value = str(OmegaConf.select(tree, "run.env.workspace") or DEFAULT)
    return value if "://" in value else str(absolute(value, error=ConfigError))


def resolve(*_: object, _root_: DictConfig) -> str:
    """Give the workspace as an absolute path or URL."""
    return workspace_of(_root_)
