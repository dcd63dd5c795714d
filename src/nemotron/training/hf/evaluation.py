"""Evaluation: the loss and the reward of the models of all stages, on what none of them has learnt."""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.artifacts import plain_dict
from nemo_runspec.errors import ConfigError, DataError, guess
from nemo_runspec.stage import StageResult
from nemotron.notes import note
from nemotron.settings import check_positive, read_settings
from nemotron.training.hf.data import blend_files
from nemotron.training.hf.identity import inputs_identity
from nemotron.training.hf.language import mean_loss, valid_conversations, valid_windows
from nemotron.training.hf.model import load_chat_tokenizer, load_for_evaluation, prepare_process
from nemotron.training.hf.prompts import Answer, Sampling, best_constant, draw_prompts, score_model, split_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nemo_runspec.stage import Progress, Stage
    from nemotron.training.hf.data import Example
    from nemotron.training.hf.prompts import Prompt

# Standard errors by which a model must earn more before it is said to.
_CLEAR = 2.0


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
        right_name: Share of the answers with exactly the name that was asked for.
        right_arguments: Share of the answers with exactly the arguments that were asked for.
        distinct_answers: How many different answers were given.
    """

    text_loss: float | None = None
    perplexity: float | None = None
    answer_loss: float | None = None
    reward: float | None = None
    reward_error: float | None = None
    parses: float | None = None
    right_name: float | None = None
    right_arguments: float | None = None
    distinct_answers: int | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """What one answer to every prompt earns, and how much more each model does.

    Args:
        answer: The best such answer among all that the models gave; it is chosen on these very prompts.
        measured: What it earns.
        gains: For each model, the mean over prompts of its reward less the constant's, and that mean's standard error.
    """

    answer: str
    measured: Measured
    gains: dict[str, tuple[float, float]]


def evaluate(stage: Stage) -> None:
    """Run the evaluation; see `nemotron.training.hf.evaluate`."""
    begin = time.monotonic()
    settings = read_settings(stage.config, EvaluationSettings)
    for name in (settings.compare.before, settings.compare.after):
        if name not in settings.models:
            message = f"'compare' names the model '{name}', which is not among 'models'"
            raise ConfigError(message, remedy=guess(name, settings.models, what="models"))
    data = [part.path for part in (settings.text, settings.conversations, settings.prompts) if part is not None]
    if settings.text is not None:
        data += blend_files(Path(settings.text.path) / "blend.json")
    run_dir = stage.run_dir(inputs_identity(*settings.models.values(), *data))
    if manifest := stage.finished(run_dir):
        stage.reuse(manifest)
        return
    prepare_process()
    task = _task(settings)
    progress = stage.progress(task.parts * len(settings.models), unit="measurement")
    measured: dict[str, Measured] = {}
    answers: dict[str, list[Answer]] = {}
    for number, (name, path) in enumerate(settings.models.items()):
        note(stage, f"measuring {name}")
        measured[name], answers[name] = _measure(path, task, progress, number * task.parts)
    baseline = compare_with_constant(task.prompts, answers) if task.prompts else None
    for line in [*table(measured, baseline), *(gains(baseline) if baseline else ())]:
        note(stage, line)
    _publish(stage, run_dir, (measured, baseline), settings.compare, time.monotonic() - begin)


def compare_with_constant(prompts: Sequence[Prompt], answers: Mapping[str, Sequence[Answer]]) -> Baseline:
    """Compare models with the best answer that needs no reading of the prompt.

    Args:
        prompts: The tasks.
        answers: The answer of each model to each of them.
    """
    constant = best_constant(prompts, [answer for given in answers.values() for answer in given])
    gained = {}
    for name, given in answers.items():
        pairs = zip(given, constant.scores, strict=True)
        gained[name] = _mean_and_error([answer.score.reward - score.reward for answer, score in pairs])
    return Baseline(constant.text, rewards([Answer(constant.text, score) for score in constant.scores]), gained)


def rewards(answers: Sequence[Answer]) -> Measured:
    """Sum up what answers earned, and for what.

    Args:
        answers: At least one.
    """
    reward, error = _mean_and_error([answer.score.reward for answer in answers])
    return Measured(
        reward=reward,
        reward_error=error,
        parses=statistics.fmean(answer.score.parses == 1 for answer in answers),
        right_name=statistics.fmean(answer.score.name == 1 for answer in answers),
        right_arguments=statistics.fmean(answer.score.arguments == 1 for answer in answers),
        distinct_answers=len({answer.text for answer in answers}),
    )


def gains(baseline: Baseline) -> list[str]:
    """Say in words whether the models earn more than the best constant answer.

    Args:
        baseline: The comparison.
    """
    lines = [f"best constant answer: {baseline.answer!r}"]
    for name, (gain, error) in baseline.gains.items():
        verdict = "more than" if gain > _CLEAR * error else "no more than"
        lines.append(f"{name} earns {verdict} the best constant answer: {gain:+.3f} +- {error:.3f}")
    return lines


def table(measured: Mapping[str, Measured], baseline: Baseline | None = None) -> list[str]:
    """Lay out what was measured, one line a model.

    Args:
        measured: The models by name.
        baseline: What the last line shows, if anything.
    """
    columns = ("text loss", "perplexity", "answer loss", "reward", "+-", "parses", "right name", "right args")
    lines = [f"{'model':<12}" + "".join(f"{column:>12}" for column in (*columns, "distinct"))]
    rows = dict(measured) | ({"(constant)": baseline.measured} if baseline else {})
    for name, values in rows.items():
        lines.append(f"{name:<12}" + "".join(f"{_cell(value):>12}" for value in asdict(values).values()))
    return lines


def perplexity(loss: float) -> float:
    """Give the exponential of a mean loss, or infinity where that is more than a number can hold.

    Args:
        loss: The mean loss of a token.
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    return statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)) if values[1:] else 0.0


