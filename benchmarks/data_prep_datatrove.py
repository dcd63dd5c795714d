"""Prepare a corpus with datatrove's Megatron tokenizer, to be measured beside this project.

datatrove lives in an environment of its own, `.venv-datatrove`, made on first use as that of the Megatron contract
tests is. It hands whole files to its tasks, so the corpus is cut into as many files as there are workers: given one
file, one of two workers would have nothing to do. Everything else is as its documentation has it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.contract import layers

HERE = Path(__file__).parent
ROOT = HERE.parent
HOME = ROOT / ".venv-datatrove"
REQUIREMENTS = HERE / "datatrove-requirements.txt"


def environment() -> dict[str, str]:
    """Give the environment variables of a process that imports datatrove; its packages are installed if need be.

    Raises:
        RuntimeError: pip cannot install them.
    """
    path = os.pathsep.join(map(str, (layers.site(HOME, REQUIREMENTS, "datatrove"), ROOT)))
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"}


def command(corpus: Path, output: Path, tokenizer: Path, end: str, workers: int) -> list[str]:
    """Give the command that prepares a corpus.

    Args:
        corpus: Folder of JSON lines, a file for each worker.
        output: Where the token files go.
        tokenizer: A `tokenizer.json`.
        end: The token that ends a document.
        workers: How many processes.
    """
    arguments = [corpus, output, tokenizer, end, workers]
    return [sys.executable, "-m", "benchmarks.data_prep_datatrove", *map(str, arguments)]


def prepare(corpus: str, output: str, tokenizer: str, end: str, workers: int) -> None:
    """Prepare a corpus in this process and its workers.

    Args:
        corpus: As in `command`.
        output: As in `command`.
        tokenizer: As in `command`.
        end: As in `command`.
        workers: As in `command`.
    """
    from datatrove.executor import LocalPipelineExecutor  # noqa: PLC0415 - in an environment of its own
    from datatrove.pipeline.readers import JsonlReader  # noqa: PLC0415 - as above
    from datatrove.pipeline.tokens import MegatronDocumentTokenizer  # noqa: PLC0415 - as above

    steps = [JsonlReader(corpus), MegatronDocumentTokenizer(f"{output}/tokens", None, tokenizer, end)]
    LocalPipelineExecutor(steps, tasks=workers, workers=workers, logging_dir=f"{output}/logs").run()


if __name__ == "__main__":
    CORPUS, OUTPUT, TOKENIZER, END, WORKERS = sys.argv[1:]
    prepare(CORPUS, OUTPUT, TOKENIZER, END, int(WORKERS))
