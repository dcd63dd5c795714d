"""Calls to a platform's HTTP API: every one has a timeout, is repeated within a deadline, and fails as itself.

429, 5xx, timeouts and broken connections are the network's, and say nothing about a job; 401 and 403 are the
credential's; 404 is an answer; any other 4xx is the platform's no.
"""

from __future__ import annotations

import json
import logging
import random
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import requests

from nemo_runspec.errors import DeniedError, GoneError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import pause, refuse_if_abandoned
from nemo_runspec.platforms.answers import reason, retry_after, said_in
from nemo_runspec.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

Query = tuple[tuple[str, str], ...]

_UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 401, 403, 404
TELL_FROM_S: Final = 60
"""Calls that may take as long as this say that they wait: a person may wait with them."""

NAMELESS_S: Final = 10
"""How long a host that has no address is asked for: a name is rather mistyped than away."""

_LOG: Final = logging.getLogger(__name__)
_TRANSIENT: Final = frozenset({408, 425, 429})
_SERVER_ERROR: Final = 500
_UNCHUNKED_BYTES: Final = 512
"""How much of a log without chunks is read at once: little, because a read waits until all of it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for what, all in seconds.

    Args:
        connect_s: For a connection.
        read_s: For the next bytes of an answer.
        deadline_s: For one call with all its repetitions.
        look_s: The same for a look at a workload, which is asked again soon anyway.
        list_s: The same for each part of the list of its pods, for which its state must not wait.
        quiet_s: For the next bytes of a log, before it is asked for anew.
        first_wait_s: Before the first repetition; each further wait is twice as long.
        longest_wait_s: Longest of these waits.
        poll_s: Between two looks while waiting for a change.
        newborn_s: How long the platform may not know what it has just accepted.
        stop_s: For a workload to stop; pods have 30 s between SIGTERM and SIGKILL.
        clock: Tells the time.
        sleep: Waits.
    """

    connect_s: float = 10
    read_s: float = 60
    deadline_s: float = 300
    look_s: float = 30
    list_s: float = 10
    quiet_s: float = 120
    first_wait_s: float = 0.5
    longest_wait_s: float = 15
    poll_s: float = 2
    newborn_s: float = 60
    stop_s: float = 180
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = pause


class TransientError(UnreachableError):
    """One attempt failed in a way that another may not.

    Args:
        message: What happened.
        status: The HTTP status, or None where there was no answer.
        wait_s: How long the platform asks to wait.
        remedy: What to do next where it goes on; it then ends the waiting early, after `NAMELESS_S`.
    """

    def __init__(
        self, message: str, *, status: int | None = None, wait_s: float = 0, remedy: str | None = None
    ) -> None:
        """Keep how long to wait."""
        super().__init__(message, status=status, remedy=remedy)
        self.wait_s = wait_s


class GarbledError(RefusedError):
    """The platform said yes, and what it said beside that cannot be read."""


class Credential(Protocol):
    """What a platform lets one in with."""

    @property
    def origin(self) -> str:
        """Where it comes from, for messages."""

    def token(self) -> str:
        """Give the bearer token, or an empty text for none; asks for it at most once."""

    def renew(self, token: str) -> bool:
        """Hear that a token was refused, and tell whether `token()` may now give another."""


