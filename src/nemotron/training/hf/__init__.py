"""The engine for any machine: `transformers` for pretraining and SFT, TRL for RL; CPU or one GPU per process.

The training loops are the libraries'. What is here: the model, the data as tensors, checkpoints that a `kill -9` cannot
spoil, progress lines, and the numbers that a stage reports.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nemotron.notes import note

if TYPE_CHECKING:
    from nemo_runspec.stage import Stage


def pretrain(stage: Stage) -> None:
    """Train a model from nothing on the token files of a data preparation.

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    _begin(stage, "loading PyTorch and Transformers")
    from nemotron.training.hf.language import pretrain as run  # noqa: PLC0415 after the line above, and what it sets

    run(stage)


def sft(stage: Stage) -> None:
    """Go on training a model on conversations.

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    _begin(stage, "loading PyTorch and Transformers")
    from nemotron.training.hf.language import sft as run  # noqa: PLC0415 as above

    run(stage)


def rl(stage: Stage) -> None:
    """Improve a model by the reward of its own answers (GRPO).

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    _begin(stage, "loading PyTorch, Transformers and TRL")
    from nemotron.training.hf.grpo import rl as run  # noqa: PLC0415 as above

    run(stage)


def evaluate(stage: Stage) -> None:
    """Measure the models of all stages on text and prompts that none of them has learnt.

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    _begin(stage, "loading PyTorch and Transformers")
    from nemotron.training.hf.evaluation import evaluate as run  # noqa: PLC0415 as above

    run(stage)


def _begin(stage: Stage, text: str) -> None:
    """Say what the next seconds are for, and make PyTorch's threads sleep while they wait for each other.

    By default they spin. Where anything else wants the cores, a thread then burns its share of them while the one it
    waits for has none: measured on two busy cores, a training step took up to twenty times as long. The OpenMP library
    reads the variable once, when PyTorch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    note(stage, text)
