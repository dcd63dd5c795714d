from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.docker.engine import LONGEST_LINE_BYTES, engine_address, in_bounds

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    return tmp_path


def add_context(config: Path, name: str, host: str) -> None:
    from docker.context.config import get_context_id  # noqa: PLC0415 - the SDK is imported where it is needed

    folder = config / "contexts/meta" / get_context_id(name)
    folder.mkdir(parents=True)
    meta = {"Name": name, "Metadata": {}, "Endpoints": {"docker": {"Host": host}}}
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def test_the_address_is_the_one_that_docker_itself_uses(config: Path) -> None:
    assert engine_address({}) == "unix:///var/run/docker.sock"
    assert engine_address({"DOCKER_HOST": "unix:///a"}) == "unix:///a"
    (config / "config.json").write_text('{"currentContext": "mine"}', encoding="utf-8")
    add_context(config, "mine", "unix:///b")
    add_context(config, "other", "unix:///c")
    assert engine_address({}) == "unix:///b"
    assert engine_address({"DOCKER_CONTEXT": "other"}) == "unix:///c"
    assert engine_address({"DOCKER_CONTEXT": "other", "DOCKER_HOST": "tcp://127.0.0.1:2375"}) == "tcp://127.0.0.1:2375"


def test_an_engine_elsewhere_and_a_context_that_is_not_there_are_refused(config: Path) -> None:
    with pytest.raises(ProfileError, match="the Docker engine at ssh://me@far is on another machine"):
        engine_address({"DOCKER_HOST": "ssh://me@far"})
    with pytest.raises(ProfileError, match="there is no Docker context 'nope'"):
        engine_address({"DOCKER_CONTEXT": "nope"})
    (config / "config.json").write_text("{}", encoding="utf-8")
    add_context(config, "far", "ssh://me@far")
    with pytest.raises(ProfileError, match="on another machine"):
        engine_address({"DOCKER_CONTEXT": "far"})


@pytest.mark.parametrize("address", ["tcp://192.0.2.1:2375", "https://192.0.2.1:2376", "tcp://[2001:db8::1]:2375"])
def test_an_engine_behind_tcp_on_another_machine_is_refused(address: str) -> None:
    with pytest.raises(ProfileError, match="is on another machine"):
        engine_address({"DOCKER_HOST": address})


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", socket.gethostname()])
def test_an_engine_behind_tcp_on_this_machine_is_taken(host: str) -> None:
    assert engine_address({"DOCKER_HOST": f"tcp://{host}:2375"}) == f"tcp://{host}:2375"


def test_whether_a_name_that_nobody_knows_is_this_machine_is_left_to_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert engine_address({"DOCKER_HOST": "tcp://nobody:2375"}) == "tcp://nobody:2375"


def test_long_lines_are_cut_at_the_same_places_however_they_come() -> None:
    longest = LONGEST_LINE_BYTES
    log = b"short\n" + b"a" * longest + b"\nr\rn\n" + b"b" * (2 * longest + 5) + b"\n\n" + b"c" * (longest + 1)
    cut = [b"short", b"a" * longest, b"r\rn", b"b" * longest, b"b" * longest, b"b" * 5, b"", b"c" * longest, b"c"]
    for size in (1000, 65_536, longest - 1, longest, longest + 1, len(log)):
        pieces = [log[start : start + size] for start in range(0, len(log), size)]
        assert b"".join(in_bounds(pieces)).split(b"\n") == cut
    assert max(len(piece) for piece in in_bounds([log])) <= longest + 1


def test_short_pieces_are_given_as_they_are() -> None:
    pieces = [b"a", b"b\nc", b"\n", b"", b"d"]
    assert list(in_bounds(pieces)) == pieces
