from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nemotron.data_prep.shards.crew import PRELOAD_VARIABLE
from tests.nemotron.data_prep.small import small_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

# What a worker finds loaded: the encoder by its specification, and the work.
PROGRAM = """
import sys
import nemotron.data_prep.preload
from nemotron.data_prep.encoding import engines
print([(spec.tokenizer_json, spec.engine, spec.digest) for spec in engines._loaded])
print("nemotron.data_prep.documents" in sys.modules, "torch" in sys.modules)
"""


@pytest.mark.parametrize("engine", ["hf", "gigatoken"])
def test_the_encoder_is_loaded_once_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    tokenizer = small_tokenizer(tmp_path)
    monkeypatch.setenv(PRELOAD_VARIABLE, json.dumps([str(tokenizer.json_file), engine]))
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    loaded, rest = done.stdout.splitlines()
    assert loaded == str([(str(tokenizer.json_file), engine, tokenizer.digest)])
    assert rest == "True False"


def test_without_a_tokenizer_nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PRELOAD_VARIABLE, raising=False)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "[]"
