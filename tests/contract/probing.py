"""Asks the real Megatron-Bridge, in the process that has it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tests.contract import megatron_env
from tests.contract.recipes import SOURCE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROBE = "tests.contract.megatron_probe"


def ask(requests: Mapping[str, Mapping[str, Any]], folder: Path) -> dict[str, Any]:
    """Give the answers to some requests; see megatron_probe.

    Args:
        requests: Case name to request. One process answers all of them: importing the library takes seconds.
        folder: A folder for the files in between.
    """
    request, answer = folder / "request.json", folder / "answer.json"
    request.write_text(json.dumps(requests), encoding="utf-8")
    result = subprocess.run(
        [sys.executable, "-m", PROBE, str(request), str(answer)],
        env=megatron_env.environment(SOURCE),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answers: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    return answers
