from __future__ import annotations

import math
from pathlib import Path

import pytest

from nemo_runspec.artifacts import digest, plain
from nemo_runspec.errors import ArtifactError


class Scalar:
    """Stands for a number of numpy or torch, which this package must not need."""

    ndim = 0

    def item(self) -> float:
        return 2.5


class Vector(Scalar):
    ndim = 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        ("text", "text"),
        (1.5, 1.5),
        (math.nan, None),
        (-math.inf, None),
        (Path("/a/b"), "/a/b"),
        ((1, (2, 3)), [1, [2, 3]]),
        ({"a": {1: Path("x")}}, {"a": {"1": "x"}}),
        (Scalar(), 2.5),
    ],
)
def test_values_become_what_json_holds(value: object, expected: object) -> None:
    assert plain(value, "metadata") == expected


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes", Vector()])
def test_what_has_no_json_form_is_named(value: object) -> None:
    with pytest.raises(ArtifactError, match=r"metadata\.a\[1\] is a "):
        plain({"a": [0, value]}, "metadata")


def test_the_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": (1, 2), "a": 1})


def test_the_digest_depends_on_every_value() -> None:
    values = [{"a": 1}, {"a": 2}, {"a": "1"}, {"a": 1.5}, {"a": [1]}, {"b": 1}, {}]
    assert len({digest(value) for value in values}) == len(values)


def test_the_digest_is_the_same_on_every_machine() -> None:
    # printf '{"\\u00e9":1}' | sha256sum
    assert digest({"é": 1}) == "01b9cf31ea00f80345d00103084d7eafc25b95080afe05b454ff67db53697453"
