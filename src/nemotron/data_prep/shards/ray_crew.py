"""Ray's workers, on one node or many: its scheduler says where a task runs, and runs it again if a worker is lost."""

from __future__ import annotations

import importlib.util
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from nemo_runspec.errors import ConfigError, NemotronError
from nemotron.data_prep.shards import meter
from nemotron.data_prep.shards.trouble import WorkerDiedError
from nemotron.ray_session import open_ray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")
R = TypeVar("R")

_TICK_S = 0.25
_WAITING_PER_WORKER = 2
# A task whose worker is ended for want of memory is tried again elsewhere, but not for ever.
_RETRIES = 3


@contextmanager
def open_ray_crew(workers: int | None) -> Iterator[Callable[[], RayCrew]]:
    """Join the cluster that `RAY_ADDRESS` names, or start a private one on this machine, and leave it at the end.

    That takes seconds, in which whoever asks for it goes on with what comes before the work.

    Args:
        workers: How many tasks at one time; None takes the cluster's CPUs.

    Yields:
        What waits until the cluster is there, and gives its crew.

    Raises:
        ConfigError: Ray is not installed. The crew is asked for, and the cluster could not be reached.
    """
    if importlib.util.find_spec("ray") is None:
        message = "backend is 'ray', and Ray is not installed here"
        remedy = "Install it (pip install 'ray[default]'), or take backend=processes."
        raise ConfigError(message, remedy=remedy)
    with open_ray() as joined:
        yield lambda: _crew(joined(), workers)


def _crew(ray: Any, workers: int | None) -> RayCrew:  # noqa: ANN401 - the module, imported where it is needed
    alive = [node for node in ray.nodes() if node["Alive"]]
    cpus = sum(int(node["Resources"].get("CPU", 0)) for node in alive)
    return RayCrew(ray, workers if workers is not None else max(1, cpus), nodes=len(alive))


class RayCrew:
    """Tasks of Ray, one CPU each, and no more of them than can begin soon.

    Args:
        ray: The module.
        size: How many tasks at one time.
        nodes: How many nodes there are.
    """

    def __init__(self, ray: Any, size: int, *, nodes: int) -> None:  # noqa: ANN401 - the module, imported where it is needed
        """Start nothing yet."""
        self.size = size
        self.nodes = nodes
        self._ray = ray

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R] | None]:
        """Do the work of each task; see `Crew.run`."""
        ray = self._ray
        remote = ray.remote(num_cpus=1, max_retries=_RETRIES)(work)
        waiting: dict[Any, T] = {}
        source = iter(tasks)
        exhausted = False
        while waiting or not exhausted:
            while not exhausted and len(waiting) < self.size * _WAITING_PER_WORKER:
                task = next(source, None)
                exhausted = task is None
                if task is not None:
                    waiting[remote.remote(task)] = task
            done, _ = ray.wait(list(waiting), timeout=_TICK_S) if waiting else ([], [])
            if not done:
                yield None
            for reference in done:
                task = waiting.pop(reference)
                try:
                    result = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise (error.cause if isinstance(error.cause, NemotronError) else error) from None
                except ray.exceptions.RayError as error:
                    message = f"Ray lost the workers of a task {_RETRIES + 1} times: {error}"
                    remedy = "What is finished is kept: the same command goes on. If memory ran out, set fewer workers."
                    raise WorkerDiedError(message, remedy=remedy) from error
                yield task, result

    def measured(self) -> meter.Amounts:
        """Nothing is shared with workers of other machines: progress counts whole tasks."""
        return meter.Amounts(0, 0)
