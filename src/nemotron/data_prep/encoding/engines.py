"""The two engines that turn texts into ids, behind one interface."""

from __future__ import annotations

import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from tokenizers import Tokenizer

from nemo_runspec.errors import DataError, Location
from nemotron.data_prep.encoding.definition import (
    REMEDY,
    Definition,
    TokenizerFile,
    forget_definition,
    read_definition,
    read_file,
)
from nemotron.data_prep.encoding.ragged import Ragged, encode_rows, from_lengths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HF = "hf"
GIGATOKEN = "gigatoken"

# The encodings of a call hold a string per token, so one call gets no more text than this.
_HF_CHARACTERS = 1 << 18
_MEMORY = 64 << 20
_STATM = Path("/proc/self/statm")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Encoder(Protocol):
    """Turns texts into ids. The names of special tokens in a text are text, and nothing is added at its ends."""

    name: str

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Encode texts.

        Args:
            texts: Any number of texts; a few MB at once are best.

        Returns:
            A row of ids for each text, in order.
        """

    def encode_segments(self, items: Sequence[Sequence[str | int]]) -> Ragged:
        """Encode rows of texts and special tokens.

        Args:
            items: Rows; a text's ids are its own, whatever stands beside it, and an id stands for itself.

        Returns:
            A row of ids for each item, in order.
        """


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """What a worker needs to load an encoder.

    Args:
        tokenizer_json: The tokenizer's file.
        engine: "hf" or "gigatoken".
        digest: SHA-256 of the file, in hexadecimal.
    """

    tokenizer_json: str
    engine: str
    digest: str


class HfEncoder:
    """The `tokenizers` library.

    Args:
        file: The tokenizer.

    Raises:
        DataError: The library refuses the file.
    """

    name = HF

    def __init__(self, file: TokenizerFile) -> None:
        """Build the tokenizer."""
        try:
            # In a thread, which the C library gives a heap of its own. Building leaves a heap in crumbs, and encoding,
            # which makes and drops a string per token, takes half as long again where it has to make do with them.
            with ThreadPoolExecutor(1) as thread:
                self.backend = thread.submit(Tokenizer.from_buffer, file.data).result()
        except Exception as error:  # what the library raises has no narrower type
            message = f"the tokenizer cannot be loaded: {error}"
            raise DataError(message, where=Location(file.path), remedy=REMEDY) from error
        # A file may ask for either; both are about batches of a model's input.
        self.backend.no_truncation()
        self.backend.no_padding()
        self.backend.encode_special_tokens = True
        give_back_memory()

    def control_tokens(self) -> dict[str, int]:
        """Give what `Definition.control_tokens` does, without a definition."""
        unknown = getattr(self.backend.model, "unk_token", None)
        added = self.backend.get_added_tokens_decoder().items()
        return {token.content: number for number, token in added if token.special and token.content != unknown}

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Encode texts, see `Encoder`."""
        parts = [np.empty(0, dtype=np.int32)]
        lengths: list[int] = []
        for batch in _batches(texts):
            for encoding in self.backend.encode_batch_fast(batch, add_special_tokens=False):
                lengths.append(len(encoding))
                parts.append(np.asarray(encoding.ids, dtype=np.int32))
        return from_lengths(np.concatenate(parts), np.asarray(lengths, dtype=np.int64))

    def encode_segments(self, items: Sequence[Sequence[str | int]]) -> Ragged:
        """Encode rows of texts and special tokens, see `Encoder`."""
        return encode_rows(self.encode, items)


