"""What the parts of the benchmark of data preparation share: the text, the tokenizer, and what was measured already."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from benchmarks import data_prep_corpus as text
from benchmarks.data_prep_processes import run, sketch
from benchmarks.data_prep_raw import Raw
from benchmarks.data_prep_stages import ROOT, Prepared, blend_of, prepare, pretrain_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Args:
        corpus: Megabytes of text.
        plain: Megabytes of it that the slow `encode_batch` is measured on.
        ray: Megabytes of it that Ray is compared on.
        large: Megabytes of the corpus that memory must not grow with.
        conversations: Conversations.
        lengths: Sequences to pack.
    """

    corpus: int
    plain: int
    ray: int
    large: int
    conversations: int
    lengths: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise and what was measured of it.

    Args:
        promise: What is promised.
        limit: The limit, with its unit.
        measured: What was measured, with its unit.
        met: Whether it is kept; None where it is not judged.
        remark: The numbers behind it.
        sized: Whether it takes the full size to be judged.
    """

    promise: str
    limit: str
    measured: str
    met: bool | None
    remark: str = ""
    sized: bool = True

    @property
    def word(self) -> str:
        """Give the verdict in a word."""
        return {True: "pass", False: "FAIL", None: "-"}[self.met]

    def unjudged(self) -> Verdict:
        """Give the same without a judgement, where that takes the full size."""
        return replace(self, met=None) if self.sized else self


@dataclass
class Bench:
    """What the parts share: the text, the tokenizer, and what was measured already.

    Args:
        folder: Where the text is kept, and where everything is made.
        sizes: How much is measured.
        workers: Processes of each preparation.
        given: Folder of the tokenizer; None makes the one of 131,072 tokens.
        say: Takes a line about what is measured next.
    """

    folder: Path
    sizes: Sizes
    workers: int
    given: Path | None
    say: Callable[[str], None]
    curves: dict[str, Sequence[tuple[float, int, int]]] = field(default_factory=dict)

    @cached_property
    def tokenizer(self) -> Path:
        """Folder of the tokenizer."""
        if self.given is not None:
            return self.given.absolute()
        from tests.nemotron.data_prep.tekken import tekken_folder  # noqa: PLC0415 - may ask for a package

        self.say("making the tokenizer")
        return tekken_folder()

    @cached_property
    def corpus(self) -> Path:
        """The text as JSON lines."""
        self.say(f"collecting {self.sizes.corpus} MB of text")
        paths = text.files(text.places())
        source = text.repeated(self.sizes.corpus * text.MEGABYTE, lambda: text.documents(paths))
        return text.write_json_lines(self.folder / f"corpus-{self.sizes.corpus}.jsonl", source)

    def part(self, megabytes: int) -> Path:
        """Give the first documents of the corpus.

        Args:
            megabytes: How much.
        """
        source = text.repeated(megabytes * text.MEGABYTE, lambda: text.read_json_lines(self.corpus))
        return text.write_json_lines(self.folder / f"corpus-{megabytes}-of-{self.sizes.corpus}.jsonl", source)

    def raw(self, engine: str, corpus: Path, *, one_processor: bool = False, turn: int = 0) -> Raw:
        """Measure a library alone, in a process of its own; the same is measured once in each turn.

        Args:
            engine: One of data_prep_raw's.
            corpus: JSON lines.
            one_processor: On one processor.
            turn: Which time it is: what is compared with it may run between two of them, on a machine whose speed
                changes by the minute.
        """
        key = (engine, corpus, one_processor, turn)
        if key not in self._raws:
            self.say(f"{engine} alone on {corpus.name}")
            command = [
                sys.executable,
                "-m",
                "benchmarks.data_prep_raw",
                engine,
                self.tokenizer / "tokenizer.json",
                corpus,
            ]
            words = [*map(str, command), *(["--one-processor"] if one_processor else [])]
            self._raws[key] = Raw(**json.loads(run(words, os.environ, cwd=ROOT).output))
        return self._raws[key]

    def pretrain(self, engine: str, corpus: Path, backend: str = "processes") -> Prepared:
        """Prepare a corpus for pretraining; the same is done once.

        Args:
            engine: `hf` or `gigatoken`.
            corpus: JSON lines or Parquet.
            backend: `processes` or `ray`.
        """
        key = (engine, corpus, backend)
        if key not in self._prepared:
            self.say(f"data prep pretrain with {engine} and {backend} on {corpus.name}")
            name = f"pretrain-{engine}-{backend}-{corpus.stem}-{corpus.suffix[1:]}"
            blend = blend_of(self.folder / f"{name}.json", corpus)
            config = pretrain_config(blend, self.tokenizer, engine, backend)
            self._prepared[key] = prepare("pretrain", self.folder / name, config, workers=self.workers)
        return self._prepared[key]

    @cached_property
    def _raws(self) -> dict[tuple[str, Path, bool, int], Raw]:
        return {}

    @cached_property
    def _prepared(self) -> dict[tuple[str, Path, str], Prepared]:
        return {}

    def sketches(self) -> Iterator[tuple[str, str]]:
        """Give the curves of memory as lines of text, by their names."""
        for name, curve in self.curves.items():
            yield name, sketch(curve)
