"""The NeMo-RL engine, with a small program in place of NeMo-RL's driver; tests/contract holds its configuration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from nemo_runspec.artifacts import ArtifactStore
from nemo_runspec.errors import ConfigError, JobFailedError
from nemo_runspec.stage import Stage
from nemo_runspec.stage.given import JobFacts
from nemotron.training.nemo_rl import build_config, read_checkpoints, rl

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = """
import json, os, pathlib, signal, sys
import yaml
config = yaml.safe_load(open(sys.argv[sys.argv.index("--config") + 1], encoding="utf-8"))
pathlib.Path("seen.json").write_text(json.dumps({"argv": sys.argv[1:], "config": config}))
if config["grpo"]["end"] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
for step in config["grpo"]["steps"]:
    folder = pathlib.Path(config["checkpointing"]["checkpoint_dir"]) / f"step_{step}"
    (folder / "policy" / "weights").mkdir(parents=True)
    (folder / "policy" / "weights" / "shard").write_text("w")
    info = {"total_valid_tokens": step * 100, config["checkpointing"]["metric_name"]: step / 100}
    (folder / "training_info.json").write_text(json.dumps(info))
raise SystemExit(config["grpo"]["end"])
"""


def _config(tmp_path: Path, steps: list[int], end: object = 0) -> dict[str, Any]:
    root = tmp_path / "nemo-rl"
    root.mkdir()
    (root / "driver.py").write_text(DRIVER, encoding="utf-8")
    return {
        "output_dir": str(tmp_path / "output"),
        "artifact": {"name": "rl-model"},
        "engine": "nemo_rl",
        "recipe": {"root": str(root), "driver": "driver.py", "defaults": "recipe.yaml"},
        "grpo": {"steps": steps, "end": end},
        "checkpointing": {"metric_name": "val:total_reward/mean"},
    }


def _stage(tmp_path: Path, config: dict[str, Any]) -> Stage:
    facts = JobFacts(name="nano3/rl", folder=None, root=str(tmp_path / "artifacts"))
    return Stage(name="nano3/rl", config=config, config_path=tmp_path / "train.yaml", job=facts, arguments=["a.b=1"])


def test_the_driver_gets_the_sections_and_the_last_checkpoint_is_published(tmp_path: Path) -> None:
    config = _config(tmp_path, steps=[10, 2])
    rl(_stage(tmp_path, config))
    seen = json.loads((tmp_path / "nemo-rl" / "seen.json").read_text(encoding="utf-8"))
    assert seen["argv"][0] == "--config"
    assert seen["argv"][2:] == ["a.b=1"]
    assert seen["config"]["defaults"] == f"{tmp_path}/nemo-rl/recipe.yaml"
    assert set(seen["config"]) == {"defaults", "grpo", "checkpointing", "logger"}
    manifest = ArtifactStore(str(tmp_path / "artifacts")).get("rl-model")
    assert manifest.path.endswith("/checkpoints/step_10")
    assert manifest.field("weights") == f"{manifest.path}/policy/weights"
    assert manifest.metadata["step"] == 10
    assert manifest.result["curve"] == [[2, 0.02], [10, 0.1]]
    assert (manifest.result["metric"], manifest.result["first"], manifest.result["last"]) == ("reward", 0.02, 0.1)
    assert manifest.result["tokens"] == 1000


def test_a_finished_run_is_used_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = _config(tmp_path, steps=[1])
    rl(_stage(tmp_path, config))
    (tmp_path / "nemo-rl" / "driver.py").unlink()
    rl(_stage(tmp_path, config))
    assert "reused rl-model:v1" in capsys.readouterr().out


@pytest.mark.parametrize(("end", "status"), [(3, 3), ("killed", 137)])
def test_a_driver_that_fails_gives_its_exit_code(tmp_path: Path, end: object, status: int) -> None:
    with pytest.raises(JobFailedError, match="ended with exit code") as caught:
        rl(_stage(tmp_path, _config(tmp_path, steps=[1], end=end)))
    assert caught.value.exit_code == status
    assert "nemo_rl.yaml" in str(caught.value)


def test_a_driver_that_leaves_no_checkpoint_has_failed(tmp_path: Path) -> None:
    with pytest.raises(JobFailedError, match="left no checkpoint"):
        rl(_stage(tmp_path, _config(tmp_path, steps=[])))


def test_outside_the_image_the_error_names_the_tiny_configuration(tmp_path: Path) -> None:
    config = _config(tmp_path, steps=[1])
    config["recipe"]["root"] = "/opt/no-nemo-rl"
    with pytest.raises(ConfigError, match=r"'/opt/no-nemo-rl/driver\.py' is not on this machine") as caught:
        rl(_stage(tmp_path, config))
    assert "-c tiny" in str(caught.value)


def test_places_of_the_configuration_win_over_the_folder_of_the_run(tmp_path: Path) -> None:
    config = _config(tmp_path, steps=[])
    config["logger"] = {"log_dir": "/logs", "wandb_enabled": True}
    built = build_config(config, tmp_path / "run")
    assert built["logger"] == {"log_dir": "/logs", "wandb_enabled": True}
    assert built["checkpointing"]["checkpoint_dir"] == str(tmp_path / "run" / "checkpoints")


def test_a_section_that_nemo_rl_does_not_have(tmp_path: Path) -> None:
    config = {**_config(tmp_path, steps=[]), "loss": {}}
    with pytest.raises(ConfigError, match="'loss' is not a section of NeMo-RL's GRPO"):
        build_config(config, tmp_path)


def test_an_incomplete_recipe(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.driver is needed"):
        build_config({"recipe": {"root": "/opt/nemo-rl"}}, tmp_path)


def test_a_checkpoint_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    for name in ("tmp_step_3", "step_2", "step_x", "old_step_1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "training_info.json").write_text("{}", encoding="utf-8")
    (tmp_path / "step_9").mkdir()
    assert read_checkpoints(tmp_path) == [(2, tmp_path / "step_2", {})]


def test_the_drivers_file_is_plain_yaml(tmp_path: Path) -> None:
    config = _config(tmp_path, steps=[1])
    rl(_stage(tmp_path, config))
    files = list((tmp_path / "output").glob("*/nemo_rl.yaml"))
    assert len(files) == 1
    assert yaml.safe_load(files[0].read_text(encoding="utf-8"))["grpo"] == {"steps": [1], "end": 0}
