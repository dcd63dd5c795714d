from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.rehearsal.exchange import Call, Refusal, Reply, Route, answer

if TYPE_CHECKING:
    from collections.abc import Mapping


def echo(call: Call, parts: Mapping[str, str]) -> Reply:
    return Reply(200, [call.path, dict(parts)])


class Echo:
    """An API that answers with what it was asked."""

    routes = (
        Route("GET", "/things", echo, is_open=True),
        Route("GET", "/things/{id}", echo),
        Route("POST", "/things/special", echo),
        Route("GET", "/things/{id}/parts/{part}", echo),
    )

    def authorise(self, call: Call) -> None:
        if call.bearer != "token":
            raise Refusal(401, "no")

    def refusal(self, call: Call, refusal: Refusal) -> Reply:
        return Reply(refusal.status, f"{call.path} {refusal.message}")


def asked(method: str, path: str, authorization: str = "Bearer token") -> Reply:
    return answer(Echo(), Call(method, path, {}, authorization, b""))


def test_paths_lead_to_their_routes_with_their_parts() -> None:
    assert asked("GET", "/things").body == ["/things", {}]
    assert asked("GET", "/things/a%2Fb").body == ["/things/a%2Fb", {"id": "a/b"}]
    assert asked("GET", "/things/1/parts/2").body[1] == {"id": "1", "part": "2"}


def test_unknown_paths_methods_and_credentials() -> None:
    assert asked("GET", "/thing").status == 404
    assert asked("GET", "/things/").status == 404
    assert asked("DELETE", "/things/1").headers == {"Allow": "GET"}
    # What could also be the other route's id is the literal route, which has no such method.
    assert asked("GET", "/things/special").status == 405
    assert asked("POST", "/things/special").status == 200
    assert asked("GET", "/things/1", "token").status == 401
    assert asked("GET", "/things", "").status == 200


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "0", "51", "9" * 30])
def test_numbers_out_of_range_are_refused(text: str) -> None:
    with pytest.raises(Refusal, match="limit"):
        Call("GET", "/", {"limit": [text]}, "", b"").number("limit", 5, least=1, most=50)


def test_parameters() -> None:
    call = Call("GET", "/", {"limit": ["7"], "follow": ["True"], "name": ["a", "b"]}, "", b"")
    assert (call.number("limit", 5), call.number("offset", 5)) == (7, 5)
    assert (call.flag("follow"), call.flag("other")) == (True, False)
    assert (call.parameter("name"), call.parameter("other", "x")) == ("b", "x")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_body_that_is_no_object_is_refused(content: bytes) -> None:
    with pytest.raises(Refusal, match="the body is not"):
        Call("POST", "/", {}, "", content).json()
