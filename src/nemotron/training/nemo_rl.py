"""The production engine for RL: NeMo-RL's GRPO driver with NeMo Gym, inside the NGC image.

Written from NeMo-RL 0.7.0 (NGC image `nvcr.io/nvidia/nemo-rl:v0.7.0`): the driver
`examples/nemo_gym/run_grpo_nemo_gym.py --config FILE`, its `defaults` inheritance (`nemo_rl/utils/config.py`), the
recipe `examples/nemo_gym/grpo_nanov3.yaml`, and the checkpoint folder (`nemo_rl/utils/checkpoint.py`). The driver's
command line is the one interface of it that releases keep, so it runs as a program; nothing of NeMo-RL is imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nemo_runspec.errors import ConfigError, JobFailedError, guess, shell_status
from nemo_runspec.stage import StageResult

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.stage import Stage

# The driver takes Hydra overrides on its own command line.
HANDS_ARGUMENTS_ON = True
# What the YAML says to us and not to the library.
OWN_SECTIONS = frozenset({"artifact", "output_dir", "engine", "recipe"})
SECTIONS = ("policy", "grpo", "loss_fn", "data", "env", "cluster", "logger", "checkpointing")
RECIPE_KEYS = ("root", "driver", "defaults")


def build_config(config: Mapping[str, Any], run_dir: Path) -> dict[str, Any]:
    """Build what the driver reads.

    Args:
        config: The stage's configuration; every section that is not ours goes to the driver.
        run_dir: Folder of the run: checkpoints go to `checkpoints`, logs to `logs`, unless the configuration says
            otherwise.

    Returns:
        The driver's YAML as plain values. Its `defaults` names the image's recipe, over which the driver lays the
        sections.

    Raises:
        ConfigError: `recipe` is incomplete, or there is a section that NeMo-RL does not have.
    """
    recipe = config.get("recipe") or {}
    missing = [key for key in RECIPE_KEYS if not recipe.get(key)]
    if missing:
        message = f"recipe.{missing[0]} is needed; recipe says where the image keeps NeMo-RL, its driver and its recipe"
        raise ConfigError(message, remedy="See the recipe's default.yaml.")
    sections = {name: values for name, values in config.items() if name not in OWN_SECTIONS}
    for name in sections:
        if name not in SECTIONS:
            message = f"'{name}' is not a section of NeMo-RL's GRPO"
            raise ConfigError(message, remedy=guess(name, SECTIONS, what="sections"))
    return {
        **sections,
        "defaults": str(Path(recipe["root"]) / recipe["defaults"]),
        "checkpointing": {"checkpoint_dir": str(run_dir / "checkpoints"), **sections.get("checkpointing", {})},
        "logger": {"log_dir": str(run_dir / "logs"), **sections.get("logger", {})},
    }


def rl(stage: Stage) -> None:
    """Train with GRPO, and publish the last checkpoint.

    Args:
        stage: The running stage, in the NGC image, on the head node of the Ray cluster that the launcher made.

    Raises:
        ConfigError: The configuration does not fit NeMo-RL, or this is not its image.
        JobFailedError: The driver ended with an error, or without a checkpoint.
    """
    run_dir = stage.run_dir("nemo-rl")
    finished = stage.finished(run_dir)
    if finished is not None:
        stage.reuse(finished)
        return
    config = build_config(stage.config, run_dir)
    recipe = stage.config["recipe"]
    root = Path(recipe["root"])
    driver = root / recipe["driver"]
    if not driver.is_file():
        message = f"NeMo-RL's driver '{driver}' is not on this machine"
        raise ConfigError(message, remedy="It is part of the NGC image; on this machine use -c tiny.")
    path = run_dir / "nemo_rl.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    started = time.monotonic()
    # The recipe names files relative to NeMo-RL's folder. Ctrl-C reaches the driver too: it is in our process group.
    with subprocess.Popen([sys.executable, str(driver), "--config", str(path), *stage.arguments], cwd=root) as process:
        code = process.wait()
    if code != 0:
        message = f"NeMo-RL's driver ended with exit code {code}"
        status = shell_status(code)
        raise JobFailedError(message, exit_code=status, remedy=f"Its configuration is {path}.")
    _publish(stage, run_dir, config, seconds=time.monotonic() - started)


def _publish(stage: Stage, run_dir: Path, config: Mapping[str, Any], *, seconds: float) -> None:
    checkpoints = read_checkpoints(Path(config["checkpointing"]["checkpoint_dir"]))
    if not checkpoints:
        message = "NeMo-RL ended well but left no checkpoint"
        raise JobFailedError(message, exit_code=1, remedy="Set checkpointing.enabled and a smaller save_period.")
    metric = config["checkpointing"].get("metric_name")
    curve = [(step, float(info[metric])) for step, _, info in checkpoints if metric in info]
    step, folder, info = checkpoints[-1]
    stage.publish(
        run_dir,
        path=folder,
        type="model",
        metadata={"format": "nemo_rl", "step": step, "weights": str(folder / "policy" / "weights")},
        result=StageResult(
            metric="reward",
            first=curve[0][1] if curve else None,
            last=curve[-1][1] if curve else None,
            tokens=int(info.get("total_valid_tokens", 0)),
            seconds=seconds,
            curve=curve,
        ),
    )


def read_checkpoints(folder: Path) -> list[tuple[int, Path, dict[str, Any]]]:
    """List NeMo-RL's finished checkpoints.

    Args:
        folder: Its `checkpoint_dir`; a checkpoint is `step_N` with `training_info.json`, and one that is being
            written has another name.

    Returns:
        Step, folder and training information of each, by step.
    """
    found = []
    for path in folder.glob("step_*/training_info.json"):
        step = path.parent.name.removeprefix("step_")
        if step.isdigit():
            found.append((int(step), path.parent, json.loads(path.read_text(encoding="utf-8"))))
    return sorted(found, key=lambda entry: entry[0])