class Repetition:
    """The waits of one call.

    Args:
        patience: How long to wait.
        deadline_s: For the call as a whole.
    """

    def __init__(self, patience: Patience, deadline_s: float) -> None:
        """Start the clock."""
        self._patience = patience
        self._deadline_s = deadline_s
        self._end = patience.clock() + deadline_s
        self._next_s = patience.first_wait_s
        self._told = False

    def wait(self, failure: TransientError) -> None:
        """Wait before the next attempt.

        Raises:
            UnreachableError: The deadline is over, or will be when the platform wants to be asked again.
            AbandonedError: Nobody wants the answer any more.
        """
        refuse_if_abandoned()
        left_s = self._end - self._patience.clock()
        if failure.remedy is not None and self._deadline_s - left_s >= NAMELESS_S:
            raise UnreachableError(failure.message, status=failure.status, remedy=failure.remedy) from failure
        if left_s <= 0 or failure.wait_s > left_s:
            message = f"{failure.message}, and nothing better within {self._deadline_s:g} s"
            remedy = "That says nothing about the job. Ask again later."
            raise UnreachableError(message, status=failure.status, remedy=remedy) from failure
        # Not all who were turned away at once come back at once; the last attempt is made at the deadline.
        wait_s = min(max(failure.wait_s, self._next_s * random.uniform(0.5, 1)), left_s)  # noqa: S311 - no secret depends on it
        self._next_s = min(2 * self._next_s, self._patience.longest_wait_s)
        if not self._told and self._deadline_s >= TELL_FROM_S:
            self._told = True
            _LOG.warning("%s; asking again for at most %.0f s", failure.message, left_s)
        self._patience.sleep(wait_s)
        refuse_if_abandoned()


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """A platform's API.

    Each request has a connection of its own: calls are few, threads then share nothing, and a lost reply is never
    the fault of a connection that had been idle for too long.

    Args:
        base_url: Address that paths are appended to.
        label: The platform's name for messages.
        credential: What it lets one in with.
        patience: How long to wait.
        headers: More headers of every request.
    """

    base_url: str
    label: str
    credential: Credential
    patience: Patience = field(default_factory=Patience)
    headers: Mapping[str, str] = field(default_factory=dict)

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | None = None,
        deadline_s: float | None = None,
        doubting: bool = False,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Call the API, as often as the deadline allows, and give the answer's JSON; None for an empty one.

        For calls that may be made twice; what must not be made twice is `creation.create`'s.

        Args:
            method: HTTP method.
            path: Below the base address, with `/` at the beginning.
            query: Names and values of the query.
            body: JSON to send.
            deadline_s: Instead of the patience's.
            doubting: Whether a redirect, a refusal or a page for people is taken for a passing disturbance, as where
                the same call is known to have an answer.

        Raises:
            PlatformError: As the classes in `nemo_runspec.errors` say.
        """
        within_s = self.patience.deadline_s if deadline_s is None else deadline_s
        repetition = Repetition(self.patience, within_s)
        while True:
            try:
                return self.once(method, path, query=query, body=body, within_s=within_s)
            except TransientError as failure:
                repetition.wait(failure)
            except RefusedError as error:
                if not doubting:
                    raise
                repetition.wait(TransientError(error.message, status=error.status))

    def once(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: bytes | None = None,
        hide: Iterable[str] = (),
        within_s: float | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON value
        """Call the API a single time; only a token that has just expired is replaced.

        Args:
            method: HTTP method.
            path: Below the base address.
            query: Names and values of the query.
            body: JSON to send.
            hide: Secrets of the body, which an answer might repeat.
            within_s: Time for the whole answer; the patience's deadline without it.

        Raises:
            TransientError: Another attempt may have an answer.
            PlatformError: As the classes in `nemo_runspec.errors` say.
        """
        within_s = self.patience.deadline_s if within_s is None else within_s
        read_s = min(self.patience.read_s, within_s)
        with self._answer(method, path, query=query, body=body, read_s=read_s, hide=hide) as response:
            content = b"".join(_chunks(response, self._until(within_s)))
            return self._json(f"{method} {path}", response, content)

    @contextmanager
    def stream(self, path: str, *, query: Query = ()) -> Iterator[Iterator[bytes]]:
        """Open a log and give its bytes as they come.

        Raises:
            TransientError: The connection broke, or nothing came for as long as the patience allows.
            PlatformError: As the classes in `nemo_runspec.errors` say.
        """
        with self._answer("GET", path, query=query, body=None, read_s=self.patience.quiet_s) as response:
            yield _chunks(response, None)

    @contextmanager
    def _answer(
        self, method: str, path: str, *, query: Query, body: bytes | None, read_s: float, hide: Iterable[str] = ()
    ) -> Iterator[requests.Response]:
        """Give an answer that says yes; with a new token where the old one is no longer taken."""
        renewed = False
        while True:
            token = self.credential.token()
            with self._reply(method, path, token, query=query, body=body, read_s=read_s) as response:
                if response.status_code == _UNAUTHORIZED and not renewed and self.credential.renew(token):
                    renewed = True
                    continue
                self._check(f"{method} {path}", response, Redactor((token, *hide)))
                yield response
                return

    @contextmanager
    def _reply(
        self, method: str, path: str, token: str, *, query: Query, body: bytes | None, read_s: float
    ) -> Iterator[requests.Response]:
        headers = {"Accept": "application/json, text/plain", "Accept-Encoding": "identity", **self.headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        asked = f"{method} {path}"
        try:
            with (
                requests.Session() as session,
                session.request(
                    method,
                    self.base_url + path,
                    params=list(query),
                    data=body,
                    headers=headers,
                    auth=_Bearer(token),
                    timeout=(self.patience.connect_s, read_s),
                    allow_redirects=False,  # a redirect turns POST into GET, and leads to a login page
                    stream=True,
                ) as response,
            ):
                yield response
        except requests.exceptions.SSLError as failure:
            message = f"{self.label} at {self.base_url} has no certificate that is trusted here: {reason(failure)}"
            remedy = "Set REQUESTS_CA_BUNDLE to the file of the authority that signed it."
            raise UnreachableError(message, remedy=remedy) from failure
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            requests.exceptions.ContentDecodingError,
        ) as failure:
            message = f"{self.label} at {self.base_url} gave no answer to {asked}: {reason(failure)}"
            nameless = f"Check the address {self.base_url}, and this machine's network." if _nameless(failure) else None
            raise TransientError(message, remedy=nameless) from failure
        except requests.RequestException as failure:
            message = f"{asked} cannot be asked of {self.label} at '{self.base_url}': {type(failure).__name__}"
            raise RefusedError(
                message, remedy="Check the address and the credential for stray characters."
            ) from failure

    def _until(self, within_s: float) -> Callable[[], None]:
        """Give a check that an answer does not trickle in for ever."""
        end = self.patience.clock() + within_s

        def check() -> None:
            if self.patience.clock() > end:
                message = f"{self.label} at {self.base_url} did not finish its answer"
                raise TransientError(message)

        return check

    def _check(self, asked: str, response: requests.Response, redactor: Redactor) -> None:
        """Raise what a status says, with the platform's own words."""
        status = response.status_code
        if requests.codes.ok <= status < requests.codes.multiple_choices:
            return
        said = redactor.values(said_in(b"".join(_chunks(response, self._until(self.patience.read_s)))))
        words = f"{status}: {said}" if said else str(status)
        message = f"{self.label} answers {asked} with {words}"
        if status == _UNAUTHORIZED:
            text = f"{self.label} does not accept the credential ({words})"
            raise DeniedError(text, status=status, remedy=f"Check {self.credential.origin}.")
        if status == _FORBIDDEN:
            text = f"{self.label} does not permit {asked} with this credential ({words})"
            remedy = f"Ask for the permission, or use another credential than {self.credential.origin}."
            raise DeniedError(text, status=status, remedy=remedy)
        if status == _NOT_FOUND:
            raise GoneError(message, status=status)
        if status in _TRANSIENT or status >= _SERVER_ERROR:
            raise TransientError(message, status=status, wait_s=retry_after(response.headers.get("Retry-After", "")))
        hint = "Is the address right, http or https and all?" if status < requests.codes.bad_request else None
        raise RefusedError(message, status=status, remedy=hint)

    def _json(self, asked: str, response: requests.Response, content: bytes) -> Any:  # noqa: ANN401 - any JSON value
        if not content.strip():
            return None
        try:
            return json.loads(content)
        except ValueError as failure:
            message = f"{self.label} at {self.base_url} answers {asked} with what is no JSON"
            remedy = "Is the address that of the API, and not of a page for people?"
            raise GarbledError(message, status=response.status_code, remedy=remedy) from failure


