from __future__ import annotations

from pathlib import Path

from nemo_runspec import errors
from nemo_runspec.errors import (
    InterruptedJobError,
    JobFailedError,
    Location,
    NemotronError,
    NothingSentError,
    UnreachableError,
    UsageError,
    guess,
    nearest,
)


def test_an_error_tells_where_what_and_what_next() -> None:
    error = UsageError("no such thing", where=Location(Path("a.toml"), 3), remedy="Make one.")
    assert str(error) == "a.toml:3: no such thing\n  Make one."
    assert str(UsageError("no such thing")) == "no such thing"
    assert str(Location(Path("a.toml"))) == "a.toml"


def test_every_expected_error_is_a_usage_error_unless_a_job_failed() -> None:
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, NemotronError)]
    assert len(classes) >= 10
    assert {kind.exit_code for kind in classes} == {2, 1}
    assert [kind for kind in classes if kind.exit_code == 1] == [UnreachableError, NothingSentError]
    assert JobFailedError("x", exit_code=3).exit_code == 3
    assert InterruptedJobError("x").exit_code == 130


def test_guesses() -> None:
    assert guess("pretrian", ["pretrain", "sft"], what="stages") == "Did you mean 'pretrain'?"
    assert guess("zzz", ["b", "a"], what="stages") == "Known stages: a, b."
    assert guess("zzz", [], what="stages") == "There are no stages."
    assert nearest("abcd", ["abxy"], likeness=0.9) is None
