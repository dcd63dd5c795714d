from __future__ import annotations

import math
from pathlib import Path

from nemo_runspec.rehearsal.pod import PodSpec
from nemo_runspec.rehearsal.records import PodRecord, WorkRecord
from nemo_runspec.rehearsal.workloads import Order, Phase

SPEC = PodSpec("p", ("true",), (), "net", (), (), Path("/logs/p.log"))
ORDER = Order(id="w", name="w", kind="job", body={}, pods=(SPEC,), waiting=("one", "two"), resuming=("again",))


def test_each_run_has_its_own_log() -> None:
    pod = PodRecord(SPEC, 0)
    assert pod.log == SPEC.log
    pod.attempt = 1
    assert pod.log.name == "p.1.log"
    work = WorkRecord(1, ORDER, ORDER.waiting, 0.0, 0.0, pods=[pod])
    work.requeue(ORDER.resuming, 5.0)
    assert PodRecord(SPEC, 0, work.runs_before).log.name == "p.2.log"
    assert (work.words, work.due_s, work.pods) == (("again",), 5.0, [])


def test_a_pod_that_has_not_begun_is_neither_running_nor_ready() -> None:
    seen = PodRecord(SPEC, 0).seen(math.inf)
    assert not seen.is_started
    assert not seen.is_ready
    failed = PodRecord(SPEC, 0, exit_code=1, restart_s=9.0)
    assert failed.seen(0.0).is_started
    assert not failed.has_ended


def test_a_workload_without_started_pods_was_never_ready_and_is_kept_for_ever() -> None:
    work = WorkRecord(1, ORDER, ORDER.waiting, 0.0, 0.0, step=1)
    assert (work.seen(1.0).word, work.seen(1.0).was_ready) == ("two", False)
    work.pods = [PodRecord(SPEC, 0)]
    assert not work.seen(1.0).was_ready
    work.pods[0].ready_s = 1.0
    assert work.seen(1.0).was_ready
    work.phase, work.finished_s = Phase.COMPLETED, 3.0
    assert work.seen(1.0).word == ""
    assert work.expiry_s() == math.inf
