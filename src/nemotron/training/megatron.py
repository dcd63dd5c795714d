"""The production engine for pretraining and SFT: Megatron-Bridge, inside the NGC image.

Written against Megatron-Bridge 0.3.1 (NGC image `nvcr.io/nvidia/nemo:26.02.01`). The training loop, checkpoints and
resuming are the library's; this module hands it the configuration and reports what came out.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec.errors import ConfigError
from nemo_runspec.stage import StageResult
from nemotron.training.megatron_config import attach_blend, build_config

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.stage import Stage

LOSS = "lm loss"


@dataclass(frozen=True, slots=True)
class Point:
    """One logged step.

    Args:
        step: Its number, counted over all runs.
        loss: Mean loss of its tokens.
        seconds: Time trained until then, over all runs.
    """

    step: int
    loss: float
    seconds: float


class LossWatch:
    """Follows the loss through Megatron-Bridge's training callbacks, and keeps it with the run.

    The curve is a file beside the checkpoints, so a resumed run goes on with it; points of steps that were lost are
    dropped when it starts.

    Args:
        stage: Whose progress it is.
        container: The run's configuration, a `ConfigContainer`.
        run_dir: Folder of the run.
        clock: A monotonic clock in seconds.
    """

    def __init__(
        self,
        stage: Stage,
        container: Any,  # noqa: ANN401 - the library's type cannot be imported here
        run_dir: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the curve of an earlier, interrupted run."""
        self._stage = stage
        self._path = run_dir / "loss.jsonl"
        self._steps: int = container.train.train_iters
        self._interval: int = container.logger.log_interval
        self._tokens_per_step: int = container.train.global_batch_size * container.model.seq_length
        self._clock = clock
        self._start = clock()
        self._progress = stage.progress(self._steps)
        self.points = _read_points(self._path)
        self.step = 0

    def on_train_start(self, context: Any) -> None:  # noqa: ANN401 - the library's CallbackContext
        """Forget what the checkpoint that training starts from does not know."""
        self.step = int(context.state.train_state.step)
        self.points = [point for point in self.points if point.step <= self.step]
        self._start = self._clock() - (self.points[-1].seconds if self.points else 0.0)
        self._progress = self._stage.progress(self._steps, start=self.step)
        if self._stage.rank == 0:
            self._path.write_text("".join(map(_line, self.points)), encoding="utf-8")

    def on_train_step_end(self, context: Any) -> None:  # noqa: ANN401 - the library's CallbackContext
        """Note the loss of a step that is to be logged; reading it makes the host wait for the device."""
        self.step = int(context.state.train_state.step) + 1  # the library counts after the callback
        if self.step % self._interval and self.step not in {1, self._steps}:
            return
        if not context.loss_dict or LOSS not in context.loss_dict:
            return
        point = Point(self.step, float(context.loss_dict[LOSS]), self.seconds)
        self.points.append(point)
        if self._stage.rank == 0:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(_line(point))
        self._progress.update(self.step, loss=point.loss, tokens=self.tokens)

    @property
    def tokens(self) -> int:
        """Tokens of all steps so far, padding included."""
        return self.step * self._tokens_per_step

    @property
    def seconds(self) -> float:
        """Time trained so far, over all runs."""
        return self._clock() - self._start

    def result(self) -> StageResult:
        """Give what the stage reports.

        With pipeline parallelism only the last stage's ranks are told the loss; then rank 0 reports none.
        """
        return StageResult(
            metric="loss",
            first=self.points[0].loss if self.points else None,
            last=self.points[-1].loss if self.points else None,
            tokens=self.tokens,
            seconds=self.seconds,
            curve=[(point.step, point.loss) for point in self.points],
        )


def pretrain(stage: Stage) -> None:
    """Pretrain from prepared shards, and publish the checkpoint.

    Args:
        stage: The running stage; `data.path` is the folder that `data prep pretrain` wrote.

    Raises:
        ConfigError: The configuration does not fit the library.
        DataError: The shards are not there.
    """
    data = stage.config.get("data") or {}
    if not data.get("path"):
        message = "data.path is needed: the folder with blend.json"
        raise ConfigError(message, remedy="Set it to ${art:data,path}, and run.data to the artifact.")
    _run(stage, blend=Path(data["path"]))


def sft(stage: Stage) -> None:
    """Fine-tune a pretrained checkpoint on packed conversations, and publish the checkpoint.

    Args:
        stage: The running stage; `checkpoint.pretrained_checkpoint` is the folder that pretraining published.

    Raises:
        ConfigError: The configuration does not fit the library, or names no checkpoint to start from.
        DataError: The packs are not there.
    """
    if not (stage.config.get("checkpoint") or {}).get("pretrained_checkpoint"):
        message = "checkpoint.pretrained_checkpoint is needed: the checkpoint to start from"
        raise ConfigError(message, remedy="Set it to ${art:model,path}, and run.model to the artifact.")
    _run(stage, blend=None)


def _run(stage: Stage, *, blend: Path | None) -> None:
    run_dir = stage.run_dir("megatron-bridge", _library_version())
    finished = stage.finished(run_dir)
    if finished is not None:
        stage.reuse(finished)
        return
    container = build_config(stage.config, run_dir)
    if blend is not None:
        attach_blend(container, blend)
    watch = LossWatch(stage, container, run_dir)
    train(container, watch)
    stage.publish(
        run_dir,
        path=container.checkpoint.save,
        type="model",
        metadata={"format": "megatron_bridge", "step": watch.step, "seq_length": container.model.seq_length},
        result=watch.result(),
    )


def train(container: Any, watch: LossWatch) -> None:  # noqa: ANN401 - the library's type cannot be imported here
    """Train, resuming from the run's last checkpoint if there is one.

    Args:
        container: The run's configuration, a `ConfigContainer`.
        watch: Is told of every step.
    """
    from megatron.bridge.training.callbacks import CallbackManager  # noqa: PLC0415 - in the image only
    from megatron.bridge.training.gpt_step import forward_step  # noqa: PLC0415 - as above
    from megatron.bridge.training.pretrain import pretrain as run  # noqa: PLC0415 - as above

    callbacks = CallbackManager()
    callbacks.register("on_train_start", watch.on_train_start)
    callbacks.register("on_train_step_end", watch.on_train_step_end)
    # finetune() is pretrain() behind a check that there is a checkpoint to start from, and takes no callbacks.
    run(container, forward_step, callbacks=callbacks)


def _library_version() -> str:
    try:
        return metadata.version("megatron-bridge")
    except metadata.PackageNotFoundError as error:
        message = "Megatron-Bridge is not installed here"
        raise ConfigError(message, remedy="It is part of the NGC image; on this machine use -c tiny.") from error


def _read_points(path: Path) -> list[Point]:
    if not path.is_file():
        return []
    # A killed run may leave half a line; the step it was to hold is done again.
    lines = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
    return [Point(**json.loads(line)) for line in lines]


def _line(point: Point) -> str:
    return json.dumps(asdict(point)) + "\n"
