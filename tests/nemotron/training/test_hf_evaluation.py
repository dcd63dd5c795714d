"""What an evaluation says of answers: what they earned, and whether that took reading the prompt."""

from __future__ import annotations

import math

import pytest

from nemotron.training.hf.evaluation import Measured, compare_with_constant, gains, perplexity, rewards, table
from nemotron.training.hf.prompts import Answer, Prompt, best_constant
from nemotron.training.rewards import score_function

PROMPTS = [Prompt([], name, ["self"]) for name in ("open", "close", "read", "write", "seek", "tell", "fileno", "flush")]


def answers(*texts: str) -> list[Answer]:
    scored = zip(texts, PROMPTS, strict=False)
    return [Answer(text, score_function(text, prompt.name, prompt.arguments)) for text, prompt in scored]


def reading() -> list[Answer]:
    return answers(*(f"def {prompt.name}(self): pass" for prompt in PROMPTS))


def constant(text: str = "def close(self): pass") -> list[Answer]:
    return answers(*[text] * len(PROMPTS))


def test_an_answer_is_taken_apart() -> None:
    earned = rewards(answers("def open(self): pass", "def other(self): pass", "def read(x):", "("))
    assert (earned.parses, earned.right_name, earned.right_arguments) == (0.5, 0.5, 0.5)
    assert earned.distinct_answers == 4
    assert rewards(constant()).distinct_answers == 1
    assert rewards(constant()[:1]).reward_error == 0


def test_the_best_constant_answer_is_the_best_of_all_on_all_prompts() -> None:
    texts = ["(", "def close(self): pass", "def close(x): pass", "pass"]
    best = best_constant(PROMPTS, answers(*texts))
    means = {
        text: sum(score_function(text, prompt.name, prompt.arguments).reward for prompt in PROMPTS) / len(PROMPTS)
        for text in texts
    }
    assert best.text == max(texts, key=means.__getitem__) == "def close(self): pass"
    assert best.reward == pytest.approx(means[best.text])
    assert len(best.scores) == len(PROMPTS)


def test_a_model_that_reads_earns_more_than_a_constant_and_one_that_does_not_earns_no_more() -> None:
    baseline = compare_with_constant(PROMPTS, {"reads": reading(), "does not": constant(), "worse": constant("(")})
    assert baseline.gains["reads"][0] > 0.2
    assert baseline.gains["worse"][0] < -0.5
    assert "reads earns more than" in gains(baseline)[1]
    assert "does not earns no more than" in gains(baseline)[2]
    assert "worse earns no more than" in gains(baseline)[3]
    assert baseline.measured.right_arguments == 1


def test_the_table_has_a_dash_for_what_was_not_measured_and_a_line_for_the_constant() -> None:
    baseline = compare_with_constant(PROMPTS, {"rl": constant()})
    lines = table({"sft": Measured(text_loss=4.0, perplexity=54.598), "rl": Measured(reward=0.5)}, baseline)
    assert lines[0].split()[:3] == ["model", "text", "loss"]
    assert lines[1].split() == ["sft", "4.000", "54.598", *"-------"]
    assert lines[2].split() == ["rl", "-", "-", "-", "0.500", *"-----"]
    assert lines[3].split()[0] == "(constant)"
    assert lines[3].split()[-1] == "1"
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize(("loss", "value"), [(0.0, 1.0), (1.0, math.e), (800.0, math.inf), (math.inf, math.inf)])
def test_perplexity_has_no_upper_end(loss: float, value: float) -> None:
    assert perplexity(loss) == pytest.approx(value)
