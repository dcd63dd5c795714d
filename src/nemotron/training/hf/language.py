"""Pretraining and SFT: next-token prediction with `transformers`' Trainer."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer, TrainingArguments

from nemo_runspec.stage import StageResult
from nemotron.data_prep.packing import read_packed
from nemotron.data_prep.tokenizer import load_tokenizer
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings
from nemotron.training.hf.data import (
    IGNORED,
    Conversations,
    Windows,
    blend_files,
    collate,
    conversation_example,
    read_blend,
)
from nemotron.training.hf.identity import inputs_identity
from nemotron.training.hf.model import (
    build_model,
    count_parameters,
    in_bfloat16,
    load_model,
    prepare_process,
    save_model,
)
from nemotron.training.hf.run import History, Measure, ResumesExactly, TrainSettings, common_arguments, run_trainer
from nemotron.training.sizes import model_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch.utils.data import Dataset

    from nemo_runspec.stage import Stage
    from nemotron.data_prep.packing import Sample
    from nemotron.training.hf.data import Example

_EVALUATION_BATCH = 16


@dataclass(frozen=True, slots=True)
class Place:
    """A folder: what a stage before this one published."""

    path: str


@dataclass(frozen=True, slots=True)
class NewModel:
    """Which row of `nemotron.training.sizes.SIZES` to build."""

    size: str


@dataclass(frozen=True, slots=True)
class PretrainTraining(TrainSettings):
    """Training on a token stream, in sequences of `sequence_length` tokens."""

    sequence_length: int = 256

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        TrainSettings.__post_init__(self)
        check_positive(self, "train", "sequence_length")


@dataclass(frozen=True, slots=True)
class PretrainSettings:
    """The configuration of pretraining; `valid_windows` sequences of held-out text are measured at the end."""

    data: Place
    model: NewModel
    train: PretrainTraining
    valid_windows: int


@dataclass(frozen=True, slots=True)
class SftSettings:
    """The configuration of SFT; at most `valid_conversations` held-out ones are measured before and after."""

    data: Place
    model: Place
    train: TrainSettings
    valid_conversations: int


class LanguageTrainer(ResumesExactly, Trainer):
    """The library's trainer, with weights that come back from a checkpoint."""


def pretrain(stage: Stage) -> None:
    """Run pretraining; see `nemotron.training.hf.pretrain`."""
    settings = read_settings(stage.config, PretrainSettings)
    inputs = inputs_identity(settings.data.path, *blend_files(Path(settings.data.path) / "blend.json"))
    run_dir = stage.run_dir(f"{stage.world_size} processes", inputs)
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    prepare_process()
    train, data = settings.train, Path(settings.data.path)
    streams = read_blend(data / "blend.json", "train")
    windows = Windows(streams, train.sequence_length, train.steps * train.batch_size, train.seed)
    held_out = valid_windows(data, train.sequence_length, settings.valid_windows)
    tokenizer_folder = str(data / "tokenizer")
    model = build_model(model_size(settings.model.size), load_tokenizer(tokenizer_folder), train.seed)
    note(stage, f"{count_parameters(model):,} parameters in layers {model.config.hybrid_override_pattern}")
    history = _train(stage, train, model, windows, held_out, run_dir)
    curve = history.curve("loss")
    _publish(stage, run_dir, model, tokenizer_folder, history, ("loss", curve))


def sft(stage: Stage) -> None:
    """Run SFT; see `nemotron.training.hf.sft`."""
    settings = read_settings(stage.config, SftSettings)
    inputs = inputs_identity(settings.data.path, settings.model.path)
    run_dir = stage.run_dir(f"{stage.world_size} processes", inputs)
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    prepare_process()
    train, data = settings.train, Path(settings.data.path)
    samples = list(read_packed(data / "splits" / "train"))
    conversations = Conversations(samples, train.batch_size, train.steps * train.batch_size, train.seed)
    held_out = valid_conversations(data, settings.valid_conversations)
    model = load_model(settings.model.path)
    note(stage, f"{count_parameters(model):,} parameters, {len(samples)} conversations")
    history = _train(stage, train, model, conversations, held_out, run_dir)
    # What SFT is for shows on conversations that it has not seen; without any, on those that it has.
    curve = ("held-out loss", history.held_out()) if held_out else ("loss", history.curve("loss"))
    _publish(stage, run_dir, model, str(data / "tokenizer"), history, curve)


