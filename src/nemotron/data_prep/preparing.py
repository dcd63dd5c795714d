"""What the preparations share: the tokenizer and its engine, the pieces of the input, and the making of shards."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from collections import Counter
from contextlib import ExitStack, nullcontext
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, Self, TypeVar

from nemo_runspec.stage import human_count
from nemotron.data_prep.encoding import EngineSpec, choose_engine, load_encoder
from nemotron.data_prep.encoding.definition import forget_definition
from nemotron.data_prep.encoding.engines import GIGATOKEN, HF
from nemotron.data_prep.paths import local_path
from nemotron.data_prep.records import PieceReader
from nemotron.data_prep.shards import ShardStore, is_ray, make_all, open_crew, preload, run_apart
from nemotron.data_prep.sources import BadRecord, bad_record_errors, cut, origin
from nemotron.data_prep.tokenizer import TOKENIZER_FILE, load_tokenizer, train_tokenizer
from nemotron.data_prep.watching import Goal, WorkWatch
from nemotron.notes import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.blend import Blend, DataSet
    from nemotron.data_prep.encoding import Ragged
    from nemotron.data_prep.options import TokenizerSettings, WorkOptions
    from nemotron.data_prep.shards import Busy, Crew, Made
    from nemotron.data_prep.shards.ray_crew import RayCrew
    from nemotron.data_prep.sources import Piece, SourceFile, Span
    from nemotron.data_prep.tokenizer import TextTokenizer

T = TypeVar("T")

# A tokenizer of a few thousand tokens learns nothing from more text than this.
_TOKENIZER_BYTES = 12_000_000
_CHECKED_DOCUMENTS = 200
_CHECKED_BYTES = 1_000_000
_LISTED = 1000
# How a count of a receipt is told, in this order; a plain number stands first.
_REASONS = {
    "truncated": "cut to max_tokens",
    "empty": "empty",
    "too_short": "shorter than min_chars",
    "too_long": "longer than max_tokens",
    "all_masked": "without anything to learn",
    "not_used": "for another use (used_in)",
    "skipped": "not usable",
}


class Preparation:
    """A stage's work on shards.

    Args:
        stage: What the script was started with.
        options: How the work is done.

    Raises:
        ConfigError: `output_dir` or `artifact.name` is missing or wrong.
    """

    def __init__(self, stage: Stage, options: WorkOptions) -> None:
        """Look at where the output goes."""
        self.stage = stage
        self.output = stage.output_dir()
        self.store = ShardStore(self.output / "shards")
        self._options = options
        # Ray is started once, whatever is made with it; processes are cheap to start.
        self._open = ExitStack()
        self._ray: Callable[[], RayCrew] | None = None
        self._rays: RayCrew | None = None
        self._forks = not is_ray(options.backend) and options.workers != 1
        self._preloads = False

    def __enter__(self) -> Self:
        """Begin to join Ray, if it does the work.

        Raises:
            ConfigError: Ray is not installed.
        """
        if is_ray(self._options.backend):
            from nemotron.data_prep.shards.ray_crew import open_ray_crew  # noqa: PLC0415 - only who asks for Ray pays for it

            self._ray = self._open.enter_context(open_ray_crew(self._options.workers))
        return self

    def __exit__(self, *_: object) -> None:
        """Leave Ray, if it was joined."""
        self._open.close()

    def pieces(self, data_set: DataSet) -> tuple[Piece, ...]:
        """Cut a data set into the inputs of its shards; of a sample there is one."""
        pieces = cut(data_set.files, self._options.shard_bytes())
        if self._options.sample is None:
            return pieces
        return (tuple(span for piece in pieces for span in piece),)

    def tokenizer(self, settings: TokenizerSettings, texts: Callable[[], Iterator[str]]) -> TextTokenizer:
        """Load the tokenizer that the configuration names, or train one.

        Args:
            settings: Which.
            texts: Gives what a trained one learns from, the same each time.

        Raises:
            DataError: There is no such tokenizer, or it cannot be used.
        """
        if settings.path is not None:
            file = local_path(settings.path) / TOKENIZER_FILE
            if os.path.isfile(file):  # noqa: PTH113 - Path.is_file raises where a Hub id is too long for a path
                self._preload(file, settings.engine)
            loaded = load_tokenizer(settings.path)
            # What the Hub's client keeps is in a home folder, which other nodes may not have.
            return loaded if loaded.revision is None else loaded.copied_below(self.output / "tokenizers")
        sample = sha256(f"{settings.vocab_size}\0".encode())
        for text in texts():
            sample.update(text.encode() + b"\0")
        folder = self.output / "tokenizers" / f"trained-{sample.hexdigest()[:16]}"
        if not (folder / "tokenizer_config.json").is_file():
            note(self.stage, "training the tokenizer")
            train_tokenizer(texts(), settings.vocab_size, folder)
        return load_tokenizer(str(folder))

    def encoder(self, tokenizer: TextTokenizer, wanted: str, samples: Sequence[str]) -> EngineSpec:
        """Choose what encodes, and say so.

        Args:
            tokenizer: The tokenizer.
            wanted: `auto`, `hf` or `gigatoken`.
            samples: Documents on which two engines have to agree.

        Raises:
            ConfigError: The wanted engine cannot be used.
        """
        self._preload(tokenizer.json_file, wanted)
        # Two engines are compared: this process loads the one while the workers' parent loads the other.
        load_fast = _ApartEncoder if self._forks else load_encoder
        spec, reason = choose_engine(tokenizer.json_file, wanted, samples, load_fast=load_fast)
        note(self.stage, reason)
        forget_definition()
        return spec

    def _preload(self, tokenizer_json: Path, wanted: str) -> None:
        """Let another process load what will probably encode, while this one goes on."""
        if self._forks and not self._preloads:
            self._preloads = True
            preload(tokenizer_json, GIGATOKEN if wanted != HF and importlib.util.find_spec(GIGATOKEN) else HF)

    def reading(self, blend: Blend) -> Goal:
        """Give what there is to read; of a sample nobody knows where in its files it ends."""
        return Goal(input_bytes(blend) if self._options.sample is None else None)

    def make(self, work: Callable[[T], Made | Busy], tasks: Sequence[T], goal: Goal) -> list[Made]:
        """Make the shard of each task, showing how far it is.

        Args:
            work: A module's function that makes one.
            tasks: What to make.
            goal: What that comes to.

        Raises:
            DataError: A record or a file cannot be used.
        """
        watch = WorkWatch(self.stage, goal)
        with self._crew(len(tasks)) as crew:
            made = make_all(crew, work, tasks, watch)
        watch.finish()
        self.store.sweep()
        return made

    def _crew(self, tasks: int) -> AbstractContextManager[Crew]:
        if self._ray is not None:
            if self._rays is None:
                self._rays = self._ray()
                nodes = f"{self._rays.nodes} {'node' if self._rays.nodes == 1 else 'nodes'}"
                note(self.stage, f"Ray does the work: {self._rays.size} tasks at one time, {nodes}")
            return nullcontext(self._rays)
        # A single task needs no process of its own.
        return open_crew(1 if tasks <= 1 else self._options.workers)


class _ApartEncoder:
    """An encoder that is in a worker's memory, not in this process's."""

    def __init__(self, spec: EngineSpec) -> None:
        self.name = spec.engine
        self._spec = spec

    def encode(self, texts: Sequence[str]) -> Ragged:
        return run_apart(_encode, (self._spec, texts))

    def encode_segments(self, items: Sequence[Sequence[str | int]]) -> Ragged:
        return run_apart(_encode_segments, (self._spec, items))


def _encode(task: tuple[EngineSpec, Sequence[str]]) -> Ragged:
    return load_encoder(task[0]).encode(task[1])


def _encode_segments(task: tuple[EngineSpec, Sequence[Sequence[str | int]]]) -> Ragged:
    return load_encoder(task[0]).encode_segments(task[1])


def input_bytes(data_sets: Iterable[DataSet]) -> int:
    """Give the size of all files of data sets, as stored."""
    return sum(file.size for one in data_sets for file in one.files)


def sample_documents(blend: Blend, choose: Callable[[DataSet, dict[str, object]], str | None]) -> list[str]:
    """Give documents from the beginning, the middle and the end of each data set, for a check of the engine.

    Args:
        blend: The data sets.
        choose: Gives the text of a record, or None.
    """
    texts: list[str] = []
    sets = list(blend)
    for data_set in sets:
        pieces = cut(data_set.files, None)
        if not pieces:
            continue
        chosen = {0, len(pieces) // 2, len(pieces) - 1}
        share = max(1, _CHECKED_DOCUMENTS // (len(sets) * len(chosen)))
        for number in sorted(chosen):
            found = (choose(data_set, values) for values in _records(pieces[number], share))
            texts += islice((text for text in found if text), share)
    size = 0
    kept = []
    for text in texts:
        size += len(text)
        kept.append(text)
        if size > _CHECKED_BYTES:
            break
    return kept


def spread_texts(
    data_sets: Sequence[DataSet], choose: Callable[[DataSet, dict[str, object]], str | None]
) -> Iterator[str]:
    """Give texts spread evenly over data sets, as many as a small tokenizer needs.

    Args:
        data_sets: Where to take them from.
        choose: Gives the text of a record, or None.
    """
    step = max(1, round(input_bytes(data_sets) / _TOKENIZER_BYTES))
    number = 0
    for data_set in data_sets:
        for piece in cut(data_set.files, None):
            for values in _records(piece, None):
                text = choose(data_set, values)
                if text:
                    if number % step == 0:
                        yield text
                    number += 1


def _records(piece: Piece, limit: int | None) -> Iterator[dict[str, object]]:
    for records in PieceReader(piece, None, limit, skip_errors=True):
        yield from records.batch.values


def place_file(source: Path, target: Path) -> None:
    """Give a file of a shard another name, without copying where the file system permits it."""
    # What is there may be another shard's file under a second name: it is not to be written into.
    target.unlink(missing_ok=True)
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def write_skipped(stage: Stage, data: Path, made: Iterable[tuple[Piece, Made]]) -> None:
    """List the records that were skipped, with file and line, in `skipped.jsonl`; no file where there are none.

    Args:
        stage: Whose progress to print.
        data: The folder of what is published.
        made: The shards, each with its input.
    """
    problems = ((piece[one.span], one) for piece, shard in made for one in shard.receipt.problems)
    by_file: dict[SourceFile, list[BadRecord]] = {}
    # A receipt counts from where the content is found: the shard may have been made of another file's.
    origins: dict[Span, int] = {}
    for span, problem in islice(problems, _LISTED):
        if span not in origins:
            origins[span] = origin(span)
        bad = BadRecord(origins[span] + problem.number, problem.message, "")
        by_file.setdefault(span.file, []).append(bad)
    if not by_file:
        return
    data.mkdir(parents=True, exist_ok=True)
    path = data / "skipped.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for file, records in by_file.items():
            for error in bad_record_errors(file, sorted(records, key=lambda one: one.number)):
                stream.write(json.dumps({"where": str(error.where), "message": error.message}) + "\n")
    note(stage, f"what is not usable is listed in {path}")


def total_counts(made: Sequence[Made]) -> Counter[str]:
    """Add up what shards hold and what was left out."""
    return sum((Counter(one.receipt.counts) for one in made), Counter())


def left_out(counts: Mapping[str, int]) -> dict[str, int]:
    """Give why records were left out or cut, with how many."""
    known = {name: counts[name] for name in _REASONS if counts.get(name)}
    return known | {name: counts[name] for name in sorted(counts) if name.startswith("dropped: ") and counts[name]}


def report(stage: Stage, counts: Mapping[str, int], made: Mapping[str, int]) -> None:
    """Say what a preparation came to.

    Args:
        stage: Whose.
        counts: The counts of all shards.
        made: What was made, by its name, in the order to tell it.
    """
    parts = [f"{human_count(count)} {name}" for name, count in made.items()]
    note(stage, f"{human_count(counts.get('records', 0))} records -> {', '.join(parts)}")
    for line in reasons(counts):
        note(stage, f"  {line}")


def reasons(counts: Mapping[str, int]) -> list[str]:
    """Give in words why records were left out or cut, with how many."""
    return [f"{count} {_REASONS.get(name, name)}" for name, count in left_out(counts).items()]
