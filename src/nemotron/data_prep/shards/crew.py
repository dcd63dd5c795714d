"""The processes that do the work of a preparation: none besides this one, several of this machine, or Ray's.

A crew takes tasks one by one, never more than it can begin soon, and gives results in the order in which they end. The
work is a module's function with the task as its only argument, so that it can be sent anywhere.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from nemo_runspec.errors import ConfigError, guess
from nemotron.data_prep.shards import meter
from nemotron.data_prep.shards.trouble import WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from multiprocessing.context import ForkServerContext


T = TypeVar("T")
R = TypeVar("R")

BACKENDS = ("auto", "processes", "ray")
PRELOAD_VARIABLE = "NEMOTRON_DATA_PREP_ENCODER"
"""Names the encoder to the process that workers are forked from: a preloaded module can be told in no other way."""
_TICK_S = 0.25
# Enough that no worker waits for this process, and few enough that an error stops the work soon.
_WAITING_PER_WORKER = 2
# Records are trees of many small objects, which the collector would go through again and again for cycles that are not
# there: a tenth of the time that conversations take.
_COLLECTIONS = (50_000, 20, 100)


class Crew(Protocol):
    """Who does the work."""

    @property
    def size(self) -> int:
        """How many tasks are worked on at one time."""

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R] | None]:
        """Do the work of each task.

        Args:
            work: A module's function; it and the tasks are pickled.
            tasks: Taken when somebody is free.

        Yields:
            A task with its result as it ends, and None now and then in between, for a look at the meter.

        Raises:
            WorkerDiedError: A process ended in the middle of its task.
        """

    def measured(self) -> meter.Amounts:
        """Say how much of unfinished tasks is done; zero where nobody can know."""


def preload(tokenizer_json: Path, engine: str) -> None:
    """Let the process that workers are forked from load an encoder, which all of them then share.

    That process is started, and this one goes on meanwhile. If it runs already, as after an earlier preparation in this
    process, workers load what they need themselves.

    Args:
        tokenizer_json: The tokenizer's file.
        engine: What encodes, as `EngineSpec` has it.
    """
    os.environ[PRELOAD_VARIABLE] = json.dumps([str(tokenizer_json), engine])
    _context()
    forkserver.ensure_running()


def run_apart(work: Callable[[T], R], task: T) -> R:
    """Do something in a process of its own, whose memory is given back.

    Args:
        work: A module's function.
        task: Its argument.
    """
    with ProcessPoolExecutor(1, _context(), initializer=_begin, initargs=(None,)) as pool:
        return pool.submit(work, task).result()


@contextmanager
def open_crew(workers: int | None) -> Iterator[Crew]:
    """Gather a crew on this machine, and send it home at the end.

    Args:
        workers: How many; None takes one for each CPU that this process may use.
    """
    count = workers if workers is not None else usable_cpus()
    if count == 1:
        before = gc.get_threshold()
        gc.set_threshold(*_COLLECTIONS)
        try:
            yield _Alone()
        finally:
            gc.set_threshold(*before)
        return
    processes = _Processes(count)
    ended = False
    try:
        yield processes
        ended = True
    finally:
        if ended:
            processes.close()
        else:
            processes.stop()


def is_ray(backend: str) -> bool:
    """Tell whether Ray does the work.

    Args:
        backend: `processes`, `ray`, or `auto`: Ray where a cluster's address is given (`RAY_ADDRESS`), else processes.

    Raises:
        ConfigError: The backend is unknown.
    """
    if backend not in BACKENDS:
        message = f"backend is '{backend}'"
        raise ConfigError(message, remedy=guess(backend, BACKENDS, what="values"))
    return backend == "ray" or (backend == "auto" and bool(os.environ.get("RAY_ADDRESS")))


def usable_cpus() -> int:
    """Give how many CPUs this process may keep busy, by its affinity and its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return allowed
    return allowed if quota == "max" else max(1, min(allowed, round(int(quota) / int(period))))


class _Alone:
    """This process alone: for one task there is nothing to share out."""

    size = 1

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R] | None]:
        for task in tasks:
            yield task, work(task)

    def measured(self) -> meter.Amounts:
        return meter.Amounts(0, 0)


class _Processes:
    """Processes of this machine, forked from one that has loaded the encoder: its memory is there once for all."""

    def __init__(self, size: int) -> None:
        self.size = size
        context = _context()
        self._meters = meter.Meters(context, size)
        self._pool = ProcessPoolExecutor(size, context, initializer=_begin, initargs=(self._meters,))

    def run(self, work: Callable[[T], R], tasks: Iterable[T]) -> Iterator[tuple[T, R] | None]:
        waiting: dict[Future[R], T] = {}
        source = iter(tasks)
        exhausted = False
        try:
            while waiting or not exhausted:
                while not exhausted and len(waiting) < self.size * _WAITING_PER_WORKER:
                    task = next(source, None)
                    exhausted = task is None
                    if task is not None:
                        waiting[self._submit(work, task)] = task
                done, _ = wait(waiting, timeout=_TICK_S, return_when=FIRST_COMPLETED)
                if not done:
                    yield None
                for future in done:
                    yield waiting.pop(future), future.result()
        except BrokenProcessPool as error:
            raise _died() from error

    def _submit(self, work: Callable[[T], R], task: T) -> Future[R]:
        try:
            return self._pool.submit(_do, work, task)
        except (EOFError, ConnectionError) as error:
            # The process that workers are forked from does not answer.
            raise _died() from error

    def measured(self) -> meter.Amounts:
        return self._meters.total()

    def close(self) -> None:
        self._pool.shutdown()

    def stop(self) -> None:
        """End at once: what a worker is in the middle of is made again another time."""
        for process in list((getattr(self._pool, "_processes", None) or {}).values()):
            process.kill()
        # Waits for the pool's own thread, which ends with the processes: the interpreter's exit would write to a pipe
        # that this thread is closing (a traceback with "Bad file descriptor", CPython 3.11).
        self._pool.shutdown(cancel_futures=True)


def _died() -> WorkerDiedError:
    message = "a worker process was ended from outside in the middle of its work"
    remedy = "What is finished is kept: the same command goes on. If memory ran out, set fewer workers."
    return WorkerDiedError(message, remedy=remedy)


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    # The main module too: each worker would otherwise import it by itself.
    context.set_forkserver_preload(["__main__", "nemotron.data_prep.preload"])
    return context


def _begin(meters: meter.Meters | None) -> None:
    """Prepare a worker: it ends with whom it works for, and leaves Ctrl-C to it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.set_threshold(*_COLLECTIONS)
    if meters is not None:
        meters.take_place()


def _end_with_parent() -> None:
    # The kernel could be asked for a signal, but not in time where the parent ends while this process begins.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        # At once: an exit would wait for the work of the other threads.
        os.kill(os.getpid(), signal.SIGKILL)


def _do(work: Callable[[T], R], task: T) -> R:
    try:
        return work(task)
    finally:
        # From here on the result tells it.
        meter.reset()
