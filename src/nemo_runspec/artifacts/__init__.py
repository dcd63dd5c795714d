"""Artifacts: what a stage leaves for the next one, with where it came from.

An artifact is a folder (or a file) that stays where the stage wrote it, and a small manifest in a store that
names it, numbers it and says how it was made. The store is any fsspec location.
"""

from nemo_runspec.artifacts.files import FileEntry, list_files, missing_files
from nemo_runspec.artifacts.local_folder import replace_file
from nemo_runspec.artifacts.manifest import MANIFEST_FILE, Manifest, Producer, read_manifest, write_manifest
from nemo_runspec.artifacts.plain import digest, plain, plain_dict
from nemo_runspec.artifacts.reference import Reference, check_name, parse_reference
from nemo_runspec.artifacts.store import ArtifactStore

__all__ = [
    "MANIFEST_FILE",
    "ArtifactStore",
    "FileEntry",
    "Manifest",
    "Producer",
    "Reference",
    "check_name",
    "digest",
    "list_files",
    "missing_files",
    "parse_reference",
    "plain",
    "plain_dict",
    "read_manifest",
    "replace_file",
    "write_manifest",
]
