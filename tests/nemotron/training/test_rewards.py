from __future__ import annotations

import pytest

from nemotron.training.rewards import Score, score_function


def score(answer: str) -> Score:
    return score_function(answer, "add", ["a", "b"])


def test_the_right_function_earns_everything() -> None:
    assert score("def add(a, b):\n    return a + b") == Score(1.0, 1.0, 1.0)
    assert score("def add(a, b):\n    return a + b").reward == pytest.approx(1.0)


@pytest.mark.parametrize("answer", ["", "\n\n", "((((", "    x = 1", "\0"])
def test_what_is_no_python_earns_nothing(answer: str) -> None:
    assert score(answer) == Score(0.0, 0.0, 0.0)


def test_better_answers_earn_more() -> None:
    answers = [
        ")))",
        "def (",
        "x = 1\nreturn ((",
        "def x(z):\n    return z",
        "def adds(a, c):\n    return a",
        "def adds(a, b):\n    return a",
        "def add(a, b):\n    return a",
    ]
    rewards = [score(answer).reward for answer in answers]
    assert rewards[0] == rewards[1] == 0
    assert sorted(set(rewards)) == rewards[1:]


def test_a_header_counts_where_the_body_is_cut_off() -> None:
    cut = score("def add(a, b):\n    return min(a,")
    assert (cut.parses, cut.name, cut.arguments) == (0.0, 1.0, 1.0)


def test_lines_that_are_python_count_in_part() -> None:
    assert score("x = 1\ny = 2\nz = (\nw").parses == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("answer", "arguments"),
    [
        ("async def add(self, *rest, key=1, **more): pass", ["self", "*rest", "key", "**more"]),
        ("def add(a, /, b: int = (1, 2)) -> int: return b", ["a", "b"]),
        ("def add(): pass", []),
    ],
)
def test_all_kinds_of_arguments(answer: str, arguments: list[str]) -> None:
    assert score_function(answer, "add", arguments) == Score(1.0, 1.0, 1.0)


def test_the_order_of_the_arguments_matters() -> None:
    assert 0 < score("def add(b, a): pass").arguments < 1
