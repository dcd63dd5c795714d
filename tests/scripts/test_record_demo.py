from __future__ import annotations

import io
import re
import sys
from typing import TYPE_CHECKING
from xml.sax import parseString
from xml.sax.handler import ContentHandler

import pytest

from scripts import record_demo

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from xml.sax.xmlreader import AttributesImpl

RULE = "─" * 20


class Lines(ContentHandler):
    """Collects the lines of a picture, whose pieces name the line that they are clipped to."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, str] = {}
        self._line = ""

    def startElement(self, name: str, attrs: AttributesImpl[str]) -> None:  # noqa: N802 - the parser's own name
        self._line = attrs.get("clip-path", "") if name == "text" else ""

    def endElement(self, _name: str) -> None:  # noqa: N802 - the parser's own name
        self._line = ""

    def characters(self, content: str) -> None:
        if self._line:
            self.lines[self._line] = self.lines.get(self._line, "") + content.replace("\N{NO-BREAK SPACE}", " ")


def lines_of(svg: str) -> list[str]:
    reader = Lines()
    parseString(svg.encode(), reader)  # noqa: S317 - our own picture
    return [line.strip() for line in reader.lines.values()]


def plain(lines: Iterable[object]) -> list[str]:
    return [str(line) for line in lines]


def test_the_middle_of_a_stage_is_left_out_and_the_table_is_not() -> None:
    steps = "".join(f"pretrain  step {number}/20\n" for number in range(1, 21))
    rows = "".join(f"row {number}\n" for number in range(20))
    output = f"1/2  data prep sft {RULE}\none\ntwo\n2/2  pretrain {RULE}\n{steps}done {RULE}\n{rows}"
    short, long, table = record_demo.parts_of(output)
    assert plain(short.shortened()) == [f"1/2  data prep sft {RULE}", "one", "two"]
    assert plain(long.shortened()) == [
        f"2/2  pretrain {RULE}",
        "pretrain  step 1/20",
        "pretrain  step 2/20",
        "pretrain  step 3/20",
        "pretrain  step 4/20",
        "... 13 more lines",
        "pretrain  step 18/20",
        "pretrain  step 19/20",
        "pretrain  step 20/20",
    ]
    assert len(table.shortened()) == 21


def test_the_picture_holds_the_lines_and_loads_nothing() -> None:
    svg = record_demo.draw(["nemotron", "x"], record_demo.parts_of(f"1/1  \x1b[1mpretrain\x1b[0m {RULE}\nloss 1 < 2\n"))
    assert lines_of(svg) == ["$ nemotron x", f"1/1  pretrain {RULE}", "loss 1 < 2"]
    assert not re.search(r"url\(['\"]?http|@import|@font-face", svg)


def test_output_is_kept_with_its_colours(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = io.BytesIO()
    program = "import os; print(os.environ['FORCE_COLOR'], os.getcwd())"
    record_demo.capture([sys.executable, "-c", program], tmp_path, log)
    assert log.getvalue().decode() == f"1 {tmp_path}\n"
    assert capfdbinary.readouterr().out == log.getvalue()


def test_a_failed_command_is_no_picture(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended with exit code 3"):
        record_demo.capture([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, io.BytesIO())


def test_the_picture_in_the_documentation_shows_every_stage() -> None:
    shown = lines_of(record_demo.PICTURE.read_text(encoding="utf-8"))
    stages = ["data prep pretrain", "pretrain", "data prep sft", "sft", "data prep rl", "rl", "eval"]
    # A blank between two styles is no text of the picture.
    found = [match[1] for line in shown if (match := re.fullmatch(r"\d/7  ([a-z ]+?) ?─+", line))]
    assert found == stages
    assert [line for line in shown if re.fullmatch(r"\.\.\. \d+ more lines", line)]
    rows = [line for line in shown if re.search(r"\s{2,}nano3-tiny-[a-z-]+:v\d+$", line)]
    assert [re.split(r"\s{2,}", line)[0] for line in rows] == stages
