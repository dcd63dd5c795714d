"""Evaluation: the loss and the reward of the models of all stages, on what none of them has learnt."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.errors import ConfigError, DataError, guess
from nemo_runspec.stage import StageResult
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings
from nemotron.training.hf.identity import inputs_identity
from nemotron.training.hf.language import mean_loss, valid_conversations, valid_windows
from nemotron.training.hf.model import load_chat_tokenizer, load_for_evaluation, prepare_process
from nemotron.training.hf.prompts import Sampling, draw_prompts, score_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.stage import Progress, Stage
    from nemotron.training.hf.data import Example
    from nemotron.training.hf.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Text:
    """Held-out text: `windows` sequences of `sequence_length` tokens of a pretraining data preparation."""

    path: str
    windows: int
    sequence_length: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "text", "windows", "sequence_length")


@dataclass(frozen=True, slots=True)
class Counted:
    """A folder of a data preparation, and how many of its held-out rows to use."""

    path: str
    count: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "", "count")


@dataclass(frozen=True, slots=True)
class Answers:
    """How answers are drawn; every model gets the same seed."""

    max_answer_tokens: int
    temperature: float
    seed: int

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "sampling", "max_answer_tokens", "temperature")


@dataclass(frozen=True, slots=True)
class Compared:
    """The names of the two models whose difference is the result."""

    before: str
    after: str


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """The configuration: the models by name, which two to compare, and what they are measured on."""

    models: dict[str, str]
    compare: Compared
    text: Text | None
    conversations: Counted | None
    prompts: Counted | None
    sampling: Answers


@dataclass(frozen=True, slots=True)
class Task:
    """What the models are measured on; a part that is empty is not measured."""

    text: list[Example]
    conversations: list[Example]
    prompts: list[Prompt]
    sampling: Sampling

    @property
    def parts(self) -> int:
        """How many measurements a model needs."""
        return bool(self.text) + bool(self.conversations) + bool(self.prompts)


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one model; None where there was nothing to measure it on.

    Args:
        text_loss: Mean loss of a token of held-out text.
        perplexity: Its exponential.
        answer_loss: Mean loss of a token of held-out answers.
        reward: Mean reward of the answers to held-out prompts.
        reward_error: Standard error of that mean.
        parses: Share of the answers that are Python as a whole.
    """

    text_loss: float | None = None
    perplexity: float | None = None
    answer_loss: float | None = None
    reward: float | None = None
    reward_error: float | None = None
    parses: float | None = None


def evaluate(stage: Stage) -> None:
    """Run the evaluation; see `nemotron.training.hf.evaluate`."""
    begin = time.monotonic()
    settings = read_settings(stage.config, EvaluationSettings)
    for name in (settings.compare.before, settings.compare.after):
        if name not in settings.models:
            message = f"'compare' names the model '{name}', which is not among 'models'"
            raise ConfigError(message, remedy=guess(name, settings.models, what="models"))
    data = [part.path for part in (settings.text, settings.conversations, settings.prompts) if part is not None]
    run_dir = stage.run_dir(inputs_identity(*settings.models.values(), *data))
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    prepare_process()
    task = _task(settings)
    progress = stage.progress(task.parts * len(settings.models), unit="measurement")
    measured: dict[str, Measured] = {}
    for number, (name, path) in enumerate(settings.models.items()):
        note(stage, f"measuring {name}")
        measured[name] = _measure(path, task, progress, number * task.parts)
    for line in table(measured):
        note(stage, line)
    _publish(stage, run_dir, measured, settings.compare, time.monotonic() - begin)


def table(measured: Mapping[str, Measured]) -> list[str]:
    """Lay out what was measured, one line a model.

    Args:
        measured: The models by name.
    """
    columns = ("text loss", "perplexity", "answer loss", "reward", "+-", "parses")
    lines = [f"{'model':<12}" + "".join(f"{column:>13}" for column in columns)]
    for name, values in measured.items():
        cells = ("-" if value is None else f"{value:.3f}" for value in asdict(values).values())
        lines.append(f"{name:<12}" + "".join(f"{cell:>13}" for cell in cells))
    return lines


def _task(settings: EvaluationSettings) -> Task:
    text, conversations, prompts = settings.text, settings.conversations, settings.prompts
    sampling = settings.sampling
    task = Task(
        valid_windows(Path(text.path), text.sequence_length, text.windows) if text else [],
        valid_conversations(Path(conversations.path), conversations.count) if conversations else [],
        draw_prompts(Path(prompts.path) / "val" / "val.jsonl", prompts.count, sampling.seed) if prompts else [],
        Sampling(sampling.max_answer_tokens, sampling.temperature, sampling.seed),
    )
    if task.parts == 0:
        message = "there is no held-out data to measure on"
        raise DataError(
            message, remedy="Set 'text', 'conversations' or 'prompts', and hold data out when preparing it."
        )
    return task


def _measure(path: str, task: Task, progress: Progress, done: int) -> Measured:
    model = load_for_evaluation(path)
    values: dict[str, float] = {}
    if task.text:
        values["text_loss"] = mean_loss(model, task.text)
        values["perplexity"] = math.exp(values["text_loss"])
        done += 1
        progress.update(done, text_loss=values["text_loss"])
    if task.conversations:
        values["answer_loss"] = mean_loss(model, task.conversations)
        done += 1
        progress.update(done, answer_loss=values["answer_loss"])
    if task.prompts:
        tokenizer = load_chat_tokenizer(path)
        scores = score_model(
            model,
            tokenizer,
            task.prompts,
            task.sampling,
            lambda count, reward: progress.update(done, answers=count, reward=reward),
        )
        rewards = [score.reward for score in scores]
        values["reward"] = statistics.fmean(rewards)
        values["reward_error"] = statistics.stdev(rewards) / math.sqrt(len(rewards)) if rewards[1:] else 0.0
        values["parses"] = statistics.fmean(score.parses == 1 for score in scores)
        progress.update(done + 1, reward=values["reward"])
    return Measured(**values)


def _publish(stage: Stage, run_dir: Path, measured: Mapping[str, Measured], compare: Compared, seconds: float) -> None:
    models = {name: asdict(values) for name, values in measured.items()}
    before, after = models[compare.before], models[compare.after]
    metric = next(name for name in ("reward", "answer_loss", "text_loss") if after[name] is not None)
    file = run_dir / "evaluation.json"
    file.write_text(json.dumps(models, indent=2) + "\n", encoding="utf-8")
    result = StageResult(
        metric=metric.replace("_", " "),
        first=before[metric],
        last=after[metric],
        seconds=seconds,
        details={"models": models},
    )
    stage.publish(run_dir, path=file, type="evaluation", metadata={"models": models}, result=result)
