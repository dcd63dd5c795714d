"""The manifest of prepared data: which file, or files, each split is in.

```json
{"train": "/data/train/train.jsonl", "val": ["/data/val/val-00000-of-00002.jsonl", "..."], "test": ""}
```

A split that the data lacks is an empty text. Other keys say how the data came to be, and are not read here.
"""

from __future__ import annotations

import json
from typing import Any, Final

from nemo_runspec.artifacts.opening import open_folder
from nemo_runspec.artifacts.storage import storage_errors
from nemo_runspec.errors import ConfigError, DataError, guess

SPLITS: Final = ("train", "val", "test")
DATA_MANIFEST: Final = "manifest.json"

_DAMAGED = "It is damaged, or is not the manifest of prepared data: prepare the data again."


def check_split(split: str) -> None:
    """Refuse a split that no manifest has.

    Args:
        split: What was asked for.

    Raises:
        ConfigError: It is none of `SPLITS`.
    """
    if split not in SPLITS:
        message = f"there is no split '{split}'"
        raise ConfigError(message, remedy=guess(split, SPLITS, what="splits"))


def read_split(where: str, split: str) -> str | list[str]:
    """Give the path of a split of prepared data.

    Args:
        where: The folder that the manifest lies in, or the manifest itself; a path or an fsspec URL.
        split: One of `SPLITS`.

    Returns:
        One path, or a list of several where the split has several files. Paths that the manifest gives relative to
        itself are made absolute.

    Raises:
        ConfigError: There is no such split in any manifest.
        DataError: There is no manifest, it is damaged, or the data has no such split.
        ArtifactError: The place cannot be reached.
    """
    check_split(split)
    folder = open_folder(where)
    if folder.size("") is not None:
        folder, name = folder.parent, folder.url.rpartition("/")[2]
    else:
        name = DATA_MANIFEST
    url = folder.child(name)
    if folder.size(name) is None:
        message = f"there is no manifest of prepared data: {url} does not exist"
        remedy = "Give the folder of a data preparation; for RL, `nemotron nano3 data prep rl` writes one."
        raise DataError(message, remedy=remedy)
    with storage_errors(url, "read"), folder.open(name) as stream:
        content = stream.read()
    splits = _paths(content, url)
    if not splits[split]:
        have = [known for known, paths in splits.items() if paths]
        message = f"the data of {url} has no split '{split}'"
        remedy = f"It has {' and '.join(have) or 'none'}: use another split, or prepare the data with this one."
        raise DataError(message, remedy=remedy)
    paths = [path if path.startswith("/") or "://" in path else folder.child(path) for path in splits[split]]
    return paths[0] if len(paths) == 1 else paths


def _paths(content: bytes, url: str) -> dict[str, list[str]]:
    """Give the files of each split that a manifest names."""
    try:
        document: Any = json.loads(content)
    except json.JSONDecodeError as error:
        message = f"{url}, line {error.lineno}, is not JSON: {error.msg}"
        raise DataError(message, remedy=_DAMAGED) from error
    except (ValueError, RecursionError) as error:
        message = f"{url} is not JSON"
        raise DataError(message, remedy=_DAMAGED) from error
    if not isinstance(document, dict) or not any(split in document for split in SPLITS):
        message = f"{url} names no split"
        raise DataError(message, remedy=_DAMAGED)
    found = {}
    for split in SPLITS:
        value = document.get(split)
        paths = value if isinstance(value, list) else [value] if value else []
        if not all(isinstance(path, str) and path for path in paths):
            message = f"'{split}' of {url} is neither a path nor a list of paths"
            raise DataError(message, remedy=_DAMAGED)
        found[split] = paths
    return found
