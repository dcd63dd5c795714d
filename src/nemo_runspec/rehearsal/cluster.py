"""The machine behind a twin: one thread that starts pods, watches them, and moves workloads through their lives."""

from __future__ import annotations

import itertools
import math
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import NemotronError
from nemo_runspec.rehearsal.records import PodRecord, WorkRecord
from nemo_runspec.rehearsal.workloads import Order, Phase, Timing, WorkloadSeen

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from nemo_runspec.rehearsal.pod import Pod, PodRunner

POLL_S: Final = 0.01
CANNOT_START: Final = 128
"""Exit code of a container that the runtime could not start."""

_WITH_PODS: Final = frozenset({Phase.RUNNING, Phase.RETRYING, Phase.RESTARTING, Phase.STOPPING, Phase.DELETING})


class NameTakenError(Exception):
    """A workload of this name is there already."""


class Cluster:
    """Runs workloads; every method may be called from any thread.

    The thread that starts pods lives as long as they do, since a sandbox may be tied to the thread that made it.

    Args:
        runner: Starts the pods; closed with the cluster.
        timing: How long things take.
    """

    def __init__(self, runner: PodRunner, timing: Timing) -> None:
        """Begin without workloads."""
        self._runner = runner
        self._timing = timing
        self._changed = threading.Condition()
        self._works: list[WorkRecord] = []
        self._keys = itertools.count(1)
        self._stoppers: list[threading.Thread] = []
        self._is_closing = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="twin-pods", daemon=True)

    def start(self) -> None:
        """Start the thread that runs pods."""
        self._thread.start()

    def close(self) -> None:
        """End every pod and thread; returns when they have ended."""
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            was_closed, self._is_closed = self._is_closed, True
        if self._thread.ident is not None:
            self._thread.join()
        elif not was_closed:
            self._runner.close()

    def create(self, order: Order) -> WorkloadSeen:
        """Accept a workload.

        Args:
            order: What is to run.

        Raises:
            NameTakenError: One of its name and scope is there and is not gone.
        """
        now = time.time()
        with self._changed:
            for work in self._works:
                is_same = (work.order.scope, work.order.name) == (order.scope, order.name)
                if is_same and not work.phase.is_gone:
                    raise NameTakenError(order.name)
            due = max(now + self._timing.dwell_s, order.not_before_s)
            work = WorkRecord(next(self._keys), order, order.waiting, now, due, history=[(now, Phase.WAITING)])
            self._works.append(work)
            self._changed.notify_all()
            return work.seen(now)

    def workloads(self) -> tuple[WorkloadSeen, ...]:
        """Give all workloads in the order of their creation, also those that are gone."""
        now = time.time()
        with self._changed:
            return tuple(work.seen(now) for work in self._works)

    def find(self, identifier: str) -> WorkloadSeen | None:
        """Give the newest workload with this identifier."""
        return next((seen for seen in reversed(self.workloads()) if seen.id == identifier), None)

    def by_key(self, key: int) -> WorkloadSeen:
        """Give a workload of this twin.

        Args:
            key: `WorkloadSeen.key`.
        """
        return next(seen for seen in self.workloads() if seen.key == key)

    def stop(self, key: int) -> None:
        """End a workload's pods, and keep it; one that has finished stays as it is."""
        self._want(key, Phase.STOPPED, unless=frozenset({Phase.COMPLETED, Phase.FAILED}))

    def resume(self, key: int) -> None:
        """Run a workload that was stopped again; one that was not stays as it is."""
        self._want(key, Phase.RUNNING, unless=frozenset(Phase) - {Phase.STOPPED, Phase.STOPPING})

    def preempt(self, key: int) -> None:
        """Take away what a workload's pods run on: they end, and it waits for its turn again."""
        with self._changed:
            for work in self._works:
                if work.key == key and work.phase.is_active:
                    work.is_preempted = True
                    self._enter(work, Phase.RESTARTING)
            self._changed.notify_all()

    def delete(self, key: int) -> None:
        """End a workload's pods, and forget it."""
        self._want(key, Phase.DELETED, unless=frozenset())

    def connection(self, network: str, port: int) -> socket.socket:
        """Connect to a port of the interface that the pods of a network share.

        Raises:
            OSError: Nobody listens there, or the network is gone.
        """
        return self._runner.connection(network, port)

    def listener(self, network: str, port: int) -> socket.socket | None:
        """Listen on a port of that interface; None where the pods are on this machine's own.

        Raises:
            OSError: Somebody listens there, or the network is gone.
        """
        return self._runner.listener(network, port)

    def wait_for_change(self, timeout_s: float) -> None:
        """Wait until a workload has changed.

        Args:
            timeout_s: At most so long.
        """
        with self._changed:
            if not self._is_closing:
                self._changed.wait(timeout_s)

    @property
    def is_closing(self) -> bool:
        """Whether it is to end."""
        return self._is_closing

    def _want(self, key: int, wanted: Phase, *, unless: frozenset[Phase]) -> None:
        with self._changed:
            for work in self._works:
                may = work.phase not in unless and work.wanted is not Phase.DELETED
                if work.key == key and may and not work.phase.is_gone:
                    work.wanted = wanted
                    # Shown at once: whoever asks after the answer must not see it running as if nothing was said.
                    if wanted is Phase.DELETED:
                        self._enter(work, Phase.DELETING)
                    elif wanted is Phase.STOPPED and work.phase is not Phase.STOPPED:
                        self._enter(work, Phase.STOPPING)
            self._changed.notify_all()

    def _enter(self, work: WorkRecord, phase: Phase) -> None:
        """Change a workload's phase; the caller holds the lock."""
        now = time.time()
        if work.phase is not phase:
            work.history.append((now, phase))
        work.phase = phase
        if phase.is_finished or phase is Phase.STOPPED:
            work.finished_s = now

    def _run(self) -> None:
        try:
            while not self._is_closing:
                for work in list(self._works):
                    self._advance(work, time.time())
                with self._changed:
                    if not self._is_closing:
                        self._changed.wait(self._pause(time.time()))
        finally:
            self._is_closing = True
            for work in self._works:
                self._poll(work)
                self._mark_stopped(work)
            self._runner.close()
            for stopper in self._stoppers:
                stopper.join()
            with self._changed:
                for work in self._works:
                    self._poll(work)
                self._changed.notify_all()

    def _pause(self, now: float) -> float | None:
        """Tell how long nothing is to be done, unless someone asks for something."""
        pauses = list(self._pauses(now))
        return max(0.0, min(pauses)) if pauses else None

    def _pauses(self, now: float) -> Iterator[float]:
        for work in self._works:
            if work.phase in _WITH_PODS or (work.phase is Phase.STOPPED and work.wanted is Phase.RUNNING):
                yield POLL_S
            elif work.phase is Phase.WAITING:
                yield work.due_s - now
            elif work.phase.is_finished and work.expiry_s() < math.inf:
                yield work.expiry_s() - now

    def _advance(self, work: WorkRecord, now: float) -> None:
        """Do what is due for one workload."""
        if work.phase in _WITH_PODS:
            self._poll(work)
        if work.phase is Phase.WAITING:
            self._advance_waiting(work, now)
        elif work.phase.is_active:
            (self._advance_preempted if work.is_preempted else self._advance_running)(work, now)
        elif work.phase in {Phase.STOPPING, Phase.DELETING}:
            self._advance_stopping(work, now)
        elif work.phase is Phase.STOPPED and work.wanted is Phase.RUNNING:
            with self._changed:
                work.requeue(work.order.resuming, now + self._timing.dwell_s)
                self._enter(work, Phase.WAITING)
        elif work.phase.is_finished and now >= work.expiry_s():
            with self._changed:
                if work.phase.is_finished:
                    self._enter(work, Phase.ARCHIVED)
                self._changed.notify_all()

    def _advance_waiting(self, work: WorkRecord, now: float) -> None:
        if now < work.due_s:
            return
        if work.step + 1 < len(work.words):
            with self._changed:
                work.step += 1
                work.due_s = now + self._timing.dwell_s
                self._changed.notify_all()
            return
        pods = [PodRecord(spec, index, work.runs_before) for index, spec in enumerate(work.order.pods)]
        with self._changed:
            if work.phase is not Phase.WAITING:
                return
            work.pods, work.is_failing, work.restarts, work.has_network = pods, False, 0, True
        for pod in pods:
            if work.wanted is not Phase.RUNNING:
                return
            self._start(pod)
            with self._changed:
                # With its first pod, not before: a sandbox takes a moment to start.
                if work.phase is Phase.WAITING:
                    self._enter(work, Phase.RUNNING)
                self._changed.notify_all()

    def _start(self, pod: PodRecord) -> None:
        """Start a pod's next run; what cannot be started has ended, and its log says why."""
        log = pod.log
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log.touch(mode=0o600)
        handle: Pod | None = None
        code: int | None = None
        try:
            handle = self._runner.start(replace(pod.spec, log=log))
        except (NemotronError, OSError) as error:
            log.write_text(f"cannot start the container: {error}\n", encoding="utf-8")
            code = CANNOT_START
        with self._changed:
            pod.handle, pod.exit_code = handle, code
            pod.is_stopping, pod.restart_s = False, None
            pod.ready_s = time.time() + self._timing.ready_s * (pod.index + 1)

    def _poll(self, work: WorkRecord) -> None:
        """Take over the exit codes of pods that have ended."""
        for pod in work.pods:
            if pod.handle is not None and pod.exit_code is None and (code := pod.handle.poll()) is not None:
                with self._changed:
                    pod.exit_code = code
                    pod.ready_s = min(pod.ready_s, time.time())
                    self._changed.notify_all()

    def _advance_preempted(self, work: WorkRecord, now: float) -> None:
        self._stop_pods(work)
        if not any(pod.is_running for pod in work.pods):
            self._release(work)
            with self._changed:
                if work.wanted is Phase.RUNNING:
                    work.requeue(work.order.waiting, now + self._timing.dwell_s)
                    self._enter(work, Phase.WAITING)

    def _advance_running(self, work: WorkRecord, now: float) -> None:
        for pod in work.pods:
            is_due = pod.restart_s is not None and now >= pod.restart_s
            if is_due and work.phase is Phase.RESTARTING and not work.is_failing:
                self._restart(pod)
        failed = [pod for pod in work.pods if pod.has_ended and pod.exit_code != 0]
        for pod in failed:
            if work.restarts < work.order.restarts and not work.is_failing:
                with self._changed:
                    work.restarts += 1
                    pod.restart_s = now + 2 * self._timing.dwell_s
            else:
                work.is_failing = True
        if work.is_failing:
            # Nothing is started again, and the others are ended, as a Kubernetes job does at its limit.
            self._stop_pods(work)
            if all(pod.exit_code is not None for pod in work.pods):
                self._finish(work, Phase.FAILED)
            return
        phase = self._phase_with_pods(work, now)
        if phase is not work.phase:
            with self._changed:
                if work.wanted is Phase.RUNNING:
                    self._enter(work, phase)
        if all(pod.has_ended for pod in work.pods) and now >= self._earliest_end(work):
            self._finish(work, Phase.COMPLETED)

    def _phase_with_pods(self, work: WorkRecord, now: float) -> Phase:
        """Tell the phase of a workload that goes on: a restart is announced first, then made."""
        if all(pod.restart_s is None for pod in work.pods):
            return Phase.RUNNING
        if work.phase is Phase.RUNNING:
            return Phase.RETRYING
        return Phase.RESTARTING if now >= self._earliest_end(work) else work.phase

    def _restart(self, pod: PodRecord) -> None:
        with self._changed:
            pod.attempt += 1
            pod.handle, pod.exit_code = None, None
        self._start(pod)

    def _earliest_end(self, work: WorkRecord) -> float:
        """Give the time until which it is seen in its phase, however short that is."""
        return work.history[-1][0] + self._timing.dwell_s

    def _finish(self, work: WorkRecord, phase: Phase) -> None:
        self._release(work)
        with self._changed:
            if work.wanted is Phase.RUNNING:
                self._enter(work, phase)
            self._changed.notify_all()

    def _advance_stopping(self, work: WorkRecord, now: float) -> None:
        self._stop_pods(work)
        if any(pod.is_running for pod in work.pods) or now < self._earliest_end(work):
            return
        self._release(work)
        with self._changed:
            for pod in work.pods:
                pod.restart_s = None
            self._enter(work, Phase.DELETED if work.phase is Phase.DELETING else Phase.STOPPED)
            self._changed.notify_all()

    def _release(self, work: WorkRecord) -> None:
        """Let go of the network that its pods had, once."""
        if work.has_network:
            work.has_network = False
            self._runner.release(work.order.pods[0].network)

    def _mark_stopped(self, work: WorkRecord) -> list[PodRecord]:
        """Note and give the pods that run, and have not been asked to end.

        One that has ended by itself since it was last looked at is not among them: its exit code tells what happened.
        """
        pods = [pod for pod in work.pods if pod.is_running and not pod.is_stopping]
        pods = [pod for pod in pods if pod.handle is not None and pod.handle.poll() is None]
        with self._changed:
            for pod in pods:
                pod.is_stopping = True
        return pods

    def _stop_pods(self, work: WorkRecord) -> None:
        """Ask every pod that runs to end; each in a thread, since the grace time is its own."""
        for pod in self._mark_stopped(work):
            if pod.handle is not None:
                stopper = threading.Thread(target=pod.handle.stop, args=(self._timing.grace_s,), name="twin-stop")
                self._stoppers.append(stopper)
                stopper.start()
