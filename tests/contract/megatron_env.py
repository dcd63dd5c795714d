"""The environment of the Megatron contract tests: pinned packages laid over the one that runs the tests.

The packages are put into a folder of their own on first use, which is kept; `make clean` removes it. By hand:
`python -m tests.contract.megatron_env`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.contract import layers

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = ROOT / ".venv-megatron"
REQUIREMENTS = HERE / "megatron-requirements.txt"


def site() -> Path:
    """Give the folder with the packages; it is made first if it is not there.

    Raises:
        RuntimeError: pip cannot install the packages; the message holds what it said.
    """
    return layers.site(HOME, REQUIREMENTS, "Megatron-Bridge's contract environment")


def environment(source: Path) -> dict[str, str]:
    """Give the environment variables of a process that imports Megatron-Bridge.

    Args:
        source: Folder that `nemotron` and `nemo_runspec` are imported from.
    """
    path = os.pathsep.join(map(str, (site(), source, ROOT)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}


if __name__ == "__main__":
    sys.stdout.write(f"{site()}\n")
