from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from nemo_runspec.report import COLUMNS, cells, write_html, write_json
from nemo_runspec.step import StepReport

if TYPE_CHECKING:
    from pathlib import Path

REPORTS = [
    StepReport(
        "pretrain",
        61.23,
        tokens=1_500_000,
        tokens_per_s=24_501.2,
        metric="loss",
        first=8.3123,
        last=4.1,
        artifact="model:v1",
        curve=((0, 8.3), (10, 5.0), (20, 4.1)),
        details={"note": "<b>bold</b>"},
    ),
    StepReport("data <prep>", 1.0, artifact="data:v2", reused=True),
]


class Links(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag
        self.found += [value for name, value in attrs if value and name in {"src", "href", "xlink:href"}]


def test_cells_are_readable() -> None:
    assert cells(REPORTS[0]) == ("pretrain", "61.2", "1.5M", "24.5k", "loss 8.312 -> 4.1", "model:v1")
    assert cells(REPORTS[1]) == ("data <prep>", "1.0", "", "", "", "data:v2 (reused)")
    assert len(cells(REPORTS[0])) == len(COLUMNS)


def test_the_json_has_a_row_for_each_stage(tmp_path: Path) -> None:
    write_json(REPORTS, tmp_path / "new" / "report.json")
    stages = json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8"))["stages"]
    assert [stage["name"] for stage in stages] == ["pretrain", "data <prep>"]
    assert stages[0]["tokens_per_s"] == 24_501.2


def test_the_page_is_self_contained_and_escaped(tmp_path: Path) -> None:
    write_html("a & b", REPORTS, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    links = Links()
    links.feed(page)
    assert [link for link in links.found if not link.startswith("#")] == []
    assert page.count("<svg") == 1
    assert "data &lt;prep&gt;" in page
    assert "<b>bold" not in page
    assert re.search(r"<title>a &amp; b</title>", page)
