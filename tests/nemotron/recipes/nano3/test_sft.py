"""SFT as a script, on the model that pretraining made in another process."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.nemotron.recipes.nano3.running import run_script, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemotron.recipes.nano3.running import Finished, Prepared


@pytest.mark.slow
def test_the_held_out_loss_falls_against_the_pretrained_model(
    tmp_path: Path, prepared: Prepared, pretrained: Finished
) -> None:
    train = {"steps": 16, "batch_size": 4, "save_every": 4, "learning_rate": 0.01}
    models = {"data": {"path": prepared.chats}, "model": {"path": str(pretrained.model)}}
    config = write_config(tmp_path, "sft", **models, train=train)
    killed = run_script(config, "sft/train.py", stop=("held-out loss at step 8", signal.SIGKILL))
    assert killed.status == -signal.SIGKILL
    finished = run_script(config, "sft/train.py")
    assert finished.status == 0, finished.output
    assert "resuming from step" in finished.output
    assert finished.result["metric"] == "held-out loss"
    assert [step for step, _ in finished.result["curve"]] == [0, 4, 8, 12, 16]
    assert finished.result["last"] < finished.result["first"]
    assert "arning" not in finished.output


@pytest.mark.slow
def test_two_processes_tune_as_one_does(tmp_path: Path, prepared: Prepared, pretrained: Finished) -> None:
    entries = {
        "data": {"path": prepared.chats},
        "model": {"path": str(pretrained.model)},
        "train": {"steps": 4, "batch_size": 4, "save_every": 2, "learning_rate": 0.01},
    }
    alone = run_script(write_config(tmp_path / "alone", "sft", **entries), "sft/train.py")
    shared = run_script(write_config(tmp_path / "shared", "sft", **entries), "sft/train.py", processes=2)
    assert (alone.status, shared.status) == (0, 0), shared.output
    assert shared.output.count("published") == 1
    assert "step 4/4" in shared.output
    assert shared.result["tokens"] == alone.result["tokens"]
    assert [step for step, _ in shared.result["curve"]] == [0, 2, 4]
    # The processes' losses are averaged with equal weight, whatever their number of trained tokens.
    assert shared.result["last"] == pytest.approx(alone.result["last"], rel=0.05)
    assert "arning" not in shared.output
