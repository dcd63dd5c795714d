"""One training run of a library's trainer: where it resumes, how it stops, what it reports."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed
from transformers import PrinterCallback, ProgressCallback, TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from nemo_runspec.errors import ConfigError, InterruptedJobError, JobFailedError
from nemotron.notes import note
from nemotron.settings import check_positive
from nemotron.training.hf.model import in_bfloat16, load_model, on_gpu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from transformers import Trainer, TrainerControl, TrainingArguments

    from nemo_runspec.stage import Progress, Stage

# Written into a checkpoint when every rank has written its part. A folder without it is not resumed from.
COMPLETE = "complete.json"
# Loss and reward of single steps are noisy; lines and curves show the mean of this many.
WINDOW = 10
_HELD_OUT = "held_out_loss"
_BEFORE = "held_out_loss_before"


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What every kind of training has.

    Args:
        steps: Optimizer steps.
        batch_size: Examples in a step, over all processes.
        learning_rate: The highest; it rises during `warmup_steps` and then falls to a tenth.
        warmup_steps: Steps until it is reached.
        weight_decay: As AdamW has it.
        save_every: Steps from one checkpoint to the next.
        seed: Decides weights and order.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    save_every: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "train", "steps", "batch_size", "learning_rate", "save_every")

    def per_process(self, processes: int) -> int:
        """Give the examples of one process in a step.

        Raises:
            ConfigError: The batch cannot be shared out.
        """
        if self.batch_size % processes:
            message = f"train.batch_size is {self.batch_size}, which {processes} processes cannot share"
            raise ConfigError(message, remedy=f"Take a multiple of {processes}, or another run.env.nproc_per_node.")
        return self.batch_size // processes


@dataclass(frozen=True, slots=True)
class History:
    """What a run has logged, over all its sittings.

    Args:
        entries: One dictionary a step, in order: `step`, `seconds`, and what the trainer measured.
    """

    entries: Sequence[dict[str, float]]

    def values(self, key: str) -> list[float]:
        """Give one measure of every step."""
        return [entry[key] for entry in self.entries]

    def curve(self, key: str) -> list[tuple[int, float]]:
        """Give the first value, and then the mean of each `WINDOW` of steps."""
        values = self.values(key)
        steps = [int(entry["step"]) for entry in self.entries]
        ends = [*range(WINDOW, len(values), WINDOW), len(values)]
        means = [(steps[end - 1], _mean(values[max(0, end - WINDOW) : end])) for end in ends]
        return means if steps[0] == means[0][0] else [(steps[0], values[0]), *means]

    def held_out(self) -> list[tuple[int, float]]:
        """Give the held-out loss as (step, value), from before the first step on; empty where none was measured."""
        start = [(0, entry[_BEFORE]) for entry in self.entries[:1] if _BEFORE in entry]
        return start + [(int(entry["step"]), entry[_HELD_OUT]) for entry in self.entries if _HELD_OUT in entry]

    @property
    def seconds(self) -> float:
        """Seconds trained."""
        return self.entries[-1]["seconds"]


@dataclass(frozen=True, slots=True)
class Measure:
    """Which entries of a trainer's logs matter.

    Args:
        value: What the training is about: `loss` or `reward`. It is shown beside the step.
        tokens: The tokens since the beginning of the run.
    """

    value: str
    tokens: str


def common_arguments(stage: Stage, train: TrainSettings, checkpoints: Path) -> dict[str, Any]:
    """Give the trainer arguments that all kinds of training share.

    Args:
        stage: Whose processes share the batch.
        train: The settings.
        checkpoints: Where checkpoints go.
    """
    gpu = on_gpu()
    return {
        "output_dir": str(checkpoints),
        "max_steps": train.steps,
        "per_device_train_batch_size": train.per_process(stage.world_size),
        "learning_rate": train.learning_rate,
        "warmup_steps": train.warmup_steps,
        "lr_scheduler_type": "cosine_with_min_lr",
        "lr_scheduler_kwargs": {"min_lr_rate": 0.1},
        "weight_decay": train.weight_decay,
        "adam_beta2": 0.95,
        "max_grad_norm": 1.0,
        "seed": train.seed,
        "use_cpu": not gpu,
        "bf16": in_bfloat16(),
        # Named without torchrun, a backend would be taken for a process group that is there already.
        "ddp_backend": "gloo" if "LOCAL_RANK" in os.environ and not gpu else None,
        # The experts of a layer are one tensor, so all parameters have a gradient even when an expert sees no token.
        "ddp_find_unused_parameters": False,
        "gradient_checkpointing": False,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": train.save_every,
        # The one before the newest stays until the newest is complete.
        "save_total_limit": 2,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": gpu,
    }


def run_trainer(
    stage: Stage, trainer: Trainer, train: TrainSettings, measure: Measure, held_out: Callable[[], float] | None = None
) -> History:
    """Train to the end, from the last complete checkpoint if there is one.

    Args:
        stage: Whose progress to print.
        trainer: A trainer made with `common_arguments`.
        train: The settings.
        measure: What the trainer logs.
        held_out: Measures the loss on held-out data; it is called before the first step and with every checkpoint.

    Returns:
        What was logged at every step.

    Raises:
        JobFailedError: A loss, the reward or the gradient is no longer a finite number.
        InterruptedJobError: SIGINT or SIGTERM came; a checkpoint of the last step was written.
    """
    checkpoints = Path(str(trainer.args.output_dir))
    if stage.rank == 0:
        remove_incomplete(checkpoints)
    _wait_for_all()
    last = last_complete(checkpoints)
    start = _step(last) if last is not None else 0
    if last is not None and start >= train.steps:
        # The run ended between its last checkpoint and its publication. `train` would take one step too many.
        note(stage, f"all {start} steps are done: taking the last checkpoint")
        _load_weights(trainer.model, str(last))
        return _history(TrainerState.load_from_json(str(last / TRAINER_STATE_NAME)), measure)
    if last is not None:
        note(stage, f"resuming from step {start}")
    for unwanted in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(unwanted)
    watch = _Watch(stage, stage.progress(train.steps, start=start), measure, held_out)
    trainer.add_callback(watch)
    with _Signals(watch):
        trainer.train(resume_from_checkpoint=str(last) if last is not None else None)
    if trainer.state.global_step < train.steps:
        message = f"stopped at step {trainer.state.global_step} of {train.steps}; its checkpoint is kept"
        raise InterruptedJobError(message, remedy="Run the same command again to go on from there.")
    return _history(trainer.state, measure)


class ResumesExactly:
    """Goes before a `transformers` trainer as a base class, and loads a checkpoint's weights as `from_pretrained` does.

    The trainer hands a checkpoint's tensors to `load_state_dict` under the names that they have on disk. Nemotron-H's
    names on disk are not the module's own (each expert has a tensor of its own there, for one), so nothing would be
    loaded, without an error, and the training would go on from random weights.
    """

    model: Any

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401 the library types it as Any
        _load_weights(self.model if model is None else model, resume_from_checkpoint)


def remove_incomplete(checkpoints: Path) -> None:
    """Remove the checkpoints that were being written or deleted when a run ended.

    Args:
        checkpoints: Folder of the run's checkpoints.
    """
    for folder in checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*"):
        if not (folder / COMPLETE).is_file():
            shutil.rmtree(folder)


def last_complete(checkpoints: Path) -> Path | None:
    """Find the newest checkpoint that was written to its end.

    Args:
        checkpoints: Folder of the run's checkpoints.
    """
    found = [marker.parent for marker in checkpoints.glob(f"{PREFIX_CHECKPOINT_DIR}-*/{COMPLETE}")]
    return max(found, key=_step, default=None)


def _load_weights(model: Any, checkpoint: str) -> None:  # noqa: ANN401 the library types it as Any
    model.load_state_dict(load_model(checkpoint).state_dict())


def _history(state: TrainerState, measure: Measure) -> History:
    return History([entry for entry in state.log_history if measure.value in entry])


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _is_last(state: TrainerState) -> bool:
    return bool(state.global_step >= state.max_steps)


def _wait_for_all() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


class _Watch(TrainerCallback):
    """Prints progress, measures on held-out data, marks checkpoints as complete, and stops when asked to."""

    def __init__(
        self, stage: Stage, progress: Progress, measure: Measure, held_out: Callable[[], float] | None
    ) -> None:
        self.stopping = False
        self._stage = stage
        self._progress = progress
        self._measure = measure
        # The other ranks wait for the first one at their next step.
        self._held_out = held_out if stage.rank == 0 else None
        self._before: float | None = None
        self._earlier = 0.0
        self._begin = 0.0

    def on_train_begin(
        self,
        args: TrainingArguments,  # noqa: ARG002 the library's signature
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 the library's signature
        **_others: object,
    ) -> None:
        if state.log_history:
            self._earlier = state.log_history[-1]["seconds"]
        elif self._held_out is not None:
            self._before = self._held_out()
            note(self._stage, f"held-out loss before training: {self._before:.3f}")
        self._begin = time.monotonic()

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002 the library's signature
        state: TrainerState,
        control: TrainerControl,
        **_others: object,
    ) -> None:
        if _any_rank(self.stopping):
            if state.global_step < state.max_steps:
                note(self._stage, f"asked to stop: saving step {state.global_step}")
            control.should_save = True
            control.should_training_stop = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 the library's signature
        **_others: object,
    ) -> None:
        # What is put into the entry goes into the checkpoint with it, so a resumed run has the whole history.
        entry = state.log_history[-1]
        if self._measure.value not in entry:
            return
        if self._before is not None:
            entry[_BEFORE] = self._before
            self._before = None
        values = [item[self._measure.value] for item in state.log_history[-WINDOW:]]
        shown = {self._measure.value: _mean(values)}
        if self._held_out is not None and (state.global_step % args.save_steps == 0 or _is_last(state)):
            entry[_HELD_OUT] = self._held_out()
            note(self._stage, f"held-out loss at step {state.global_step}: {entry[_HELD_OUT]:.3f}")
        # Before the step is saved: a checkpoint of weights that are not numbers would be resumed from.
        _refuse_divergence(entry, self._measure.value, Path(str(args.output_dir)))
        entry["seconds"] = self._earlier + time.monotonic() - self._begin
        self._progress.update(state.global_step, tokens=int(entry[self._measure.tokens]), **shown)

    def on_save(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002 the library's signature
        **_others: object,
    ) -> None:
        _wait_for_all()
        if self._stage.rank == 0:
            folder = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            partial = folder / f"{COMPLETE}.tmp"
            partial.write_text(json.dumps({"step": state.global_step}) + "\n", encoding="utf-8")
            partial.rename(folder / COMPLETE)


def _refuse_divergence(entry: dict[str, float], value: str, checkpoints: Path) -> None:
    for name in (value, "loss", "grad_norm", _BEFORE, _HELD_OUT):
        if not math.isfinite(entry.get(name, 0.0)):
            last = last_complete(checkpoints)
            kept = f"The checkpoint of step {_step(last)} is kept." if last is not None else "There is no checkpoint."
            message = f"the training diverged: {name} is {entry[name]} at step {int(entry['step'])}"
            raise JobFailedError(
                message, exit_code=1, remedy=f"{kept} Lower train.learning_rate, which begins a new run."
            )


def _any_rank(flag: bool) -> bool:  # noqa: FBT001 what it is called with is all that it knows
    """Say whether the flag is set on any rank: all have to stop after the same step, or the others wait for ever."""
    if not torch.distributed.is_initialized():
        return flag
    value = torch.tensor([int(flag)], device="cuda" if on_gpu() else "cpu")
    torch.distributed.all_reduce(value)
    return bool(value.item())


class _Signals:
    """While it is open, SIGINT and SIGTERM ask the training to stop after its step."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *_exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._watch.stopping = True
