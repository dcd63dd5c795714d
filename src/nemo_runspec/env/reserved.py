"""The tables of env.toml that are no profiles: settings of the tools that every profile shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.env.tables import Table, key
from nemo_runspec.toml.kinds import Text
from nemo_runspec.toml.values import freeze

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbTable(Table):
    """Weights & Biases: sets `WANDB_PROJECT` and `WANDB_ENTITY` of every job, for scripts that log there."""

    project: str | None = key(Text(), "Becomes `WANDB_PROJECT`.", example='"nemotron"')
    entity: str | None = key(
        Text(), "Becomes `WANDB_ENTITY`: the user or team that owns the project.", example='"my-team"'
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactsTable(Table):
    """The artifact store."""

    root: str | None = key(
        Text(),
        "Folder or fsspec URL (`s3://`, `gs://`, `hf://`) of the store; without it, `artifacts` in the workspace.",
        example='"s3://my-bucket/artifacts"',
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheTable(Table):
    """Kept for later; no profile can have this name, and there are no keys yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CliTable(Table):
    """Kept for later; no profile can have this name, and there are no keys yet."""


RESERVED: Mapping[str, type[Table]] = freeze(
    {"wandb": WandbTable, "artifacts": ArtifactsTable, "cache": CacheTable, "cli": CliTable}
)
