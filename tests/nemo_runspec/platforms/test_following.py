from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, GoneError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.following import LogReader, Newborns, follow, stop
from nemo_runspec.platforms.http import TransientError
from nemo_runspec.platforms.workload import JobState, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from tests.nemo_runspec.platforms.scripted import FakeTime

RUNNING, DONE = JobState.RUNNING, JobState.SUCCEEDED
BROKEN = TransientError("connection reset")


def states(*seen: JobState) -> Callable[[], Seen]:
    """Look as one state after the other, the last for ever."""
    left = list(seen)
    return lambda: Seen(left.pop(0) if len(left) > 1 else left[0])


def logs(
    *openings: bytes | PlatformError | tuple[bytes, PlatformError],
) -> Callable[[], AbstractContextManager[Iterator[bytes]]]:
    """Open as one log after the other, the last for ever; an error instead of it, or behind its bytes."""
    left = list(openings)

    def chunks(content: bytes, error: PlatformError | None) -> Iterator[bytes]:
        yield from (content[start : start + 1_000] for start in range(0, len(content), 1_000))
        if error is not None:
            raise error

    @contextmanager
    def opened() -> Iterator[Iterator[bytes]]:
        opening = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(opening, PlatformError):
            raise opening
        content, error = opening if isinstance(opening, tuple) else (opening, None)
        yield chunks(content, error)

    return opened


def test_the_log_of_a_job_that_is_over_is_read_once(time: FakeTime) -> None:
    assert list(follow(logs(b"a\nb\r\nc"), states(DONE), time.patience())) == ["a", "b", "c"]
    assert time.waits == []


def test_it_goes_on_until_the_job_is_over(time: FakeTime) -> None:
    opened = logs(b"", b"a\nb", b"a\nbc\n", b"a\nbc\nlast\n")
    look = states(RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, RUNNING, DONE)
    assert list(follow(opened, look, time.patience())) == ["a", "bc", "last"]


def test_what_was_written_just_before_the_end_is_not_lost(time: FakeTime) -> None:
    assert list(follow(logs(b"a\n", b"a\nlast"), states(RUNNING, DONE), time.patience())) == ["a", "last"]


NOT_YET = {
    "404": GoneError("no such pod", status=404),
    "400": RefusedError("container is waiting to start: ContainerCreating", status=400),
    "reset": BROKEN,
}


@pytest.mark.parametrize("error", NOT_YET.values(), ids=NOT_YET)
def test_a_log_that_is_not_there_yet_is_waited_for(time: FakeTime, error: PlatformError) -> None:
    look = states(JobState.QUEUED, JobState.STARTING, RUNNING, RUNNING, DONE)
    assert list(follow(logs(error, error, b"a\n"), look, time.patience())) == ["a"]


def test_a_broken_connection_neither_repeats_nor_loses_a_line(time: FakeTime) -> None:
    content = b"".join(b"line %d\n" % number for number in range(2_000))
    chance = random.Random(5)  # noqa: S311 - the same cuts each time
    cuts = sorted(chance.sample(range(len(content)), 30))
    openings = [(content[:cut], BROKEN) for cut in cuts]
    got = list(follow(logs(*openings, content), states(*[RUNNING] * 200, DONE), time.patience()))
    assert got == [f"line {number}" for number in range(2_000)]


def test_a_broken_connection_after_the_end_is_opened_again(time: FakeTime) -> None:
    assert list(follow(logs((b"a\nb", BROKEN), b"a\nbc\n"), states(DONE), time.patience())) == ["a", "bc"]


def test_a_job_that_is_gone_ends_its_log(time: FakeTime) -> None:
    assert list(follow(logs(b"a\nb", GoneError("gone")), states(RUNNING, JobState.LOST), time.patience())) == ["a", "b"]


def test_a_job_that_never_had_a_log_ends_too(time: FakeTime) -> None:
    assert list(follow(logs(GoneError("none")), states(JobState.QUEUED, JobState.CANCELLED), time.patience())) == []


