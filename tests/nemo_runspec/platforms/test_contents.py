from __future__ import annotations

import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_runspec.platforms.contents import export_lines, filled, is_below
from nemo_runspec.platforms.workload import NAME


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a//b", "./a", "", ".", "a/", "a\0b"])
def test_paths_that_lead_elsewhere(name: str) -> None:
    assert not is_below(name)


@pytest.mark.parametrize("name", ["a", "a/b c", "...", "new\nline", "-x"])
def test_paths_below(name: str) -> None:
    assert is_below(name)


def test_a_jobs_name_stands_in_texts_of_any_encoding() -> None:
    assert filled(f"{NAME} \xff {NAME}".encode("latin1"), "mine-1") == b"mine-1 \xff mine-1"


@settings(max_examples=30, deadline=None, database=None)
@given(value=st.text(st.characters(exclude_characters="\0", codec="utf-8")))
def test_variables_keep_their_case_and_their_values(value: str) -> None:
    script = export_lines([("lower", value), ("UPPER", "it's")]) + 'printf %s "$UPPER$lower"'
    done = subprocess.run(["bash"], input=script.encode(), capture_output=True, check=True, timeout=20)  # noqa: S607 - any bash
    assert done.stdout.decode() == f"it's{value}"
