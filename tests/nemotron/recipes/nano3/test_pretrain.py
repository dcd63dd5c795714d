"""Pretraining as a script: it learns, it shares the work, and a `kill -9` costs nothing but time."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.nemotron.recipes.nano3.running import Finished, dying_script, run_script, write_config

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SCRIPT = "pretrain/train.py"


def weights(finished: Finished) -> dict[str, npt.NDArray[np.float32]]:
    return load_file(finished.model / "model.safetensors")


def differing(one: Finished, other: Finished) -> list[str]:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    return [name for name in ours if not (ours[name] == theirs[name]).all()]


@pytest.mark.slow
def test_the_loss_falls_and_everything_is_reported(pretrained: Finished) -> None:
    assert pretrained.status == 0, pretrained.output
    result = pretrained.result
    assert result["metric"] == "loss"
    assert result["last"] < result["first"]
    assert [step for step, _ in result["curve"]] == [1, 10, 20, 24]
    assert result["tokens"] == 24 * 4 * 32
    assert result["details"]["held_out_loss_last"] < result["details"]["held_out_loss_first"]
    assert "step 24/24" in pretrained.output
    assert "arning" not in pretrained.output


@pytest.mark.slow
def test_a_killed_run_ends_with_the_weights_of_an_undisturbed_one(
    tmp_path: Path, pretrained: Finished, pretrain_entries: dict[str, object]
) -> None:
    config = write_config(tmp_path, "pretrain", **pretrain_entries)
    killed = run_script(config, SCRIPT, stop=("held-out loss at step 8", signal.SIGKILL))
    assert (killed.status, killed.manifest) == (-signal.SIGKILL, {})
    asked = run_script(config, SCRIPT, stop=("held-out loss at step 16", signal.SIGINT))
    assert asked.status == 130, asked.output
    assert "resuming from step" in asked.output
    assert "its checkpoint is kept" in asked.output
    assert "Traceback" not in asked.output
    resumed = run_script(config, SCRIPT)
    assert resumed.status == 0, resumed.output
    assert "resuming from step" in resumed.output
    assert resumed.result["curve"] == pretrained.result["curve"]
    assert resumed.result["tokens"] == pretrained.result["tokens"]
    assert differing(resumed, pretrained) == []
    assert not list((tmp_path / "out").glob("*/checkpoints"))


@pytest.mark.slow
def test_a_run_killed_between_its_last_step_and_its_publication_takes_no_further_step(
    tmp_path: Path, pretrained: Finished, pretrain_entries: dict[str, object]
) -> None:
    config = write_config(tmp_path, "pretrain", **pretrain_entries)
    killed = run_script(config, dying_script(tmp_path, "pretrain"))
    assert (killed.status, killed.manifest) == (-signal.SIGKILL, {})
    assert "step 24/24" in killed.output
    again = run_script(config, SCRIPT)
    assert again.status == 0, again.output
    assert "step " not in again.output.replace("steps ", "")
    assert again.result["curve"] == pretrained.result["curve"]
    assert again.result["tokens"] == pretrained.result["tokens"]
    assert again.result["details"] == pretrained.result["details"]
    assert differing(again, pretrained) == []


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(
    tmp_path: Path, pretrained: Finished, pretrain_entries: dict[str, object]
) -> None:
    shared = run_script(write_config(tmp_path, "pretrain", **pretrain_entries), SCRIPT, processes=2)
    assert shared.status == 0, shared.output
    assert shared.output.count("published") == 1
    assert shared.result["tokens"] == pretrained.result["tokens"]
    assert shared.result["last"] == pytest.approx(pretrained.result["last"], abs=0.02)
    assert "arning" not in shared.output


@pytest.mark.slow
def test_a_finished_run_is_reused(tmp_path: Path, pretrained: Finished, pretrain_entries: dict[str, object]) -> None:
    config = write_config(tmp_path, "pretrain", **pretrain_entries, output_dir=str(pretrained.model.parent.parent))
    again = run_script(config, SCRIPT)
    assert again.status == 0
    assert "reused nano3-tiny-pretrain-model:v1" in again.output


@pytest.mark.slow
def test_a_training_that_diverges_ends_and_keeps_its_last_good_checkpoint(
    tmp_path: Path, pretrain_entries: dict[str, object]
) -> None:
    train = {"steps": 8, "batch_size": 4, "sequence_length": 32, "learning_rate": 1e30, "warmup_steps": 1}
    config = write_config(tmp_path, "pretrain", **{**pretrain_entries, "train": {**train, "save_every": 1}})
    diverged = run_script(config, SCRIPT)
    assert (diverged.status, diverged.manifest) == (1, {}), diverged.output
    said = re.search(r"the training diverged: (\w+) is (nan|inf) at step (\d+)", diverged.output)
    assert said is not None, diverged.output
    assert f"checkpoint of step {int(said[3]) - 1} is kept" in diverged.output
    assert "Traceback" not in diverged.output
    kept = max((tmp_path / "out").glob("*/checkpoints/checkpoint-*/model.safetensors"))
    assert all(np.isfinite(values).all() for values in load_file(kept).values())


@pytest.mark.slow
def test_a_mistake_is_one_message_and_status_2(tmp_path: Path, pretrain_entries: dict[str, object]) -> None:
    wrong = run_script(write_config(tmp_path, "pretrain", **{**pretrain_entries, "data": {"path": "/nowhere"}}), SCRIPT)
    assert wrong.status == 2
    assert "data error: /nowhere/blend.json: " in wrong.output
    assert "Traceback" not in wrong.output