def test_why_a_container_never_started_is_told(time: FakeTime) -> None:
    refused = logs(RefusedError("waiting to start: trying and failing to pull image"))
    with pytest.raises(RefusedError, match="failing to pull image"):
        list(follow(refused, states(JobState.STARTING, JobState.FAILED), time.patience()))


def test_a_log_that_was_read_and_is_then_refused_has_ended(time: FakeTime) -> None:
    refused = RefusedError("the pod has been removed", status=400)
    assert list(follow(logs(b"a\nb", refused), states(RUNNING, DONE), time.patience())) == ["a", "b"]


def test_a_denial_is_told_at_once(time: FakeTime) -> None:
    with pytest.raises(DeniedError):
        list(follow(logs(DeniedError("no", status=403)), states(RUNNING), time.patience()))
    assert time.waits == []


@pytest.mark.parametrize("state", [JobState.UNREACHABLE, RUNNING, DONE])
def test_nothing_but_failures_ends_in_time(time: FakeTime, state: JobState) -> None:
    with pytest.raises(UnreachableError, match="connection reset"):
        list(follow(logs(BROKEN), states(state), time.patience()))
    assert 300 < sum(time.waits) < 360


def test_failures_between_lines_are_not_added_up(time: FakeTime) -> None:
    openings: list[bytes | PlatformError | tuple[bytes, PlatformError]] = []
    for count in range(1, 200):
        openings += [(b"x\n" * count, BROKEN), BROKEN]
    openings.append(b"x\n" * 200)
    got = list(follow(logs(*openings), states(*[RUNNING] * 1_000, DONE), time.patience(deadline_s=2)))
    assert len(got) == 200


def test_a_pod_that_ended_early_is_asked_for_rarely_and_its_job_looked_at_often(time: FakeTime) -> None:
    opened = []
    source = logs(b"a\n")

    def counting() -> AbstractContextManager[Iterator[bytes]]:
        opened.append(time.now)
        return source()

    looks = states(*[RUNNING] * 100, DONE)
    assert list(follow(counting, looks, time.patience())) == ["a"]
    assert len(opened) < 20
    assert max(time.waits) <= 15


def test_leaving_early_closes_the_connection(time: FakeTime) -> None:
    closed = []

    @contextmanager
    def opened() -> Iterator[Iterator[bytes]]:
        try:
            yield iter([b"a\nb\n"])
        finally:
            closed.append(True)

    lines = follow(opened, states(RUNNING), time.patience())
    assert next(lines) == "a"
    lines.close()  # type: ignore[attr-defined]
    assert closed == [True]


def test_a_container_that_was_started_again_has_a_new_log() -> None:
    reader = LogReader()
    assert list(reader.lines([b"first\nun"])) == ["first"]
    assert not reader.is_another
    assert list(reader.lines([b"sec", b"ond is as long\n"])) == ["un"]
    assert reader.is_another
    assert list(reader.new_container()) == []
    assert list(reader.lines([b"second\n"])) == ["second"]
    assert list(reader.lines([b"second\nthird\n"])) == ["third"]
    assert not reader.is_another


BANNER = b"".join(b"Collecting package %03d\n" % number for number in range(250))
CRASHED = BANNER + b"step 1\nstep 2\nCRASH\n"
RESUMED = BANNER + b"resumed from step 2\nstep 3\nstep 4\nstep 5\ndone\n"


@pytest.mark.parametrize("second", [RESUMED, BANNER, BANNER[:10], b"x\n"], ids=["longer", "shorter", "short", "other"])
def test_no_line_of_a_new_container_is_lost_whatever_it_begins_with(time: FakeTime, second: bytes) -> None:
    look = states(*[RUNNING] * 4, DONE)
    got = list(follow(logs(CRASHED, second), look, time.patience()))
    assert got == [*lines_of(CRASHED), *lines_of(second)]


def test_a_log_of_which_nothing_is_there_once_more_is_not_another() -> None:
    reader = LogReader()
    list(reader.lines([CRASHED]))
    assert list(reader.lines([])) == []
    assert not reader.is_another
    assert list(reader.lines([CRASHED, b"more\n"])) == ["more"]


