"""The text that every machine has: the standard library of the Python that runs, source and docstrings.

It is read, never downloaded, so the tiny recipes start from real text without a network.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nemo_runspec.errors import DataError, Location

Split = Literal["train", "rl", "valid"]

_LEFT_OUT = frozenset({"site-packages", "dist-packages", "__pycache__"})
# The modules of these folders are tables made by one script, near copies of each other: were each to be split by its
# own name, a model would be measured on text that it has learnt but for a few lines.
_NEAR_COPIES = frozenset({"encodings"})
_VALID_PERCENT = 8
_RL_PERCENT = 14


@dataclass(frozen=True, slots=True)
class Document:
    """One text.

    Args:
        name: What it is called; for a module, its path below the standard library.
        text: All of it.
    """

    name: str
    text: str


def split_of(name: str) -> Split:
    """Say which part of the corpus a module belongs to, the same in every stage.

    Pretraining and SFT learn from `train` only; RL takes its prompts from `rl`; every held-out number is measured
    on `valid`. So no stage is measured on text that an earlier one has learnt. Modules that are near copies of each
    other are in the same part.

    Args:
        name: The module's path below the standard library.
    """
    folder, slash, _ = name.partition("/")
    key = folder + slash if folder in _NEAR_COPIES else name
    percent = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % 100
    if percent < _VALID_PERCENT:
        return "valid"
    return "rl" if percent < _VALID_PERCENT + _RL_PERCENT else "train"


def standard_library(root: Path | None = None) -> list[Document]:
    """Read the modules of the running interpreter's standard library.

    Args:
        root: Another folder to read instead.

    Returns:
        Documents sorted by name. Files that are empty or not UTF-8 (the library tests its decoders on some) are
        left out.

    Raises:
        DataError: There is no Python source in the folder.
    """
    root = root if root is not None else Path(sysconfig.get_path("stdlib"))
    documents = []
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if _LEFT_OUT.isdisjoint(relative.parts) and path.is_file():
            text = path.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n")
            if text.strip() and "\ufffd" not in text:
                documents.append(Document(relative.as_posix(), text))
    if not documents:
        message = "the folder of the standard library holds no Python source"
        raise DataError(message, where=Location(root), remedy="Use a Python with its source, or give a data blend.")
    return documents


def corpus_identity(documents: list[Document]) -> str:
    """Give a text that changes when the corpus does.

    Args:
        documents: What was read.
    """
    digest = hashlib.sha256()
    for document in documents:
        digest.update(f"{document.name}\0{document.text}\0".encode())
    return f"python {sys.version_info.major}.{sys.version_info.minor} {digest.hexdigest()}"
