"""`${auto_mount:git+URL@REF,/TARGET}`: a git repository for `run.env.mounts`, cloned where the job runs."""

from __future__ import annotations

from nemo_runspec.errors import ConfigError
from nemo_runspec.git_mounts import EXAMPLE, parse


def resolve(*parts: object) -> str:
    """Check the description of a repository, and give it as the entry of `mounts` that launchers read.

    Nothing is asked of the repository: which commit a ref is, is found out when a job is submitted.

    Raises:
        ConfigError: It is not a repository and a folder, or something about one of them is not allowed.
    """
    if len(parts) != 2 or not all(isinstance(part, str) for part in parts):  # noqa: PLR2004 - repository and folder
        message = "${auto_mount:...} takes a repository and a folder"
        raise ConfigError(message, remedy=f"Write, for example: ${{auto_mount:{EXAMPLE}}}")
    repository, target = parts
    return str(parse(f"{repository},{target}"))
