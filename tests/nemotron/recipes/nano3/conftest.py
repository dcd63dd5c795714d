"""Data and models that the tests of several stages use; each is made once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.nemotron.recipes.nano3.running import Finished, Prepared, prepare, run_script, write_config

if TYPE_CHECKING:
    from pathlib import Path

TRAIN = {"steps": 24, "batch_size": 4, "sequence_length": 32, "save_every": 4}


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="session")
def pretrain_entries(prepared: Prepared) -> dict[str, object]:
    return {"data": {"path": prepared.text}, "model": {"size": "micro"}, "train": TRAIN, "valid_windows": 4}


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory, pretrain_entries: dict[str, object]) -> Finished:
    folder: Path = tmp_path_factory.mktemp("pretrained")
    return run_script(write_config(folder, "pretrain", **pretrain_entries), "pretrain/train.py")
