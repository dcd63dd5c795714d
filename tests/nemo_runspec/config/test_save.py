from __future__ import annotations

import json
import re
import stat
from typing import TYPE_CHECKING

import yaml

from nemo_runspec.config import extract_train_config, generate_job_dir, save_configs

if TYPE_CHECKING:
    from pathlib import Path


def test_the_script_reads_everything_but_the_launchers_section() -> None:
    assert extract_train_config({"run": {"env": {}}, "train": {"lr": 1}, "model": 2}) == {
        "train": {"lr": 1},
        "model": 2,
    }


def test_a_job_folder_is_named_after_the_recipe_and_not_made(tmp_path: Path) -> None:
    folder = generate_job_dir("nano3/data_prep/sft", tmp_path)
    assert folder.parent == tmp_path / "jobs"
    assert re.fullmatch(r"nano3-data_prep-sft-\d{8}-\d{6}-[0-9a-f]{8}", folder.name)
    assert not folder.parent.exists()


def test_both_files_are_the_owners_alone_even_when_they_were_there(tmp_path: Path) -> None:
    folder = tmp_path / "job"
    for value in ("first", "ümlaut"):
        job_path, train_path = save_configs({"name": value}, {"text": value}, folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(job_path.stat().st_mode) == stat.S_IMODE(train_path.stat().st_mode) == 0o600
    assert yaml.safe_load(job_path.read_text(encoding="utf-8")) == {"name": "ümlaut"}
    assert yaml.safe_load(train_path.read_text(encoding="utf-8")) == {"text": "ümlaut"}


def test_a_script_may_read_json(tmp_path: Path) -> None:
    _, path = save_configs({}, {"lr": 1e-5}, tmp_path / "job", config_format="json")
    assert path.name == "train.json"
    assert json.loads(path.read_text(encoding="utf-8")) == {"lr": 1e-5}
