from __future__ import annotations

import base64
import socket
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, GoneError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.credentials import FixedToken
from nemo_runspec.platforms.http import NAMELESS_S, Api, GarbledError, Patience, Repetition, TransientError
from tests.nemo_runspec.platforms.scripted import FakeTime, Reply, Scripted

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "canary-token"  # noqa: S105 - made up for the test
OK = Reply(body={"fine": True})


def api(url: str, patience: Patience, token: str = TOKEN) -> Api:
    return Api(base_url=url, label="Lepton", credential=FixedToken(token, "LEPTON_WORKSPACE_TOKEN"), patience=patience)


def test_a_call(server: Scripted, time: FakeTime) -> None:
    server.script("POST /a", OK)
    called = Api(
        base_url=server.url,
        label="Lepton",
        credential=FixedToken(TOKEN, "t"),
        patience=time.patience(),
        headers={"origin": "https://dgxc.example"},
    )
    assert called.call("POST", "/a", query=(("q", "a==b&c"), ("q2", "ä")), body=b"{}") == {"fine": True}
    (asked,) = server.asked
    assert asked.query == {"q": "a==b&c", "q2": "ä"}
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["origin"] == "https://dgxc.example"
    assert asked.body == b"{}"
    assert time.waits == []


def test_an_empty_answer_is_one(server: Scripted, time: FakeTime) -> None:
    server.script("DELETE /a", Reply(status=204))
    assert api(server.url, time.patience()).call("DELETE", "/a") is None


TRANSIENT = {
    "408": Reply(status=408),
    "425": Reply(status=425),
    "429": Reply(status=429),
    "500": Reply(status=500, body=b"<html>"),
    "502": Reply(status=502),
    "503": Reply(status=503, body={"message": "Please try again in few minutes."}),
    "504": Reply(status=504),
    "connection closed without a reply": Reply(fault="drop"),
    "connection reset": Reply(fault="reset"),
    "body shorter than declared": Reply(body={"a": "b" * 100}, fault="short"),
    "chunked body cut": Reply(chunks=(b'{"a":',), fault="cut"),
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_what_the_network_does_is_tried_again(server: Scripted, time: FakeTime, fault: Reply) -> None:
    server.script("GET /a", fault, fault, OK)
    assert api(server.url, time.patience()).call("GET", "/a") == {"fine": True}
    assert len(server.asked) == 3
    assert len(time.waits) == 2


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_it_is_not_tried_for_ever_and_is_no_failure_of_a_job(server: Scripted, time: FakeTime, fault: Reply) -> None:
    server.script("GET /a", fault)
    with pytest.raises(UnreachableError, match="nothing better within 300 s") as caught:
        api(server.url, time.patience()).call("GET", "/a")
    assert caught.value.exit_code == 1
    assert "says nothing about the job" in str(caught.value)
    assert sum(time.waits) == pytest.approx(300)
    assert max(time.waits) <= 15


def test_a_stalled_answer_is_tried_again(server: Scripted, time: FakeTime) -> None:
    server.script("GET /a", Reply(fault="stall"), OK)
    assert api(server.url, time.patience(read_s=0.05)).call("GET", "/a") == {"fine": True}


def test_an_answer_that_trickles_in_for_ever_is_given_up(server: Scripted, time: FakeTime) -> None:
    server.script("GET /a", Reply(chunks=(b'{"fine"', b": true}")))

    def clock() -> float:
        time.now += 200
        return time.now

    with pytest.raises(TransientError, match="did not finish its answer"):
        api(server.url, time.patience(clock=clock)).once("GET", "/a")


def test_nobody_there(time: FakeTime) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and nobody answers
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UnreachableError, match="Connection refused"):
            api(url, time.patience()).call("GET", "/a", deadline_s=20)
    assert sum(time.waits) == pytest.approx(20)


def test_no_tls_there_is_told(server: Scripted, time: FakeTime) -> None:
    with pytest.raises(UnreachableError, match="REQUESTS_CA_BUNDLE"):
        api(server.url.replace("http", "https"), time.patience()).call("GET", "/a")
    assert time.waits == []


def test_retry_after_is_honoured(server: Scripted, time: FakeTime) -> None:
    server.script("GET /a", Reply(status=429, headers={"Retry-After": "42"}), OK)
    api(server.url, time.patience()).call("GET", "/a")
    assert time.waits == [42]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(server: Scripted, time: FakeTime) -> None:
    server.script("GET /a", Reply(status=503, headers={"Retry-After": "3600"}))
    with pytest.raises(UnreachableError) as caught:
        api(server.url, time.patience()).call("GET", "/a")
    assert caught.value.status == 503
    assert time.waits == []


def test_waits_grow_and_differ(time: FakeTime) -> None:
    repetition = Repetition(time.patience(), 1_000)
    for _ in range(8):
        repetition.wait(TransientError("x"))
    bounds = [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(time.waits, bounds, strict=True))


NO: list[tuple[int, type[PlatformError], str]] = [
    (401, DeniedError, "Check LEPTON_WORKSPACE_TOKEN."),
    (403, DeniedError, "Ask for the permission"),
    (404, GoneError, "answers GET /a with 404: said"),
    (400, RefusedError, "answers GET /a with 400: said"),
    (405, RefusedError, "answers GET /a with 405: said"),
    (409, RefusedError, "answers GET /a with 409: said"),
    (413, RefusedError, "answers GET /a with 413: said"),
    (302, RefusedError, "Is the address right"),
]


