"""What OpenSSH says, as errors that say what to do."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import DeniedError, UnreachableError
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.troubles import trouble

if TYPE_CHECKING:
    from pathlib import Path

HOST = Host(host="login", port=2222, user="me", identity="/keys/it's", known_hosts="/keys/known")

UNREACHABLE = [
    ("ssh: connect to host login port 2222: Connection refused\r\n", "Connection refused"),
    ("ssh: connect to host login port 2222: Connection timed out", "Connection timed out"),
    ("ssh: Could not resolve hostname login: Name or service not known", "Could not resolve hostname login"),
    ("kex_exchange_identification: Connection closed by remote host", "Connection closed"),
    ("", "the connection was closed"),
]


@pytest.mark.parametrize(("said", "shown"), UNREACHABLE)
def test_a_machine_that_does_not_answer(said: str, shown: str) -> None:
    error = trouble(HOST, said)
    assert isinstance(error, UnreachableError)
    assert error.exit_code == 1
    assert shown in error.message
    assert "me@login:2222" in error.message
    assert error.remedy


def test_a_host_key_that_is_not_known() -> None:
    said = "No ED25519 host key is known for [login]:2222 and you have requested strict checking.\r\n"
    error = trouble(HOST, said + "Host key verification failed.\r\n")
    assert isinstance(error, DeniedError)
    assert error.remedy is not None
    assert "`ssh-keyscan -p 2222 login >> /keys/known`" in error.remedy
    assert "accept_new_host_keys" in error.remedy


def test_a_host_key_that_has_changed() -> None:
    said = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nOffending ED25519 key in /keys/a b:3\nHost key ..."
    error = trouble(HOST, said)
    assert isinstance(error, DeniedError)
    assert "another machine" in error.message
    assert error.remedy is not None
    assert "`ssh-keygen -R '[login]:2222' -f '/keys/a b'`" in error.remedy


def test_a_key_that_opens_nothing() -> None:
    error = trouble(HOST, "banner\nme@login: Permission denied (publickey).\r\n")
    assert isinstance(error, DeniedError)
    assert "as 'me' with the key /keys/it's" in error.message
    assert error.remedy is not None
    assert "ssh -p 2222 -i" in error.remedy


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a secret", "-f", str(key)], check=True, timeout=20)  # noqa: S607 - the system's own is meant
    error = trouble(Host(host="login", identity=str(key)), "me@login: Permission denied (publickey).")
    assert error.remedy == f"The key has a passphrase, which nobody is asked for: run `ssh-add {key}`."


def test_a_configuration_that_cannot_be_read() -> None:
    error = trouble(
        HOST, "/etc/ssh/config: line 3: Bad configuration option: hots\nterminating, 1 bad configuration options"
    )
    assert isinstance(error, DeniedError)
    assert error.message.endswith(
        "cannot read its configuration: /etc/ssh/config: line 3: Bad configuration option: hots"
    )


def test_the_noise_of_a_shared_connection_is_not_shown() -> None:
    said = (
        "connect to host x port 1: No route to host\nmux_client_request_session: read from master failed: Broken pipe\n"
    )
    assert trouble(HOST, said).message.endswith("No route to host")
