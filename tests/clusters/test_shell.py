"""Scripts and folders through a real OpenSSH: what arrives, what is refused, and what a broken line does."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.openssh import SshShell
from tests.clusters.beds.chaos import ChaosProxy, Fault
from tests.clusters.beds.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed


def host_of(sshd: SshBed, port: int | None = None) -> Host:
    """Name the bed, or a port that leads to it, as a profile would."""
    known = sshd.folder / f"known_{port or sshd.port}"
    known.write_text(f"[{sshd.host}]:{port or sshd.port} {sshd.host_key}\n", encoding="ascii")
    return Host(
        host=sshd.host, port=port or sshd.port, user=sshd.user, identity=str(sshd.identity), known_hosts=str(known)
    )


@pytest.fixture
def shell(sshd: SshBed) -> Iterator[SshShell]:
    made = SshShell(host_of(sshd))
    yield made
    made.close()


def written(folder: Path, text: str) -> Path:
    script = folder / "script.sh"
    script.write_text(text, encoding="utf-8")
    return script


def a_tree(folder: Path, size: int = 60_000, count: int = 20) -> Path:
    (folder / "sub folder").mkdir(parents=True)
    for number in range(count):
        (folder / "sub folder" / f"file {number}").write_bytes(os.urandom(size))
    return folder


def digest(folder: Path) -> str:
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(f"{path.relative_to(folder)}\0{path.stat().st_mode & 0o100}\0".encode() + path.read_bytes())
    return found.hexdigest()


def test_any_characters_arrive_and_many_calls_share_one_connection(
    tmp_path: Path, sshd: SshBed, shell: SshShell
) -> None:
    script = written(tmp_path, "printf '%s\\0' \"$@\"; cat; exit 7\n")
    before = sshd.connections()
    answers: list[bool] = []

    def call(seed: int) -> None:
        chosen = random.Random(seed)  # noqa: S311 - the same ones each time
        words = ["".join(chosen.choices("ab \n'\"`$\\!*~#&|;<>(){}é€\t", k=12)) for _ in range(4)]
        data = chosen.randbytes(1 << 20 if seed == 0 else 100)
        answer = shell.bash(script, *words, stdin=data, timeout_s=60)
        answers.append((answer.code, answer.out) == (7, "".join(f"{word}\0" for word in words).encode() + data))

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 24
    assert sshd.connections() - before == 1


def test_a_lost_connection_is_told_and_opened_again(tmp_path: Path, sshd: SshBed, shell: SshShell) -> None:
    running = threading.Event()
    failure: list[UnreachableError] = []

    def call() -> None:
        try:
            shell.bash(written(tmp_path, "echo up >&2; sleep 60\n"), on_error_line=lambda _: running.set())
        except UnreachableError as error:
            failure.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    assert running.wait(20)
    sshd.drop_connections()
    thread.join(20)
    assert "was lost" in failure[0].message
    assert shell.bash(written(tmp_path, "true\n")).code == 0


@pytest.mark.parametrize("what", ["refused", "stranger", "unknown host", "changed host", "passphrase", "no such name"])
def test_row_1_who_does_not_get_in_learns_why_at_once(tmp_path: Path, sshd: SshBed, what: str) -> None:
    host = host_of(sshd)
    expected: type[Exception] = DeniedError
    if what == "refused":
        host, expected, words = replace(host, port=1, known_hosts=None), UnreachableError, "Connection refused"
    elif what == "no such name":
        host, expected, words = replace(host, host="no-such-host.invalid"), UnreachableError, "resolve"
    elif what == "stranger":
        host, words = replace(host, identity=str(sshd.stranger)), "does not let us in as '.*' with the key"
    elif what == "unknown host":
        host, words = replace(host, known_hosts=None), "host key of .* is not known"
    elif what == "changed host":
        host, words = replace(host, known_hosts=str(sshd.known_hosts_after_change)), "may be another machine"
    else:
        key = tmp_path / "locked"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True, timeout=20)  # noqa: S607 - the system's own is meant
        host, words = replace(host, identity=str(key)), "ssh-add"
    before, began = sshd.authentications(), time.monotonic()
    shell = SshShell(host)
    with pytest.raises(expected, match=words):
        shell.bash(written(tmp_path, "touch made\n"))
    with pytest.raises(expected, match=words):
        shell.send_tree(a_tree(tmp_path / "tree", 10, 1), "/tmp/never")  # noqa: S108 - it must not be made
    shell.close()
    assert time.monotonic() - began < 10
    assert sshd.authentications() == before


def test_a_new_key_is_accepted_by_choice_and_remembered(tmp_path: Path, sshd: SshBed) -> None:
    known = tmp_path / "known hosts"
    host = replace(host_of(sshd), known_hosts=str(known), accept_new=True)
    for chosen in (host, replace(host, accept_new=False)):
        shell = SshShell(chosen)
        assert shell.bash(written(tmp_path, "true\n")).code == 0
        shell.close()


def test_folders_are_made_equal(tmp_path: Path, slurm: SlurmBed, shell: SshShell) -> None:
    source = a_tree(tmp_path / "a source")
    (source / "run me").write_bytes(b"#!/bin/sh\n")
    (source / "run me").chmod(0o700)
    target = f"{slurm.work}/a target"
    first = shell.send_tree(source, target)
    assert digest(Path(target)) == digest(source)
    Path(target, "extra").touch()
    assert shell.send_tree(source, target) < first / 20
    assert shell.send_tree(source, f"{target} 2", basis=target) < first / 20
    assert digest(Path(target)) == digest(Path(f"{target} 2")) == digest(source)


@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_row_2_a_transfer_that_is_cut_goes_on_where_it_was(
    tmp_path: Path, slurm: SlurmBed, sshd: SshBed, kind: str
) -> None:
    source = a_tree(tmp_path / "source")
    target = f"{slurm.work}/resumed-{kind}"
    with ChaosProxy((sshd.host, sshd.port)) as proxy:
        shell = SshShell(host_of(sshd, proxy.port))
        proxy.fault = Fault("cut" if kind == "cut" else "reset", after=700_000, connection=1)
        with pytest.raises(UnreachableError):
            shell.send_tree(source, target)
        assert proxy.struck == 1
        there = sum(path.stat().st_size for path in Path(target).rglob("*") if path.is_file())
        assert 0 < there < 1_200_000
        sent = shell.send_tree(source, target)
        assert sent < 1_200_000 - there + 70_000
        shell.close()
    assert digest(Path(target)) == digest(source)


def test_a_line_that_stalls_is_given_up_at_the_deadline(tmp_path: Path, sshd: SshBed) -> None:
    with ChaosProxy((sshd.host, sshd.port)) as proxy:
        shell = SshShell(host_of(sshd, proxy.port))
        assert shell.bash(written(tmp_path, "true\n")).code == 0
        proxy.fault = Fault("stall", connection=1)
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="did not answer"):
            shell.bash(written(tmp_path, "true\n"), timeout_s=1)
        assert time.monotonic() - began < 5
        assert shell.bash(written(tmp_path, "true\n")).code == 0
        shell.close()


def test_nothing_is_left_of_a_client_that_is_killed(tmp_path: Path, sshd: SshBed) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from nemo_runspec.platforms.shell import Host\n"
        "from nemo_runspec.platforms.shell.openssh import SshShell\n"
        f"shell = SshShell({host_of(sshd)!r})\n"
        f"shell.bash(Path({str(written(tmp_path, 'true'))!r}))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    before = set(sshd.sessions())
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=60, env=environment)
    assert done.returncode == -signal.SIGKILL
    wait_until(lambda: set(sshd.sessions()) <= before, 10, "end of the connection")
