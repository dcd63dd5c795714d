"""Documents -> a tokenizer, Megatron token files for each split, and the blend that names them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import digest
from nemo_runspec.errors import DataError
from nemo_runspec.stage import StageResult
from nemotron.data_prep.binidx import token_dtype
from nemotron.data_prep.blend import ALL, SPLITS, load_blend
from nemotron.data_prep.corpus import standard_library_blend
from nemotron.data_prep.documents import DocumentOptions, DocumentTask, make_documents
from nemotron.data_prep.megatron_blend import BlendPart, Prefix, compose, write_blend
from nemotron.data_prep.options import SplitOptions, TokenizerSettings, check_given
from nemotron.data_prep.paths import local_path
from nemotron.data_prep.preparing import (
    Preparation,
    left_out,
    report,
    sample_documents,
    spread_texts,
    total_counts,
    write_skipped,
)
from nemotron.notes import note
from nemotron.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.blend import Blend, DataSet
    from nemotron.data_prep.encoding import EngineSpec
    from nemotron.data_prep.holdout import Holdout
    from nemotron.data_prep.shards import Made
    from nemotron.data_prep.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(SplitOptions):
    """The configuration; `config/data_prep/tiny.yaml` explains each entry."""

    blend: str | None
    tokenizer: TokenizerSettings
    max_tokens: int | None = None
    min_chars: int | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        self.check()
        check_given(self, "max_tokens", "min_chars")


@dataclass(frozen=True, slots=True)
class _SetPlan:
    """What is to be made of one data set: its shards, and the split that they are for (None: decided by document)."""

    data_set: DataSet
    split: str | None
    tasks: tuple[DocumentTask, ...]


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
    note(stage, f"reading {settings.blend or 'the standard library'}")
    blend = load_blend(local_path(settings.blend)) if settings.blend else standard_library_blend(preparation.output)
    tokenizer = preparation.tokenizer(settings.tokenizer, lambda: _texts_to_learn(blend, settings.holdout()))
    encoder = preparation.encoder(tokenizer, settings.tokenizer.engine, sample_documents(blend, _text))
    plan = _plan(preparation, settings, blend, tokenizer, encoder)
    tasks = [task for planned in plan for task in planned.tasks]
    made = dict(zip(tasks, preparation.make(make_documents, tasks, preparation.reading(blend)), strict=True))
    parts = [_part(preparation, planned, [made[task] for task in planned.tasks]) for planned in plan]
    if not any(part.splits["train"] for part in parts):
        message = "no document is left to train on"
        raise DataError(message, remedy="Add documents to the data sets of 'train' in the blend.")
    content = compose(parts)
    run_dir = stage.run_dir(digest(content), tokenizer.files_digest())
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    data = run_dir / "data"
    tokenizer.copy_to(data / "tokenizer")
    write_skipped(stage, data, ((task.piece, one) for task, one in made.items()))
    write_blend(data / "blend.json", content)
    counts = total_counts(list(made.values()))
    by_split = {f"{split}_tokens": counts[f"{split}_tokens"] for split in SPLITS}
    documents = sum(counts[f"{split}_documents"] for split in SPLITS)
    report(stage, counts, {"documents": documents, "tokens": counts["tokens"], "shards": len(made)})
    note(stage, f"  in {data}")
    details = {"documents": documents, **by_split, **left_out(counts), "vocabulary": tokenizer.vocabulary}
    metadata = {"blend": str(data / "blend.json"), "tokenizer": str(data / "tokenizer"), **details}
    result = StageResult(tokens=counts["tokens"], seconds=time.monotonic() - begin, details=details)
    stage.publish(run_dir, path=data, type="pretrain-data", metadata=metadata, result=result)


def _plan(
    preparation: Preparation, settings: Settings, blend: Blend, tokenizer: TextTokenizer, encoder: EngineSpec
) -> list[_SetPlan]:
    plan = []
    for name, data_sets in blend.splits.items():
        split = None if name == ALL else name
        for data_set in data_sets:
            options = DocumentOptions(
                text_field=data_set.text_field,
                split=split,
                holdout=settings.holdout(),
                end_of_text=tokenizer.end_of_text,
                dtype=token_dtype(tokenizer.vocabulary).str,
                max_tokens=settings.max_tokens,
                min_chars=settings.min_chars,
                skip_errors=settings.on_error == "skip",
                limit=settings.sample,
            )
            pieces = preparation.pieces(data_set)
            tasks = (DocumentTask(piece, encoder, options, str(preparation.store.root)) for piece in pieces)
            plan.append(_SetPlan(data_set, split, tuple(tasks)))
    return plan


def _part(preparation: Preparation, planned: _SetPlan, made: Sequence[Made]) -> BlendPart:
    """Give a data set's token files by split."""
    splits: dict[str, list[Prefix]] = {split: [] for split in SPLITS}
    for one in made:
        folder = preparation.store.folder(one.receipt.key)
        for split in SPLITS:
            tokens = one.receipt.counts.get(f"{split}_tokens", 0)
            if tokens:
                splits[split].append(Prefix(folder / split, tokens))
    if planned.split is None and not splits["train"]:
        # A set of a few documents may be held out as a whole; there has to be something to learn.
        kept = "valid" if splits["valid"] else "test"
        splits |= {"train": splits[kept], kept: []}
    if not any(splits.values()):
        message = f"all texts of the data set '{planned.data_set.name}' are empty or left out"
        raise DataError(message, where=planned.data_set.where, remedy="Add documents, or take it out of the blend.")
    return BlendPart(planned.data_set.weight, splits)


def _text(data_set: DataSet, values: dict[str, object]) -> str | None:
    text = values.get(data_set.text_field)
    return text if isinstance(text, str) else None


def _texts_to_learn(blend: Blend, holdout: Holdout) -> Iterator[str]:
    """Give what a tokenizer is trained on: nothing that is held out."""
    trained = {name: sets for name, sets in blend.splits.items() if name in {ALL, "train"}}
    for name, data_sets in trained.items():
        for text in spread_texts(data_sets, _text):
            if name != ALL or holdout.split_of(text) == "train":
                yield text
