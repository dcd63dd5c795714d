"""Conversations -> packed Parquet with a loss mask, for each split."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import digest
from nemo_runspec.errors import ConfigError, DataError
from nemo_runspec.stage import StageResult
from nemotron.data_prep.blend import ALL, SPLITS, load_blend
from nemotron.data_prep.chat import ChatTemplate, template_text
from nemotron.data_prep.chats import OVERLONG, ChatOptions, ChatTask, make_chats
from nemotron.data_prep.corpus import corpus_identity, standard_library, written_blend
from nemotron.data_prep.functions import functions_by_split
from nemotron.data_prep.options import SplitOptions, TokenizerSettings, check_choice
from nemotron.data_prep.packing import longest_sequence, write_metadata
from nemotron.data_prep.packs import (
    PACKED_FILE,
    Encoded,
    PackOptions,
    PackTask,
    choose_sequences,
    make_pack,
    metadata_of,
    pack_tasks,
)
from nemotron.data_prep.paths import local_path
from nemotron.data_prep.preparing import (
    Preparation,
    left_out,
    place_file,
    reasons,
    report,
    sample_documents,
    total_counts,
    write_skipped,
)
from nemotron.data_prep.watching import Goal
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.blend import Blend, DataSet
    from nemotron.data_prep.corpus import Split
    from nemotron.data_prep.encoding import EngineSpec
    from nemotron.data_prep.functions import Function
    from nemotron.data_prep.shards import Made
    from nemotron.data_prep.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SplitOptions):
    """The configuration; `config/data_prep/tiny.yaml` explains each entry."""

    blend: str | None
    tokenizer: TokenizerSettings
    chat_template: str | None = None
    used_in: str | None = None
    pack_size: int
    max_tokens: int
    overlong: str = "drop"
    pad_seq_to_mult: int = 1

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        self.check()
        check_positive(self, "", "pack_size", "max_tokens", "pad_seq_to_mult")
        check_choice("overlong", self.overlong, OVERLONG)
        if self.tokenizer.path is None:
            message = "tokenizer.path is null"
            raise ConfigError(message, remedy="Give the folder of the model's tokenizer, or a Hub id.")
        longest = longest_sequence(self.pack_size, self.pad_seq_to_mult)
        if self.max_tokens > longest:
            message = f"max_tokens is {self.max_tokens}, and the longest that fits into a packed row is {longest}"
            raise ConfigError(message, remedy="Raise pack_size, or lower max_tokens.")


@dataclass(frozen=True, slots=True)
class _SetPlan:
    """What is to be made of one data set: its shards, and the split that they are for (None: decided by record)."""

    data_set: DataSet
    split: str | None
    tasks: tuple[ChatTask, ...]


def prepare(stage: Stage) -> None:
    """Run the stage.

    Args:
        stage: What the script was started with.
    """
    settings = read_settings(stage.config, Settings)
    with Preparation(stage, settings) as preparation:
        _prepare(preparation, settings)


def _prepare(preparation: Preparation, settings: Settings) -> None:
    begin = time.monotonic()
    stage = preparation.stage
    tokenizer = preparation.tokenizer(settings.tokenizer, lambda: iter(()))
    template = template_text(tokenizer, settings.chat_template)
    ChatTemplate(tokenizer, template)
    note(stage, f"reading {settings.blend or 'the standard library'}")
    blend = load_blend(local_path(settings.blend)) if settings.blend else _functions_blend(preparation)
    encoder = preparation.encoder(tokenizer, settings.tokenizer.engine, sample_documents(blend, _text))
    plan = _plan(preparation, settings, blend, (tokenizer, encoder, template))
    tasks = [task for planned in plan for task in planned.tasks]
    made = dict(zip(tasks, preparation.make(make_chats, tasks, preparation.reading(blend)), strict=True))
    counts = total_counts(list(made.values()))
    packs = _packs(preparation, settings, plan, made, tokenizer)
    packed = _make_packs(preparation, packs)
    run_dir = stage.run_dir(digest([one.receipt.key for one in packed.values()]), tokenizer.files_digest())
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    data = run_dir / "data"
    # A run that was killed may have left files of a larger set.
    shutil.rmtree(data, ignore_errors=True)
    tokenizer.copy_to(data / "tokenizer")
    write_skipped(stage, data, ((task.piece, one) for task, one in made.items()))
    details = _publish_splits(preparation, data, packs, packed) | left_out(counts)
    in_packs = total_counts(list(packed.values()))
    rows, tokens = in_packs["rows"], in_packs["tokens"]
    fill = tokens / (rows * settings.pack_size)
    report(stage, counts, {name: in_packs[name] for name in ("sequences", "tokens", "rows")})
    note(stage, f"  rows of {settings.pack_size} tokens are {fill:.2%} full")
    note(stage, f"  in {data}")
    details |= {"fill": round(fill, 5), "vocabulary": tokenizer.vocabulary}
    metadata = {split: str(data / "splits" / split) for split in SPLITS} | {"tokenizer": str(data / "tokenizer")}
    result = StageResult(tokens=tokens, seconds=time.monotonic() - begin, details=details)
    stage.publish(run_dir, path=data, type="sft-data", metadata={**metadata, **details}, result=result)


def _functions_blend(preparation: Preparation) -> Blend:
    """Give the standard library's functions as conversations: signature and docstring, answered by the source."""
    splits: tuple[Split, ...] = ("train", "valid")

    def records() -> Iterator[tuple[Split, Mapping[str, object]]]:
        functions, _ = functions_by_split(preparation.stage)
        for split in splits:
            for function in functions[split]:
                yield split, {"messages": conversation(function)}

    identity = f"conversations {corpus_identity(standard_library())}"
    return written_blend(preparation.output, identity, splits, records())


