"""What a twin was asked, kept without the values of secrets."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

REQUESTS_FILE: Final = "requests.jsonl"
LONGEST_TEXT: Final = 200
_CREDENTIALS: Final = frozenset({"appsecret", "clientsecret", "accesstoken", "refreshtoken", "idtoken"})


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request and how it was answered.

    Args:
        method: HTTP method.
        path: Path with its query.
        status: HTTP status of the answer; 0 where there was none.
        body_bytes: Bytes of the request's body.
        body_sha256: SHA-256 of the body as it came; empty without a body.
        body: The body without values of variables, and with long texts told by their length; None without one.
        fault: The disturbance that happened to it, or an empty text.
    """

    method: str
    path: str
    status: int
    body_bytes: int = 0
    body_sha256: str = ""
    body: Any = None
    fault: str = ""


class RequestLog:
    """Keeps every request, in memory and as lines of a file that only its owner can read.

    Args:
        folder: Where the file is written; an earlier one is replaced.
        secret_values: Texts that must not be kept.
    """

    def __init__(self, folder: Path, secret_values: Iterable[str]) -> None:
        """Begin an empty log."""
        self._lock = threading.Lock()
        self._entries: list[LoggedRequest] = []
        self._redactor = Redactor(secret_values)
        path = folder / REQUESTS_FILE
        path.unlink(missing_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def entries(self) -> tuple[LoggedRequest, ...]:
        """All requests so far, in the order of their answers."""
        with self._lock:
            return tuple(self._entries)

    def add(self, method: str, path: str, status: int, content: bytes, fault: str = "") -> None:
        """Keep a request.

        Args:
            method: HTTP method.
            path: Path with its query.
            status: Of the answer.
            content: The request's body.
            fault: What was done to it.
        """
        digest = hashlib.sha256(content).hexdigest() if content else ""
        entry = LoggedRequest(
            method, self._redactor.text(path), status, len(content), digest, self._shown(content), fault
        )
        line = json.dumps(asdict(entry), ensure_ascii=False) + "\n"
        with self._lock:
            self._entries.append(entry)
            if self._file >= 0:
                os.write(self._file, line.encode())

    def close(self) -> None:
        """Close the file; what is logged stays in memory."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _shown(self, content: bytes) -> Any:  # noqa: ANN401 - any JSON value
        if not content:
            return None
        try:
            body = json.loads(content)
        except ValueError:
            return f"<{len(content)} bytes that are not JSON>"
        return self._redactor.data(_without_values(body))


def _without_values(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Give a body without the values of variables and credentials: which of them are secret is not ours to guess."""
    if isinstance(value, dict):
        return {name: _told(name, item, value) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_values(item) for item in value]
    return _length(value) if isinstance(value, str) and len(value) > LONGEST_TEXT else value


def _told(name: str, item: Any, holder: dict[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    is_variable = name == "value" and "name" in holder
    is_credential = name.replace("_", "").lower() in _CREDENTIALS
    if isinstance(item, str) and (is_variable or is_credential):
        return _length(item)
    return _without_values(item)


def _length(text: str) -> str:
    return f"<{len(text)} characters>"