def _task(settings: EvaluationSettings) -> Task:
    text, conversations, prompts = settings.text, settings.conversations, settings.prompts
    sampling = settings.sampling
    task = Task(
        valid_windows(Path(text.path), text.sequence_length, text.windows) if text else [],
        valid_conversations(Path(conversations.path), conversations.count) if conversations else [],
        draw_prompts(split_files(prompts.path, "val"), prompts.count, sampling.seed) if prompts else [],
        Sampling(sampling.max_answer_tokens, sampling.temperature, sampling.seed),
    )
    if task.parts == 0:
        message = "there is no held-out data to measure on"
        raise DataError(
            message, remedy="Set 'text', 'conversations' or 'prompts', and hold data out when preparing it."
        )
    return task


def _measure(path: str, task: Task, progress: Progress, done: int) -> tuple[Measured, list[Answer]]:
    model = load_for_evaluation(path)
    measured = Measured()
    answers: list[Answer] = []
    if task.text:
        loss = mean_loss(model, task.text)
        measured = replace(measured, text_loss=loss, perplexity=perplexity(loss))
        done += 1
        progress.update(done, text_loss=loss)
    if task.conversations:
        loss = mean_loss(model, task.conversations)
        measured = replace(measured, answer_loss=loss)
        done += 1
        progress.update(done, answer_loss=loss)
    if task.prompts:
        answers = score_model(
            model,
            load_chat_tokenizer(path),
            task.prompts,
            task.sampling,
            lambda count, reward: progress.update(done, answers=count, reward=reward),
        )
        earned = {name: value for name, value in asdict(rewards(answers)).items() if value is not None}
        measured = replace(measured, **earned)
        progress.update(done + 1, reward=earned["reward"])
    return measured, answers


def _publish(
    stage: Stage,
    run_dir: Path,
    outcome: tuple[Mapping[str, Measured], Baseline | None],
    compare: Compared,
    seconds: float,
) -> None:
    measured, baseline = outcome
    models = {name: asdict(values) for name, values in measured.items()}
    before, after = models[compare.before], models[compare.after]
    metric = next(name for name in ("reward", "answer_loss", "text_loss") if after[name] is not None)
    facts = plain_dict({"models": models, "constant": asdict(baseline) if baseline else None}, "evaluation")
    file = run_dir / "evaluation.json"
    file.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    result = StageResult(
        metric=metric.replace("_", " "), first=before[metric], last=after[metric], seconds=seconds, details=facts
    )
    stage.publish(run_dir, path=file, type="evaluation", metadata=facts, result=result)
