"""The production configurations, resolved as the launcher does it, with sample artifacts in place of a store's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

import nemotron
from nemo_runspec.config.resolvers import Resolution, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.artifacts import ArtifactStore

RECIPES = Path(nemotron.__file__).parent / "recipes" / "nano3"
SOURCE = RECIPES.parents[2]
WORKSPACE = "/workspace"


@dataclass(frozen=True)
class SampleManifest:
    """An artifact whose every field is a path below `/data`."""

    name: str
    version: int = 1

    def field(self, name: str) -> str:
        return f"/data/{self.name}/{name}"


class SampleStore:
    """A store that has every artifact."""

    def get(self, reference: str) -> SampleManifest:
        return SampleManifest(reference.partition(":")[0])


def production_config(stage: str) -> dict[str, Any]:
    """Give what the stage's script would read for its default configuration.

    Args:
        stage: `pretrain`, `sft` or `rl`.
    """
    path = RECIPES / stage / "config" / "default.yaml"
    tree = OmegaConf.load(path)
    assert isinstance(tree, DictConfig)
    OmegaConf.update(tree, "run.env.workspace", WORKSPACE, force_add=True)
    # Elsewhere, as in production: nothing on this machine is asked for the manifest of the sample data.
    resolution = Resolution(store=cast("ArtifactStore", SampleStore()), elsewhere=True)
    config = resolve(tree, resolution, path=path)
    del config["run"]
    return config


def world_size(stage: str) -> int:
    """Give the number of GPUs that the stage's default configuration asks for."""
    tree = OmegaConf.load(RECIPES / stage / "config" / "default.yaml")
    return int(tree.run.env.nodes * tree.run.env.gpus_per_node)


def leaves(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """List the values of a configuration by dotted name."""
    for key, value in values.items():
        name = f"{place}{key}"
        if isinstance(value, dict):
            yield from leaves(value, f"{name}.")
        elif key != "_target_":
            yield name, value


def with_value(config: Mapping[str, Any], name: str, value: object) -> dict[str, Any]:
    """Give a copy of a configuration with one value set, in sections that are made if need be."""
    tree = OmegaConf.create(dict(config))
    OmegaConf.update(tree, name, value, merge=False, force_add=True)
    return cast("dict[str, Any]", OmegaConf.to_container(tree))
