from __future__ import annotations

import threading

from nemo_runspec.rehearsal.faults import Fault, FaultKind, Faults


def test_a_fault_happens_as_often_as_it_says_to_what_it_is_for() -> None:
    fault = Fault(kind=FaultKind.STATUS, method="POST", path="*/jobs", times=2, status=503)
    faults = Faults([fault])
    assert faults.take("GET", "/api/jobs") is None
    assert faults.take("POST", "/api/jobs/x") is None
    assert [faults.take("POST", "/api/jobs") for _ in range(3)] == [fault, fault, None]


def test_a_fault_can_pass_requests_first_and_can_happen_for_ever() -> None:
    fault = Fault(kind=FaultKind.LATENCY, skip=1, times=None)
    faults = Faults()
    faults.add(fault)
    assert [faults.take("GET", "/") for _ in range(4)] == [None, fault, fault, fault]
    faults.clear()
    assert faults.take("GET", "/") is None


def test_of_several_the_first_happens() -> None:
    one, other = Fault(kind=FaultKind.STALL), Fault(kind=FaultKind.DROP_REPLY)
    faults = Faults([one, other])
    assert [faults.take("GET", "/") for _ in range(3)] == [one, other, None]


def test_threads_do_not_take_a_fault_twice() -> None:
    faults = Faults([Fault(kind=FaultKind.STATUS, times=100)])
    taken: list[Fault] = []

    def take() -> None:
        taken.extend(fault for _ in range(50) if (fault := faults.take("GET", "/")) is not None)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 100
