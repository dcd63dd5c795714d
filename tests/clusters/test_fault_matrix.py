"""Rows of the fault matrix as whole commands of a user, against a real Slurm through SSH.

`docs/reliability.md` has the matrix, with the tests of the rows that are not here.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.clusters.beds.chaos import ChaosProxy, Fault
from tests.clusters.beds.processes import command
from tests.clusters.campaign import Campaign, assert_invariants, on_slurm
from tests.clusters.cluster_projects import interrupted, remote_home

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

pytestmark = pytest.mark.slow


@pytest.fixture
def campaign(slurm: SlurmBed, sshd: SshBed, tmp_path: Path) -> Iterator[Campaign]:
    made = on_slurm(tmp_path / "project", slurm, sshd)
    yield made
    made.finish()


def proxied(campaign: Campaign, sshd: SshBed, proxy: ChaosProxy) -> dict[str, object]:
    """Give the keys of a profile that leads to the login node through a proxy."""
    known = campaign.project.folder / "known_hosts"
    known.write_text(f"[{sshd.host}]:{proxy.port} {sshd.host_key}\n", encoding="ascii")
    return {"port": proxy.port, "known_hosts": str(known)}


def test_row_01_ssh_refused_wrong_key_unknown_host(campaign: Campaign, slurm: SlurmBed, sshd: SshBed) -> None:
    script = campaign.script()
    known = campaign.project.folder / "nobody"
    known.touch()
    faults: list[tuple[dict[str, object], str]] = [
        ({"port": 1}, "Connection refused"),
        ({"identity": str(sshd.stranger)}, "does not let us in"),
        ({"known_hosts": str(known)}, "is not known"),
        ({"known_hosts": str(sshd.known_hosts_after_change)}, "may be another machine"),
    ]
    for values, words in faults:
        with campaign.changed(**values):
            failed = campaign.submit(script)
        assert failed.code, failed
        assert words in failed.err
        assert failed.seconds < 30, "10 s for the connection, and the start of a command on a busy machine"
    campaign.assert_nothing_made()
    assert '"jobs": []' in campaign.run("jobs", "list", "--json").out, "nothing was sent that could become a job"
    assert not remote_home(slurm, campaign.project).exists()
    assert campaign.submit(script).code == 0
    assert_invariants(campaign)


def test_row_02_ssh_cut_while_the_source_is_sent(campaign: Campaign, sshd: SshBed) -> None:
    script = campaign.script()
    with ChaosProxy((sshd.host, sshd.port)) as proxy, campaign.changed(**proxied(campaign, sshd, proxy)):
        proxy.fault = Fault("reset", after=250_000, connection=1)
        assert campaign.submit(script).code == 0
        assert proxy.struck == 1
        proxy.fault = None
        assert campaign.submit(script).code == 0
    assert_invariants(campaign)


def test_row_03_workspace_full(campaign: Campaign, slurm: SlurmBed) -> None:
    script = campaign.script()
    home = remote_home(slurm, campaign.project)
    home.mkdir(mode=0o700)
    command("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(home))
    try:
        command("chown", slurm.user, str(home))
        failed = campaign.submit(script)
        assert failed.code, failed
        assert "No space left" in failed.err
        assert str(home) in failed.err
        assert [path for path in home.rglob("*") if path.is_file() and path.stat().st_size] == []
    finally:
        command("umount", "--lazy", str(home))
    campaign.assert_nothing_made()
    command("chown", slurm.user, str(home))
    assert campaign.submit(script).code == 0
    assert_invariants(campaign)


@pytest.mark.parametrize("fault", ["sbatch_drop", "sbatch_timeout"])
def test_rows_05_06_reply_lost_after_accept(campaign: Campaign, slurm: SlurmBed, fault: str) -> None:
    script = campaign.script()
    slurm.arm(fault)
    first = campaign.submit(script)
    assert first.code == 0, first
    assert not slurm.armed(fault)
    again = campaign.submit(script)
    assert again.key == first.key
    assert "submitted before" in again.err
    assert_invariants(campaign)


def test_row_07_controller_away_while_a_job_is_submitted(campaign: Campaign, slurm: SlurmBed) -> None:
    script = campaign.script()
    slurm.stop_controller()
    back = threading.Timer(15, slurm.start_controller)
    back.start()
    try:
        done = campaign.submit(script)
    finally:
        back.join()
    assert done.code == 0, done
    assert_invariants(campaign)


def test_row_08_accounting_away(campaign: Campaign, slurm: SlurmBed) -> None:
    script = campaign.script("raise SystemExit(3)")
    slurm.stop_accounting()
    try:
        first = campaign.submit(script)
        assert first.key is not None
        assert campaign.gate is not None
        campaign.gate.touch()
        attached = campaign.run("jobs", "reattach", first.key)
        assert attached.code == 3, attached
        status = campaign.run("jobs", "status", first.key, "--json")
        assert (status.code, '"failed"' in status.out) == (0, True), status
    finally:
        slurm.start_accounting()
    assert_invariants(campaign)


@pytest.mark.parametrize("cancels", [False, True], ids=["detaches", "cancels"])
def test_row_12_ctrl_c(campaign: Campaign, slurm: SlurmBed, *, cancels: bool) -> None:
    command = ("run", campaign.script(), "--run", "ssh", *(("--cancel-on-interrupt",) if cancels else ()))
    for _ in range(1 if cancels else 2):
        process = campaign.project.start(*command)
        out, err = interrupted(process, "payload")
        assert process.returncode == 130, out + err
        (name,) = campaign.made()
        if not cancels:
            assert f"nemotron jobs reattach {name}" in err
            assert f"nemotron jobs cancel {name}" in err
    states = {job["state"].split()[0] for job in slurm.jobs() if job["name"] == name}
    assert states == {"CANCELLED" if cancels else "RUNNING"}
    assert_invariants(campaign)


def test_row_25_huge_lines_binary_output_and_colours(campaign: Campaign) -> None:
    last = (
        "import sys; w = sys.stdout.buffer.write; w(b'\\x1b[31mred\\x1b[0m \\xff\\xfe\\n'); w(b'x' * 5_000_000);"
        " w(b'\\nthe end\\n'); sys.stdout.flush(); raise SystemExit(4)"
    )
    script = campaign.script(last)
    assert campaign.gate is not None
    campaign.gate.touch()
    done = campaign.run("run", script, "--run", "ssh")
    assert done.code == 4, (done.code, done.err)
    assert "the end" in done.out.splitlines()
    assert "\ufffd" in done.out
    assert campaign.commands.pop().argv[0] == "run"  # its output is too much to be searched again and again
    assert_invariants(campaign)


def test_row_26_a_record_that_is_damaged_hides_no_other_job(campaign: Campaign) -> None:
    first = campaign.submit(campaign.script("print('first')"))
    second = campaign.submit(campaign.script("print('second')", parts=0))
    assert first.key is not None
    assert second.key is not None
    campaign.payload = (0, "")  # two jobs, each with its own files
    record = campaign.project.folder / "nemo run" / "nemo_runspec" / "jobs" / f"{first.key}.json"
    whole = record.read_bytes()
    record.write_bytes(whole[:-10])
    listed = campaign.run("jobs", "list", "--json")
    assert (listed.code, second.key in listed.out, str(record) in listed.err) == (0, True, True), listed
    assert campaign.run("jobs", "status", second.key).code == 0
    record.write_bytes(whole)
    assert_invariants(campaign, jobs=2)


def test_row_28_cancel_twice_and_cancel_unknown(campaign: Campaign, slurm: SlurmBed) -> None:
    first = campaign.submit(campaign.script())
    assert first.key is not None
    for _ in range(2):
        done = campaign.run("jobs", "cancel", first.key, "--json")
        assert (done.code, '"cancelled"' in done.out) == (0, True), done
    unknown = campaign.run("jobs", "cancel", "nobody-000000")
    assert unknown.code == 2
    assert "no job 'nobody-000000'" in unknown.err
    assert {job["state"].split()[0] for job in slurm.jobs() if job["name"] == first.key} == {"CANCELLED"}
    campaign.payload = (0, "")  # it may have been cancelled before it told anything
    assert_invariants(campaign)
