"""The environment of the Megatron contract tests: pinned packages laid over the one that runs the tests.

The packages are put into a folder of their own, which goes first on the path of the processes that import
Megatron-Bridge. So nothing of the test environment changes, and PyTorch is not installed a second time. The folder is
made on first use and kept; `make clean` removes it. By hand: `python tests/contract/megatron_env.py`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HOME = ROOT / ".venv-megatron"
REQUIREMENTS = HERE / "megatron-requirements.txt"


def site() -> Path:
    """Give the folder with the packages; it is made first if it is not there.

    The folder is named by what is in it and for which Python, so changed requirements make a new one.

    Raises:
        RuntimeError: pip cannot install the packages; the message holds what it said.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = HOME / f"{version}-{key}"
    if not folder.is_dir():
        _install(folder)
    return folder


def environment(source: Path) -> dict[str, str]:
    """Give the environment variables of a process that imports Megatron-Bridge.

    Args:
        source: Folder that `nemotron` and `nemo_runspec` are imported from.
    """
    path = os.pathsep.join(map(str, (site(), source, ROOT)))
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "HF_HUB_OFFLINE": "1"}


def _install(folder: Path) -> None:
    HOME.mkdir(exist_ok=True)
    sys.stderr.write(f"installing Megatron-Bridge's contract environment into {folder} (once)\n")
    # Installed beside and renamed, so that an interrupted installation is never taken for a whole one.
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=HOME))
    try:
        arguments = ["install", "--quiet", "--no-deps", "--target", str(partial), "--requirement", str(REQUIREMENTS)]
        result = subprocess.run(
            [sys.executable, "-m", "pip", *arguments],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            message = f"pip could not install {REQUIREMENTS}:\n{result.stdout}{result.stderr}"
            raise RuntimeError(message)
        try:
            partial.rename(folder)
        except OSError:
            # Another process was faster; its folder holds the same packages.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


if __name__ == "__main__":
    sys.stdout.write(f"{site()}\n")