@pytest.mark.parametrize(("status", "error", "says"), NO)
def test_a_no_is_told_at_once(
    server: Scripted, time: FakeTime, status: int, error: type[PlatformError], says: str
) -> None:
    server.script("GET /a", Reply(status=status, body={"message": f"said {TOKEN}"}, headers={"Location": "/b"}))
    with pytest.raises(error) as caught:
        api(server.url, time.patience()).call("GET", "/a")
    assert says in str(caught.value)
    assert caught.value.status == status
    assert caught.value.exit_code == 2
    assert TOKEN not in str(caught.value)
    assert (len(server.asked), time.waits) == (1, [])


def test_secrets_of_the_body_are_not_repeated(server: Scripted, time: FakeTime) -> None:
    server.script("POST /a", Reply(status=400, body={"complianceIssues": [{"field": "f", "details": "hunter2!"}]}))
    with pytest.raises(RefusedError, match=r"f: \*\*\*!"):
        api(server.url, time.patience()).once("POST", "/a", body=b"{}", hide=["hunter2"])


def test_a_page_for_people_is_no_answer(server: Scripted, time: FakeTime) -> None:
    server.script("GET /a", Reply(body=b"<html>please sign in</html>"))
    with pytest.raises(GarbledError, match="what is no JSON"):
        api(server.url, time.patience()).call("GET", "/a")


@pytest.mark.parametrize("url", ["", "team.example/api", "ftp://team.example", "http://"])
def test_an_address_that_is_none_is_told(time: FakeTime, url: str) -> None:
    with pytest.raises(RefusedError, match="cannot be asked of Lepton"):
        api(url, time.patience()).call("GET", "/a")


@pytest.mark.parametrize("token", ["two\nlines", "ünicode €"])
def test_a_token_that_is_none_is_told_and_not_shown(server: Scripted, time: FakeTime, token: str) -> None:
    with pytest.raises(RefusedError) as caught:
        api(server.url, time.patience(), token).call("GET", "/a")
    assert token not in str(caught.value)


def test_netrc_does_not_replace_the_token(
    server: Scripted, time: FakeTime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password other\n", encoding="utf-8")
    monkeypatch.setenv("NETRC", str(netrc))
    server.script("GET /a", OK)
    api(server.url, time.patience()).call("GET", "/a")
    assert server.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert base64.b64encode(b"me:other").decode() not in str(server.asked)


class Renewing:
    """A credential with two tokens."""

    origin = "two tokens"

    def __init__(self) -> None:
        self.tokens = ["old", "new"]

    def token(self) -> str:
        return self.tokens[0]

    def renew(self, token: str) -> bool:
        assert token == self.tokens[0]
        del self.tokens[: len(self.tokens) - 1]
        return True


def test_a_refused_token_is_renewed_once(server: Scripted, time: FakeTime) -> None:
    server.script("GET /a", Reply(status=401), OK)
    called = Api(base_url=server.url, label="x", credential=Renewing(), patience=time.patience())
    assert called.call("GET", "/a") == {"fine": True}
    assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer old", "Bearer new"]


def test_a_renewed_token_that_is_refused_is_told(server: Scripted, time: FakeTime) -> None:
    server.script("GET /a", Reply(status=401))
    called = Api(base_url=server.url, label="x", credential=Renewing(), patience=time.patience())
    with pytest.raises(DeniedError, match="Check two tokens"):
        called.call("GET", "/a")
    assert len(server.asked) == 2


def test_a_stream_gives_what_is_there(server: Scripted, time: FakeTime) -> None:
    server.script("GET /log", Reply(chunks=(b"a\nb", b"c\n")))
    with api(server.url, time.patience()).stream("/log", query=(("follow", "true"),)) as chunks:
        assert b"".join(chunks) == b"a\nbc\n"
    assert server.asked[0].query == {"follow": "true"}


def test_a_stream_without_chunks_is_read_too(server: Scripted, time: FakeTime) -> None:
    server.script("GET /log", Reply(body=b"x" * 10_000))
    with api(server.url, time.patience()).stream("/log") as chunks:
        assert b"".join(chunks) == b"x" * 10_000


@pytest.mark.parametrize("fault", [Reply(chunks=(b"a\n",), fault="cut"), Reply(body=b"a\nb\n", fault="short")])
def test_a_stream_that_breaks_gives_what_came_first(server: Scripted, time: FakeTime, fault: Reply) -> None:
    server.script("GET /log", fault)
    got: list[bytes] = []
    with pytest.raises(TransientError), api(server.url, time.patience()).stream("/log") as chunks:
        got.extend(chunks)
    assert b"".join(got) == b"a\n"


def test_a_quiet_stream_ends_in_time(server: Scripted, time: FakeTime) -> None:
    server.script("GET /log", Reply(fault="stall"))
    with (
        pytest.raises(TransientError, match="nothing came in time"),
        api(server.url, time.patience(quiet_s=0.05)).stream("/log"),
    ):
        pass


def test_a_stream_that_is_not_there(server: Scripted, time: FakeTime) -> None:
    with pytest.raises(GoneError), api(server.url, time.patience()).stream("/log"):
        pass


def test_a_host_without_an_address_is_not_waited_for_long(time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    begin = time.now
    with pytest.raises(UnreachableError) as caught:
        api("https://mistyped.example/api/v1", time.patience()).call("GET", "/a")
    assert "Check the address https://mistyped.example/api/v1" in str(caught.value)
    assert NAMELESS_S <= time.now - begin < 4 * NAMELESS_S


def test_the_platforms_own_words_about_secrets_are_kept(server: Scripted, time: FakeTime) -> None:
    words = f"spec.envs[8].value_from.secret_name_ref: secret 'nope' does not exist; token={TOKEN}"
    server.script("POST /a", Reply(status=400, body={"message": words}))
    with pytest.raises(RefusedError) as caught:
        api(server.url, time.patience()).call("POST", "/a", body=b"{}")
    assert "secret 'nope' does not exist" in caught.value.message
    assert TOKEN not in caught.value.message
