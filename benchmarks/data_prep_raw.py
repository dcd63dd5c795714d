"""Measure what a tokenizer library alone makes of a corpus: `python -m benchmarks.data_prep_raw`, one JSON object.

Only the calls that encode are timed, on batches of about 4 MB and on all processors: reading the file, taking the ids
out and writing them is what data preparation has to do besides. Names of special tokens in a text are plain text, as
they are in data preparation. With `--one-processor` on one.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.data_prep_corpus import batches, read_json_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

BATCH_CHARACTERS = 4_000_000
FAST, PLAIN, GIGATOKEN = "encode_batch_fast", "encode_batch", "gigatoken"
ENGINES = (FAST, PLAIN, GIGATOKEN)


@dataclass(frozen=True, slots=True)
class Raw:
    """What a library took.

    Args:
        tokens: How many it made.
        seconds: Wall time of encoding.
        cpu_s: Processor time of encoding.
        load_s: Wall time of loading the tokenizer.
    """

    tokens: int
    seconds: float
    cpu_s: float
    load_s: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / self.seconds


def measure(engine: str, tokenizer: Path, texts: Iterable[str], *, parallel: bool) -> Raw:
    """Encode some texts.

    Args:
        engine: One of `ENGINES`.
        tokenizer: A `tokenizer.json`.
        texts: The texts.
        parallel: On all processors.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if parallel else "false"
    begin = time.perf_counter()
    encode = gigatoken_of(tokenizer, parallel=parallel) if engine == GIGATOKEN else tokenizers_of(tokenizer, engine)
    load_s = time.perf_counter() - begin
    tokens, seconds, cpu_s = 0, 0.0, 0.0
    for batch in batches(texts, BATCH_CHARACTERS):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        count = encode(batch)
        seconds += time.perf_counter() - begin
        cpu_s += time.process_time() - cpu_begin
        tokens += count
    return Raw(tokens, seconds, cpu_s, load_s)


def tokenizers_of(path: Path, method: str) -> Callable[[list[str]], int]:
    """Give what encodes a batch with `tokenizers` and counts its tokens.

    Args:
        path: A `tokenizer.json`.
        method: The method's name.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - after the variable that it reads

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.encode_special_tokens = True
    encode = getattr(tokenizer, method)
    return lambda batch: sum(map(len, encode(batch, add_special_tokens=False)))


def gigatoken_of(path: Path, *, parallel: bool) -> Callable[[list[str]], int]:
    """Give what encodes a batch with gigatoken and counts its tokens.

    Args:
        path: A `tokenizer.json`.
        parallel: On all processors.
    """
    import gigatoken  # noqa: PLC0415 - only where it is measured

    document = json.loads(path.read_bytes())
    # It knows a special token wherever its name stands; without the names there is nothing to be known.
    document["added_tokens"] = [token for token in document["added_tokens"] if not token["special"]]
    tokenizer = gigatoken.Tokenizer.from_json(json.dumps(document).encode())
    return lambda batch: len(tokenizer.encode_batch(batch, parallel=parallel).layout.content)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print one JSON object.

    Args:
        argv: Arguments without the program's name; `sys.argv` when None.

    Returns:
        0.
    """
    parser = argparse.ArgumentParser(description="Measure what a tokenizer library alone makes of a corpus.")
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("tokenizer", type=Path, help="a tokenizer.json")
    parser.add_argument("corpus", type=Path, help="JSON lines with a text each")
    parser.add_argument("--one-processor", action="store_true")
    options = parser.parse_args(argv)
    texts = list(read_json_lines(options.corpus))
    print(json.dumps(asdict(measure(options.engine, options.tokenizer, texts, parallel=not options.one_processor))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
