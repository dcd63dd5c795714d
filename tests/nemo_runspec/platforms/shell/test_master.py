"""The connection that calls share: one, opened when it is needed, and ended with this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.master import Master, environment
from tests.nemo_runspec.platforms.shell.standin import StandIn


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path / "bin", monkeypatch)


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def test_one_connection_serves_all_calls_until_it_is_closed(ssh: StandIn) -> None:
    master = Master(Host(host="login"))
    options = master.options(soon())
    assert master.options(soon()) == options
    folder = Path(options[1]).parent
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(options[3]) < 80
    master.close()
    assert not folder.exists()
    master.options(soon())
    assert ssh.calls() == ["master", "master"]
    master.close()


@pytest.mark.parametrize("name", ["a b", "%h", "${HOME}", "tab\t", "x" * 90])
def test_a_folder_that_ssh_would_read_as_another_is_not_used(
    ssh: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    master = Master(Host(host="login"))
    assert name not in master.options(soon())[1]
    assert ssh.calls() == ["master"]
    master.close()


def test_a_connection_that_is_doubted_or_lost_is_replaced(ssh: StandIn) -> None:
    master = Master(Host(host="login"))
    first = master.options(soon())
    master.doubt()
    second = master.options(soon())
    assert second[3] != first[3]
    assert ssh.calls() == ["master", "master"]
    master.close()


def test_why_it_cannot_be_opened_is_told_and_it_may_be_tried_again(ssh: StandIn) -> None:
    master = Master(Host(host="login"))
    ssh.instead("echo 'me@login: Permission denied (publickey).' >&2; exit 255")
    with pytest.raises(DeniedError, match="does not let us in"):
        master.options(soon())
    ssh.instead("")
    assert master.options(soon())
    master.close()


def test_a_machine_that_says_nothing_is_not_waited_for_without_end(ssh: StandIn) -> None:
    ssh.instead("exec sleep 60")
    master = Master(Host(host="login"))
    with pytest.raises(UnreachableError, match="no answer in time"):
        master.options(soon(0.3))
    master.close()


def test_nobody_is_asked_for_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_ASKPASS", "/usr/bin/ask")
    assert "SSH_ASKPASS" not in environment()
    assert environment()["SSH_ASKPASS_REQUIRE"] == "never"


def test_the_connection_ends_with_a_process_that_is_killed(
    tmp_path: Path, ssh: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ssh.instead("echo $$ >> ${0%/*}/pids")
    program = (
        "import os, signal, time\n"
        "from nemo_runspec.platforms.shell import Host\n"
        "from nemo_runspec.platforms.shell.master import Master\n"
        "master = Master(Host(host='login'))\n"
        "print(master.options(time.monotonic() + 20)[1], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    config = Path(done.stdout.strip())
    pid = int((Path(os.environ["PATH"].split(":")[0]) / "pids").read_text(encoding="utf-8"))
    until = soon()
    while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").split()[2]:
        assert time.monotonic() < until, "the connection is still there"
        time.sleep(0.05)
    folder = config.parent
    assert folder.parent == Path(tempfile.gettempdir())
    master = Master(Host(host="login"))
    master.options(soon())
    assert folder.exists(), "one that has just been made may be somebody's"
    master.close()
    os.utime(folder, (0, 0))
    used = Master(Host(host="login"))
    kept = Path(used.options(soon())[1]).parent
    os.utime(kept, (0, 0))
    assert not folder.exists()
    master.options(soon())
    assert kept.exists()
    master.close()
    used.close()


def test_a_thread_that_goes_on_while_the_process_ends_opens_nothing_more(ssh: StandIn) -> None:
    master = Master(Host(host="login"))
    folder = Path(master.options(soon())[1]).parent
    master._finalizer()  # noqa: SLF001 - as when the interpreter ends
    with pytest.raises(UnreachableError, match="this process ends"):
        master.options(soon())
    assert not folder.exists()
    assert ssh.calls() == ["master"]
