"""TRL's trainer, whose answers and rewards come from workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from nemotron.training.hf.run import ResumesExactly

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nemotron.training.hf.crew import Crew

__all__ = ["GRPOConfig", "RewardTrainer", "function_reward"]


class RewardTrainer(ResumesExactly, GRPOTrainer):
    """The library's trainer, with weights that come back from a checkpoint, and answers that workers draw.

    Args:
        crew: The workers.
        arguments: The library's own.
    """

    def __init__(self, crew: Crew, **arguments: Any) -> None:  # noqa: ANN401 the library's own
        """Make the trainer."""
        super().__init__(reward_funcs=function_reward(crew.score), **arguments)
        self._crew = crew

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], *_images: object, **_how: object
    ) -> tuple[list[list[int]], None]:
        # There is one generation in a step, so a run that goes on from a checkpoint counts them as any other does.
        return self._crew.draw(self.model, self.generation_config, prompt_ids, self.state.global_step), None


def function_reward(
    score: Callable[[Sequence[str], Sequence[str], Sequence[Sequence[str]]], list[float]],
) -> Callable[..., list[float | None]]:
    """Give a reward function in the form in which TRL asks.

    Args:
        score: Gives the rewards of answers, from the names and the arguments that each function should have.
    """

    def function_reward(
        completions: list[list[dict[str, str]]], name: list[str], arguments: list[list[str]], **_rest: object
    ) -> list[float | None]:
        answers = [completion[0]["content"] for completion in completions]
        return [*score(answers, name, arguments)]

    return function_reward
