"""The nemo-run packager of jobs whose source travels inside the job itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nemo_run.core.packaging.base import Packager

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(kw_only=True)
class SourcePackager(Packager):  # type: ignore[misc]  # nemo-run ships no types
    """Says what travels with a task of a cloud executor; the executor asks `plan_for` with it.

    Args:
        script_path: The script that the task runs; its recipe family and the files beside it travel.
        repo_root: The repository whose `src` travels; found from the script, or what is installed, when not given.
        exclude: Globs of archive paths that stay here.
        files: More files of the job: name in the job's folder -> path on this machine.
    """

    script_path: str | None = None
    repo_root: str | None = None
    exclude: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def package(self, path: Path, job_dir: str, name: str) -> str:  # noqa: ARG002 - nemo-run's signature
        """Put nothing anywhere: the executor makes the archive when it builds the request.

        Args:
            path: Where nemo-run thinks that the code is.
            job_dir: The task's folder.
            name: The task.

        Returns:
            An empty path, which nemo-run takes for "nothing to upload".
        """
        return ""
