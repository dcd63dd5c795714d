from __future__ import annotations

import email.utils
from datetime import UTC, datetime, timedelta

import pytest
import requests

from nemo_runspec.platforms.answers import reason, retry_after, said_in

ISSUES = [{"field": "compute.gpuDevicesRequest", "details": "must be no less than 3", "rule": {}}, "odd"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'{"code": "ResourceNotFound", "message": "no such job"}', "no such job"),
        (b'{"error": "invalid_client", "error_description": "wrong secret"}', "invalid_client; wrong secret"),
        (b'{"message": "m", "details": "m"}', "m"),
        (b'{"message": "m", "complianceIssues": "none"}', "m"),
        (b"plain\n  text", "plain text"),
        (b"<html>a page</html>", ""),
        (b'["a"]', "['a']"),
        (b"", ""),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_what_an_error_says(content: bytes, says: str) -> None:
    assert said_in(content) == says


def test_every_compliance_issue_is_told() -> None:
    content = str({"message": "refused", "complianceIssues": ISSUES}).replace("'", '"').encode()
    assert said_in(content) == "refused; compute.gpuDevicesRequest: must be no less than 3; odd"


def test_a_long_message_is_cut() -> None:
    assert said_in(b"x" * 600) == "x" * 500 + "..."


def test_retry_after_holds_seconds_or_a_date() -> None:
    assert retry_after("7") == 7
    assert retry_after("") == retry_after("soon") == retry_after("-3") == 0
    moment = datetime.now(UTC) + timedelta(hours=1)
    assert 3_000 < retry_after(email.utils.format_datetime(moment, usegmt=True)) <= 3_600
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (requests.ReadTimeout("x"), "nothing came in time"),
        (requests.ConnectionError("HTTPConnectionPool(...): Read timed out."), "nothing came in time"),
        (requests.ConnectionError("(Caused by X(': [Errno 111] Connection refused'))"), "Connection refused"),
        (
            requests.ConnectionError("('a', ConnectionResetError(104, 'Connection reset by peer'))"),
            "Connection reset by peer",
        ),
        (
            requests.exceptions.SSLError("SSL: certificate verify failed: self-signed (_ssl.c:1)"),
            "certificate verify failed: self-signed",
        ),
        (requests.ConnectionError("the answer ended after 1 of 2 bytes"), "the answer ended after 1 of 2 bytes"),
        (requests.ConnectionError("?"), "the connection broke"),
    ],
)
def test_the_reason_of_a_failure(failure: Exception, says: str) -> None:
    assert reason(failure) == says