class _Bearer(requests.auth.AuthBase):
    """Sets the token as authentication, not as a header: for that, requests would prefer what ~/.netrc says."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token and not (self._token.isascii() and self._token.isprintable()):
            message = "characters that no token has"
            raise requests.exceptions.InvalidHeader(message)
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def _chunks(response: requests.Response, check: Callable[[], None] | None) -> Iterator[bytes]:
    """Give a body as it comes; one that ends before its length is a broken connection, which requests would not say."""
    declared = response.headers.get("Content-Length", "")
    chunked = response.headers.get("Transfer-Encoding", "").lower() == "chunked"
    received = 0
    size = None if chunked else _UNCHUNKED_BYTES
    for chunk in response.iter_content(size):
        received += len(chunk)
        if check is not None:
            check()
        yield chunk
    if declared.isdecimal() and received < int(declared):
        message = f"the answer ended after {received:,} of {int(declared):,} bytes"
        raise requests.ConnectionError(message)


def _nameless(failure: BaseException | None) -> bool:
    """Tell whether a connection failed because the host's name has no address."""
    while failure is not None and not isinstance(failure, socket.gaierror):
        inner = getattr(failure.args[0], "reason", None) if failure.args else None
        failure = inner or failure.__cause__ or failure.__context__
    return failure is not None
