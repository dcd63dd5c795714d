"""RL as a script: TRL's trainer on the tiny model, killed and resumed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.nemotron.recipes.nano3.running import dying_script, run_script, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemotron.recipes.nano3.running import Finished, Prepared


SAME = ("first", "last", "tokens", "curve")
WEIGHTS = "model.safetensors"


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(tmp_path: Path, prepared: Prepared, pretrained: Finished) -> None:
    train = {"steps": 8, "batch_size": 8, "answers_per_prompt": 4, "max_answer_tokens": 8, "save_every": 2}
    entries = {"data": {"path": prepared.prompts}, "model": {"path": str(pretrained.model)}, "train": train}
    config = write_config(tmp_path, "rl", **entries)
    killed = run_script(config, "rl/train.py", stop=("step 1/8", signal.SIGTERM))
    assert killed.status == 130, killed.output
    killed = run_script(config, dying_script(tmp_path, "rl"))
    assert killed.status == -signal.SIGKILL, killed.output
    assert "resuming from step" in killed.output
    finished = run_script(config, "rl/train.py")
    assert finished.status == 0, finished.output
    assert "all 8 steps are done" in finished.output
    result = finished.result
    assert result["metric"] == "reward"
    assert [step for step, _ in result["curve"]] == [1, 8]
    assert result["details"]["steps"] == 8
    assert set(result["details"]) >= {"first_quarter", "last_quarter", "difference", "standard_error", "z"}
    assert (finished.model / WEIGHTS).is_file()
    assert "arning" not in finished.output
    whole = run_script(write_config(tmp_path / "whole", "rl", **entries), "rl/train.py")
    assert "2 generation workers and 1 reward worker on 1 node" in whole.output
    assert {key: whole.result[key] for key in SAME} == {key: result[key] for key in SAME}
    assert (whole.model / WEIGHTS).read_bytes() == (finished.model / WEIGHTS).read_bytes()
