"""Stores on loopback, and a process that reads from them as a user's does: the settings come from its environment."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

# Lists, cuts and reads; the last piece once more in a forked process. What goes wrong is given as text.
READER = """
import json, multiprocessing, sys
from pathlib import Path
from nemo_runspec.errors import DataError
from nemotron.data_prep.sources import cut, digest, list_files, read_batches
from nemotron.data_prep.sources.hub import Hub

def values(span):
    return [value for batch in read_batches(span, None) for value in batch.values]

def forked(span, queue):
    queue.put(values(span))

hub = Hub()
answers = []
for asked in json.loads(sys.argv[1]):
    try:
        shard_bytes = asked.pop("shard_bytes", None)
        defaults = {"base": Path("/"), "split": None, "subset": None, "document": "file", "hub": hub}
        files = list_files(**{**defaults, **asked})
        spans = [span for piece in cut(files, shard_bytes) for span in piece]
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        child = context.Process(target=forked, args=(spans[-1], queue))
        child.start()
        last = queue.get(timeout=60)
        child.join()
        answers.append({
            "files": [[file.url, file.size, file.identity] for file in files],
            "spans": [[span.file.url, span.start, span.end, digest(span), values(span)] for span in spans],
            "forked": last == values(spans[-1]),
        })
    except DataError as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
"""


def read_as_a_user(
    environment: Mapping[str, str], *asked: Mapping[str, object], code: str = READER
) -> list[dict[str, object]]:
    """Ask for data sets in a process of its own."""
    foreign = ("AWS_", "HF_", "FSSPEC_", "GOOGLE_", "STORAGE_")
    own = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, json.dumps(asked)],
        env={**own, "NO_PROXY": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, object]] = json.loads(done.stdout)
    return answers


@dataclass(slots=True)
class Request:
    """What a store is asked."""

    method: str
    path: str
    query: dict[str, list[str]]
    range: tuple[int, int] | None
    body: bytes


Answer = tuple[int, bytes, dict[str, str]]


@dataclass
class Server:
    """A store that a function answers for."""

    answer: Callable[[Request], Answer]
    url: str = ""
    requests: list[Request] = field(default_factory=list)


@contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[Server]:
    """Serve a store on loopback."""
    server = Server(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
            ends = (int(wanted[1]), int(wanted[2]) + 1) if wanted else None
            request = Request(self.command, unquote(address.path), parse_qs(address.query), ends, body)
            server.requests.append(request)
            status, content, headers = answer(request)
            if status == 200 and ends:
                status, content = 206, content[slice(*ends)]
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_HEAD = do_POST = do_GET  # noqa: N815 the base class's names

        def log_message(self, *details: object) -> None:
            """Say nothing."""

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def as_json(value: object, status: int = 200) -> Answer:
    return status, json.dumps(value).encode(), {"content-type": "application/json"}


def hub(
    repository: str,
    commit: str,
    contents: Mapping[str, bytes],
    revisions: tuple[str, ...] = ("main",),
) -> Callable[[Request], Answer]:
    """Answer as the Hub does for one data set; what is larger than 100 bytes is in its large file storage."""

    def described(name: str) -> dict[str, object]:
        content = contents[name]
        one: dict[str, object] = {"type": "file", "path": name, "size": len(content)}
        one["oid"] = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        if len(content) > 100:
            one["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        return one

    def answer(request: Request) -> Answer:
        api = f"/api/datasets/{repository}"
        if request.path in {api, f"{api}/revision/{commit}", *(f"{api}/revision/{name}" for name in revisions)}:
            return as_json({"id": repository, "sha": commit, "private": False, "tags": [], "siblings": []})
        if request.path.startswith(f"{api}/revision/"):
            return (404, b"", {"X-Error-Code": "RevisionNotFound", "X-Error-Message": "no such revision"})
        if request.path == f"{api}/tree/{commit}":
            return as_json([described(name) for name in sorted(contents)])
        if request.path == f"{api}/paths-info/{commit}":
            asked = parse_qs(request.body.decode()).get("paths") or json.loads(request.body)["paths"]
            return as_json([described(name) for name in asked if name in contents])
        name = request.path.removeprefix(f"/datasets/{repository}/resolve/{commit}/")
        if name in contents:
            return 200, contents[name], {"ETag": '"1"'}
        return 404, b"", {"X-Error-Code": "RepoNotFound"}

    return answer


def google(bucket: str, contents: dict[str, bytes]) -> Callable[[Request], Answer]:
    """Answer as Google's storage does for one bucket."""

    def described(name: str) -> dict[str, object]:
        content = contents[name]
        digest = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        times = dict.fromkeys(("timeCreated", "updated"), "2026-01-01T00:00:00.000Z")
        return {"name": name, "bucket": bucket, "size": str(len(content)), "md5Hash": digest, "etag": "x", **times}

    def answer(request: Request) -> Answer:
        listing = f"/storage/v1/b/{bucket}/o"
        if request.path == listing:
            prefix = request.query.get("prefix", [""])[0]
            within = [name for name in contents if name.startswith(prefix) and "/" not in name[len(prefix) :]]
            folders = {
                prefix + name[len(prefix) :].split("/")[0] + "/"
                for name in contents
                if name.startswith(prefix) and "/" in name[len(prefix) :]
            }
            return as_json({"items": [described(name) for name in sorted(within)], "prefixes": sorted(folders)})
        name = request.path.rpartition(f"/b/{bucket}/o/")[2]
        if name not in contents:
            return as_json({"error": {"code": 404, "message": "No such object"}}, status=404)
        if request.query.get("alt") == ["media"]:
            return 200, contents[name], {}
        return as_json(described(name))

    return answer
