"""Pinned packages in a folder of their own, laid over the environment that runs: an oracle with its own versions.

The folder goes first on the path of the processes that import the oracle. So nothing of the test environment changes,
and what both need, such as PyTorch, is not installed a second time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def site(home: Path, requirements: Path, what: str) -> Path:
    """Give the folder with the packages of a list; it is made first if it is not there.

    The folder is named by what is in it and for which Python, so changed requirements make a new one.

    Args:
        home: Where such folders are kept.
        requirements: The list, as pip reads it; it is installed without dependencies.
        what: What they are for, to be told when they are installed.

    Raises:
        RuntimeError: pip cannot install the packages; the message holds what it said.
    """
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    key = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    folder = home / f"{version}-{key}"
    if not folder.is_dir():
        _install(folder, requirements, what)
    return folder


def _install(folder: Path, requirements: Path, what: str) -> None:
    folder.parent.mkdir(exist_ok=True)
    sys.stderr.write(f"installing {what} into {folder} (once)\n")
    # Installed beside and renamed, so that an interrupted installation is never taken for a whole one.
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=folder.parent))
    try:
        arguments = ["install", "--quiet", "--no-deps", "--target", str(partial), "--requirement", str(requirements)]
        result = subprocess.run(
            [sys.executable, "-m", "pip", *arguments],
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            message = f"pip could not install {requirements}:\n{result.stdout}{result.stderr}"
            raise RuntimeError(message)
        try:
            partial.rename(folder)
        except OSError:
            # Another process was faster; its folder holds the same packages.
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
