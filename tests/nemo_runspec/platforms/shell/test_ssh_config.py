"""What OpenSSH is told, as OpenSSH itself reads it."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from nemo_runspec.errors import DeniedError, RefusedError
from nemo_runspec.platforms.shell import Host
from nemo_runspec.platforms.shell.ssh_config import ssh_config


def read_back(config: str, folder: Path, host: str) -> dict[str, list[str]]:
    """Give OpenSSH's own reading of a configuration, without the user's and the system's."""
    file = folder / "config"
    file.write_text("\n".join(line for line in config.splitlines() if not line.startswith("Include")), encoding="utf-8")
    done = subprocess.run(["ssh", "-G", "-F", str(file), host], capture_output=True, text=True, check=True, timeout=20)  # noqa: S607 - the system's own is meant
    read: dict[str, list[str]] = {}
    for line in done.stdout.splitlines():
        name, _, value = line.partition(" ")
        read.setdefault(name, []).append(value)
    return read


def test_openssh_reads_what_was_meant(tmp_path: Path) -> None:
    key, known = tmp_path / "my key %h", tmp_path / "known hosts"
    key.touch()
    known.touch()
    host = Host(host="login.example", port=2222, user="a.b@c", identity=str(key), known_hosts=str(known))
    read = read_back(ssh_config(host), tmp_path, "login.example")
    assert (read["port"], read["user"], read["identitiesonly"]) == (["2222"], ["a.b@c"], ["yes"])
    assert read["identityfile"] == [str(key).replace("%", "%%")]
    assert str(known) in read["userknownhostsfile"][0]
    assert (read["stricthostkeychecking"], read["batchmode"], read["forwardagent"]) == (["true"], ["yes"], ["no"])
    assert (read["requesttty"], read["permitlocalcommand"], read["numberofpasswordprompts"]) == (
        ["false"],
        ["no"],
        ["0"],
    )
    assert (read["serveraliveinterval"], read["serveralivecountmax"]) == (["5"], ["3"])


def test_a_jump_host_gets_neither_the_port_nor_the_key(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch()
    config = ssh_config(Host(host="login", port=2222, user="me", identity=str(key)))
    read = read_back(config, tmp_path, "jump")
    assert (read["port"], read["identitiesonly"], read["batchmode"]) == (["22"], ["no"], ["yes"])


def test_new_keys_are_accepted_only_by_choice(tmp_path: Path) -> None:
    file = tmp_path / "not there yet"
    config = ssh_config(Host(host="login", known_hosts=str(file), accept_new=True))
    assert read_back(config, tmp_path, "login")["stricthostkeychecking"] == ["accept-new"]
    with pytest.raises(DeniedError, match="not there yet"):
        ssh_config(Host(host="login", known_hosts=str(file)))


@pytest.mark.parametrize("accept_new", [False, True])
def test_the_users_own_file_of_host_keys_counts_unless_the_profile_decides(tmp_path: Path, *, accept_new: bool) -> None:
    chosen = "UserKnownHostsFile /my/own\n"
    config = ssh_config(Host(host="login", accept_new=accept_new)) + chosen
    expected = "~/.ssh/known_hosts ~/.ssh/known_hosts2" if accept_new else "/my/own"
    found = read_back(config, tmp_path, "login")["userknownhostsfile"][0]
    # ssh takes the home folder of the user, whatever HOME says.
    assert found.replace(pwd.getpwuid(os.getuid()).pw_dir, "~") == expected


def test_what_the_user_has_set_for_hosts_switches_no_check_off(tmp_path: Path) -> None:
    known = tmp_path / "known hosts"
    known.touch()
    chosen = (
        "StrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nNoHostAuthenticationForLocalhost yes\nBatchMode no\n"
    )
    read = read_back(ssh_config(Host(host="localhost", known_hosts=str(known))) + chosen, tmp_path, "localhost")
    assert (read["stricthostkeychecking"], read["nohostauthenticationforlocalhost"]) == (["true"], ["no"])
    assert "/dev/null" not in read["userknownhostsfile"][0]
    assert read["batchmode"] == ["yes"]


def test_the_users_own_configuration_comes_last() -> None:
    lines = ssh_config(Host(host="login")).splitlines()
    assert lines[-2:] == ['Include "~/.ssh/config"', 'Include "/etc/ssh/ssh_config"']


@pytest.mark.parametrize("host", ["", "-oProxyCommand=x", "a b", "a;b", "a*", "a\nb", "$(x)", "user@host", "[::1]"])
def test_odd_hosts_are_refused(host: str) -> None:
    with pytest.raises(RefusedError, match="name of a host"):
        ssh_config(Host(host=host))


@pytest.mark.parametrize("user", ["", "-x", "a b", "a\nProxyCommand x", 'a"b', "a$b"])
def test_odd_users_are_refused(user: str) -> None:
    with pytest.raises(RefusedError, match="name of a user"):
        ssh_config(Host(host="login", user=user))


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_odd_ports_are_refused(port: int) -> None:
    with pytest.raises(RefusedError, match="port"):
        ssh_config(Host(host="login", port=port))


@pytest.mark.parametrize("name", ['quo"te', "new\nline", "back\\slash", "${HOME}"])
def test_paths_that_openssh_would_read_as_something_else_are_refused(tmp_path: Path, name: str) -> None:
    path = Path(tmp_path, name)
    path.touch()
    with pytest.raises(RefusedError, match="cannot be given the path"):
        ssh_config(Host(host="login", identity=str(path)))


def test_a_key_that_is_not_there_is_named() -> None:
    with pytest.raises(DeniedError, match="'/nowhere/key', which the profile names as identity"):
        ssh_config(Host(host="login", identity="/nowhere/key"))
