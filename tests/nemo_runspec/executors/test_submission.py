"""What others can see of a job while it is sent, and what stays of it where it is not; see also `test_once`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import NothingSentError, UnreachableError
from nemo_runspec.executors.journal import Journal
from nemo_runspec.executors.once import WISH, Wish
from nemo_runspec.executors.submission import Sender, send
from nemo_runspec.platforms.workload import Request, Submitted
from tests.nemo_runspec.executors.platforms import FakePlatform

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.executors.journal import Entry

REQUEST = Request(platform="slurm", kind="job", body={"sbatch": "x"})


class Slow(FakePlatform):
    """Takes its time for the first job, and does not show it meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.leave = threading.Event(), threading.Event()

    def submit(self, request: Request, name: str) -> Submitted:
        first = not self.entered.is_set()
        self.entered.set()
        if first:
            assert self.leave.wait(30)
        return super().submit(request, name)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def submit(journal: Journal, platform: FakePlatform, *, new: bool = False) -> Entry:
    WISH.set(Wish(new=new, also_told=True, tells=True))  # of this thread
    sender = Sender(connection={"profile": "p", "host": "a", "home": "/h"}, journal=journal, home="/h")
    return send(REQUEST, "sft", sender, platform=platform)


@pytest.mark.parametrize("new", [False, True])
def test_everybody_can_see_that_a_job_is_being_sent(journal: Journal, *, new: bool) -> None:
    platform = Slow()
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(submit, journal, platform, new=new)
        assert platform.entered.wait(30)
        (intent,) = journal.entries()
        assert "another process" in journal.sender(intent)
        platform.leave.set()
        entry = sent.result(30)
    assert journal.sender(entry) == ""
    assert list(journal.locks.iterdir()) == []


def test_what_is_being_sent_is_waited_for_and_not_sent_by_another_one_too(journal: Journal) -> None:
    platform = Slow()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(submit, journal, platform, new=True)
        assert platform.entered.wait(30)
        second = pool.submit(submit, journal, platform)  # the platform does not know the first one yet
        platform.leave.set()
        assert second.result(30).id == first.result(30).id
    assert len(platform.sent) == 1


@pytest.mark.parametrize("again", [False, True])
def test_where_nothing_was_sent_no_record_stays_unless_an_earlier_request_may_still_arrive(
    journal: Journal, *, again: bool
) -> None:
    platform = FakePlatform()
    if again:
        platform.refusal = UnreachableError("the reply was lost")
        with pytest.raises(UnreachableError):
            submit(journal, platform)
        platform.sent.clear()
    platform.refusal = NothingSentError("connection refused")
    with pytest.raises(NothingSentError):
        submit(journal, platform)
    assert len(list(journal.entries())) == again


def test_a_forgotten_job_leaves_no_lock_of_a_killed_sender(journal: Journal) -> None:
    (journal.locks / "sft-abc123.sending").touch()
    journal.forget("sft-abc123")
    assert list(journal.locks.iterdir()) == []
