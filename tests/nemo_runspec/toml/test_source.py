from __future__ import annotations

from pathlib import Path

import pytest

from nemo_runspec.errors import ConfigError, Location, ProfileError
from nemo_runspec.toml.source import Problem, key_text, parse_toml, raise_problems

FILE = Path("some.toml")


@pytest.mark.parametrize(
    ("text", "line", "message", "remedy"),
    [
        ("a = 1\nb = word\n", 2, "invalid value", "quotes"),
        ("a = 1\n\na = 2\n", 3, "cannot overwrite", "only once"),
        ("[a]\n[b]\n[a]\n", 3, "cannot declare", "only once"),
        ("a 1\n", 1, "expected '='", "key = value"),
        ("a = 1\n=\n", 2, "invalid statement", "[table]"),
        ("a = 1\nb = [1,\n2\n", 3, "unclosed array", "toml.io"),
        ('a = 1\nb = """\nx\n\n', 3, "unterminated string", "toml.io"),
    ],
)
def test_bad_toml_is_an_error_with_its_line(text: str, line: int, message: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_toml(text, FILE, error=ConfigError)
    assert caught.value.where == Location(FILE, line)
    assert message in caught.value.message.lower()
    assert remedy in (caught.value.remedy or "")


def test_lines_count_from_where_the_text_begins() -> None:
    source = parse_toml("a = 1\n[t]\nb = 2\n", FILE, error=ConfigError, first_line=11)
    assert source.where("a") == Location(FILE, 11)
    assert source.where("t", "b") == Location(FILE, 13)
    with pytest.raises(ConfigError) as caught:
        parse_toml("a = 1\nb\n", FILE, error=ConfigError, first_line=11)
    assert caught.value.where == Location(FILE, 12)


def test_a_key_that_is_not_there_is_at_the_table_around_it() -> None:
    source = parse_toml("a = 1\n[t]\nb = 2\n", FILE, error=ConfigError)
    assert source.where("t", "missing") == Location(FILE, 2)
    assert source.where("missing") == Location(FILE, 1)


def test_one_problem_is_raised_as_it_is() -> None:
    problem = Problem("wrong", Location(FILE, 3), "Mend it.")
    with pytest.raises(ProfileError) as caught:
        raise_problems([problem, problem], ProfileError, summary="the file")
    assert (caught.value.message, caught.value.where, caught.value.remedy) == ("wrong", Location(FILE, 3), "Mend it.")


def test_several_problems_are_listed_once_each_in_the_order_of_lines() -> None:
    first, second, nowhere = Problem("a", Location(FILE, 2)), Problem("b", Location(FILE, 10), "Mend it."), Problem("c")
    with pytest.raises(ProfileError) as caught:
        raise_problems([second, first, second, nowhere], ProfileError, summary="the file")
    assert str(caught.value) == "the file has 3 problems:\n  c\n  some.toml:2: a\n  some.toml:10: b. Mend it."


def test_no_problem_is_no_error() -> None:
    raise_problems([], ProfileError, summary="the file")


def test_key_paths_are_written_as_people_write_them() -> None:
    assert key_text(("mounts", 0, "from")) == "mounts[0].from"
    assert key_text(("a", "b", 1, 2)) == "a.b[1][2]"
