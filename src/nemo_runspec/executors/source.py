"""The source that travels with a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.data_mover import select
from nemo_runspec.data_mover.archive import read, tree_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_runspec.platforms.workload import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What travels beside the job's own files.

    Args:
        script_path: The recipe's script on this machine; it says which recipe family travels.
        repo_root: The checkout whose `src/` travels; the installed package's without it.
        exclude: Globs of what is left out.
    """

    script_path: str | Path | None = None
    repo_root: str | Path | None = None
    exclude: tuple[str, ...] = ()

    def tree(self) -> Tree:
        """Give it as an archive; reads its files.

        Raises:
            PayloadError: A file cannot be read.
        """
        return tree_of(read(select(self.script_path, self.repo_root, self.exclude).files))


def with_source(env: Mapping[str, str], folder: str) -> dict[str, str]:
    """Give a job's variables with its source before everything else that Python looks through.

    Args:
        env: The variables.
        folder: The job's folder as the job sees it.
    """
    own = f"{folder}/code/src"
    given = env.get("PYTHONPATH")
    return {**env, "PYTHONPATH": f"{own}:{given}" if given else own}