def test_a_connection_that_breaks_within_what_was_read_says_nothing_of_a_new_container(time: FakeTime) -> None:
    opened = logs(CRASHED, (CRASHED[:700], BROKEN), CRASHED + b"more\n")
    got = list(follow(opened, states(*[RUNNING] * 5, DONE), time.patience()))
    assert got == [*lines_of(CRASHED), "more"]


def test_a_new_container_whose_log_is_then_not_there_is_waited_for(time: FakeTime) -> None:
    opened = logs(CRASHED, b"other\n", BROKEN, GoneError("not yet"), b"other\n")
    got = list(follow(opened, states(*[RUNNING] * 20, DONE), time.patience()))
    assert got == [*lines_of(CRASHED), "other"]
    assert len(time.waits) > 2


def test_containers_that_write_the_same_are_told_apart_where_the_platform_does(time: FakeTime) -> None:
    counts = iter(["0", "", "0", "1", *["1"] * 20])
    look = states(*[RUNNING] * 10, DONE)
    got = list(follow(logs(b"a\nb\nCRASH"), look, time.patience(), lambda: next(counts)))
    assert got == ["a", "b", "CRASH", "a", "b", "CRASH"]


def lines_of(log: bytes) -> list[str]:
    return log.decode().splitlines()


@pytest.mark.parametrize("size", [1, 7, 4_095, 4_096, 4_097, 100_000])
def test_a_log_is_read_in_pieces_of_any_size(size: int) -> None:
    content = b"".join(b"%d\n" % number for number in range(3_000))
    reader = LogReader()
    got: list[str] = []
    for end in (10, 5_000, 5_000, len(content)):
        got += reader.lines(content[start : min(start + size, end)] for start in range(0, end, size))
    assert got == [str(number) for number in range(3_000)]
    assert list(reader.rest()) == []


def test_a_shorter_log_of_the_same_beginning_has_nothing_new() -> None:
    reader = LogReader()
    assert reader.is_empty
    list(reader.lines([b"a\nb\n"]))
    assert list(reader.lines([b"a\n"])) == []
    assert not reader.is_empty
    assert reader.is_another  # a log does not shrink: to be safe it is given again


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert list(LogReader().lines([b"\xc3", b"\xa4 \xff\n"])) == ["ä \N{REPLACEMENT CHARACTER}"]


def test_stopping_waits_until_it_has(time: FakeTime) -> None:
    asked: list[int] = []
    look = states(RUNNING, JobState.STOPPING, JobState.CANCELLED)
    assert stop(lambda: asked.append(1), look, frozenset({JobState.CANCELLED}), time.patience())
    assert asked == [1]
    assert time.waits == [2, 2]


def test_stopping_what_is_not_known_yet_is_asked_again(time: FakeTime) -> None:
    errors = [GoneError("unknown"), GoneError("unknown")]

    def ask() -> None:
        if errors:
            raise errors.pop()

    look = states(JobState.UNKNOWN, JobState.UNKNOWN, JobState.CANCELLED)
    assert stop(ask, look, frozenset({JobState.CANCELLED}), time.patience())
    assert errors == []


def test_a_refused_stop_is_none_unless_it_is_over_anyway(time: FakeTime) -> None:
    def refuse() -> None:
        message = "not in this state"
        raise RefusedError(message)

    assert not stop(refuse, states(RUNNING), frozenset({DONE}), time.patience())
    assert stop(refuse, states(DONE), frozenset({DONE}), time.patience())


def test_a_stop_that_never_comes_is_given_up(time: FakeTime) -> None:
    assert not stop(lambda: None, states(JobState.STOPPING), frozenset({DONE}), time.patience())
    assert sum(time.waits) <= 180


def test_newborns_grow_up(time: FakeTime) -> None:
    newborns = Newborns(time.patience())
    assert "a" not in newborns
    newborns.add("a")
    newborns.add("b")
    assert "a" in newborns
    newborns.seen("a")
    newborns.seen("never heard of")
    assert "a" not in newborns
    time.sleep(60)
    assert "b" not in newborns
