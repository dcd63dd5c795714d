"""Tokenizers that the fast engine does not take, or nobody, with worker processes: by the stage script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml
from tokenizers import Tokenizer, normalizers

import nemotron
from tests.nemotron.data_prep.small import small_tokenizer, write_lines

SCRIPT = Path(nemotron.__file__).parent / "recipes" / "nano3" / "pretrain" / "data_prep.py"


def prepare(folder: Path) -> subprocess.CompletedProcess[str]:
    write_lines(folder / "a.jsonl", [{"text": f"text number {number}"} for number in range(400)])
    blend = folder / "blend.json"
    blend.write_text(json.dumps({"datasets": [{"name": "a", "path": "a.jsonl"}]}))
    config = {
        "artifact": {"name": "made"},
        "output_dir": str(folder / "out"),
        "blend": str(blend),
        "tokenizer": {"path": str(folder / "tokenizer")},
        "valid_fraction": 0.0,
        "seed": 1,
        "shard_size": "2KiB",
        "workers": 2,
    }
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    environment = {**os.environ, "NEMOTRON_ARTIFACTS": str(folder / "artifacts")}
    command = [sys.executable, str(SCRIPT), "--config", str(folder / "train.yaml")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_a_normaliser_that_only_the_trusted_engine_has(tmp_path: Path) -> None:
    file = small_tokenizer(tmp_path / "tokenizer").json_file
    backend = Tokenizer.from_file(str(file))
    backend.normalizer = normalizers.NFKC()
    backend.save(str(file))
    done = prepare(tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert "encoding with tokenizers: gigatoken refuses the tokenizer" in done.stdout
    assert "published made:v1" in done.stdout


def test_a_tokenizer_that_cannot_be_loaded(tmp_path: Path) -> None:
    small_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": ')
    done = prepare(tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "tokenizer.json:1: the tokenizer is not JSON" in done.stderr
