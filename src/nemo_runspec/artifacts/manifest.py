"""The manifest: one small JSON file that says what an artifact is and how it was made."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nemo_runspec.artifacts.files import FileEntry
from nemo_runspec.artifacts.local_folder import replace_file
from nemo_runspec.artifacts.plain import plain_dict
from nemo_runspec.artifacts.reading import DAMAGED, Reader
from nemo_runspec.artifacts.reference import check_name
from nemo_runspec.artifacts.storage import storage_errors
from nemo_runspec.errors import ArtifactError, guess

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Producer:
    """What made an artifact.

    Args:
        name: The stage, such as `nano3/pretrain`.
        argv: The command line that started it.
        git: Commit and state of the source, empty where there was none.
        packages: Installed distributions and their versions, where the stage ran.
        config_digest: SHA-256 of the stage's resolved configuration.
    """

    name: str
    argv: tuple[str, ...] = ()
    git: dict[str, object] = dataclasses.field(default_factory=dict)
    packages: dict[str, str] = dataclasses.field(default_factory=dict)
    config_digest: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version of an artifact.

    Args:
        name: The artifact's name.
        type: What it is: `model`, `dataset`, `report`, or a word of the recipe's own.
        path: Absolute path or URL of its files.
        producer: What made it.
        version: Its number in the store, from 1; 0 until a store has given it one.
        created_at: When it was made, ISO 8601 in UTC.
        metadata: Facts that later stages may ask for by key (`vocab_size`).
        result: What the stage measured; see `nemo_runspec.stage.StageResult`.
        inputs: What it was made from: the stage's own key to `name:vN`.
        files: Every file below `path`.
    """

    name: str
    type: str
    path: str
    producer: Producer
    version: int = 0
    created_at: str = dataclasses.field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    metadata: dict[str, object] = dataclasses.field(default_factory=dict)
    result: dict[str, object] = dataclasses.field(default_factory=dict)
    inputs: dict[str, str] = dataclasses.field(default_factory=dict)
    files: tuple[FileEntry, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what could not be read back.

        Raises:
            ArtifactError: The name cannot name an artifact, or a metadata value has no JSON form.
        """
        check_name(self.name)
        object.__setattr__(self, "metadata", plain_dict(self.metadata, "metadata"))
        object.__setattr__(self, "result", plain_dict(self.result, "result"))
        if "path" in self.metadata:
            message = f"the metadata of artifact '{self.name}' holds the key 'path', which is the artifact's own path"
            raise ArtifactError(message, remedy="Give that key another name.")

    @property
    def reference(self) -> str:
        """The text that names exactly this version: `name:v3`."""
        return f"{self.name}:v{self.version}"

    def field(self, name: str) -> object:
        """Give what `${art:key,name}` stands for: `path`, or a metadata value.

        Raises:
            ArtifactError: There is no such field; the error names the nearest one.
        """
        known = {**self.metadata, "path": self.path}
        if name not in known:
            message = f"artifact '{self.reference}' has no field '{name}'"
            raise ArtifactError(message, remedy=guess(name, known, what="fields"))
        return known[name]

    def same_content(self, other: Manifest) -> bool:
        """Tell whether both stand for the same files, made the same way; times and measurements do not count."""
        return self._identity() == other._identity()

    def _identity(self) -> tuple[object, ...]:
        made = (self.producer.name, self.producer.config_digest, self.inputs)
        return (self.name, self.type, self.path, self.metadata, self.files, made)


def manifest_bytes(manifest: Manifest) -> bytes:
    """Give the content of a `manifest.json`."""
    return (json.dumps({"schema": SCHEMA, **dataclasses.asdict(manifest)}, indent=2) + "\n").encode()


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest, checking every field.

    Args:
        content: The bytes of a `manifest.json`.
        where: Path or URL that it came from, for errors.

    Raises:
        ArtifactError: It is not JSON, of another schema, or a field is missing, unknown or of the wrong type.
    """
    try:
        return _parse_document(Reader(json.loads(content)))
    except ValueError as error:
        message = f"{where}: this is not JSON: {error}"
        raise ArtifactError(message, remedy=DAMAGED) from error
    except ArtifactError as error:
        message = f"{where}: {error.message}"
        raise ArtifactError(message, remedy=error.remedy) from error


def _parse_document(reader: Reader) -> Manifest:
    schema = reader.take("schema", int)
    if schema != SCHEMA:
        message = f"the manifest has schema {schema}, and this release reads schema {SCHEMA}"
        raise ArtifactError(message, remedy="Install the release of nemotron that wrote it.")
    manifest = Manifest(
        name=reader.take("name", str),
        version=reader.take("version", int),
        type=reader.take("type", str),
        path=reader.take("path", str),
        created_at=reader.take("created_at", str),
        metadata=reader.table("metadata"),
        result=reader.table("result"),
        inputs=reader.text_table("inputs"),
        producer=_parse_producer(reader.nested("producer")),
        files=tuple(_parse_file(entry) for entry in reader.each("files")),
    )
    reader.finish()
    return manifest


def _parse_producer(reader: Reader) -> Producer:
    producer = Producer(
        name=reader.take("name", str),
        argv=reader.text_list("argv"),
        git=reader.table("git"),
        packages=reader.text_table("packages"),
        config_digest=reader.take("config_digest", str),
    )
    reader.finish()
    return producer


def _parse_file(reader: Reader) -> FileEntry:
    entry = FileEntry(path=reader.take("path", str), size=reader.take("size", int), sha256=reader.take("sha256", str))
    reader.finish()
    return entry


def read_manifest(path: Path) -> Manifest:
    """Read a local `manifest.json`.

    Raises:
        FileNotFoundError: It does not exist.
        ArtifactError: It cannot be read, or is not a manifest; the error names the path.
    """
    with storage_errors(str(path), "read", let=FileNotFoundError):
        content = path.read_bytes()
    return parse_manifest(content, str(path))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a local `manifest.json` whole or not at all.

    Raises:
        ArtifactError: It cannot be written.
    """
    replace_file(path, manifest_bytes(manifest))
