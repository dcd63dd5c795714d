"""RL as a script: TRL's trainer on the tiny model, killed and resumed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.nemotron.recipes.nano3.running import dying_script, run_script, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemotron.recipes.nano3.running import Finished, Prepared


@pytest.mark.slow
def test_a_killed_run_comes_to_its_last_step(tmp_path: Path, prepared: Prepared, pretrained: Finished) -> None:
    train = {"steps": 8, "batch_size": 8, "answers_per_prompt": 4, "max_answer_tokens": 8, "save_every": 2}
    config = write_config(
        tmp_path, "rl", data={"path": prepared.prompts}, model={"path": str(pretrained.model)}, train=train
    )
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
    assert (finished.model / "model.safetensors").is_file()
    assert "arning" not in finished.output
