"""The patch of nemo-run's rsync, against a real sshd whose key nobody has seen before."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from invoke.exceptions import UnexpectedExit
from nemo_run.core.tunnel import rsync as stock
from nemo_run.core.tunnel.client import SSHTunnel

from nemo_runspec import patches

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed


@pytest.fixture
def connection(sshd: SshBed, tmp_path: Path) -> Iterator[Any]:
    """Give the connection of nemo-run's own tunnel."""
    tunnel = SSHTunnel(
        host=sshd.host, user=sshd.user, port=sshd.port, identity=str(sshd.identity), job_dir=str(tmp_path)
    )
    tunnel.connect()
    tunnel.session.config.run.in_stream = False  # it would read pytest's own standard input
    yield tunnel.session
    tunnel.cleanup()
    gc.collect()  # here, where a warning about invoke's pipes is expected


@pytest.fixture(autouse=True)
def _unpatched(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in map(import_module, patches.RSYNC_MODULES):
        monkeypatch.setattr(module, "rsync", module.rsync)


def send(connection: Any, tmp_path: Path, slurm: SlurmBed, known_hosts: Path) -> None:  # noqa: ANN401 - fabric ships no types
    """Let nemo-run send a folder, with a file of known hosts of the test's own."""
    (tmp_path / "exp").mkdir(exist_ok=True)
    (tmp_path / "exp" / "file").write_text("sent", encoding="utf-8")
    options = f"-o UserKnownHostsFile={known_hosts} -o GlobalKnownHostsFile=/dev/null"
    stock.rsync(connection, str(tmp_path / "exp"), str(slurm.work / "rsync"), ssh_opts=options)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # invoke leaves its pipes open
def test_a_new_host_stops_nemo_run_and_with_the_patch_is_remembered(
    connection: Any,  # noqa: ANN401 - fabric ships no types
    tmp_path: Path,
    slurm: SlurmBed,
    sshd: SshBed,
) -> None:
    known_hosts = tmp_path / "known_hosts"
    with pytest.raises(UnexpectedExit, match="Host key verification failed"):
        send(connection, tmp_path, slurm, known_hosts)
    patches.patch_nemo_run_rsync_accept_new_host_keys()
    send(connection, tmp_path, slurm, known_hosts)
    assert (slurm.work / "rsync" / "exp" / "file").read_text(encoding="utf-8") == "sent"
    assert sshd.host_key.split()[1] in known_hosts.read_text(encoding="utf-8")
    # A key that is another one than last time is refused all the same.
    changed = sshd.known_hosts_after_change.read_text(encoding="utf-8")
    known_hosts.write_text(changed, encoding="utf-8")
    with pytest.raises(UnexpectedExit, match="has changed and you have requested strict checking"):
        send(connection, tmp_path, slurm, known_hosts)
