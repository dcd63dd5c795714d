"""The job folder: `job.yaml` for the record, `train.yaml` for the script."""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from nemo_runspec import yaml_text
from nemo_runspec.job_folder import JOB_FILE, TRAIN_FILE, TRAIN_JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

LAUNCHER_SECTION = "run"


def extract_train_config(resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the script reads: everything but the launcher's own section.

    Args:
        resolved: The resolved configuration.
    """
    return {key: value for key, value in resolved.items() if key != LAUNCHER_SECTION}


def generate_job_dir(name: str, workspace: str | Path) -> Path:
    """Name a folder for a new job; it is not made here.

    Args:
        name: The recipe's name, such as `nano3/sft`.
        workspace: Where the job keeps its results.

    Returns:
        `<workspace>/jobs/<name>-<UTC time>-<random>`.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path(workspace) / "jobs" / f"{name.replace('/', '-')}-{stamp}-{secrets.token_hex(4)}"


def train_file(config_format: str) -> str:
    """Give the name of the script's configuration: `train.json` for `format = "json"`, else `train.yaml`."""
    return TRAIN_JSON if config_format == "json" else TRAIN_FILE


def save_configs(
    job_config: Mapping[str, Any], train_config: Mapping[str, Any], job_dir: Path, *, config_format: str = "yaml"
) -> tuple[Path, Path]:
    """Write the two files, readable by their owner only.

    Args:
        job_config: The record of the job: configuration, provenance, command, environment names.
        train_config: What the script reads.
        job_dir: Made if it is not there, with mode 0700.
        config_format: What the script reads, as its runspec block says.

    Returns:
        The paths of `job.yaml` and of the script's file.
    """
    job_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    job_path, train_path = job_dir / JOB_FILE, job_dir / train_file(config_format)
    write_private(job_path, yaml_text.dump(job_config))
    as_json = train_path.name == TRAIN_JSON
    write_private(train_path, json.dumps(train_config, indent=2) if as_json else yaml_text.dump(train_config))
    return job_path, train_path


def write_private(path: Path, text: str) -> None:
    """Write a text file that only its owner can read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def open_private(path: Path) -> BinaryIO:
    """Open a file to append to, which only its owner can read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab")
