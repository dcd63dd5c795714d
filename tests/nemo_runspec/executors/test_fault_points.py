from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from nemo_runspec.executors.fault_points import POINTS, VARIABLE

PROGRAM = """
from nemo_runspec.executors.fault_points import POINTS, reach
for point in POINTS:
    print(point, flush=True)
    reach(point)
"""


@pytest.mark.parametrize(("chosen", "code"), [("recorded", -signal.SIGKILL), ("", 0), ("another", 0)])
def test_a_process_dies_where_it_is_told_to(chosen: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, VARIABLE: chosen},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code
    assert done.stdout.split()[-1] == (chosen if code else POINTS[-1])
