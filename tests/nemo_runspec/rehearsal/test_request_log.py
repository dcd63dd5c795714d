from __future__ import annotations

import hashlib
import json
import stat
from typing import TYPE_CHECKING

from nemo_runspec.rehearsal.request_log import RequestLog

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "canary-value"


def test_no_value_of_a_variable_and_no_credential_is_kept(tmp_path: Path) -> None:
    log = RequestLog(tmp_path, [CANARY])
    body = {
        "clientId": "me",
        "clientSecret": "not-known-before",
        "spec": {"envs": [{"name": "A", "value": "private"}], "command": ["sh", "x" * 500], "args": f"--x {CANARY}"},
        "rows": [{"value": "of no variable"}],
    }
    content = json.dumps(body).encode()
    log.add("POST", f"/jobs?token={CANARY}", 201, content)
    log.add("POST", "/jobs", 400, b"no json " + CANARY.encode())
    log.add("GET", "/jobs", 200, b"", "latency")
    log.close()
    first, second, third = log.entries
    assert first.body["spec"]["envs"] == [{"name": "A", "value": "<7 characters>"}]
    assert first.body["spec"]["command"] == ["sh", "<500 characters>"]
    assert first.body["rows"] == [{"value": "of no variable"}]
    assert (first.body_bytes, first.body_sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert (second.status, second.body) == (400, "<20 bytes that are not JSON>")
    assert (third.body, third.body_sha256, third.fault) == (None, "", "latency")
    path = tmp_path / "requests.jsonl"
    text = path.read_text(encoding="utf-8")
    assert [json.loads(line)["status"] for line in text.splitlines()] == [201, 400, 200]
    for secret in (CANARY, "not-known-before", "private"):
        assert secret not in text
        assert secret not in repr(log.entries)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_file_is_of_the_last_log_and_stays_as_it_is_after_the_end(tmp_path: Path) -> None:
    for number in range(2):
        log = RequestLog(tmp_path, [])
        log.add("GET", f"/{number}", 200, b"")
        log.close()
        log.close()
        log.add("GET", "/late", 200, b"")
    assert [entry.path for entry in log.entries] == ["/1", "/late"]
    assert len((tmp_path / "requests.jsonl").read_text(encoding="utf-8").splitlines()) == 1