class GigatokenEncoder:
    """The `gigatoken` library, many times faster.

    It keeps the ids of every word that it meets, without a limit: text of which little repeats would fill the memory.
    So it is built anew when the process has grown by `memory` since it was built; a second's work, which texts that
    repeat themselves need once per GB or never. Where the system does not tell the size of a process, that is not done.

    Args:
        definition: The tokenizer.
        memory: Bytes by which the process may grow.

    Raises:
        ImportError: The library is not installed.
        DataError: It refuses the file.
    """

    name = GIGATOKEN

    def __init__(self, definition: Definition, memory: int = _MEMORY) -> None:
        """Build the tokenizer."""
        # The library cannot be told to overlook special tokens, so it is given none.
        self._data = definition.without_specials()
        self._memory = memory
        self.rebuilt = -1
        with refusals(definition.path):
            self._build()

    def encode(self, texts: Sequence[str]) -> Ragged:
        """Encode texts, see `Encoder`."""
        if resident_bytes() > self._limit:
            self._build()
        layout = self._backend.encode_batch(list(texts), parallel=False).layout
        offsets = np.asarray(layout.offsets.data, dtype=np.int64)
        # The ids come as uint32: the same bytes.
        ids = np.asarray(layout.content.data).view(np.int32)
        return Ragged(ids[offsets[0] : offsets[-1]], offsets - offsets[0])

    def encode_segments(self, items: Sequence[Sequence[str | int]]) -> Ragged:
        """Encode rows of texts and special tokens, see `Encoder`."""
        return encode_rows(self.encode, items)

    def _build(self) -> None:
        import gigatoken  # noqa: PLC0415 an extra, and only needed where it is the engine

        # What was there goes before its successor comes.
        self._backend: Any = None
        self._limit = float("inf")
        # The library's own object would keep the file's text.
        self._backend = gigatoken.Tokenizer.from_json(self._data).backend
        # The first call builds tables: now, and not in each worker that is forked from here.
        self.encode(["a"])
        give_back_memory()
        self._limit = resident_bytes() + self._memory
        self.rebuilt += 1


_loaded: dict[EngineSpec, Encoder] = {}


def load_encoder(spec: EngineSpec, definition: Definition | None = None) -> Encoder:
    """Give an encoder that works in this thread alone, built once per process.

    A process that forks workers may call it before, so that they share what it has built.

    Args:
        spec: Which tokenizer and engine.
        definition: The tokenizer, where it has been read already.

    Raises:
        DataError: The file cannot be used, or is no longer the one that was chosen.
        ImportError: The engine is not installed.
    """
    # The library asks the environment, and otherwise starts as many threads as there are cores, in each worker.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if spec not in _loaded:
        _loaded[spec] = _load(spec, definition)
        forget_definition()
    return _loaded[spec]


def _load(spec: EngineSpec, definition: Definition | None) -> Encoder:
    path = Path(spec.tokenizer_json)
    if spec.engine == HF:
        # It reads the file by itself: parsing it here as well would take half as long again.
        file = definition or _unchanged(read_file(path), spec)
        trusted = HfEncoder(file)
        _check_control_tokens(trusted, trusted.control_tokens(), path)
        return trusted
    definition = definition or read_definition(path)
    _unchanged(definition, spec)
    fast = GigatokenEncoder(definition)
    _check_control_tokens(fast, definition.control_tokens(), path)
    return fast


def _unchanged(file: TokenizerFile, spec: EngineSpec) -> TokenizerFile:
    if file.digest != spec.digest:
        message = "the tokenizer has changed since the run began"
        raise DataError(message, where=Location(file.path), remedy="Leave it alone while a run reads it; start again.")
    return file


def forget(spec: EngineSpec) -> None:
    """Let an encoder go that was loaded, if it was."""
    _loaded.pop(spec, None)


def _check_control_tokens(encoder: Encoder, tokens: Mapping[str, int], path: Path) -> None:
    """Refuse a tokenizer whose model has a control token in its vocabulary in such a way that a text can hold it."""
    names = list(tokens)
    control = np.fromiter(tokens.values(), dtype=np.int32)
    for form in ("{}", "a {} b"):
        found = encoder.encode([form.format(name) for name in names])
        for name, ids in zip(names, found.rows(), strict=True):
            if np.isin(ids, control).any():
                message = f"the text '{name}' in the data would become a control token"
                remedy = "Take a tokenizer whose model does not reach its special tokens from text."
                raise DataError(message, where=Location(path), remedy=remedy)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and characters + len(text) > _HF_CHARACTERS:
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn whatever gigatoken raises into one error.

    Args:
        path: The tokenizer's file.

    Raises:
        DataError: Something was raised.
    """
    try:
        yield
    except ImportError:
        raise
    except BaseException as error:
        # A panic in Rust comes as an exception beside `Exception`, of a class that cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        first, *_ = str(error).splitlines() or [type(error).__name__]
        message = f"gigatoken refuses the tokenizer: {first}"
        raise DataError(message, where=Location(path), remedy="Take the engine 'hf'.") from error


def give_back_memory() -> None:
    """Give the system what the C library keeps of freed memory: 100 MB when a large tokenizer has been built."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; others need none or have none
    if trim is not None:
        trim(0)


def resident_bytes() -> int:
    """Give the size of this process's own memory, without files that it maps; 0 where the system does not tell."""
    try:
        _, resident, shared, *_ = _STATM.read_text(encoding="ascii").split()
    except OSError:
        return 0
    return (int(resident) - int(shared)) * _PAGE
