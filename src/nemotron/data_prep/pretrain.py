"""Documents -> a tokenizer, Megatron token files for training and validation, and the blend that names them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nemo_runspec.errors import DataError, Location
from nemo_runspec.stage import StageResult
from nemotron.data_prep.binidx import token_dtype, write_pair
from nemotron.data_prep.blend import Source, blend_identity, load_blend, read_rows
from nemotron.data_prep.corpus import Document, corpus_identity, split_of, standard_library
from nemotron.data_prep.holdout import check_fraction, is_held_out
from nemotron.data_prep.paths import local_path
from nemotron.data_prep.tokenizer import TextTokenizer, load_tokenizer, train_tokenizer
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from nemo_runspec.stage import Stage

# A tokenizer of a few thousand tokens learns nothing from more text than this.
_TOKENIZER_CHARACTERS = 12_000_000
_REPORT_EVERY = 50  # documents


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """Which tokenizer: `path` (a folder or a Hub id), or null to train one of `vocab_size` tokens."""

    path: str | None = None
    vocab_size: int = 4096


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration; `config/data_prep/tiny.yaml` explains each entry."""

    blend: str | None
    tokenizer: TokenizerSettings
    valid_fraction: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self.tokenizer, "tokenizer", "vocab_size")
        check_fraction("valid_fraction", self.valid_fraction)


@dataclass(frozen=True, slots=True)
class DocumentSet:
    """Documents that are sampled together.

    Args:
        name: What its files are called.
        weight: Its share of the training samples.
        train: Documents to learn from.
        valid: Documents to measure on.
    """

    name: str
    weight: float
    train: list[Document]
    valid: list[Document]


def prepare(stage: Stage) -> None:
    """Run the stage.

    Args:
        stage: What the script was started with.
    """
    begin = time.monotonic()
    settings = read_settings(stage.config, Settings)
    note(stage, f"reading {settings.blend or 'the standard library'}")
    sets, identity = _read(settings)
    run_dir = stage.run_dir(identity)
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    documents = sum(len(item.train) + len(item.valid) for item in sets)
    data = run_dir / "data"
    note(stage, f"{documents} documents; making the tokenizer")
    tokenizer = _tokenizer(settings.tokenizer, sets, data / "tokenizer")
    counts, blend = _write_tokens(stage, sets, tokenizer, data)
    (data / "blend.json").write_text(json.dumps(blend, indent=2) + "\n", encoding="utf-8")
    details = {
        "documents": documents,
        "train_tokens": counts["train"],
        "valid_tokens": counts["valid"],
        "vocabulary": tokenizer.vocabulary,
    }
    metadata = {"blend": str(data / "blend.json"), "tokenizer": str(data / "tokenizer"), **details}
    result = StageResult(tokens=sum(counts.values()), seconds=time.monotonic() - begin, details=details)
    stage.publish(run_dir, path=data, type="pretrain-data", metadata=metadata, result=result)


def _read(settings: Settings) -> tuple[list[DocumentSet], str]:
    """Read all documents; also give a text that changes when they do."""
    if settings.blend is None:
        documents = standard_library()
        parts = {split: [item for item in documents if split_of(item.name) == split] for split in ("train", "valid")}
        return [DocumentSet("stdlib", 1.0, parts["train"], parts["valid"])], corpus_identity(documents)
    path = local_path(settings.blend)
    sources = load_blend(path)
    sets = [_documents(source, settings) for source in sources]
    return sets, blend_identity(path, sources)


def _documents(source: Source, settings: Settings) -> DocumentSet:
    train: list[Document] = []
    valid: list[Document] = []
    for number, row in enumerate(read_rows(source)):
        text = row.text(source.text_field)
        if text:
            held_out = is_held_out(text, settings.valid_fraction, settings.seed)
            (valid if held_out else train).append(Document(f"{source.name}/{number}", text))
    if not train:
        # A set of a few documents may be held out as a whole; there has to be something to learn.
        train, valid = valid, []
    if not train:
        message = f"all texts of the data set '{source.name}' are empty"
        raise DataError(message, where=Location(source.files[0]), remedy="Add documents, or take it out of the blend.")
    return DocumentSet(source.name, source.weight, train, valid)


def _tokenizer(settings: TokenizerSettings, sets: list[DocumentSet], folder: Path) -> TextTokenizer:
    if settings.path is not None:
        tokenizer = load_tokenizer(settings.path)
        tokenizer.copy_to(folder)
        return tokenizer
    return train_tokenizer(_sample(sets), settings.vocab_size, folder)


def _sample(sets: list[DocumentSet]) -> Iterator[str]:
    """Give documents spread evenly over the training text, as many as a small vocabulary needs."""
    documents = [document for item in sets for document in item.train]
    step = max(1, round(sum(len(document.text) for document in documents) / _TOKENIZER_CHARACTERS))
    return (document.text for document in documents[::step])


def _write_tokens(
    stage: Stage, sets: list[DocumentSet], tokenizer: TextTokenizer, data: Path
) -> tuple[dict[str, int], dict[str, list[str] | None]]:
    """Write each set's pairs; give the tokens of each split, and the blend as Megatron reads it."""
    total = sum(len(item.train) + len(item.valid) for item in sets)
    progress = stage.progress(total, unit="doc")
    dtype = token_dtype(tokenizer.vocabulary)
    counts = {"train": 0, "valid": 0}
    prefixes: dict[str, list[str]] = {"train": [], "valid": []}
    done = seen = 0
    for item in sets:
        for split, documents in (("train", item.train), ("valid", item.valid)):
            prefix = data / split / item.name

            def sequences(documents: list[Document] = documents) -> Iterator[npt.NDArray[np.integer]]:
                nonlocal done, seen
                for ids in tokenizer.encode_texts(document.text for document in documents):
                    done += 1
                    seen += len(ids) + 1
                    # The first document waits for its whole batch: an estimate from it alone would be far off.
                    if done % _REPORT_EVERY == 0 or done == total:
                        progress.update(done, tokens=seen)
                    yield np.append(ids, tokenizer.end_of_text)

            written = write_pair(prefix, sequences(), dtype)
            if written.sequences:
                # One pair a set, so its weight is the set's; were it cut into shards, each would get its part.
                prefixes[split] += [str(item.weight), str(prefix)]
                counts[split] += written.tokens
    # Megatron asks for all three keys, and crashes on an empty list where it takes null.
    return counts, {"train": prefixes["train"], "valid": prefixes["valid"] or None, "test": None}
