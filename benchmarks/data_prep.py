"""Measure data preparation against what it is promised to be, in ratios of one run on one machine.

    python -m benchmarks.data_prep
    python -m benchmarks.data_prep --only pretrain memory --curve memory.png
    python -m benchmarks.data_prep --quick --only packing

Preparations run as their users run them, each in processes of its own, on text that this machine holds (see
data_prep_corpus.py) and with a byte-level BPE of 131,072 tokens. What they are compared with, the tokenizer libraries
alone and datatrove, runs just before or after them on the same text and tokenizer. Rates are those of the whole work:
reading, planning, loading the tokenizer, checking the engine, encoding, writing and publishing.

A busy machine disturbs all of it. Processor time, which it disturbs less, stands beside the wall time that counts.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import data_prep_corpus as text
from benchmarks.data_prep_bench import Bench, Sizes, Verdict
from benchmarks.data_prep_parts import PARTS, WORKER_BYTES
from benchmarks.data_prep_processes import draw

if TYPE_CHECKING:
    from collections.abc import Sequence

FULL = Sizes(corpus=100, plain=15, ray=10, large=1000, conversations=18_000, lengths=1_000_000)
QUICK = Sizes(corpus=2, plain=1, ray=1, large=4, conversations=60, lengths=100_000)


def table(verdicts: Sequence[Verdict]) -> str:
    """Give the verdicts as a table.

    Args:
        verdicts: What was found.
    """
    rows = [(one.promise, one.limit, one.measured, one.word, one.remark) for one in verdicts]
    head = ("promise", "limit", "measured", "", "")
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments without the program's name; `sys.argv` when None.

    Returns:
        1 when a promise is not kept, otherwise 0. With `--quick` the sizes are too small for the promises that speak of
        time or memory: only the others count.
    """
    parser = argparse.ArgumentParser(description="Measure data preparation against what it is promised to be.")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, not how fast")
    parser.add_argument(
        "--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: all CPUs)"
    )
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer's folder, instead of the one that is made")
    parser.add_argument("--folder", type=Path, help="where the text is kept for another run (default: nowhere)")
    parser.add_argument("--curve", type=Path, help="a picture to draw memory over time into")
    parser.add_argument("--json", type=Path, help="a file for the verdicts")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="data-prep-") as temporary:
        folder = (options.folder or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, QUICK if options.quick else FULL, options.workers, options.tokenizer, say=progress)
        verdicts = [verdict for name in options.only or PARTS for verdict in measured(name, bench)]
    if options.quick:
        verdicts = [verdict.unjudged() for verdict in verdicts]
    print(f"\n{bench.sizes.corpus} MB of text from {', '.join(str(place) for place, _ in text.places())}")
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, {options.workers} workers\n")
    print(table(verdicts))
    for name, line in bench.sketches():
        print(f"\nmemory of all processes, {name}\n{line}")
    if options.curve:
        draw(bench.curves, options.curve, WORKER_BYTES * options.workers)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in verdicts], indent=2), encoding="utf-8")
    return int(any(one.met is False for one in verdicts))


def measured(name: str, bench: Bench) -> list[Verdict]:
    """Measure a part; one that fails keeps no promise, and does not keep the others from being measured.

    Args:
        name: One of `PARTS`.
        bench: What the parts share.
    """
    found: list[Verdict] = []
    try:
        found.extend(PARTS[name](bench))
    except RuntimeError as error:
        progress(str(error))
        lines = [line for line in str(error).splitlines() if line.strip()]
        found.append(Verdict(name, "", "could not be measured", met=False, remark=lines[-1], sized=False))
    return found


def progress(line: str) -> None:
    """Say what is measured next.

    Args:
        line: What.
    """
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
