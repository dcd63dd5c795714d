"""Fill in, where the job runs, what only that place knows: `python -m nemo_runspec.stage.inputs JOB_DIR`.

What is on a cluster's own volumes cannot be read by the one who submits. The launcher then leaves each
`${art:REFERENCE,FIELD}` and `${manifest:PLACE,SPLIT}` in the job's files, which travel under the names that end with
`.unfilled`. Every pod runs this before the script starts, and the first one decides: `name:latest` is the same version
for all of them.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec import yaml_text
from nemo_runspec.artifacts import ArtifactStore, Manifest
from nemo_runspec.errors import ConfigError, NemotronError
from nemo_runspec.job_folder import INPUTS_FILE, JOB_FILE, TRAIN_FILE, TRAIN_JSON, UNFILLED
from nemo_runspec.stage.splits import read_split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REFERENCE_FIELD = "_reference"
"""The field that is the artifact's `name:vN` itself."""

_ART = r"\$\{art:[A-Za-z0-9._:-]+,[\w.-]+\}"
_PLACEHOLDER = re.compile(r"\$\{art:(?P<reference>[A-Za-z0-9._:-]+),(?P<field>[\w.-]+)\}")
# The place of a manifest may be said with an artifact. The place ends at the last comma.
_MANIFEST = re.compile(rf"\$\{{manifest:(?P<place>(?:{_ART}|[^{{}}])+),(?P<split>\w+)\}}")
_EITHER = re.compile(f"{_MANIFEST.pattern}|{_PLACEHOLDER.pattern}")


def placeholder(reference: str, field: str) -> str:
    """Give the text that stands for a field of an artifact until the job fills it in."""
    return f"${{art:{reference},{field}}}"


def manifest_placeholder(place: str, split: str) -> str:
    """Give the text that stands for the path of a split until the job fills it in.

    Args:
        place: Where the manifest is; it may hold what `placeholder` gives.
        split: A split's name.

    Raises:
        ConfigError: The place holds a brace, which would be taken for the end of the expression.
    """
    text = f"${{manifest:{place},{split}}}"
    if not _MANIFEST.fullmatch(text):
        message = f"the folder '{place}' of ${{manifest:...}} holds a brace, or is empty"
        raise ConfigError(message, remedy="Give a folder without braces in its name.")
    return text


def fill_job(folder: Path) -> None:
    """Write the files of a job folder from their unfilled ones.

    Args:
        folder: The job's folder.

    Raises:
        ArtifactError: An artifact is missing, or the store cannot be read.
        DataError: A folder has no manifest, or its data lacks the split.
    """
    texts = {name: folder / f"{name}{UNFILLED}" for name in (JOB_FILE, TRAIN_FILE, TRAIN_JSON)}
    found = {name: _load(path) for name, path in texts.items() if path.is_file()}
    store = ArtifactStore(str(found[JOB_FILE]["artifacts"]["root"]))
    versions = _decide(
        folder / INPUTS_FILE, {reference for value in found.values() for reference in references(value)}, store
    )
    manifests = {reference: store.get(version) for reference, version in versions.items()}
    for name, value in found.items():
        filled = filled_in(value, manifests)
        text = json.dumps(filled, indent=2) if name == TRAIN_JSON else yaml_text.dump(filled)
        _replace(folder / name, text)


def references(value: object) -> Iterator[str]:
    """Give the artifacts that a document refers to."""
    if isinstance(value, dict):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif isinstance(value, str):
        yield from (found["reference"] for found in _PLACEHOLDER.finditer(value))


def filled_in(value: Any, manifests: Mapping[str, Manifest]) -> Any:  # noqa: ANN401 - any YAML value
    """Give a document with every placeholder replaced; one that is a whole value keeps the field's own type."""
    if isinstance(value, dict):
        return {key: filled_in(item, manifests) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, manifests) for item in value]
    if not isinstance(value, str):
        return value
    whole = _EITHER.fullmatch(value)
    if whole:
        return _answer(whole, manifests)
    return _EITHER.sub(lambda found: str(_answer(found, manifests)), value)


def _answer(found: re.Match[str], manifests: Mapping[str, Manifest]) -> Any:  # noqa: ANN401 - metadata is any JSON value
    if found["place"]:
        return read_split(str(filled_in(found["place"], manifests)), found["split"])
    manifest = manifests[found["reference"]]
    return manifest.reference if found["field"] == REFERENCE_FIELD else manifest.field(found["field"])


def _decide(path: Path, wanted: set[str], store: ArtifactStore) -> dict[str, str]:
    """Give the version of each artifact, as the first of the job's pods has found it."""
    if not path.is_file():
        found = {reference: store.get(reference).reference for reference in sorted(wanted)}
        _publish(path, json.dumps(found, indent=2), lambda new: _link(new, path))
    versions: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return versions


def _link(new: Path, path: Path) -> None:
    try:
        path.hardlink_to(new)
    except FileExistsError:
        return
    except OSError as error:
        # Some network file systems have no hard links: there the last one to look decides.
        if error.errno not in {errno.EPERM, errno.ENOTSUP}:
            raise
        new.replace(path)


def _replace(path: Path, text: str) -> None:
    _publish(path, text, lambda new: new.replace(path))


def _publish(path: Path, text: str, move: Callable[[Path], object]) -> None:
    new = path.with_name(f"{path.name}.{os.uname().nodename}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    move(new)
    new.unlink(missing_ok=True)


def _load(path: Path) -> Any:  # noqa: ANN401 - any YAML value
    return yaml_text.load(path.read_text(encoding="utf-8"))


def main(folder: str) -> int:
    """Fill a job folder in, and give the exit code."""
    try:
        fill_job(Path(folder))
    except NemotronError as error:
        sys.stderr.write(f"{error.title}: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
