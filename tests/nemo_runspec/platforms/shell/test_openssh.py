"""Scripts on another machine: answers, failures and how many at a time. The real OpenSSH is in tests/clusters."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError, ended_when_abandoned
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.openssh import AT_ONCE, SshShell
from tests.nemo_runspec.platforms.shell.standin import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    return StandIn(tmp_path / "bin", monkeypatch)


@pytest.fixture
def shell(ssh: StandIn) -> Iterator[SshShell]:
    assert ssh.calls() == []
    made = SshShell(Host(host="login", user="me", port=22))
    yield made
    made.close()


def written(folder: Path, text: str) -> Path:
    script = folder / "script.sh"
    script.write_text(text, encoding="utf-8")
    return script


def test_a_script_is_answered(tmp_path: Path, shell: SshShell) -> None:
    answer = shell.bash(written(tmp_path, 'echo "$1"; cat; exit 255\n'), "a b", stdin=b"read")
    assert (answer.code, answer.out, shell.label) == (255, b"a b\nread", "me@login:22")


def test_a_connection_is_not_waited_for_when_its_submission_is_given_up(
    tmp_path: Path, ssh: StandIn, shell: SshShell
) -> None:
    ssh.instead("[ $shared = master ] && exec sleep 60")
    given_up = threading.Event()
    threading.Timer(0.3, given_up.set).start()
    token = ABANDONED.set(given_up)
    try:
        with ended_when_abandoned(), pytest.raises(AbandonedError):
            shell.bash(written(tmp_path, "true\n"))
    finally:
        ABANDONED.reset(token)
    ssh.instead("")
    assert shell.bash(written(tmp_path, "true\n")).code == 0


def test_an_end_that_is_not_told_is_a_lost_connection(tmp_path: Path, shell: SshShell) -> None:
    with pytest.raises(UnreachableError, match="connection to me@login:22 was lost"):
        shell.bash(written(tmp_path, "kill -KILL $PPID\n"))


def test_a_login_shell_that_runs_nothing_is_told(tmp_path: Path, ssh: StandIn, shell: SshShell) -> None:
    ssh.instead("[ $shared = call ] && { echo 'This account is not available'; exit 1; }")
    with pytest.raises(DeniedError, match=r"does not run bash .*: This account is not available"):
        shell.bash(written(tmp_path, "true\n"))


def test_a_call_that_does_not_get_through_says_why(tmp_path: Path, ssh: StandIn, shell: SshShell) -> None:
    ssh.instead(
        "[ $shared = call ] && { echo 'ssh: connect to host login port 22: Connection refused' >&2; exit 255; }"
    )
    with pytest.raises(UnreachableError, match="Connection refused"):
        shell.bash(written(tmp_path, "true\n"))


def test_a_connection_over_which_nothing_starts_is_not_used_again(
    tmp_path: Path, ssh: StandIn, shell: SshShell
) -> None:
    ssh.instead("[ $shared = call ] && exec sleep 60")
    with pytest.raises(UnreachableError, match="did not answer"):
        shell.bash(written(tmp_path, "true\n"), timeout_s=0.5)
    ssh.instead("")
    assert shell.bash(written(tmp_path, "true\n")).code == 0
    assert ssh.calls().count("master") == 2


def test_no_more_calls_at_a_time_than_a_server_takes(tmp_path: Path, shell: SshShell) -> None:
    now = tmp_path / "now"
    script = written(tmp_path, f"mkdir -p {now}; touch {now}/$1; ls {now} | wc -l; sleep 0.2; rm {now}/$1\n")
    most: list[int] = []
    threads = [
        threading.Thread(target=lambda n=n: most.append(int(shell.bash(script, str(n)).text)))
        for n in range(AT_ONCE * 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == AT_ONCE * 2
    assert max(most) <= AT_ONCE


def test_an_odd_host_is_refused_before_anything_runs(ssh: StandIn) -> None:
    with pytest.raises(RefusedError):
        SshShell(Host(host="-oProxyCommand=touch x"))
    assert ssh.calls() == []
