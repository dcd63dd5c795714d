from __future__ import annotations

import subprocess

import pytest

from nemo_runspec.words import Expanded, join, placeholders_in, split_failure, startup_lines

WORDS = ["plain", "two words", "a'b\"c", "$HOME", "$(id)", "`id`", "back\\slash", "line\nbreak", "ümlaut ☃", "", "*"]


def _printed(line: str, **env: str) -> list[str]:
    script = f"show() {{ for word; do printf '%s\\0' \"$word\"; done; }}; show {line}"
    done = subprocess.run(
        ["/bin/bash", "-c", script], capture_output=True, check=True, env={"PATH": "/usr/bin:/bin", **env}
    )
    return done.stdout.decode().split("\0")[:-1]


def test_a_shell_gets_every_word_as_it_is() -> None:
    assert _printed(join(WORDS)) == WORDS


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$RANK", "3 $HOME"),
        ("--rank=${RANK}!", "--rank=3 $HOME!"),
        ("$(id) `id` \\ \" '", "$(id) `id` \\ \" '"),
        ("costs 5$", "costs 5$"),
        ("$UNSET_HERE", ""),
    ],
)
def test_an_expanded_word_is_filled_in_once_and_runs_nothing(word: str, expected: str) -> None:
    assert _printed(join([Expanded(word)]), RANK="3 $HOME") == [expected]


def test_placeholders_are_told_from_the_shells_variables() -> None:
    assert placeholders_in("python {script} ${HOME} {a,b} {} --x={foo}") == ("script", "foo")


def test_a_line_that_is_no_words_says_why() -> None:
    assert split_failure("python 'a b'") is None
    assert split_failure("python 'a b") == "No closing quotation"


def test_a_startup_command_that_fails_is_named_and_ends_the_script() -> None:
    script = "\n".join(["set -e", *startup_lines(["true", "test a = b"]), "echo started"])
    done = subprocess.run(["/bin/bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "startup command failed: test a = b\n"
    assert startup_lines(()) == []
