# /// script
# dependencies = ["pyyaml", "torch"]
#
# [tool.runspec]
# schema = "1"
# name = "hello"
# setup = "Any Python that has PyTorch and PyYAML."
#
# [tool.runspec.run]
# launch = "torchrun"
#
# [tool.runspec.config]
# dir = "./config"
# default = "default"
#
# [tool.runspec.resources]
# nodes = 1
# gpus_per_node = 0
#
# [tool.runspec.env]
# OMP_NUM_THREADS = "1"
# ///
"""Fits a linear regression with data-parallel SGD: the smallest job in which the processes need each other.

Every process holds its own share of the examples; the gradients are averaged over gloo in every step. It knows
nothing of the launcher: it reads `--config FILE`, and torchrun's variables say who it is.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
import yaml


@dataclass(frozen=True)
class Config:
    """What config/default.yaml holds, without its `run` section.

    Args:
        output_dir: Folder for `result.json`.
        features: Number of weights to find.
        examples: Examples in all, shared out to the processes.
        noise: Standard deviation of the noise on the targets; the loss cannot fall below its square.
        batch_size: Examples in a step, for each process.
        learning_rate: Step size of SGD.
        steps: Number of steps.
        log_every: Steps between two lines of output.
        seed: Of weights, examples and batches.
    """

    output_dir: str
    features: int
    examples: int
    noise: float
    batch_size: int
    learning_rate: float
    steps: int
    log_every: int
    seed: int


def make_examples(config: Config) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make the same data set in every process.

    Returns:
        Inputs of shape (examples, features), targets of shape (examples,), and the true weights of shape (features,).
    """
    generator = torch.Generator().manual_seed(config.seed)
    weights = torch.randn(config.features, generator=generator)
    inputs = torch.randn(config.examples, config.features, generator=generator)
    noise = config.noise * torch.randn(config.examples, generator=generator)
    return inputs, inputs @ weights + noise, weights


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Average a tensor of any shape over all processes."""
    total = value.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def spread_over_processes(value: torch.Tensor) -> float:
    """Give the largest difference of an element between two processes."""
    highest, lowest = value.clone(), value.clone()
    dist.all_reduce(highest, op=dist.ReduceOp.MAX)
    dist.all_reduce(lowest, op=dist.ReduceOp.MIN)
    return (highest - lowest).max().item()


def train(config: Config, *, rank: int, world_size: int) -> dict[str, float]:
    """Fit the weights.

    Args:
        config: The settings.
        rank: Number of this process, from 0.
        world_size: Number of processes.

    Returns:
        The first and the last mean squared error, the largest error of a weight, and how far the processes' weights
        are apart.
    """
    inputs, targets, truth = make_examples(config)
    mine = slice(rank, None, world_size)
    inputs, targets = inputs[mine], targets[mine]
    batches = torch.Generator().manual_seed(config.seed + rank)
    weights = torch.zeros(config.features)
    losses: list[float] = []
    for step in range(1, config.steps + 1):
        batch = torch.randint(len(inputs), (config.batch_size,), generator=batches)
        error = inputs[batch] @ weights - targets[batch]
        gradient = 2 / config.batch_size * inputs[batch].T @ error
        weights -= config.learning_rate * mean_over_processes(gradient)
        losses.append(mean_over_processes(error.square().mean()).item())
        if rank == 0 and (step % config.log_every == 0 or step in (1, config.steps)):
            say(f"hello  step {step}/{config.steps}  loss {losses[-1]:.4f}")
    return {
        "first": losses[0],
        "last": losses[-1],
        "weight_error": (weights - truth).abs().max().item(),
        "spread": spread_over_processes(weights),
    }


def say(line: str) -> None:
    """Show a line at once, also where the output is a file."""
    print(line, flush=True)  # noqa: T201 - a recipe's output is what its log is for


def main() -> None:
    """Train, and leave `result.json` in the output folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML file with the settings")
    config = Config(**yaml.safe_load(parser.parse_args().config.read_text(encoding="utf-8")))
    dist.init_process_group("gloo")
    rank, world_size = dist.get_rank(), dist.get_world_size()
    result = train(config, rank=rank, world_size=world_size)
    if rank == 0:
        path = Path(config.output_dir) / "result.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**result, "processes": world_size}), encoding="utf-8")
        say(
            f"hello  {world_size} processes, weights {result['spread']:.1g} apart and "
            f"{result['weight_error']:.4f} from the truth: {path}"
        )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
