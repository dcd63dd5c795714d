"""Conversations -> packed parquet with a loss mask, for training and validation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.errors import ConfigError, DataError
from nemo_runspec.stage import StageResult
from nemotron.data_prep.blend import Row, Source, blend_identity, load_blend, read_rows
from nemotron.data_prep.chat import ChatEncoder, Message, read_messages
from nemotron.data_prep.corpus import Split, corpus_identity, split_of, standard_library
from nemotron.data_prep.functions import Function, documented_functions
from nemotron.data_prep.holdout import check_fraction, is_held_out
from nemotron.data_prep.mixing import mix
from nemotron.data_prep.packing import Sample, write_packed
from nemotron.data_prep.paths import local_path
from nemotron.data_prep.tokenizer import load_tokenizer
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings

if TYPE_CHECKING:
    from nemo_runspec.stage import Stage

Conversation = list[Message]
# With the record it was found in, if it was.
Found = tuple[Conversation, Row | None]


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """Where the tokenizer is: a folder or a Hub id."""

    path: str


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration; `config/data_prep/tiny.yaml` explains each entry."""

    blend: str | None
    tokenizer: TokenizerSettings
    pack_size: int
    max_tokens: int
    valid_fraction: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "", "pack_size", "max_tokens")
        if self.max_tokens > self.pack_size:
            message = f"max_tokens is {self.max_tokens}, more than the pack_size of {self.pack_size}"
            raise ConfigError(message, remedy="A conversation has to fit into a packed row.")
        check_fraction("valid_fraction", self.valid_fraction)


def conversation(function: Function) -> Conversation:
    """Give a function as a conversation: its signature and docstring, answered by its source."""
    return [{"role": "user", "content": function.prompt}, {"role": "assistant", "content": function.source}]


def functions_by_split(stage: Stage) -> tuple[dict[Split, list[Function]], str]:
    """Find the documented functions of the standard library.

    Args:
        stage: Whose progress to print.

    Returns:
        The functions of each part of the corpus, and a text that changes when the corpus does. No prompt and no source
        comes twice: the first of them stays, in the order train, rl, valid.
    """
    documents = standard_library()
    progress = stage.progress(len(documents), unit="module")
    found: dict[Split, list[Function]] = {"train": [], "rl": [], "valid": []}
    for number, document in enumerate(documents, 1):
        found[split_of(document.name)].extend(documented_functions(document))
        progress.update(number, functions=sum(len(functions) for functions in found.values()))
    seen: set[str] = set()
    for split in ("train", "rl", "valid"):
        fresh = []
        for function in found[split]:
            if seen.isdisjoint((function.prompt, function.source)):
                seen.update((function.prompt, function.source))
                fresh.append(function)
        found[split] = fresh
    return found, corpus_identity(documents)


def prepare(stage: Stage) -> None:
    """Run the stage.

    Args:
        stage: What the script was started with.
    """
    begin = time.monotonic()
    settings = read_settings(stage.config, Settings)
    tokenizer = load_tokenizer(settings.tokenizer.path)
    encoder = ChatEncoder(tokenizer)
    note(stage, f"reading {settings.blend or 'the standard library'}")
    splits, identity = _read(stage, settings)
    run_dir = stage.run_dir(identity)
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    data = run_dir / "data"
    encoded, left_out = _encode(stage, encoder, splits, settings.max_tokens)
    tokens = 0
    details: dict[str, object] = {"left_out": left_out, "vocabulary": tokenizer.vocabulary}
    for split, samples in encoded.items():
        if samples:
            file = data / "splits" / split / "000000.parquet"
            details[f"{split}_rows"] = write_packed(file, samples, settings.pack_size, settings.seed)
        details[f"{split}_conversations"] = len(samples)
        tokens += sum(len(sample.ids) for sample in samples)
    tokenizer.copy_to(data / "tokenizer")
    places = {split: str(data / "splits" / split) for split in encoded}
    metadata = {**places, "tokenizer": str(data / "tokenizer"), **details}
    result = StageResult(tokens=tokens, seconds=time.monotonic() - begin, details=details)
    stage.publish(run_dir, path=data, type="sft-data", metadata=metadata, result=result)


def _read(stage: Stage, settings: Settings) -> tuple[dict[str, list[Found]], str]:
    """Read all conversations; also give a text that changes when they do."""
    if settings.blend is None:
        found, identity = functions_by_split(stage)
        return {split: [(conversation(item), None) for item in found[split]] for split in ("train", "valid")}, identity
    path = local_path(settings.blend)
    sources = load_blend(path)
    sets = [_conversations(source, settings) for source in sources]
    splits = {
        "train": mix([train for train, _ in sets], [source.weight for source in sources], settings.seed),
        "valid": [item for _, valid in sets for item in valid],
    }
    return splits, blend_identity(path, sources)


def _conversations(source: Source, settings: Settings) -> tuple[list[Found], list[Found]]:
    train: list[Found] = []
    valid: list[Found] = []
    for row in read_rows(source):
        messages = read_messages(row, source.messages)
        if not any(message["role"] == "assistant" for message in messages):
            text = f"the conversation in '{source.messages}' has no assistant's turn, so there is nothing to learn"
            raise row.error(text, 'Add {"role": "assistant", "content": "..."}.')
        held_out = is_held_out(str(messages), settings.valid_fraction, settings.seed)
        (valid if held_out else train).append((messages, row))
    # A set of a few conversations may be held out as a whole; there has to be something to learn.
    return (train, valid) if train else (valid, [])


def _encode(
    stage: Stage, encoder: ChatEncoder, splits: dict[str, list[Found]], longest: int
) -> tuple[dict[str, list[Sample]], int]:
    """Encode the conversations of each split; also say how many were too long and so left out."""
    progress = stage.progress(sum(len(conversations) for conversations in splits.values()), unit="conversation")
    encoded: dict[str, list[Sample]] = {split: [] for split in splits}
    done = tokens = left_out = 0
    for split, conversations in splits.items():
        for messages, row in conversations:
            sample = _encode_one(encoder, messages, row)
            done += 1
            if len(sample.ids) > longest:
                left_out += 1
            elif sample.mask.any():
                encoded[split].append(sample)
                tokens += len(sample.ids)
            progress.update(done, tokens=tokens)
    if not encoded["train"]:
        text = f"all conversations are longer than {longest} tokens"
        raise DataError(text, remedy="Raise the config entry 'max_tokens'.")
    if left_out:
        note(stage, f"left out {left_out} conversations of more than {longest} tokens (max_tokens)")
    return encoded, left_out


def _encode_one(encoder: ChatEncoder, messages: Conversation, row: Row | None) -> Sample:
    try:
        return encoder.encode(messages)
    except DataError as error:
        if row is None:
            raise
        raise row.error(error.message, error.remedy or "Correct this record.") from error
