"""The engine for any machine: `transformers` for pretraining and SFT, TRL for RL; CPU or one GPU per process.

The training loops are the libraries'. What is here: the model, the data as tensors, checkpoints that a `kill -9` cannot
spoil, progress lines, and the numbers that a stage reports.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemotron.notes import note

if TYPE_CHECKING:
    from nemo_runspec.stage import Stage


def pretrain(stage: Stage) -> None:
    """Train a model from nothing on the token files of a data preparation.

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    note(stage, "loading PyTorch and Transformers")
    from nemotron.training.hf.language import pretrain as run  # noqa: PLC0415 the line above is seen first

    run(stage)


def sft(stage: Stage) -> None:
    """Go on training a model on conversations.

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    note(stage, "loading PyTorch and Transformers")
    from nemotron.training.hf.language import sft as run  # noqa: PLC0415 as above

    run(stage)


def rl(stage: Stage) -> None:
    """Improve a model by the reward of its own answers (GRPO).

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    note(stage, "loading PyTorch, Transformers and TRL")
    from nemotron.training.hf.grpo import rl as run  # noqa: PLC0415 as above

    run(stage)


def evaluate(stage: Stage) -> None:
    """Measure the models of all stages on text and prompts that none of them has learnt.

    Args:
        stage: What the script was started with; `config/tiny.yaml` explains the configuration.
    """
    note(stage, "loading PyTorch and Transformers")
    from nemotron.training.hf.evaluation import evaluate as run  # noqa: PLC0415 as above

    run(stage)
