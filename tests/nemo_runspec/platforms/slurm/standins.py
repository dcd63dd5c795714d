"""Slurm's programs as small stand-ins that write down how they are called, so that a job's script runs without it."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.platforms.contents import SECRETS_FILE, export_lines
from nemo_runspec.platforms.slurm.request import SBATCH_FILE
from nemo_runspec.platforms.workload import NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.platforms.workload import Request

NAMED = "a-job-abc123"

# Writes its words down and becomes the program behind its own options, where that is on this machine.
_SRUN = """#!/bin/bash
printf '%s\\0' "$@" >"$RECORD/srun.$$"
while [ $# -gt 0 ] && [ "$1" != bash ]; do shift; done
[ ! -f "$2" ] || exec "$@"
"""
_PROGRAMS = {
    "srun": _SRUN,
    "scontrol": '#!/bin/bash\n[ "$1" != show ] || printf "%s\\n" node-a node-b\necho "$SHOWN"\n',
    "squeue": '#!/bin/bash\nprintf "%s\\n" "${STATE-RUNNING}"\n',
    "scancel": '#!/bin/bash\nprintf "%s\\n" "$*" >>"$RECORD/scancel"\n',
}


@dataclass(frozen=True)
class Run:
    """What has become of a job.

    Attributes:
        folder: The job's folder.
        code: The exit code of its script.
        steps: The words of each call of srun.
        said: What the script has printed.
        cancelled: The calls of scancel.
    """

    folder: Path
    code: int
    steps: tuple[tuple[str, ...], ...]
    said: str
    cancelled: tuple[str, ...]

    def told(self, file: str) -> str | None:
        """Give what stands in a file of the job's folder, or None where there is none."""
        path = self.folder / file
        return path.read_text(encoding="utf-8").strip() if path.exists() else None


def run_job(request: Request, root: Path, *, dependents: str = "", **environ: str) -> Run:
    """Lay a job's files out as its submission does, and run its script with bash.

    Args:
        request: The job; its home is below `root`.
        root: A new folder for this run.
        dependents: What stands in the file of that name.
        environ: More variables for the script.
    """
    folder = lay_out(request)
    if dependents:
        (folder / "dependents").write_text(dependents, encoding="ascii")
    record, programs = root / "record", root / "bin"
    record.mkdir(parents=True)
    programs.mkdir()
    for name, text in _PROGRAMS.items():
        (programs / name).write_text(text, encoding="ascii")
        (programs / name).chmod(0o755)
    environment = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "RECORD": str(record),
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "node-[a-b]",
        "LC_ALL": "C.UTF-8",
        **environ,
    }
    done = subprocess.run(
        ["bash", str(folder / SBATCH_FILE)],  # noqa: S607 - the bash of whoever runs the tests
        env=environment,
        cwd=root,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )
    steps = (path.read_bytes() for path in sorted(record.glob("srun.*"), key=lambda path: path.stat().st_mtime_ns))
    cancelled = record / "scancel"
    return Run(
        folder,
        done.returncode,
        tuple(tuple(words.decode(errors="surrogateescape").split("\0")[:-1]) for words in steps),
        done.stdout + done.stderr,
        tuple(cancelled.read_text(encoding="ascii").splitlines()) if cancelled.exists() else (),
    )


def lay_out(request: Request, name: str = NAMED) -> Path:
    """Write the files of a job where they belong below its home, and give its folder."""
    folder = Path(request.body["home"], "jobs", name)
    for made in (folder, folder / "logs", folder / "exit", folder / "code"):
        made.mkdir(mode=0o700, parents=True, exist_ok=made == folder)
    for path, (content, _) in request.files.items():
        (folder / path).write_bytes(content.replace(NAME.encode(), name.encode()))
    if request.secrets:
        secrets = folder / SECRETS_FILE
        secrets.touch(mode=0o600)
        secrets.write_text(export_lines(request.secrets), encoding="utf-8")
    return folder


def sbatch_words(text: str) -> Mapping[str, str]:
    """Read the flags of a script as sbatch does (get_argument in Slurm's src/sbatch/opt.c), with `NAME` filled in."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#SBATCH"):
            continue
        word = _first_word(line.removeprefix("#SBATCH").replace(NAME, NAMED))
        flag, _, value = word.removeprefix("--").partition("=")
        found[flag] = value
    return found


def _first_word(line: str) -> str:
    word, quote, escaped = "", "", False
    for character in line.lstrip():
        if escaped:
            word, escaped = word + character, False
        elif character == "\\":
            escaped = True
        elif quote and character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote = character
        elif not quote and (character.isspace() or character == "#"):
            break
        else:
            word += character
    assert not quote
    return word
