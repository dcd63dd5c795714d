"""What every test stands on: a clean environment, nothing of the user's touched, and in CI nothing skipped."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# With this set a skipped test counts as failed: a machine that lacks what a test needs must not look healthy.
NOTHING_SKIPS = "NEMOTRON_CI"

# Variables of the caller's that would change what the code under test does, or how its output looks.
FOREIGN_PREFIXES = (
    "NEMOTRON_",
    "NEMO_RUNSPEC_",
    "LEPTON_",
    "RUNAI_",
    "WANDB_",
    "SLURM_",
    "HF_",
    "TORCHELASTIC_",
    "_NEMOTRON_",
)
FOREIGN_NAMES = (
    "RANK",
    "LOCAL_RANK",
    "WORLD_SIZE",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "FORCE_COLOR",
    "GITHUB_ACTIONS",
    "PY_COLORS",
    "LINES",
)

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

pytest_plugins = ["pytester"]

# Read once: the fixture below hides the variable from the code under test.
_nothing_skips = bool(os.environ.get(NOTHING_SKIPS))

_nemorun_home = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Give nemo-run a home of its own: it reads the variable once, when it is first imported."""
    home = Path(tempfile.mkdtemp(prefix="nemorun-home-"))
    config.stash[_nemorun_home] = home
    os.environ["NEMORUN_HOME"] = str(home)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove nemo-run's home again."""
    shutil.rmtree(config.stash[_nemorun_home], ignore_errors=True)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Undo what a test has done to the root logger: nemo-run's experiments take it over for the whole process."""
    handlers, level = logging.root.handlers[:], logging.root.level
    yield
    for handler in set(logging.root.handlers) - set(handlers):
        logging.root.removeHandler(handler)
    for handler in set(handlers) - set(logging.root.handlers):
        logging.root.addHandler(handler)
    logging.root.setLevel(level)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the caller's settings, switch the network's model hub off, and fix the width and colour of output."""
    for name in list(os.environ):
        if name.startswith(FOREIGN_PREFIXES) or name in FOREIGN_NAMES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")


def _forbid_skip(report: Report) -> Report:
    if report.outcome == "skipped" and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{NOTHING_SKIPS} is set, so this must not skip. {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure where nothing may skip."""
    report = yield
    return _forbid_skip(report) if _nothing_skips else report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module (importorskip) into a failure where nothing may skip."""
    report = yield
    return _forbid_skip(report) if _nothing_skips else report
