from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

CONFTEST = (Path(__file__).parent / "conftest.py").read_text(encoding="utf-8")

SKIPPING_TESTS = """
import pytest

def test_passes():
    pass

@pytest.mark.skip(reason="no cluster")
def test_skips_by_mark():
    pass

def test_skips_while_it_runs():
    pytest.skip("no engine")

@pytest.mark.xfail(reason="known")
def test_fails_as_expected():
    assert False
"""


def run_in_project(pytester: pytest.Pytester) -> pytest.RunResult:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_some=SKIPPING_TESTS, test_module="import pytest; pytest.importorskip('no_such_module')")
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


def test_a_skip_is_a_skip_on_a_users_machine(pytester: pytest.Pytester) -> None:
    run_in_project(pytester).assert_outcomes(passed=1, skipped=3, xfailed=1)


def test_in_ci_every_skip_fails_and_says_why(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOTRON_CI", "1")
    result = run_in_project(pytester)
    result.assert_outcomes(passed=0, errors=1)
    result.stdout.fnmatch_lines(["*must not skip*no_such_module*"])
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "test_some.py")
    result.assert_outcomes(passed=1, failed=1, errors=1, xfailed=1)
    result.stdout.fnmatch_lines_random(["*must not skip*no cluster*", "*must not skip*no engine*"])


def test_the_callers_settings_are_hidden() -> None:
    assert "NEMOTRON_CI" not in os.environ
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert "nemorun-home-" in os.environ["NEMORUN_HOME"]
