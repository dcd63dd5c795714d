"""What a pipeline leaves: a table, `report.json`, and a self-contained `report.html` with the curves."""

from __future__ import annotations

import html
import io
import json
from typing import TYPE_CHECKING, Any

from nemo_runspec.stage import human_count

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from nemo_runspec.step import StepReport

COLUMNS = ("stage", "seconds", "tokens", "tokens/s", "first and last", "artifact")

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1b1f24; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .35rem .6rem; border-bottom: 1px solid #d8dee4; }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left; }
figure { margin: 2rem 0; }
figure svg { width: 100%; height: auto; }
pre { overflow-x: auto; background: #f6f8fa; padding: 1rem; }
"""


def cells(report: StepReport) -> tuple[str, ...]:
    """Give one row of the table as text, in the order of `COLUMNS`."""
    return (
        report.name,
        f"{report.seconds:.1f}",
        human_count(report.tokens) if report.tokens else "",
        human_count(report.tokens_per_s) if report.tokens_per_s else "",
        _change(report),
        report.artifact + (" (reused)" if report.reused else ""),
    )


def _change(report: StepReport) -> str:
    if report.first is None or report.last is None:
        return ""
    return f"{report.metric} {report.first:.4g} -> {report.last:.4g}"


def write_json(reports: Iterable[StepReport], path: Path) -> None:
    """Write `{"stages": [{name, seconds, tokens, tokens_per_s, metric, first, last, artifact, reused}]}`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"stages": [report.as_row() for report in reports]}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def write_html(title: str, reports: Sequence[StepReport], path: Path) -> None:
    """Write the page: the table, a curve for each stage that has one, and each stage's further numbers.

    The page needs nothing beside itself: the pictures are inline SVG.
    """
    head = "".join(f"<th>{html.escape(name)}</th>" for name in COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(report)) + "</tr>" for report in reports
    )
    body = "".join(_section(report) for report in reports if report.curve or report.details)
    name = html.escape(title)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        f"<h1>{name}</h1><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{body}</html>\n"
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")


def _section(report: StepReport) -> str:
    picture = f"<figure>{_curve(report)}</figure>" if report.curve else ""
    numbers = json.dumps(report.details, indent=2) if report.details else ""
    listing = f"<pre>{html.escape(numbers)}</pre>" if numbers else ""
    return f"<h2>{html.escape(report.name)}</h2>{picture}{listing}"


def _curve(report: StepReport) -> str:
    """Draw a stage's curve as an SVG element."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes a second to import, and only a report draws

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes: Any = figure.subplots()
    steps, values = zip(*report.curve, strict=True)
    axes.plot(steps, values, color="#76b900", linewidth=1.6)
    axes.set_xlabel("step")
    axes.set_ylabel(report.metric or "")
    axes.grid(visible=True, alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
