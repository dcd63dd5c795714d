"""The errors that scripts may catch, under the name that users import."""

from nemo_runspec.errors import ArtifactNotFoundError

__all__ = ["ArtifactNotFoundError"]
