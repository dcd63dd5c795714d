"""Stages for tests: what a script would be started with, without starting one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.stage import Stage
from nemo_runspec.stage.given import JobFacts

if TYPE_CHECKING:
    from pathlib import Path


def stage(folder: Path, **config: object) -> Stage:
    """Give a stage that writes below a folder.

    Args:
        folder: Where its output and its artifact store go.
        config: Its configuration, beside `artifact` and `output_dir`.
    """
    whole = {"artifact": {"name": "made"}, "output_dir": str(folder / "out"), **config}
    return Stage("nano3/test", whole, folder / "train.yaml", JobFacts(root=str(folder / "artifacts")))
