"""A Slurm of three small programs on PATH: it takes jobs, forgets them, keeps silent or loses its replies, as told."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_SBATCH = """\
#!/bin/bash
# sbatch [OPTION...] job.sbatch, in the job's folder
queue={folder}
printf '%s\\n' "$*" >> "$queue/calls"
name=$(sed -n 's/^#SBATCH --job-name=//p' job.sbatch)
accept() {{ id=$(($(wc -l < "$queue/jobs") + 1)); printf '%s|%s\\n' "$id" "$name" >> "$queue/jobs"; }}
fail() {{ printf 'sbatch: error: %s\\n' "$@" >&2; exit 1; }}
fault=$(cat "$queue/fault"); : > "$queue/fault"
eval "$fault"
accept
echo "$id;cluster"
"""
_SQUEUE = """\
#!/bin/bash
queue={folder}
[ ! -e "$queue/silent" ] || {{ echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1; }}
for word; do case $word in --name=*) name=${{word#--name=}} ;; esac; done
awk -F'|' -v name="$name" '$2 == name {{ print $1 }}' "$queue/jobs"
"""
_SACCT = "#!/bin/bash\necho 'Slurm accounting storage is disabled' >&2; exit 1\n"


class Queue:
    """The programs, and what they know."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        folder.mkdir()
        for name in ("jobs", "calls", "fault"):
            (folder / name).touch()
        for name, text in (("sbatch", _SBATCH.format(folder=folder)), ("squeue", _SQUEUE.format(folder=folder))):
            self.program(name, text)
        self.program("sacct", _SACCT)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def program(self, name: str, text: str) -> None:
        """Put a program on PATH."""
        (self._folder / name).write_text(text, encoding="utf-8")
        (self._folder / name).chmod(0o700)

    def without(self, name: str) -> None:
        """Take a program away again."""
        (self._folder / name).unlink()

    def fault(self, commands: str) -> None:
        """Have the next sbatch do something first: `accept` takes the job, `fail WORDS` complains and ends."""
        (self._folder / "fault").write_text(commands, encoding="utf-8")

    def silence(self, *, on: bool = True) -> None:
        """Have squeue not answer, or answer again."""
        (self._folder / "silent").touch() if on else (self._folder / "silent").unlink()

    def jobs(self) -> list[tuple[str, str]]:
        """Give number and name of each job."""
        lines = (self._folder / "jobs").read_text(encoding="utf-8").splitlines()
        return [(number, name) for number, _, name in (line.partition("|") for line in lines)]

    def calls(self) -> list[str]:
        """Give the arguments of each call of sbatch."""
        return (self._folder / "calls").read_text(encoding="utf-8").splitlines()
