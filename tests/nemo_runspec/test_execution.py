from __future__ import annotations

import subprocess
import sys

import pytest

from nemo_runspec import execution


def test_every_name_is_there() -> None:
    assert [name for name in execution.__all__ if not callable(getattr(execution, name))] == []


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'execute_nothing'"):
        execution.execute_nothing  # noqa: B018 - asking is what is tested


def test_the_module_itself_needs_no_nemo_run() -> None:
    code = "import sys, nemo_runspec.execution; sys.exit('nemo_run' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
