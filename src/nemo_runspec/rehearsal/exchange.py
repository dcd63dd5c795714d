"""A request and its answer as values, and the table of routes that leads from one to the other."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator, Mapping

JsonObject = dict[str, Any]


class Refusal(Exception):  # noqa: N818 - it is an answer of the platform, no error of this program
    """The platform does not do what was asked.

    Args:
        status: HTTP status.
        message: Why, in the platform's words.
        issues: Field -> what is wrong with it, where the platform says that by field.
    """

    def __init__(self, status: HTTPStatus | int, message: str, issues: Mapping[str, str] | None = None) -> None:
        """Keep the parts; each platform has its own form for them."""
        self.status = int(status)
        self.message = message
        self.issues = dict(issues or {})
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was read.

    Args:
        method: HTTP method.
        path: Path without the query.
        query: Each parameter's values.
        authorization: The Authorization header, or an empty text.
        content: The body as it came.
        target: Path and query as they came.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    authorization: str = field(repr=False)
    content: bytes = field(repr=False)
    target: str = ""

    def json(self) -> JsonObject:
        """Give the body.

        Raises:
            Refusal: It is no JSON object.
        """
        try:
            body = json.loads(self.content)
        except ValueError as error:
            message = f"the body is not JSON: {error}"
            raise Refusal(HTTPStatus.BAD_REQUEST, message) from error
        if not isinstance(body, dict):
            raise Refusal(HTTPStatus.BAD_REQUEST, "the body is not a JSON object")
        return body

    def parameter(self, name: str, default: str = "") -> str:
        """Give a query parameter's last value.

        Args:
            name: The parameter.
            default: Its value when it is not there.
        """
        return self.query.get(name, [default])[-1]

    def number(self, name: str, default: int, *, least: int = 0, most: int | None = None) -> int:
        """Give a query parameter that is a whole number.

        Args:
            name: The parameter.
            default: Its value when it is not there.
            least: The smallest that is allowed.
            most: The largest that is allowed, or None.

        Raises:
            Refusal: It is none, or out of range.
        """
        text = self.parameter(name, str(default))
        if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) < least or (most is not None and int(text) > most):
            raise Refusal(HTTPStatus.BAD_REQUEST, f"parameter '{name}' is '{text}', which is not allowed")
        return int(text)

    def flag(self, name: str) -> bool:
        """Tell whether a query parameter is true."""
        return self.parameter(name).lower() in {"true", "1"}

    @property
    def bearer(self) -> str:
        """The bearer token, or an empty text."""
        scheme, _, token = self.authorization.partition(" ")
        return token.strip() if scheme == "Bearer" else ""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Args:
        status: HTTP status.
        body: A JSON value, or None for no body.
        headers: More headers.
        stream: Plain text in pieces instead of a body; an empty piece says that there is nothing yet.
        tunnel: What the request is passed on to instead, and answers it.
    """

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    stream: Iterator[bytes] | None = None
    tunnel: Tunnel | None = None


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A program in a pod that a platform passes requests on to.

    Args:
        connection: Leads there.
        target: Path and query that it is asked.
    """

    connection: socket.socket
    target: str


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one kind of path.

    Args:
        method: HTTP method.
        path: Path in which `{name}` stands for one part: `/jobs/{id}`; `{name*}` for everything that follows.
        handle: What answers; it gets the parts by name.
        is_open: Whether it needs no credential.
    """

    method: str
    path: str
    handle: Callable[[Call, Mapping[str, str]], Reply]
    is_open: bool = False

    def parts(self, path: str) -> dict[str, str] | None:
        """Give the named parts of a path, or None when it is another kind of path."""
        pattern = "".join(map(_pattern, re.split(r"(\{\w+\*?\})", self.path)))
        found = re.fullmatch(pattern, path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


def _pattern(piece: str) -> str:
    if not piece.startswith("{"):
        return re.escape(piece)
    return f"(?P<{piece.strip('{*}')}>{'.*' if piece.endswith('*}') else '[^/]+'})"


class Api(Protocol):
    """A platform's API: its routes, who may use them, and how it says no."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """Everything that is documented; anything else is refused."""

    def authorise(self, call: Call) -> None:
        """Raise a Refusal unless the call has a valid credential."""

    def refusal(self, call: Call, refusal: Refusal) -> Reply:
        """Give the platform's form of a refusal."""


def answer(api: Api, call: Call) -> Reply:
    """Give the API's answer to a call: 404 for unknown paths, 405 for methods that a path does not have."""
    matching = [(route, parts) for route in api.routes if (parts := route.parts(call.path)) is not None]
    if not matching:
        return api.refusal(call, Refusal(HTTPStatus.NOT_FOUND, f"there is no {call.path}"))
    # `/workloads/trainings` is itself, and not the `/workloads/{id}` that it could be read as.
    fewest = min(len(parts) for _, parts in matching)
    methods = {route.method: (route, parts) for route, parts in matching if len(parts) == fewest}
    if call.method not in methods:
        reply = api.refusal(call, Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{call.method} is not allowed here"))
        return Reply(reply.status, reply.body, {"Allow": ", ".join(sorted(methods))})
    route, parts = methods[call.method]
    try:
        if not route.is_open:
            api.authorise(call)
        return route.handle(call, parts)
    except Refusal as refusal:
        return api.refusal(call, refusal)
