"""From a path or URL to the place that it names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nemo_runspec.artifacts.local_folder import LocalFolder
from nemo_runspec.errors import ArtifactError
from nemo_runspec.paths import absolute

if TYPE_CHECKING:
    from nemo_runspec.artifacts.folder import Folder

_LOCAL_SCHEMES = ("file://", "local://")


def open_folder(where: str | os.PathLike[str]) -> Folder:
    """Give the folder at a path (made absolute) or an fsspec URL.

    Raises:
        ArtifactError: The URL's scheme is unknown, or its driver is not installed; or the path cannot be made absolute.
    """
    text = os.fspath(where)
    for scheme in _LOCAL_SCHEMES:
        text = text.removeprefix(scheme)
    if "://" not in text:
        return LocalFolder(absolute(text, error=ArtifactError))
    from nemo_runspec.artifacts.remote_folder import RemoteFolder  # noqa: PLC0415 - local paths need no fsspec

    return RemoteFolder(text)