def conversation(function: Function) -> list[dict[str, str]]:
    """Give a function as a conversation: its signature and docstring, answered by its source."""
    return [{"role": "user", "content": function.prompt}, {"role": "assistant", "content": function.source}]


def _plan(
    preparation: Preparation, settings: Settings, blend: Blend, encoding: tuple[TextTokenizer, EngineSpec, str]
) -> list[_SetPlan]:
    tokenizer, encoder, template = encoding
    plan = []
    for name, data_sets in blend.splits.items():
        split = None if name == ALL else name
        for data_set in data_sets:
            options = ChatOptions(
                messages=data_set.messages,
                tools=data_set.tools,
                used_in=data_set.used_in,
                used_in_filter=settings.used_in,
                template=template,
                split=split,
                holdout=settings.holdout(),
                max_tokens=settings.max_tokens,
                overlong=settings.overlong,
                skip_errors=settings.on_error == "skip",
                limit=settings.sample,
            )
            pieces = preparation.pieces(data_set)
            store = str(preparation.store.root)
            named = tuple(sorted(tokenizer.named_tokens.items()))
            tasks = (ChatTask(piece, encoder, str(tokenizer.folder), named, options, store) for piece in pieces)
            plan.append(_SetPlan(data_set, split, tuple(tasks)))
    return plan


@dataclass(frozen=True, slots=True)
class _Part:
    """A data set's share of a split: its shards with the split that they have it under, and how many sequences."""

    weight: float
    shards: tuple[tuple[str, str], ...]
    sequences: int


def _packs(
    preparation: Preparation,
    settings: Settings,
    plan: Sequence[_SetPlan],
    made: Mapping[ChatTask, Made],
    tokenizer: TextTokenizer,
) -> dict[str, list[PackTask]]:
    """Decide for each split which sequences go into which row of which file."""
    packs: dict[str, list[PackTask]] = {}
    for split in SPLITS:
        parts = [part for planned in plan for part in _parts(planned, made, split)]
        if not parts:
            continue
        shards = tuple(shard for part in parts for shard in part.shards)
        encoded = Encoded(str(preparation.store.root), shards, settings.pad_seq_to_mult, tokenizer.end_of_text)
        # What is held out is measured as it is; only what is learnt is mixed by weight.
        weights = [part.weight if split == "train" else 1.0 for part in parts]
        numbers = choose_sequences([part.sequences for part in parts], weights, settings.seed)
        packs[split] = list(pack_tasks(encoded, numbers, PackOptions(settings.pack_size, settings.seed)))
    if "train" not in packs:
        message = "no conversation is left to train on"
        told = ", ".join(reasons(total_counts(list(made.values()))))
        remedy = f"Of the records: {told or 'all are empty'}. Correct what this says, or add conversations."
        raise DataError(message, where=plan[0].data_set.where, remedy=remedy)
    return packs


def _parts(planned: _SetPlan, made: Mapping[ChatTask, Made], split: str) -> Iterator[_Part]:
    """Give what a data set adds to a split, if it adds something."""
    receipts = [made[task].receipt for task in planned.tasks]
    totals = {one: sum(receipt.counts.get(f"{one}_sequences", 0) for receipt in receipts) for one in SPLITS}
    found = split
    if planned.split is None and not totals["train"]:
        # A set of a few conversations may be held out as a whole; there has to be something to learn.
        kept = "valid" if totals["valid"] else "test"
        found = {"train": kept, kept: "train"}.get(split, split)
    if totals[found]:
        shards = tuple((one.key, found) for one in receipts if one.counts.get(f"{found}_sequences"))
        yield _Part(planned.data_set.weight, shards, totals[found])


def _make_packs(preparation: Preparation, packs: Mapping[str, Sequence[PackTask]]) -> dict[PackTask, Made]:
    note(preparation.stage, "packing")
    tasks = [task for tasks in packs.values() for task in tasks]
    total = sum(int(task.encoded.open().lengths[task.bins().order].sum()) for task in tasks)
    goal = Goal(total, in_tokens=True, things="packed files")
    return dict(zip(tasks, preparation.make(make_pack, tasks, goal), strict=True))


def _publish_splits(
    preparation: Preparation, data: Path, packs: Mapping[str, Sequence[PackTask]], made: Mapping[PackTask, Made]
) -> dict[str, object]:
    """Lay the packed files of each split into its folder, and give their rows and sequences."""
    details: dict[str, object] = {}
    for split in SPLITS:
        tasks = packs.get(split, ())
        for name in ("rows", "sequences"):
            details[f"{split}_{name}"] = sum(made[task].receipt.counts[name] for task in tasks)
        if not tasks:
            continue
        folder = data / "splits" / split
        folder.mkdir(parents=True)
        for number, task in enumerate(tasks):
            place_file(preparation.store.folder(made[task].receipt.key) / PACKED_FILE, folder / f"{number:06d}.parquet")
        write_metadata(folder / "metadata.json", [metadata_of(task) for task in tasks])
    return details


def _text(data_set: DataSet, values: dict[str, object]) -> str | None:
    """Give what a conversation says, for the check of the engine."""
    turns = values.get(data_set.messages)
    texts = [turn.get("content") for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    return "\n".join(text for text in texts if isinstance(text, str)) or None
