"""What an answer, or its absence, says in words."""

from __future__ import annotations

import email.utils
import json
import re
from datetime import UTC, datetime
from typing import Final

import requests

_LONGEST_MESSAGE: Final = 500
_FIELDS: Final = ("message", "details", "error", "error_description")
_ERRNO: Final = re.compile(r"\[Errno -?\d+\] ([^'\")>]+)")
_CERTIFICATE: Final = re.compile(r"(certificate verify failed[^(')]*)")
_BROKEN: Final = re.compile(r"\w+Error\(\d+, '([^']+)'\)")
_SHORT: Final = re.compile(r"(the answer ended after .+ bytes)")


def reason(failure: Exception) -> str:
    """Give the cause of a failed request in the words of the system, where it has some."""
    text = str(failure)
    if isinstance(failure, requests.Timeout) or "timed out" in text:
        return "nothing came in time"
    found = next(
        (match for match in (part.search(text) for part in (_ERRNO, _CERTIFICATE, _BROKEN, _SHORT)) if match), None
    )
    return found[1].strip() if found else "the connection broke"


def said_in(content: bytes) -> str:
    """Give what an error's body says, in one line: the fields that the platforms use, or a short plain text."""
    text = content.decode(errors="replace").strip()
    try:
        body = json.loads(text)
    except ValueError:
        return "" if text.startswith("<") else _one_line(text)
    if not isinstance(body, dict):
        return _one_line(str(body))
    issues = body.get("complianceIssues")
    parts = [str(body[name]) for name in _FIELDS if body.get(name)]
    parts += [_issue(issue) for issue in (issues if isinstance(issues, list) else ())]
    return _one_line("; ".join(dict.fromkeys(parts)))


def _issue(issue: object) -> str:
    """Give one of run:ai's `complianceIssues`: which field, and what about it."""
    if isinstance(issue, dict):
        return f"{issue.get('field', '?')}: {issue.get('details', '?')}"
    return str(issue)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."


def retry_after(header: str) -> float:
    """Give the seconds that a `Retry-After` header asks to wait: it holds seconds or a date (RFC 9110, 10.2.3)."""
    if header.strip().isdecimal():
        return float(header)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
