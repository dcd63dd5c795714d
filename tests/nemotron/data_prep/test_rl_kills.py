from __future__ import annotations

import gzip
import json
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = 10
# Ends itself with SIGKILL at a call of a function, of Python or C, that is drawn by lot: within any write or rename.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from nemotron.data_prep import rl
from tests.nemotron.stages import stage

left = int(sys.argv[2])

def count(*_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
config = {"blend": str(folder / "blend.json"), "rows": "any", "tokenizer": {"path": "none"}, "max_prompt_tokens": 9,
          "val_rows": 50, "seed": 3, "shards_per_split": 3, "on_error": "skip"}
sys.setprofile(count)
rl.prepare(stage(folder, **config))
sys.setprofile(None)
print(-left)
"""


def _run(folder: Path, moment: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, str(folder), str(moment)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted((folder / "out").rglob("*"))
        if path.is_file() and path.parent.parent != folder / "out"
    }


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_it_gives_the_same_bytes(tmp_path: Path) -> None:
    rows = [json.dumps({"prompt": f"{number % 700} {'x' * (number % 90)}", "n": number}) for number in range(900)]
    (tmp_path / "a.jsonl").write_text("\n".join([*rows[:600], "{broken", ""]))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(rows[600:]).encode()))
    sets = [{"name": "a", "path": "a.jsonl", "weight": 2}, {"name": "b", "path": "b.jsonl.gz"}]
    (tmp_path / "blend.json").write_text(json.dumps({"datasets": sets}))
    whole = _run(tmp_path)
    assert whole.returncode == 0, whole.stderr
    calls = int(whole.stdout.splitlines()[-1])
    expected = _content(tmp_path)
    assert len(expected) == 3 + 3 + 2, "train, val, the manifest and what was skipped"
    dice = random.Random(7)  # noqa: S311 no secret, a schedule
    # Half of the moments in the last fifth, where files are flushed, renamed and published.
    moments = [dice.randint(1, calls) if kill % 2 else dice.randint(calls * 4 // 5, calls) for kill in range(KILLS)]
    for moment in moments:
        shutil.rmtree(tmp_path / "out")
        shutil.rmtree(tmp_path / "artifacts")
        assert _run(tmp_path, moment).returncode == -signal.SIGKILL
        found = list((tmp_path / "out").glob("*/data"))
        assert not found or _content(tmp_path) == expected, "data is there whole or not at all"
        again = _run(tmp_path)
        assert again.returncode == 0, again.stderr
        assert _content(tmp_path) == expected
        assert not list((tmp_path / "out").glob("*/.*")), "nothing is left behind"
