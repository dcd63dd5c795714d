from __future__ import annotations

import re
import tomllib

import pytest

from nemo_runspec.toml.kinds import (
    NOT_A_VALUE,
    VARIABLE_NAME,
    Either,
    Flag,
    Integer,
    Kind,
    ListOf,
    Record,
    TableOf,
    Text,
)

WORD = Text(pattern=re.compile("[a-z]+"), noun="a word")
CHOICE = Text(choices=("red", "green", "blue"))
NAMES = TableOf(Text(may_be_empty=True), "strings", VARIABLE_NAME)
MOUNT = Record({"path": Text(), "from": Text()}, required={"path": 'path = "/"'})
HIDDEN = Text(pattern=re.compile("[a-z]+"), noun="a word", confidential=True)
HIDDEN_NAMES = TableOf(HIDDEN, "words", VARIABLE_NAME, confidential=True)
MIXED = Either((((bool,), Flag()), ((str,), Text())))

RIGHT = [
    (Text(), '"x"'),
    (WORD, '"abc"'),
    (CHOICE, '"red"'),
    (Integer(0), "0"),
    (Integer(1, 3), "3"),
    (Flag(), "false"),
    (ListOf(Text(), "words"), "[]"),
    (ListOf(Text(), "words"), '["a", "b"]'),
    (NAMES, '{ A = "", b_1 = "x y $z" }'),
    (TableOf(None, "anything"), "{ a = [1, { b = 2 }] }"),
    (MOUNT, '{ path = "/" }'),
    (MIXED, "true"),
    (MIXED, '"user"'),
]

WRONG = [
    (Text(), "1", "must be a string, not an integer", (), "Put it in quotes."),
    (Text(), "1.5", "must be a string, not a number with a fraction", (), "Put it in quotes."),
    (Text(), "04:00:00", "must be a string, not a time of day", (), "Put it in quotes."),
    (Text(), "2024-01-01", "must be a string, not a date", (), "Put it in quotes."),
    (Text(), "true", "must be a string, not a boolean", (), "Put it in quotes."),
    (Text(), '["a"]', "must be a string, not a list", (), None),
    (Text(), '" "', "must be a string, but it is empty", (), None),
    (WORD, '"a b"', 'must be a word, not "a b"', (), None),
    (CHOICE, '"rde"', 'must be "red", "green" or "blue", not "rde"', (), "Did you mean 'red'?"),
    (Integer(1), "true", "must be an integer of at least 1, not a boolean", (), None),
    (Integer(1), "2.0", "must be an integer of at least 1, not a number with a fraction", (), None),
    (Integer(1), '"2"', "must be an integer of at least 1, not a string", (), "Leave out the quotes."),
    (Integer(1), "0", "must be an integer of at least 1, not 0", (), None),
    (Integer(1, 9), "10", "must be an integer from 1 to 9, not 10", (), None),
    (Flag(), "1", "must be true or false, not an integer", (), None),
    (ListOf(Text(), "words"), '"a"', "must be a list of words, not a string", (), None),
    (ListOf(Text(), "words"), '["a", 2]', "must be a string, not an integer", (1,), "Put it in quotes."),
    (NAMES, "[1]", "must be a table of strings, not a list", (), None),
    (NAMES, "{ A = 1 }", "must be a string, not an integer", ("A",), "Put it in quotes."),
    (NAMES, '{ "a-b" = "x" }', "is not a name of an environment variable", ("a-b",), "Use letters, digits and _."),
    (MOUNT, '"x"', "must be a table with path, from, not a string", (), None),
    (MOUNT, '{ form = "x", path = "/" }', "is not a known key", ("form",), "Did you mean 'from'?"),
    (MOUNT, "{ path = 1 }", "must be a string, not an integer", ("path",), "Put it in quotes."),
    (MOUNT, '{ from = "x" }', "is missing", ("path",), 'Add, for example: path = "/"'),
    (ListOf(MOUNT, "mounts"), "[{}]", "is missing", (0, "path"), 'Add, for example: path = "/"'),
    (HIDDEN, '"sk-1"', "must be a word, not what stands here", (), None),
    (
        HIDDEN_NAMES,
        '{ "sk-1" = "x" }',
        "has a key that is not a name of an environment variable",
        (),
        "Use letters, digits and _.",
    ),
    (MIXED, "1", "must be true or false, or a string, not an integer", (), None),
]


def read(text: str) -> object:
    return tomllib.loads(f"value = {text}")["value"]


@pytest.mark.parametrize(("kind", "text"), RIGHT)
def test_a_right_value_has_no_complaint(kind: Kind, text: str) -> None:
    assert list(kind.check(read(text))) == []


@pytest.mark.parametrize(("kind", "text", "message", "key", "remedy"), WRONG)
def test_a_wrong_value_has_one(
    kind: Kind, text: str, message: str, key: tuple[str | int, ...], remedy: str | None
) -> None:
    complaints = list(kind.check(read(text)))
    assert [(wrong.message, wrong.key, wrong.remedy) for wrong in complaints] == [(message, key, remedy)]


def test_every_wrong_element_is_named() -> None:
    complaints = ListOf(Integer(1), "numbers").check([1, "a", 0, 2])
    assert [wrong.key for wrong in complaints] == [(1,), (2,)]


@pytest.mark.parametrize(
    "value",
    [
        "hf_0123456789abcdef",
        "ghp_01abcdef",
        "sk-proj-1abcdefgh",
        "sk-0abcdefgh",
        "a3" * 20,
        "deadbeefdeadbeefdeadbeef12",
        "x_ABCDEFGHIJKLMNOPQR1",
    ],
)
def test_a_secret_is_not_taken_for_its_name(value: str) -> None:
    assert not re.fullmatch(NOT_A_VALUE + ".+", value)


@pytest.mark.parametrize(
    "value",
    [
        "HF_TOKEN",
        "hf_token",
        "hf_token_2",
        "my_service_token_v2_prod",
        "SECRETS_OF_TEAM_1",
        "hf-token",
        "ns/team.hf-token-2",
    ],
)
def test_a_name_is_not_taken_for_a_secret(value: str) -> None:
    assert re.fullmatch(NOT_A_VALUE + ".+", value)
