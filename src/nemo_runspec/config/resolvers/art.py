"""`${art:KEY,FIELD}`: a field of the artifact that `run.KEY` names, looked up in the artifact store."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from nemo_runspec.artifacts import parse_reference
from nemo_runspec.errors import ArtifactNotFoundError, ConfigError, guess
from nemo_runspec.stage.inputs import REFERENCE_FIELD, placeholder

if TYPE_CHECKING:
    from nemo_runspec.config.resolvers import Resolution

CURRENT: ContextVar[Resolution] = ContextVar("nemo_runspec_resolution")


def missing_prefix(reference: str) -> str:
    """Give how the text begins that a dry-run shows in place of a field of a missing artifact."""
    return f"<{reference} "


def resolve(key: str, field: str = "path", *, _root_: DictConfig) -> Any:  # noqa: ANN401 - a metadata field is any JSON value
    """Look up one field of an artifact.

    Args:
        key: Entry of the configuration's `run` section that holds the reference (`name`, `name:latest`, `name:v3`).
        field: `path`, or a key of the artifact's metadata.

    Raises:
        ConfigError: `run` has no such entry.
        ArtifactNotFoundError: The store has no such artifact, and the caller does not collect missing ones.
    """
    reference = OmegaConf.select(_root_, f"run.{key}")
    if not isinstance(reference, str):
        names = [name for name, value in _root_.get("run", {}).items() if isinstance(value, str)]
        message = f"${{art:{key},{field}}} reads 'run.{key}', which names no artifact"
        raise ConfigError(message, remedy=guess(key, map(str, names), what="entries of 'run'"))
    resolution = CURRENT.get()
    if resolution.deferred:
        resolution.unfilled = True
        resolution.inputs[key] = placeholder(str(parse_reference(reference)), REFERENCE_FIELD)
        return placeholder(str(parse_reference(reference)), field)
    try:
        manifest = resolution.store.get(reference)
    except ArtifactNotFoundError as error:
        if resolution.missing is None:
            raise
        resolution.missing[reference] = error
        return f"{missing_prefix(reference)}{field}>"
    resolution.inputs[key] = f"{manifest.name}:v{manifest.version}"
    value = manifest.field(field)
    if isinstance(value, str):
        resolution.found[value] = reference
    return value
