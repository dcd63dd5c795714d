"""Run a preparation as its user does, `python data_prep.py --config train.yaml`, and read what it made."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from benchmarks.data_prep_processes import Ran, run
from nemo_runspec.artifacts import MANIFEST_FILE
from nemotron.data_prep.binidx import read_pair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
RECIPES = ROOT / "src" / "nemotron" / "recipes" / "nano3"
VALID_FRACTION = 0.01


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a preparation took, and what it made.

    Args:
        ran: The command.
        folder: Where its data are.
        tokens: How many it says it made.
        work_s: How long it says it worked: from the reading of its configuration until it has published.
        first_shard_s: From the beginning of that until a worker began with the first shard; None where none did.
        workers: How many processes it was given.
    """

    ran: Ran
    folder: Path
    tokens: int
    work_s: float
    first_shard_s: float | None
    workers: int

    @property
    def rate(self) -> float:
        """Tokens per second of its work."""
        return self.tokens / self.work_s

    @property
    def worker_bytes(self) -> float:
        """Most memory of all processes, shared out to the workers, in bytes."""
        return self.ran.peak_bytes / self.workers


def prepare(stage: str, folder: Path, config: Mapping[str, Any], *, workers: int) -> Prepared:
    """Prepare data with a stage of the nano3 recipes, in a folder that is emptied first.

    Args:
        stage: `pretrain` or `sft`.
        folder: Where everything goes.
        config: Its configuration, but for the artifact, the output and the workers.
        workers: How many processes.

    Raises:
        RuntimeError: The preparation failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    output = folder / "output"
    folder.mkdir(parents=True)
    whole = {"artifact": {"name": "measured"}, "output_dir": str(output), "workers": workers, **config}
    (folder / "train.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    script = RECIPES / stage / "data_prep.py"
    environment = {**os.environ, "NEMOTRON_ARTIFACTS": str(folder / "artifacts"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, str(script), "--config", str(folder / "train.yaml")]
    ran = run(command, environment, cwd=folder, watched=output / "shards")
    (path,) = output.glob(f"*/{MANIFEST_FILE}")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    work_s = float(manifest["result"]["seconds"])
    # The manifest is the last thing that it writes.
    began_s = path.stat().st_mtime - ran.started - work_s
    first = None if ran.appeared_s is None else max(0.0, ran.appeared_s - began_s)
    return Prepared(ran, Path(manifest["path"]), int(manifest["result"]["tokens"]), work_s, first, workers)


def blend_of(path: Path, source: Path) -> Path:
    """Write a blend of one data set.

    Args:
        path: The blend's file.
        source: The data.

    Returns:
        The blend's file.
    """
    blend = {"datasets": [{"name": source.stem, "path": str(source.absolute()), "weight": 1.0}]}
    path.write_text(json.dumps(blend), encoding="utf-8")
    return path


def pretrain_config(blend: Path, tokenizer: Path, engine: str, backend: str = "processes") -> dict[str, Any]:
    """Give a configuration of `data prep pretrain`.

    Args:
        blend: The blend's file.
        tokenizer: Folder of the tokenizer.
        engine: `auto`, `hf` or `gigatoken`.
        backend: `processes` or `ray`.
    """
    return {
        "blend": str(blend),
        "tokenizer": {"path": str(tokenizer), "engine": engine},
        "valid_fraction": VALID_FRACTION,
        "seed": 1,
        "backend": backend,
    }


def sft_config(blend: Path, tokenizer: Path, engine: str, pack_size: int) -> dict[str, Any]:
    """Give a configuration of `data prep sft`.

    Args:
        blend: The blend's file.
        tokenizer: Folder of the tokenizer.
        engine: `auto`, `hf` or `gigatoken`.
        pack_size: Most tokens of a row.
    """
    return {
        **pretrain_config(blend, tokenizer, engine),
        "chat_template": "nano3",
        "pack_size": pack_size,
        "max_tokens": pack_size,
    }


def token_files(folder: Path) -> dict[str, list[NDArray[np.integer[Any]]]]:
    """Read the tokens of each split by its blend, file by file.

    Args:
        folder: What `data prep pretrain` published.
    """
    blend = json.loads((folder / "blend.json").read_text(encoding="utf-8"))
    return {split: [read_pair(Path(prefix))[0] for prefix in (words or [])[1::2]] for split, words in blend.items()}


def same_tokens(first: Path, second: Path) -> bool:
    """Tell whether two preparations made the same tokens in the same files.

    Args:
        first: What one published.
        second: What the other published.
    """
    one, other = token_files(first), token_files(second)
    return one.keys() == other.keys() and all(
        len(one[split]) == len(other[split]) and all(map(np.array_equal, one[split], other[split])) for split in one
    )
