"""A measure of repeated code: runs of six or more lines that stand somewhere else as well."""

from __future__ import annotations

import ast
import io
import tokenize
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.guardrails.checkout import Source

WINDOW = 6

# Tokens that carry layout or remarks, not code.
SILENT = frozenset(
    {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)


@dataclass(frozen=True)
class Repetition:
    """How much of a body of code stands in it twice.

    Args:
        repeated: Lines of the second and later copies.
        total: Lines of code, without comments, docstrings, imports and blank lines.
        places: "file:line" of each run of repeated lines, with where it stood first.
    """

    repeated: int
    total: int
    places: tuple[str, ...]

    @property
    def share(self) -> float:
        """Give the repeated share of all lines, 0 to 1."""
        return self.repeated / self.total if self.total else 0.0


def code_lines(source: Source) -> list[tuple[int, str]]:
    """Give the line number and the normalised code of every line that says something.

    Spacing, comments, docstrings and imports are taken out; names and values stay, so that the rows of a table are not
    taken for copies of each other.
    """
    skipped: set[int] = set()
    for node in ast.walk(source.tree):
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        is_text = (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        )
        if isinstance(node, ast.stmt) and (is_import or is_text):
            skipped.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    words: dict[int, list[str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type not in SILENT and token.start[0] not in skipped:
            words.setdefault(token.start[0], []).append(token.string)
    return [(line, " ".join(parts)) for line, parts in sorted(words.items())]


def measure(sources: Sequence[Source], window: int = WINDOW) -> Repetition:
    """Measure how much of some files stands in them twice.

    Args:
        sources: The files that count as one body of code.
        window: How many lines in a row make a copy.
    """
    first_seen: dict[tuple[str, ...], str] = {}
    repeated = total = 0
    places = []
    for source in sources:
        lines = code_lines(source)
        total += len(lines)
        copied: set[int] = set()
        for start in range(len(lines) - window + 1):
            run = lines[start : start + window]
            here = f"{source.name}:{run[0][0]}"
            origin = first_seen.setdefault(tuple(text for _, text in run), here)
            if origin != here:
                if start not in copied:
                    places.append(f"{here} repeats {origin}")
                copied.update(range(start, start + window))
        repeated += len(copied)
    return Repetition(repeated, total, tuple(places))
