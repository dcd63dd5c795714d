"""Git repositories on this machine, for tests that really clone."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_AS_SOMEBODY = ("-c", "user.name=test", "-c", "user.email=test@example.invalid", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and give what it says."""
    command = ["git", *_AS_SOMEBODY, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(checkout: Path, text: str) -> str:
    """Commit a file `who.txt` with this text and give the commit."""
    (checkout / "who.txt").write_text(text, encoding="utf-8")
    git(checkout, "add", "who.txt")
    git(checkout, "commit", "--quiet", "--message", text)
    return git(checkout, "rev-parse", "HEAD")


def make_repository(folder: Path) -> Path:
    """Make a checkout with one commit on the branch `main`; its `.git` can be cloned from."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "first")
    return folder
