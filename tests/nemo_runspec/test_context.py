from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from nemo_runspec.context import (
    VERBATIM,
    Mode,
    Override,
    parse_override,
    parse_recipe_config,
    refuse_clusters,
    split_arguments,
)
from nemo_runspec.errors import UsageError


@dataclass
class Line:
    args: list[str] = field(default_factory=list)
    params: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=1", Override("a.b", "1")),
        ("++a.b=1", Override("a.b", "1", add=True)),
        ("a=", Override("a", "")),
        ("a=b=c d\ne", Override("a", "b=c d\ne")),
        ("data.0.path=x", Override("data.0.path", "x")),
        ("--a=1", None),
        ("word", None),
        (".a=1", None),
        ("a..b=1", None),
    ],
)
def test_an_override_is_read(text: str, expected: Override | None) -> None:
    assert parse_override(text) == expected
    if expected is not None:
        assert str(expected) == text


def test_overrides_and_script_arguments_are_parted() -> None:
    overrides, rest = split_arguments(["a=1", "--flag", "value", "++b=2", "-x"])
    assert [str(override) for override in overrides] == ["a=1", "++b=2"]
    assert rest == ("--flag", "value", "-x")


def test_a_lone_word_is_refused() -> None:
    with pytest.raises(UsageError, match="unexpected argument 'tiny'") as error:
        split_arguments(["tiny"])
    assert "-c NAME" in str(error.value)


def test_one_plus_sign_is_one_too_few() -> None:
    with pytest.raises(UsageError, match=r"unexpected argument '\+a\.b=1'") as error:
        split_arguments(["+a.b=1"])
    assert error.value.remedy == "A new entry is added with two plus signs: ++a.b=1"


@pytest.mark.parametrize(("typed", "meant"), [("--dry-rum", "--dry-run"), ("--rum", "--run"), ("--bacth=x", "--batch")])
def test_a_mistyped_option_is_not_handed_to_the_script(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match="unknown option") as error:
        split_arguments([typed])
    assert f"'{meant}'" in str(error.value)


def test_modes() -> None:
    assert parse_recipe_config(Line()).mode is Mode.LOCAL
    attached = parse_recipe_config(Line(params={"run": "slurm", "config": "tiny"}))
    assert (attached.mode, attached.profile, attached.config) == (Mode.RUN, "slurm", "tiny")
    assert parse_recipe_config(Line(params={"batch": "slurm"})).mode is Mode.BATCH


def test_run_and_batch_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        parse_recipe_config(Line(params={"run": "a", "batch": "b"}))


def test_what_follows_the_double_dash_goes_on_verbatim() -> None:
    request = parse_recipe_config(Line(args=["--x", "1"], meta={VERBATIM: ("a=b", "--run")}), ["nemotron"])
    assert request.passthrough == ("--x", "1", "a=b", "--run")
    assert request.argv == ("nemotron",)


def test_json_goes_with_a_dry_run() -> None:
    assert parse_recipe_config(Line(params={"json": True, "dry_run": True})).as_json
    with pytest.raises(UsageError, match="--json goes with --dry-run"):
        parse_recipe_config(Line(params={"json": True}))


def test_a_scripts_short_option_is_not_taken_apart() -> None:
    refuse_clusters(["-c", "tiny", "-ctiny", "-d", "-5", "--lr", "x-y"])
    for option in ("-lr", "-wd", "-x-y"):
        with pytest.raises(UsageError, match=f"option '{option}'") as error:
            refuse_clusters([option])
        assert f"-- {option}" in str(error.value)
