"""The workers of RL, as actors of Ray on all nodes: some draw answers, others score them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.errors import JobFailedError, NemotronError
from nemotron.training.hf.drawing import Draw, Drawer, seed_of, slices
from nemotron.training.rewards import Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

START_S: Final = 600.0
"""How long the workers may take to start: a busy machine imports PyTorch slowly."""

_CPUS: Final = 0.001
"""What a worker takes. Not nothing: Ray puts actors that take nothing on any node, whichever was asked for."""

RETRIES: Final = 3
"""How often a worker that has died is started again."""

_REMEDY: Final = "The last checkpoint is kept: the same command goes on from it."


class Crew:
    """Workers, shared out over the nodes of a Ray.

    They take next to no CPUs of Ray's: they work while the training waits for them, and must be there on any machine.

    Args:
        ray: The module, joined to a cluster.
        drawers: How many workers draw answers. Each draws its part of a batch, the same one on any node.
        seed: Decides what is drawn.
    """

    def __init__(self, ray: Any, drawers: int, seed: int) -> None:  # noqa: ANN401 the module, imported where it is needed
        """Start the workers, and wait for none of them yet."""
        self._ray = ray
        self._seed = seed
        nodes = _nodes(ray)
        share = gpu_share(int(ray.available_resources().get("GPU", 0)), drawers)
        kind = ray.remote(num_cpus=_CPUS, num_gpus=share, max_restarts=RETRIES, max_task_retries=RETRIES)(Drawer)
        device = "cuda" if share else "cpu"
        places = [nodes[number % len(nodes)] for number in range(drawers)]
        self._drawers = [kind.options(scheduling_strategy=_on(node)).remote(device) for node in places]
        kind = ray.remote(num_cpus=_CPUS, max_restarts=RETRIES, max_task_retries=RETRIES)(Scorer)
        self._scorers = [kind.options(scheduling_strategy=_on(node)).remote() for node in dict.fromkeys(places)]

    def wait(self) -> str:
        """Wait until the workers that draw are there, and say what works where.

        Raises:
            JobFailedError: They do not start.
        """
        nodes = len(set(self._get([drawer.place.remote() for drawer in self._drawers], START_S)))
        workers = f"{_count(len(self._drawers), 'generation worker')} and {_count(len(self._scorers), 'reward worker')}"
        return f"{workers} on {_count(nodes, 'node')}"

    def draw(self, model: Any, sampling: Any, prompts: Sequence[Sequence[int]], generation: int) -> list[list[int]]:  # noqa: ANN401 the library types them as Any
        """Draw an answer to each prompt.

        Args:
            model: The model, whose weights of now are taken.
            sampling: How tokens are drawn, as `transformers` has it.
            prompts: Tokens of the prompts.
            generation: Number of the generation in the run: the same one draws the same answers.

        Returns:
            The answers' tokens.

        Raises:
            JobFailedError: A worker dies again and again.
        """
        weights = self._ray.put({name: tensor.detach().cpu() for name, tensor in model.state_dict().items()})
        answers = [
            drawer.draw.remote(
                Draw(model.config, sampling, prompts[rows], seed_of(self._seed, generation, part)), weights
            )
            for part, (drawer, rows) in enumerate(self._parts(self._drawers, len(prompts)))
        ]
        return [answer for part in self._get(answers) for answer in part]

    def score(self, answers: Sequence[str], names: Sequence[str], arguments: Sequence[Sequence[str]]) -> list[float]:
        """Give the reward of each answer; see `score_function`.

        Args:
            answers: What was written.
            names: What each function should be called.
            arguments: What each function should take.

        Raises:
            JobFailedError: A worker dies again and again.
        """
        rewards = [
            scorer.score.remote(answers[rows], names[rows], arguments[rows])
            for scorer, rows in self._parts(self._scorers, len(answers))
        ]
        return [reward for part in self._get(rewards) for reward in part]

    @staticmethod
    def _parts(workers: Sequence[Any], count: int) -> list[tuple[Any, slice]]:
        parts = zip(workers, slices(count, len(workers)), strict=True)
        return [(worker, rows) for worker, rows in parts if rows.start < rows.stop]

    def _get(self, references: Sequence[Any], timeout: float | None = None) -> list[Any]:
        exceptions = self._ray.exceptions
        try:
            found: list[Any] = self._ray.get(references, timeout=timeout)
        except exceptions.GetTimeoutError as error:
            message = f"after {timeout:.0f} s Ray has not started all workers of the training"
            raise JobFailedError(message, exit_code=1, remedy="`ray status` says what it waits for.") from error
        except exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, NemotronError) else error) from None
        except exceptions.RayError as error:
            message = f"Ray lost a worker of the training {RETRIES + 1} times: {error}"
            raise JobFailedError(message, exit_code=1, remedy=_REMEDY) from error
        return found


def gpu_share(free: int, workers: int) -> float:
    """Give the part of a GPU that each worker takes: none, where there are none.

    Args:
        free: GPUs that Ray could give away.
        workers: How many workers want one.
    """
    return 1 / math.ceil(workers / free) if free else 0


def _nodes(ray: Any) -> list[str]:  # noqa: ANN401 as above
    """Give the nodes that work may be on; a head may have been told to take none."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    working = [node for node in alive if node["Resources"].get("CPU")]
    return sorted(node["NodeID"] for node in working or alive)


def _on(node: str) -> Any:  # noqa: ANN401 as above
    """Ask for a node, or another one when that is lost."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: PLC0415 as the module

    return NodeAffinitySchedulingStrategy(node, soft=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
