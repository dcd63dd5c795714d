"""The text that every machine has: the standard library of the Python that runs, source and docstrings.

It is read, never downloaded, so the tiny recipes start from real text without a network.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import sys
import sysconfig
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.blend import Blend, DataSet
from nemotron.data_prep.sources import list_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


def standard_library_blend(output: Path) -> Blend:
    """Give the standard library's modules as a blend of documents to train and to validate on.

    Args:
        output: The stage's output folder; the documents are written below it, once.
    """
    documents = standard_library()
    splits: tuple[Split, ...] = ("train", "valid")
    records = (
        (split, {"name": item.name, "text": item.text})
        for split in splits
        for item in documents
        if split_of(item.name) == split
    )
    return written_blend(output, f"documents {corpus_identity(documents)}", splits, records)


def written_blend(
    output: Path, identity: str, splits: tuple[Split, ...], records: Iterable[tuple[Split, Mapping[str, object]]]
) -> Blend:
    """Give records that were made here as a blend like any other: files of JSON lines.

    Args:
        output: The stage's output folder; the files are written below it, complete or not at all.
        identity: A text that changes when the records do.
        splits: The splits that there are.
        records: The records with their splits; asked for only where the files are not there.
    """
    folder = output / "corpus" / hashlib.sha256(identity.encode()).hexdigest()[:16]
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
        partial.mkdir(parents=True)
        with ExitStack() as stack:
            files = {split: stack.enter_context((partial / f"{split}.jsonl").open("w")) for split in splits}
            for split, record in records:
                files[split].write(json.dumps(record) + "\n")
        try:
            partial.rename(folder)
        except OSError:
            # Another run was faster, with the same records.
            shutil.rmtree(partial)
    return Blend(folder, {split: (_data_set(folder / f"{split}.jsonl"),) for split in splits})


def _data_set(path: Path) -> DataSet:
    files = list_files(str(path), base=path.parent, split=None, subset=None, document="file")
    return DataSet(
        name="stdlib",
        files=files,
        weight=1.0,
        text_field="text",
        messages="messages",
        tools="tools",
        used_in="used_in",
        where=Location(path),
    )
