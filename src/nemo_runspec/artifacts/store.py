"""The artifact store: `<root>/<name>/v<N>/manifest.json` on anything that fsspec can open."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from nemo_runspec.artifacts.manifest import MANIFEST_FILE, Manifest, manifest_bytes, parse_manifest
from nemo_runspec.artifacts.opening import open_folder
from nemo_runspec.artifacts.reference import check_name, is_name, parse_reference, parse_version
from nemo_runspec.artifacts.storage import storage_errors
from nemo_runspec.errors import ArtifactError, ArtifactNotFoundError, guess

if TYPE_CHECKING:
    import os

    from nemo_runspec.artifacts.reference import Reference

# More writers than this at one moment are a store that answers wrongly, not a race.
_ATTEMPTS = 1000
# Versions that an error lists.
_SHOWN = 10


class ArtifactStore:
    """Named, numbered manifests. The files themselves stay where their stage wrote them.

    Versions are folders that nobody ever changes. The latest one is the highest number, so there is no pointer that
    two writers could disagree about.

    Args:
        root: A path or an fsspec URL. It is made by the first publication.

    Raises:
        ArtifactError: The URL's scheme is unknown, or its driver is not installed.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        """Open nothing yet."""
        self._folder = open_folder(root)

    @property
    def url(self) -> str:
        """Where the store is: an absolute path, or a URL."""
        return self._folder.url

    def names(self) -> list[str]:
        """List the artifacts that have a version, sorted."""
        return [name for name in self._folder.subfolders() if is_name(name) and self.versions(name)]

    def versions(self, name: str) -> list[int]:
        """List an artifact's version numbers, lowest first; none where there is no such artifact.

        Raises:
            ArtifactError: The name cannot name an artifact, or the store cannot be listed.
        """
        return [number for number in self._claimed(name) if self._exists(name, number)]

    def get(self, reference: str) -> Manifest:
        """Read one manifest.

        Args:
            reference: `name`, `name:latest` or `name:v3`.

        Raises:
            ArtifactError: The reference has another form, or the manifest cannot be read.
            ArtifactNotFoundError: The store has no such artifact or version.
        """
        wanted = parse_reference(reference)
        candidates = reversed(self._claimed(wanted.name)) if wanted.version is None else [wanted.version]
        number = next((version for version in candidates if self._exists(wanted.name, version)), None)
        if number is None:
            raise self._not_found(wanted)
        return self._read(wanted.name, number)

    def publish(self, manifest: Manifest) -> Manifest:
        """Register a manifest as the next version of its name.

        When the latest version already stands for the same content, that one is given back and nothing is written.
        Writers may race: each gets a version of its own.

        Args:
            manifest: What to register; its `version` is not looked at.

        Returns:
            The manifest as registered, with its version.

        Raises:
            ArtifactError: The store cannot be written.
        """
        claimed = self._claimed(manifest.name)
        latest = self._latest(manifest.name, claimed)
        if latest is not None and latest.same_content(manifest):
            return latest
        first = max(claimed, default=0) + 1
        for number in range(first, first + _ATTEMPTS):
            numbered = dataclasses.replace(manifest, version=number)
            try:
                self._folder.create(f"{manifest.name}/v{number}", MANIFEST_FILE, manifest_bytes(numbered))
            except FileExistsError:
                continue
            return numbered
        message = f"'{manifest.name}' got no version in {self.url}: v{first} and the {_ATTEMPTS - 1} after it are taken"
        raise ArtifactError(message, remedy="Publish again once fewer jobs write there at the same time.")

    def _not_found(self, wanted: Reference) -> ArtifactNotFoundError:
        versions = self.versions(wanted.name)
        if not versions:
            message = f"there is no artifact '{wanted.name}' in {self.url}"
            return ArtifactNotFoundError(message, remedy=guess(wanted.name, self.names(), what="artifacts"))
        message = f"artifact '{wanted.name}' has no version v{wanted.version} in {self.url}"
        shown = ", ".join(f"v{version}" for version in versions[-_SHOWN:])
        return ArtifactNotFoundError(message, remedy=f"Its {'latest ' if versions[_SHOWN:] else ''}versions: {shown}.")

    def _exists(self, name: str, number: int) -> bool:
        return self._folder.size(_place(name, number)) is not None

    def _claimed(self, name: str) -> list[int]:
        folders = self._folder.subfolders(check_name(name))
        return sorted(number for folder in folders if (number := parse_version(folder)) is not None)

    def _latest(self, name: str, claimed: list[int]) -> Manifest | None:
        if not claimed:
            return None
        try:
            return self._read(name, claimed[-1])
        except ArtifactError:
            # A damaged or half-removed version stands in nobody's way: the next one gets a number of its own.
            return None

    def _read(self, name: str, number: int) -> Manifest:
        place = _place(name, number)
        where = self._folder.child(place)
        with storage_errors(where, "read"), self._folder.open(place) as file:
            content = file.read()
        manifest = parse_manifest(content, where)
        if (manifest.name, manifest.version) != (name, number):
            message = f"{where} says that it is {manifest.reference}"
            raise ArtifactError(message, remedy="It was copied from elsewhere: move it away, and publish again.")
        return manifest


def _place(name: str, number: int) -> str:
    return f"{name}/v{number}/{MANIFEST_FILE}"
