from __future__ import annotations

import threading
from contextvars import copy_context
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, GoneError, NothingSentError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.creation import before_sending, create
from nemo_runspec.platforms.credentials import FixedToken
from nemo_runspec.platforms.http import Api
from tests.nemo_runspec.platforms.scripted import FakeTime, Reply, Scripted

if TYPE_CHECKING:
    from collections.abc import Callable

MADE = Reply(status=201, body={"id": "made"})
TAKEN = Reply(status=409, body={"message": "name is taken"})


class Finder:
    """Finds what was made after so many looks, or raises."""

    def __init__(self, *answers: str | PlatformError | None) -> None:
        self.answers = list(answers)
        self.looks = 0

    def __call__(self) -> str | None:
        self.looks += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, PlatformError):
            raise answer
        return answer


def identifier(answer: object) -> str | None:
    return str(answer["id"]) if isinstance(answer, dict) and "id" in answer else None


def made(server: Scripted, time: FakeTime, find: Callable[[], str | None]) -> str:
    api = Api(base_url=server.url, label="Lepton", credential=FixedToken("", "t"), patience=time.patience())
    return create(
        api,
        "/jobs",
        b"{}",
        name="nano3-abc123",
        read=identifier,
        find=find,
        hide=("hunter2",),
    )


def test_one_call_is_enough(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", MADE)
    find = Finder(None)
    assert made(server, time, find) == "made"
    assert (server.lines, find.looks, time.waits) == (["POST /jobs"], 0, [])


def test_before_anything_is_sent_a_platform_that_is_away_says_so() -> None:
    def away() -> None:
        message = "no answer"
        raise UnreachableError(message, status=503, remedy="Wait.")

    with pytest.raises(NothingSentError, match="no answer") as caught:
        before_sending(away)
    assert (caught.value.status, caught.value.remedy) == (503, "Wait.")
    assert before_sending(lambda: "there") == "there"


LOST = {
    "dropped": Reply(fault="drop"),
    "reset": Reply(fault="reset"),
    "500": Reply(status=500),
    "503": Reply(status=503),
    "429": Reply(status=429),
    "cut": Reply(body={"id": "made"}, fault="short"),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_lost_reply_is_looked_up_and_not_sent_again(server: Scripted, time: FakeTime, lost: Reply) -> None:
    server.script("POST /jobs", lost, TAKEN)
    assert made(server, time, Finder("found")) == "found"
    assert server.lines == ["POST /jobs"]


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
def test_a_request_that_did_not_arrive_is_sent_again(server: Scripted, time: FakeTime, lost: Reply) -> None:
    server.script("POST /jobs", lost, lost, MADE)
    find = Finder(None)
    assert made(server, time, find) == "made"
    assert (len(server.asked), find.looks) == (3, 2)


def test_a_conflict_after_a_lost_reply_is_ones_own_though_the_list_lags(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", Reply(fault="drop"), TAKEN)
    assert made(server, time, Finder(None, None, "found")) == "found"
    assert len(server.asked) == 2


def test_a_conflict_at_first_is_anothers(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", TAKEN)
    find = Finder("anothers")
    with pytest.raises(RefusedError, match="name is taken"):
        made(server, time, find)
    assert find.looks == 0


def test_a_400_for_the_same_name_after_a_lost_reply_is_ones_own(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", Reply(fault="drop"), Reply(status=400))
    assert made(server, time, Finder(None, "found")) == "found"


NO = [400, 401, 403, 404, 422, 302]


@pytest.mark.parametrize("status", NO)
def test_a_no_after_a_lost_reply_tells_nothing_of_what_was_sent_before(
    server: Scripted, time: FakeTime, status: int
) -> None:
    server.script("POST /jobs", Reply(fault="drop"), Reply(status=status, body={"message": "no such shape, hunter2"}))
    with pytest.raises(
        UnreachableError, match=r"not known whether .* 'nano3-abc123' .* no such shape, \*\*\*"
    ) as caught:
        made(server, time, Finder(None))
    assert "status('nano3-abc123')" in str(caught.value)
    assert ("Check t." in str(caught.value)) is (status == 401)
    assert len(server.asked) == 2


@pytest.mark.parametrize("status", NO)
def test_the_list_may_lag_behind_the_no_to_a_repetition(server: Scripted, time: FakeTime, status: int) -> None:
    server.script("POST /jobs", Reply(fault="drop"), Reply(status=status))
    assert made(server, time, Finder(*[None] * 5, "found")) == "found"
    assert len(server.asked) == 2


@pytest.mark.parametrize("error", [RefusedError("a page for people", status=302), GoneError("no list", status=404)])
def test_an_odd_answer_of_the_list_is_no_answer(server: Scripted, time: FakeTime, error: PlatformError) -> None:
    server.script("POST /jobs", Reply(fault="drop"), TAKEN)
    assert made(server, time, Finder(error, error, "found")) == "found"


def test_a_refusal_after_too_many_requests_is_a_refusal(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", Reply(status=429), Reply(status=400, body={"message": "no such shape, hunter2"}))
    with pytest.raises(RefusedError, match=r"no such shape, \*\*\*"):
        made(server, time, Finder(None))


def test_404_is_a_refusal_too(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", Reply(status=404, body={"message": "no such project"}))
    with pytest.raises(RefusedError, match="no such project"):
        made(server, time, Finder(None))


@pytest.mark.parametrize("garbled", [Reply(body=b"<html>"), Reply(), Reply(body={"other": 1}), Reply(body=[])])
def test_a_yes_that_cannot_be_read_is_looked_up(server: Scripted, time: FakeTime, garbled: Reply) -> None:
    server.script("POST /jobs", garbled, TAKEN)
    assert made(server, time, Finder(None, "found")) == "found"


def test_who_may_not_list_sends_again(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", Reply(status=503), MADE)
    assert made(server, time, Finder(DeniedError("no list", status=403))) == "made"


def test_a_credential_that_is_no_longer_taken_is_told(server: Scripted, time: FakeTime) -> None:
    server.script("POST /jobs", Reply(status=503), MADE)
    with pytest.raises(
        UnreachableError, match="not known whether the workload 'nano3-abc123' was created: expired"
    ) as it:
        made(server, time, Finder(DeniedError("expired", status=401, remedy="Log in.")))
    assert "Log in. Look for 'nano3-abc123' before" in str(it.value)


@pytest.mark.parametrize("status", [401, 403])
def test_a_denial_is_told_at_once(server: Scripted, time: FakeTime, status: int) -> None:
    server.script("POST /jobs", Reply(status=status))
    with pytest.raises(DeniedError):
        made(server, time, Finder(None))
    assert len(server.asked) == 1


@pytest.mark.parametrize("answer", [None, UnreachableError("nobody there")])
def test_not_knowing_is_told_with_the_name(server: Scripted, time: FakeTime, answer: PlatformError | None) -> None:
    server.script("POST /jobs", Reply(fault="drop"))
    with pytest.raises(UnreachableError, match="not known whether the workload 'nano3-abc123' was created") as caught:
        made(server, time, Finder(answer))
    assert "Look for 'nano3-abc123' before" in str(caught.value)
    assert sum(time.waits) <= 301


@pytest.fixture
def gives_up(monkeypatch: pytest.MonkeyPatch) -> Callable[[FakeTime], None]:
    """Have the submission given up as soon as it waits."""

    def arrange(time: FakeTime) -> None:
        event = threading.Event()
        ABANDONED.set(event)
        wait = time.sleep

        def sleep(seconds: float) -> None:
            event.set()
            wait(seconds)

        monkeypatch.setattr(time, "sleep", sleep)

    return arrange


def _in_a_context(run: Callable[[], str]) -> str:
    return copy_context().run(run)


def test_who_gives_up_before_anything_was_sent_sends_nothing(server: Scripted, time: FakeTime) -> None:
    def run() -> str:
        event = threading.Event()
        event.set()
        ABANDONED.set(event)
        return made(server, time, Finder("found"))

    with pytest.raises(AbandonedError):
        _in_a_context(run)
    assert server.lines == []


@pytest.mark.parametrize(
    ("reply", "finds", "end"),
    [
        (Reply(fault="drop"), "found", "found"),
        (Reply(fault="drop"), None, UnreachableError),
        (Reply(status=429), None, AbandonedError),
    ],
    ids=["made", "not known", "not made"],
)
def test_who_gives_up_meanwhile_still_learns_what_was_made(
    server: Scripted,
    time: FakeTime,
    gives_up: Callable[[FakeTime], None],
    reply: Reply,
    finds: str | None,
    end: str | type[PlatformError],
) -> None:
    server.script("POST /jobs", reply, MADE)

    def run() -> str:
        gives_up(time)
        return made(server, time, Finder(finds))

    if isinstance(end, str):
        assert _in_a_context(run) == end
    else:
        with pytest.raises(end):
            _in_a_context(run)
    assert server.lines == ["POST /jobs"], "nothing is sent again"
