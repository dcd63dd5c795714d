from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.env import SlurmProfile
from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.shell.openssh import SshShell
from nemo_runspec.prepare.login_node import shell_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("tunnel", ["local", None])
def test_without_ssh_the_login_node_is_this_machine(tunnel: str | None) -> None:
    assert isinstance(shell_of(SlurmProfile(name="s", tunnel=tunnel, host="far")), LocalShell)


def test_with_ssh_everything_of_the_profile_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("key", "hosts"):
        (tmp_path / name).touch(mode=0o600)
    profile = SlurmProfile(
        name="s", tunnel="ssh", host="login.example", port=2222, user="me", identity="~/key", known_hosts="~/hosts"
    )
    shell = shell_of(profile)
    assert isinstance(shell, SshShell)
    assert shell.label == "me@login.example:2222"
    shell.close()


def test_without_a_host_there_is_nowhere_to_go() -> None:
    with pytest.raises(ProfileError, match="needs 'host'"):
        shell_of(SlurmProfile(name="s", tunnel="ssh"))
