"""Answers drawn from a model, in a process that another one gives weights and prompts."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from nemotron.training.hf.model import prepare_process

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Draw:
    """What is asked of a worker. It says all, so that a worker that was started again can go on.

    Args:
        config: The model's configuration, as `transformers` has it.
        sampling: How tokens are drawn, as `transformers` has it.
        prompts: Tokens of the prompts, one answer each.
        seed: Decides what is drawn.
    """

    config: Any
    sampling: Any
    prompts: Sequence[Sequence[int]]
    seed: int


class Drawer:
    """A worker.

    Args:
        device: Where it computes, as PyTorch names it.
    """

    def __init__(self, device: str) -> None:
        """Prepare the process; the model comes with the first task."""
        prepare_process()
        # One thread on any machine: the order of sums, and so the answers, depend on their number.
        torch.set_num_threads(1)
        self._device = torch.device(device)
        self._model: Any = None

    def place(self) -> str:
        """Give the node of Ray's that this worker is on."""
        import ray  # noqa: PLC0415 it is there where a worker of Ray's is

        return str(ray.get_runtime_context().get_node_id())

    def draw(self, task: Draw, weights: Mapping[str, torch.Tensor]) -> list[list[int]]:
        """Draw the tokens of an answer to each prompt.

        Args:
            task: What to draw.
            weights: The model's weights.

        Returns:
            The answers' tokens, to the first that ends an answer.
        """
        if self._model is None:
            made: Any = AutoModelForCausalLM.from_config(task.config)  # type: ignore[no-untyped-call]  # the library has types in part
            self._model = made.to(self._device).eval()
        self._model.load_state_dict(weights)
        width = max(map(len, task.prompts))
        padding = task.sampling.pad_token_id
        inputs = torch.tensor([[padding] * (width - len(prompt)) + [*prompt] for prompt in task.prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in task.prompts])
        torch.manual_seed(task.seed)
        with torch.no_grad():
            written = self._model.generate(
                input_ids=inputs.to(self._device),
                attention_mask=mask.to(self._device),
                generation_config=task.sampling,
            )
        return [_to_its_end(answer, task.sampling.eos_token_id) for answer in written[:, width:].tolist()]


def _to_its_end(answer: list[int], ends: Sequence[int]) -> list[int]:
    for place, token in enumerate(answer):
        if token in ends:
            return answer[: place + 1]
    return answer


def slices(count: int, parts: int) -> list[slice]:
    """Share rows out, in order and as evenly as possible.

    Args:
        count: How many rows there are.
        parts: How many share them.
    """
    bounds = [count * part // parts for part in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


def seed_of(seed: int, generation: int, part: int) -> int:
    """Give the seed of one worker's part of a generation: the same wherever and whenever it is drawn.

    Args:
        seed: The run's.
        generation: Number of the generation in the run.
        part: Number of the part.
    """
    return int(np.random.SeedSequence([seed, generation, part]).generate_state(1, np.uint64)[0])
