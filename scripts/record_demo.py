"""Draw docs/images/pipe.svg: what `nemotron nano3 pipe -c tiny` prints, from a real run of it.

    .venv/bin/python scripts/record_demo.py                  # minutes: runs the pipeline in a new temporary folder
    .venv/bin/python scripts/record_demo.py --log FILE       # draws what an earlier call kept

Lines in the middle of a stage are left out, which the picture says; nothing else is changed.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "pipe.svg"
COMMAND = ("nemotron", "nano3", "pipe", "-c", "tiny")
WIDTH = 128
# The line with which a stage begins: "1/7  data prep pretrain -----"; the table at the end begins with "done".
STAGE = re.compile(r"(?:\d+/\d+  (?P<name>\S.*)|done) ─+$")
# How many lines are shown from a stage's beginning and from its end: of most, the first step and the last.
SHOWN = (4, 3)
SHOWN_OF = {"data prep": (1, 2), "eval": (1, 10)}
# Rich loads its font from the web, which a picture in a page may not do; a reader has some font of fixed width.
WEB_FONT = re.compile(r"@font-face \{.*?\}\s*|Fira Code, ", re.DOTALL)


@dataclass
class Part:
    """What a stage printed.

    Args:
        lines: Its lines with their colours, the one it begins with first.
    """

    lines: list[Text] = field(default_factory=list)

    def shortened(self) -> list[Text]:
        """Give the first and the last lines, and between them how many were left out; the table at the end is whole."""
        stage = STAGE.match(self.lines[0].plain)
        if stage is None or stage["name"] is None:
            return self.lines
        first, last = next((shown for name, shown in SHOWN_OF.items() if stage["name"].startswith(name)), SHOWN)
        left_out = len(self.lines) - 1 - first - last
        if left_out <= 1:
            return self.lines
        return [*self.lines[: 1 + first], Text(f"... {left_out} more lines", style="dim"), *self.lines[-last:]]


def capture(command: Sequence[str], folder: Path, log: BinaryIO) -> None:
    """Run a command, and copy what it prints to our output and to a log.

    Args:
        command: The program and its arguments.
        folder: Where to run it.
        log: Takes its output, colours included.

    Raises:
        SystemExit: The command failed; a picture of that is not wanted.
    """
    env = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH)}
    env.pop("NO_COLOR", None)
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout or ():
            log.write(line)
            log.flush()
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
    if process.returncode:
        message = f"{shlex.join(command)} ended with exit code {process.returncode}"
        raise SystemExit(message)


def parts_of(output: str) -> list[Part]:
    """Part the output at the lines with which stages begin."""
    parts = [Part()]
    for line in output.splitlines():
        text = Text.from_ansi(line)
        if STAGE.match(text.plain):
            parts.append(Part())
        parts[-1].lines.append(text)
    return [part for part in parts if part.lines]


def draw(command: Sequence[str], parts: Iterable[Part]) -> str:
    """Give an SVG picture of a terminal that shows a command and what it printed.

    Args:
        command: As it was typed.
        parts: What it printed.
    """
    title = shlex.join(command)
    console = Console(
        record=True,
        width=WIDTH,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
    )
    console.print(Text(f"$ {title}", style="bold"))
    for part in parts:
        for line in part.shortened():
            console.print(line, no_wrap=True, overflow="ellipsis", crop=True)
    svg = console.export_svg(title=title, theme=MONOKAI, unique_id="demo")
    return "".join(f"{line.rstrip()}\n" for line in WEB_FONT.sub("", svg).splitlines())


def main() -> None:
    """Record, or read a record, and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--log", type=Path, help="what an earlier call kept, instead of a run")
    log: Path | None = parser.parse_args().log
    if log is None:
        folder = Path(tempfile.mkdtemp(prefix="nemotron-"))
        log = folder / "demo.log"
        with log.open("wb") as file:
            capture([str(Path(sys.executable).with_name(COMMAND[0])), *COMMAND[1:]], folder, file)
    PICTURE.write_text(draw(COMMAND, parts_of(log.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)} shows {log}")


if __name__ == "__main__":
    main()
