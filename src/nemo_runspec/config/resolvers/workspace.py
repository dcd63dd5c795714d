"""`${workspace:}`: the folder under which a job keeps its results."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

DEFAULT = "output"


def workspace_of(tree: DictConfig) -> str:
    """Give the workspace of a merged configuration.

    It is `run.env.workspace` (from the profile or the command line); without one, `output` below the working
    directory.
    """
    value = str(OmegaConf.select(tree, "run.env.workspace") or DEFAULT)
    return value if "://" in value else str(Path(value).expanduser().absolute())


def resolve(*_: object, _root_: DictConfig) -> str:
    """Give the workspace as an absolute path or URL."""
    return workspace_of(_root_)