def valid_windows(data: Path, length: int, count: int) -> list[Example]:
    """Cut windows from the held-out text of a data preparation; none where it held nothing out.

    Args:
        data: Folder of the data preparation.
        length: Tokens in a window; a token file with fewer is left out.
        count: Most windows to give: from each token file its share, or all it has.
    """
    streams = read_blend(data / "blend.json", "valid")
    fitting = [stream for stream in streams if len(stream.tokens) >= length]
    if not fitting:
        return []
    windows = Windows(fitting, length, count, seed=0, repeat=False)
    return [windows[position] for position in range(len(windows))]


def valid_conversations(data: Path, count: int) -> list[Example]:
    """Give held-out conversations of a data preparation, sorted by length; none where it held nothing out.

    Args:
        data: Folder of the data preparation.
        count: Most conversations to give.
    """
    folder = data / "splits" / "valid"
    samples: Iterable[Sample] = read_packed(folder) if folder.is_dir() else ()
    chosen = sorted(itertools.islice(samples, count), key=lambda sample: len(sample.ids))
    return [conversation_example(sample) for sample in chosen]


def mean_loss(model: Any, examples: Sequence[Example]) -> float:  # noqa: ANN401 the library types it as Any
    """Measure the mean loss of the labelled tokens.

    Args:
        model: The model; it is left in the mode it was in.
        examples: What to measure on.
    """
    total, count = 0.0, 0
    training = model.training
    model.eval()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=in_bfloat16()):
        for start in range(0, len(examples), _EVALUATION_BATCH):
            batch = {
                key: value.to(model.device)
                for key, value in collate(examples[start : start + _EVALUATION_BATCH]).items()
            }
            labelled = int((batch["labels"][:, 1:] != IGNORED).sum())
            total += float(model(**batch).loss) * labelled
            count += labelled
    model.train(training)
    return total / count


def _train(
    stage: Stage,
    train: TrainSettings,
    model: Any,  # noqa: ANN401 the library types it as Any
    data: Dataset[Example],
    held_out: list[Example],
    run_dir: Path,
) -> History:
    arguments = TrainingArguments(
        **common_arguments(stage, train, run_dir / "checkpoints"),
        # The data set decides the order, so that batches of like length stay together.
        train_sampling_strategy="sequential",
        include_num_input_tokens_seen="non_padding",
        remove_unused_columns=False,
    )
    trainer = LanguageTrainer(model=model, args=arguments, train_dataset=data, data_collator=collate)
    measure = Measure("loss", "num_input_tokens_seen")
    return run_trainer(stage, trainer, train, measure, (lambda: mean_loss(model, held_out)) if held_out else None)


def _publish(
    stage: Stage,
    run_dir: Path,
    model: Any,  # noqa: ANN401 as above
    tokenizer_folder: str,
    history: History,
    curve: tuple[str, list[tuple[int, float]]],
) -> None:
    if stage.rank != 0:
        return
    folder = save_model(model, tokenizer_folder, run_dir / "model")
    metric, points = curve
    held_out = [value for _, value in history.held_out()]
    losses = history.curve("loss")
    details: dict[str, object] = {
        "parameters": count_parameters(model),
        "steps": len(history.entries),
        "loss_first": losses[0][1],
        "loss_last": losses[-1][1],
    }
    if held_out:
        details |= {"held_out_loss_first": held_out[0], "held_out_loss_last": held_out[-1]}
    result = StageResult(
        metric=metric,
        first=points[0][1],
        last=points[-1][1],
        tokens=int(history.values("num_input_tokens_seen")[-1]),
        seconds=history.seconds,
        curve=points,
        details=details,
    )
    stage.publish(run_dir, path=folder, type="model", metadata={"tokenizer": str(folder), **details}, result=result)
    # The model is published; what it would be resumed from is of no use any more.
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
