"""RL: group relative policy optimisation with TRL, rewarded for functions that are what was asked for."""

from __future__ import annotations

import math
import shutil
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Dataset  # type: ignore[import-untyped]  # the library has no types

from nemo_runspec.errors import ConfigError
from nemo_runspec.stage import StageResult
from nemotron.notes import note
from nemotron.ray_session import open_ray
from nemotron.settings import check_positive, read_settings
from nemotron.training.hf.crew import Crew
from nemotron.training.hf.identity import inputs_identity
from nemotron.training.hf.language import Place  # noqa: TC001 the settings reader resolves it at run time
from nemotron.training.hf.model import (
    count_parameters,
    load_chat_tokenizer,
    load_model,
    prepare_process,
    save_model,
)
from nemotron.training.hf.prompts import read_prompts, split_files
from nemotron.training.hf.run import History, Measure, TrainSettings, common_arguments, run_trainer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nemo_runspec.stage import Stage


@dataclass(frozen=True, slots=True)
class GrpoTraining(TrainSettings):
    """Training on a model's own answers.

    Args:
        answers_per_prompt: Answers that are compared with each other; `batch_size` counts answers.
        max_answer_tokens: Where an answer is cut off.
        temperature: How freely answers are drawn.
        generation_workers: Processes of Ray's that draw answers, each a part of the batch, spread over the nodes.
    """

    answers_per_prompt: int = 8
    max_answer_tokens: int = 48
    temperature: float = 1.0
    generation_workers: int = 2

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        TrainSettings.__post_init__(self)
        check_positive(self, "train", "answers_per_prompt", "max_answer_tokens", "temperature", "generation_workers")
        if self.answers_per_prompt == 1:
            message = "train.answers_per_prompt is 1, so there is no other answer to compare one with"
            raise ConfigError(message, remedy="It must be 2 or more.")
        if self.batch_size % self.answers_per_prompt:
            message = f"train.batch_size is {self.batch_size}"
            raise ConfigError(
                message, remedy=f"It must be a multiple of answers_per_prompt, {self.answers_per_prompt}."
            )
        if self.generation_workers > self.batch_size:
            message = f"train.generation_workers is {self.generation_workers}"
            raise ConfigError(message, remedy=f"It must not be above batch_size, {self.batch_size}.")


@dataclass(frozen=True, slots=True)
class RlSettings:
    """The configuration of RL."""

    data: Place
    model: Place
    train: GrpoTraining


@dataclass(frozen=True, slots=True)
class Improvement:
    """How the reward of the last quarter of the steps compares with the first quarter's.

    Args:
        first_quarter: Mean over steps of a step's mean reward.
        last_quarter: The same, at the end.
        difference: Last less first.
        standard_error: Of the difference: the steps' means taken as independent draws, each quarter with its own
            variance (Welch).
        z: The difference in standard errors.
    """

    first_quarter: float
    last_quarter: float
    difference: float
    standard_error: float
    z: float


def improvement(rewards: Sequence[float]) -> Improvement | None:
    """Compare the last quarter of a run with the first.

    Args:
        rewards: Mean reward of each step, in order.

    Returns:
        The comparison, or None for fewer than eight steps.
    """
    size = len(rewards) // 4
    if size < 2:  # noqa: PLR2004 a variance needs two values
        return None
    first, last = rewards[:size], rewards[-size:]
    difference = statistics.fmean(last) - statistics.fmean(first)
    error = math.sqrt((statistics.variance(first) + statistics.variance(last)) / size)
    z = difference / error if error > 0 else 0.0
    return Improvement(statistics.fmean(first), statistics.fmean(last), difference, error, z)


def rl(stage: Stage) -> None:
    """Run RL; see `nemotron.training.hf.rl`."""
    settings = read_settings(stage.config, RlSettings)
    inputs = inputs_identity(settings.data.path, settings.model.path)
    run_dir = stage.run_dir(f"{stage.world_size} processes", inputs)
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    prepare_process()
    prompts = read_prompts(split_files(settings.data.path, "train"))
    with open_ray() as joined:
        # TRL takes seconds to import, in which Ray starts.
        from nemotron.training.hf.grpo_trainer import GRPOConfig, RewardTrainer  # noqa: PLC0415 as said above

        model = load_model(settings.model.path)
        note(stage, f"{count_parameters(model):,} parameters, {len(prompts)} prompts")
        rows = [{"prompt": item.messages, "name": item.name, "arguments": item.arguments} for item in prompts]
        crew = Crew(joined(), settings.train.generation_workers, settings.train.seed)
        trainer = RewardTrainer(
            crew,
            model=model,
            args=GRPOConfig(**_arguments(stage, settings.train, run_dir / "checkpoints")),
            train_dataset=Dataset.from_list(rows),
            processing_class=load_chat_tokenizer(settings.model.path),
        )
        note(stage, crew.wait())
        history = run_trainer(stage, trainer, settings.train, Measure("reward", "num_tokens"))
    _publish(stage, run_dir, model, settings.model.path, history)


def _arguments(stage: Stage, train: GrpoTraining, checkpoints: Path) -> dict[str, Any]:
    return {
        **common_arguments(stage, train, checkpoints),
        "num_generations": train.answers_per_prompt,
        "max_completion_length": train.max_answer_tokens,
        "temperature": train.temperature,
        "beta": 0.0,
    }


def _publish(stage: Stage, run_dir: Path, model: Any, tokenizer_folder: str, history: History) -> None:  # noqa: ANN401 the library types it as Any
    if stage.rank != 0:
        return
    folder = save_model(model, tokenizer_folder, run_dir / "model")
    points = history.curve("reward")
    details: dict[str, object] = {"parameters": count_parameters(model), "steps": len(history.entries)}
    gained = improvement(history.values("reward"))
    if gained is not None:
        note(
            stage,
            f"mean reward {gained.first_quarter:.3f} in the first quarter of the steps, "
            f"{gained.last_quarter:.3f} in the last: {gained.difference:+.3f}, {gained.z:.1f} standard errors",
        )
        details |= {name: getattr(gained, name) for name in Improvement.__slots__}
    result = StageResult(
        metric="reward",
        first=gained.first_quarter if gained else points[0][1],
        last=gained.last_quarter if gained else points[-1][1],
        tokens=int(history.values("num_tokens")[-1]),
        seconds=history.seconds,
        curve=points,
        details=details,
    )
    stage.publish(run_dir, path=folder, type="model", metadata={"tokenizer": str(folder), **details}, result=result)
    shutil.rmtree(run_dir / "checkpoints", ignore_errors=True)
