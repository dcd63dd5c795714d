"""The `${prefix:...}` interpolations of recipe configurations, one file each.

`resolve()` turns a merged tree into plain values. What a resolver needs beyond the tree itself (the artifact
store, the record of what was read from it) is handed over for the duration of one call in a context variable,
because OmegaConf keeps resolvers in one table per process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nemo_runspec.config.resolvers import art, auto_mount, manifest, mul, workspace
from nemo_runspec.errors import ArtifactNotFoundError, ConfigError, Location, MissingValueError, NemotronError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nemo_runspec.artifacts import ArtifactStore

NOWHERE: Final[Mapping[str, Location | None]] = MappingProxyType({})
"""For a configuration in which everything is the file's own."""

RESOLVERS: dict[str, Callable[..., Any]] = {
    "art": art.resolve,
    "auto_mount": auto_mount.resolve,
    "manifest": manifest.resolve,
    "mul": mul.resolve,
    "workspace": workspace.resolve,
}


@dataclass(slots=True)
class Resolution:
    """What one resolution of a tree used.

    Args:
        store: Where `${art:...}` looks.
        inputs: Filled with `key of run -> name:vN` for each artifact that was read.
        missing: Filled with `reference -> error` for each artifact that is not there; None raises that error instead.
        deferred: Whether the store can only be read where the job runs: placeholders then stand for its answers.
        elsewhere: Whether paths are those of the place where the job runs, so that `${manifest:...}` of one is read
            there.
        found: Filled with `text -> reference` for each text that `${art:...}` gave.
        unfilled: Set when a placeholder was given that the job has to fill in.
    """

    store: ArtifactStore
    inputs: dict[str, str] = field(default_factory=dict)
    missing: dict[str, ArtifactNotFoundError] | None = None
    deferred: bool = False
    elsewhere: bool = False
    found: dict[str, str] = field(default_factory=dict)
    unfilled: bool = False


def register() -> None:
    """Make the interpolations known to OmegaConf; calling it again changes nothing."""
    for prefix, function in RESOLVERS.items():
        if not OmegaConf.has_resolver(prefix):
            OmegaConf.register_resolver(prefix, function)


def place_of(key: str, path: Path, places: Mapping[str, Location | None]) -> Location | None:
    """Give the place of a dotted key, or of the section that it came with.

    Args:
        key: As OmegaConf names it.
        path: The configuration's file, where keys stand that came from nowhere else.
        places: Dotted key -> its place, for what came from elsewhere; None for what stands in no file.
    """
    name = key.replace("[", ".").replace("]", "")
    while name:
        if name in places:
            return places[name]
        name = name.rpartition(".")[0]
    return Location(path)


def expression_error(error: OmegaConfBaseException, key: str, where: Location | None) -> ConfigError:
    """Give the error of an interpolation that cannot be resolved."""
    reason = str(error).splitlines()[0]
    remedy = "Correct the ${...} expression."
    if "Environment variable" in reason:
        remedy = "Export the variable, or give a value for when it is not set: ${oc.env:NAME,value}."
    return ConfigError(f"'{key}': {reason}", where=where, remedy=remedy)


def resolve(
    tree: DictConfig, resolution: Resolution, *, path: Path, places: Mapping[str, Location | None] = NOWHERE
) -> dict[str, Any]:
    """Give the tree as plain values, every interpolation replaced.

    Args:
        tree: The merged configuration; it is not changed.
        resolution: The artifact store, and where to record what was read.
        path: The configuration's file, for error messages.
        places: Dotted key -> its place, for what came from elsewhere, as `MergedConfig.places` has it.

    Raises:
        ConfigError: An interpolation that cannot be resolved, or a mandatory value (`???`) that was not given.
        ArtifactNotFoundError: An artifact that is not in the store, unless `resolution.missing` collects it.
    """
    register()
    token = art.CURRENT.set(resolution)
    try:
        plain = OmegaConf.to_container(tree, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise _root_error(error, path, places) or _config_error(error, path, places) from None
    except RecursionError:
        message = "an interpolation leads back to itself, or the configuration is nested too deeply"
        raise ConfigError(message, where=Location(path), remedy="Correct the ${...} expressions.") from None
    finally:
        art.CURRENT.reset(token)
    return {str(key): value for key, value in plain.items()} if isinstance(plain, dict) else {}


def _root_error(
    error: OmegaConfBaseException, path: Path, places: Mapping[str, Location | None]
) -> NemotronError | None:
    """Give the error of ours that a resolver raised, which OmegaConf wraps in errors of its own; with file and key."""
    root: BaseException | None = error
    while root is not None and not isinstance(root, NemotronError):
        root = root.__cause__ or root.__context__
    if root is not None and root.where is None:
        root.where = place_of(error.full_key or "", path, places)
        root.message = f"'{error.full_key}': {root.message}" if error.full_key else root.message
    return root


def _config_error(error: OmegaConfBaseException, path: Path, places: Mapping[str, Location | None]) -> ConfigError:
    key = error.full_key or "?"
    where = place_of(key, path, places)
    if "Missing mandatory value" in str(error):
        return MissingValueError(key, where=where)
    return expression_error(error, key, where)
