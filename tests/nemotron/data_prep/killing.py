"""Preparations as processes that are killed, stopped and started again, and what they leave on disk."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from tests.nemotron.data_prep.small import small_tokenizer, write_lines
from tests.nemotron.data_prep.talking import talk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "src/nemotron/recipes/nano3"
WORDS = ("def", "return", "class", "add", "sub", "x", "value", "number", "漢字", "<|endoftext|>")
PATIENCE_S = 120.0
_TICK_S = 0.002


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait for something that no event tells of."""
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(_TICK_S)


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this machine, at one moment."""

    pid: int
    parent: int
    session: int
    words: str


def processes(session: int) -> list[Process]:
    """List the living processes of a session."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                stat = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(stat[3]) == session and stat[0] not in "ZX":
                    words = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
                    found.append(Process(int(folder.name), int(stat[1]), session, words))
    return found


class Run:
    """A stage script in a session of its own.

    Args:
        command: Its command line.
        environment: Beside this process's own.
        log: Where it writes.
    """

    def __init__(self, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("w") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self.process.pid

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def wait(self) -> int:
        """Wait for its end, and see that nobody is left of it."""
        code = self.process.wait(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while left := processes(self.pid):
            assert time.monotonic() < deadline, f"these outlive their run: {left}"
            time.sleep(_TICK_S)
        return code

    def said(self) -> str:
        return self.log.read_text()

    def forkserver(self) -> list[int]:
        return [one.pid for one in processes(self.pid) if one.parent == self.pid and "forkserver" in one.words]

    def workers(self) -> list[int]:
        servers = self.forkserver()
        return [one.pid for one in processes(self.pid) if one.parent in servers]

    def end(self) -> None:
        """Take all of it away, whatever state it is in."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


@dataclass(frozen=True)
class Scene:
    """A folder with input, a configuration and what runs make of it.

    Args:
        folder: The folder.
        kind: `pretrain` or `sft`.
        ray: Address of the Ray cluster that does the work; processes do where there is none.
    """

    folder: Path
    kind: str
    ray: str = ""

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def store(self) -> Path:
        return self.out / "shards"

    @cached_property
    def config(self) -> dict[str, object]:
        config: dict[str, object] = {
            "artifact": {"name": "made"},
            "output_dir": str(self.out),
            "blend": str(self.folder / "blend.json"),
            "tokenizer": {"path": str(self.folder / "tokenizer"), "engine": "hf"},
            "valid_fraction": 0.1,
            "test_fraction": 0.05,
            "seed": 1,
            "on_error": "skip",
            "workers": 2,
            "shard_size": "128KiB",
        }
        more: dict[str, object] = {"pack_size": 1024, "max_tokens": 600, "overlong": "truncate", "pad_seq_to_mult": 4}
        return config | (more if self.kind == "sft" else {"max_tokens": 700, "min_chars": 3})

    def start(self, name: str = "run") -> Run:
        """Start the script; the name is that of its log."""
        path = self.folder / "train.yaml"
        path.write_text(json.dumps(self.config))
        command = [sys.executable, str(SCRIPT / self.kind / "data_prep.py"), "--config", str(path)]
        environment = {"NEMOTRON_ARTIFACTS": str(self.folder / "artifacts")}
        if self.ray:
            environment["RAY_ADDRESS"] = self.ray
        return Run(command, environment, self.folder / f"{name}.log")

    def run(self) -> str:
        """Run the script to its end, and give what it says."""
        run = self.start()
        try:
            assert run.wait() == 0, run.said()
        finally:
            run.end()
        return run.said()

    def weigh(self, *weights: float) -> None:
        """Write the blend, with these weights."""
        names = sorted(path.name for path in self.folder.glob("set-*"))
        sets = [{"name": name, "path": name, "weight": weight} for name, weight in zip(names, weights, strict=True)]
        (self.folder / "blend.json").write_text(json.dumps({"datasets": sets}))

    def clear(self) -> None:
        """Take away all that runs have made."""
        for folder in (self.out, self.folder / "artifacts"):
            shutil.rmtree(folder, ignore_errors=True)

    def shards(self) -> list[str]:
        """Name the finished shards."""
        return sorted(path.name for path in self.store.glob("*") if path.is_dir() and not path.name.startswith("."))

    def tree(self, below: Path | None = None) -> dict[str, str]:
        """Give all files that runs have made, with the hash of each; of a manifest without times and version."""
        files = (path for path in sorted((below or self.out).rglob("*")) if path.is_file())
        return {path.relative_to(self.out).as_posix(): _hash(path) for path in files}


def _hash(path: Path) -> str:
    content = path.read_bytes()
    if path.name == "manifest.json":
        document = json.loads(content)
        del (
            document["created_at"],
            document["version"],
            document["result"]["seconds"],
            document["result"]["tokens_per_s"],
        )
        content = json.dumps(document).encode()
    return sha256(content).hexdigest()


def scene(folder: Path, kind: str, size: int) -> Scene:
    """Write data sets of several formats, with something wrong here and there.

    Args:
        folder: Where.
        kind: `pretrain` or `sft`.
        size: About how many bytes there are in all.
    """
    made = Scene(folder, kind)
    small_tokenizer(folder / "tokenizer")
    records = list(_records(kind, size))
    parts = [records[: len(records) * 2 // 3], records[len(records) * 2 // 3 : len(records) * 5 // 6]]
    lines = [json.dumps(record, ensure_ascii=False) for record in parts[0]]
    lines[7:7] = ["{broken", '{"txt": "no text"}', '{"text": "", "messages": []}']
    write_lines(folder / "set-a.jsonl", lines)
    rest = "".join(json.dumps(record) + "\n" for record in records[len(records) * 5 // 6 :])
    (folder / "set-b.jsonl.gz").write_bytes(gzip.compress(rest.encode(), mtime=0))
    rows = pa.Table.from_pylist(parts[1])
    pq.write_table(rows, folder / "set-c.parquet", row_group_size=max(1, len(parts[1]) // 4), compression="none")
    made.weigh(2, 1, 1)
    return made


def _records(kind: str, size: int) -> Iterator[dict[str, object]]:
    dice = random.Random(5)  # noqa: S311 - no secret, texts
    left = size
    while left > 0:
        texts = [" ".join(dice.choices(WORDS, k=dice.randint(1, 260))) for _ in range(2)]
        yield {"text": texts[0]} if kind == "pretrain" else talk(*texts)
        left -= sum(len(text.encode()) for text in (texts[:1] if kind == "pretrain" else texts))
