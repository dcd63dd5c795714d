"""Prompts with a checkable answer, and the answers of a model to them."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from nemo_runspec.errors import DataError, Location
from nemo_runspec.stage.splits import read_split
from nemotron.training.hf.model import in_bfloat16
from nemotron.training.rewards import Score, score_function

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_BATCH = 32
# Every candidate for the best constant answer is scored on every prompt.
_CANDIDATES = 400


@dataclass(frozen=True, slots=True)
class Prompt:
    """One task.

    Args:
        messages: The conversation up to the assistant's turn.
        name: The name that the function in the answer should have.
        arguments: Its arguments.
    """

    messages: list[dict[str, str]]
    name: str
    arguments: list[str]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are drawn: at most `max_tokens` tokens at a `temperature`, the same ones for the same `seed`."""

    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote, and what it earned."""

    text: str
    score: Score


@dataclass(frozen=True, slots=True)
class Constant:
    """One answer given to every prompt.

    Args:
        text: The answer.
        scores: What it earned on each prompt.
    """

    text: str
    scores: list[Score]

    @property
    def reward(self) -> float:
        """The mean reward."""
        return statistics.fmean(score.reward for score in self.scores)


def split_files(folder: str, split: str) -> list[Path]:
    """Give the files of a split of an RL data preparation.

    Args:
        folder: What the preparation has published; its manifest says in which files a split is.
        split: `train` or `val`.

    Raises:
        DataError: There is no manifest, or no such split.
    """
    found = read_split(folder, split)
    return [Path(path) for path in ([found] if isinstance(found, str) else found)]


def read_prompts(paths: Sequence[Path]) -> list[Prompt]:
    """Read the rows of an RL data preparation.

    Args:
        paths: JSONL files, at least one.

    Raises:
        DataError: A file is missing, or a line is not such a row, or there are none.
    """
    prompts = [prompt for path in paths for prompt in _prompts(path)]
    if not prompts:
        message = "there are no prompts"
        raise DataError(message, where=Location(paths[0]), remedy="Prepare more data, or allow longer prompts.")
    return prompts


def _prompts(path: Path) -> Iterator[Prompt]:
    for number, line in enumerate(_lines(path), 1):
        try:
            row = json.loads(line)
            yield Prompt(row["prompt"], row["expected"]["name"], row["expected"]["arguments"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            message = "the line has no 'prompt' and 'expected' with 'name' and 'arguments'"
            remedy = "Prepare the data with 'rows: function'."
            raise DataError(message, where=Location(path, number), remedy=remedy) from error


def _lines(path: Path) -> Iterator[str]:
    """Give the lines of a file. `splitlines` would end one at U+2028 and its like too, which JSON leaves in a text."""
    try:
        with path.open(encoding="utf-8", newline="\n") as file:
            yield from file
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        message = f"the prompts cannot be read: {reason}"
        raise DataError(message, where=Location(path), remedy="Run the RL data preparation again.") from error


def draw_prompts(paths: Sequence[Path], count: int, seed: int) -> list[Prompt]:
    """Draw some of the rows of an RL data preparation: those that stand together in the file are often alike.

    Args:
        paths: JSONL files, at least one.
        count: Most prompts to give.
        seed: The same one draws the same prompts in the same order.

    Raises:
        DataError: As `read_prompts` says.
    """
    prompts = read_prompts(paths)
    order = np.random.default_rng(seed).permutation(len(prompts))
    return [prompts[place] for place in order[:count]]


def score_model(
    model: Any,  # noqa: ANN401 the library types it as Any
    tokenizer: Any,  # noqa: ANN401 as above
    prompts: Sequence[Prompt],
    sampling: Sampling,
    report: Callable[[int, float], None],
) -> list[Answer]:
    """Let a model answer, and score the answers.

    Args:
        model: The model.
        tokenizer: Its tokenizer, padding on the left.
        prompts: The tasks.
        sampling: How answers are drawn.
        report: Called with the answers so far and their mean reward.

    Returns:
        The answer to each prompt.
    """
    answers: list[Answer] = []
    model.eval()
    for start in range(0, len(prompts), _BATCH):
        batch = prompts[start : start + _BATCH]
        inputs = tokenizer.apply_chat_template(
            [prompt.messages for prompt in batch],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        ).to(model.device)
        torch.manual_seed(sampling.seed + start)
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=in_bfloat16()):
            written = model.generate(
                **inputs, max_new_tokens=sampling.max_tokens, do_sample=True, temperature=sampling.temperature, top_k=0
            )
        texts = tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        for prompt, text in zip(batch, texts, strict=True):
            answers.append(Answer(text, score_function(text, prompt.name, prompt.arguments)))
        report(len(answers), statistics.fmean(answer.score.reward for answer in answers))
    return answers


def best_constant(prompts: Sequence[Prompt], answers: Sequence[Answer]) -> Constant:
    """Find the answer that earns most when it is given to every prompt: what there is to earn without reading one.

    It is chosen with hindsight, on the very prompts that it is scored on, so it is rather too good than too bad.

    Args:
        prompts: The tasks, at least one.
        answers: Where to choose from, at least one; of very many different ones, those that earned most on their own
            prompt.
    """
    ranked = sorted(answers, key=lambda answer: answer.score.reward, reverse=True)
    texts = list(dict.fromkeys(answer.text for answer in ranked))[:_CANDIDATES]
    constants = (
        Constant(text, [score_function(text, prompt.name, prompt.arguments) for prompt in prompts]) for text in texts
    )
    return max(constants, key=lambda constant: constant.reward)
