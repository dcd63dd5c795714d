from __future__ import annotations

import threading
from contextvars import copy_context

import pytest

from nemo_runspec.platforms.abandoning import (
    ABANDONED,
    AbandonedError,
    ended_when_abandoned,
    is_abandoned,
    pause,
    refuse_if_abandoned,
    refuse_to_wait,
)


def test_nothing_is_given_up_where_nobody_can() -> None:
    assert not is_abandoned()
    refuse_if_abandoned()
    pause(0.001)


def test_a_submission_that_is_given_up_goes_no_further_and_sleeps_no_longer() -> None:
    event = threading.Event()

    def submission() -> None:
        ABANDONED.set(event)
        refuse_if_abandoned()
        threading.Timer(0.05, event.set).start()
        pause(600)
        with pytest.raises(AbandonedError, match="given up"):
            refuse_if_abandoned()

    copy_context().run(submission)
    assert not is_abandoned(), "another one is not touched"


def test_only_a_call_of_a_step_that_may_be_ended_is_refused() -> None:
    event = threading.Event()
    event.set()

    def submission() -> None:
        with ended_when_abandoned():
            refuse_to_wait()
        ABANDONED.set(event)
        refuse_to_wait()
        with ended_when_abandoned(), pytest.raises(AbandonedError, match="given up"):
            refuse_to_wait()
        refuse_to_wait()

    copy_context().run(submission)
