"""Memory that does not grow with the input: what each process of a preparation takes, while it works."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.nemotron.data_prep.killing import WORDS, Scene, processes
from tests.nemotron.data_prep.small import small_tokenizer

if TYPE_CHECKING:
    from tests.nemotron.data_prep.killing import Run

pytestmark = pytest.mark.slow

MB = 10**6
MOST = 350 * MB


def _write(path: Path, size: int) -> None:
    """Write documents of 20 bytes to 40 kB, words in any order."""
    dice = random.Random(9)  # noqa: S311 - no secret, texts
    text = " ".join(dice.choices([*WORDS, *(f"word{number}" for number in range(5000))], k=500_000))
    with path.open("w", encoding="utf-8") as stream:
        while stream.tell() < size:
            start, length = dice.randrange(len(text) // 2), int(20 * 2000 ** dice.random())
            stream.write(json.dumps({"text": text[start : start + length]}) + "\n")


def _proportional_bytes(pid: int) -> int:
    """Give the memory of a process, what it shares with others in equal parts."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _peak(run: Run) -> int:
    """Wait for the end of a run, and give the most that one of its processes has taken."""
    peak = 0
    while not run.ended:
        peak = max([peak, *(_proportional_bytes(one.pid) for one in processes(run.pid))])
    assert run.wait() == 0, run.said()
    return peak


def _scene(folder: Path, size: int, engine: str) -> Scene:
    folder.mkdir()
    small_tokenizer(folder / "tokenizer")
    _write(folder / "set-a.jsonl", size)
    made = Scene(folder, "pretrain")
    made.weigh(1)
    # Two shards, so that a shard grows with the input.
    made.config.update(
        {"shard_size": f"{size // 2}B", "tokenizer": {"path": str(folder / "tokenizer"), "engine": engine}}
    )
    return made


@pytest.mark.parametrize(("engine", "sizes"), [("gigatoken", (30 * MB, 150 * MB)), ("hf", (6 * MB, 30 * MB))])
def test_no_process_takes_more_for_more_input(tmp_path: Path, engine: str, sizes: tuple[int, int]) -> None:
    peaks = []
    for size in sizes:
        run = _scene(tmp_path / str(size), size, engine).start()
        try:
            peaks.append(_peak(run))
        finally:
            run.end()
    small, large = peaks
    assert small > 20 * MB, "it was measured"
    assert large <= MOST
    assert large <= 1.3 * small
