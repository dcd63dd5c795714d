"""Rows of the fault matrix that take a minute or more, as whole commands against a real Slurm through SSH."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.clusters.beds.chaos import ChaosProxy, Fault
from tests.clusters.beds.processes import wait_until
from tests.clusters.campaign import assert_invariants, on_slurm
from tests.clusters.cluster_projects import remote_home
from tests.clusters.test_fault_matrix import proxied

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed
    from tests.clusters.campaign import Campaign

pytestmark = pytest.mark.minutes

ATTEMPT = 'raise SystemExit(4 if os.environ.get("SLURM_RESTART_COUNT") else 0)'
ENDS_S = 180


@pytest.fixture
def campaign(slurm: SlurmBed, sshd: SshBed, tmp_path: Path) -> Iterator[Campaign]:
    made = on_slurm(tmp_path / "project", slurm, sshd)
    yield made
    made.finish()


def test_row_02_ssh_that_is_cut_again_and_again(campaign: Campaign, slurm: SlurmBed, sshd: SshBed) -> None:
    script = campaign.script(parts=8, size=200_000)
    with ChaosProxy((sshd.host, sshd.port)) as proxy, campaign.changed(**proxied(campaign, sshd, proxy)):
        proxy.fault = Fault("reset", after=150_000)
        failed = campaign.submit(script)
        assert failed.code, failed
        campaign.assert_nothing_made()
        part = list((remote_home(slurm, campaign.project) / "sources").glob(".*.part"))
        assert len(part) == 1, "what has arrived is gone on with"
        proxy.fault = None
        assert campaign.submit(script).code == 0
    assert_invariants(campaign, longest_s=ENDS_S)


def test_row_07_a_frozen_controller_has_taken_the_job(campaign: Campaign, slurm: SlurmBed) -> None:
    script = campaign.script()
    slurm.freeze_controller()
    try:
        failed = campaign.submit(script)
        assert failed.code, failed
        assert "not known whether" in failed.err
        # Nothing may be submitted for as long as that cannot be asked.
        assert campaign.submit(script).code
    finally:
        slurm.thaw_controller()
    assert campaign.submit(script).code == 0
    assert_invariants(campaign, longest_s=ENDS_S)


def test_row_09_a_lost_node_starts_the_job_again_and_only_that_end_counts(campaign: Campaign, slurm: SlurmBed) -> None:
    script = campaign.script(ATTEMPT)
    done = campaign.submit(script)
    assert done.key is not None
    wait_until(lambda: "payload" in campaign.logs(str(done.key)), 60, "its first line")
    (job,) = (job for job in slurm.jobs() if job["name"] == done.key)
    node = slurm.run("squeue", "-h", "-j", job["id"], "-o", "%N").stdout.strip()
    slurm.lose_node(node)
    try:
        states = statuses_until(campaign, str(done.key), '"attempt": 1')
    finally:
        slurm.return_node(node)
    assert not any(f'"{state}"' in text for text in states for state in ("failed", "succeeded", "lost", "cancelled"))
    assert campaign.gate is not None
    campaign.gate.touch()
    attached = campaign.run("jobs", "reattach", done.key)
    assert attached.code == 4, attached
    assert_invariants(campaign, longest_s=ENDS_S)


def test_row_10_a_requeued_job_keeps_its_name_and_both_logs(campaign: Campaign, slurm: SlurmBed) -> None:
    script = campaign.script(ATTEMPT)
    done = campaign.submit(script)
    assert done.key is not None
    wait_until(lambda: "payload" in campaign.logs(str(done.key)), 60, "its first line")
    (job,) = (job for job in slurm.jobs() if job["name"] == done.key)
    slurm.run("scontrol", "requeue", job["id"])
    statuses_until(campaign, done.key, '"attempt": 1')
    assert campaign.gate is not None
    campaign.gate.touch()
    attached = campaign.run("jobs", "reattach", done.key)
    assert attached.code == 4, attached
    assert attached.out.count("payload") == 2, "once for each attempt"
    assert_invariants(campaign, longest_s=ENDS_S)


def statuses_until(campaign: Campaign, key: str, text: str) -> list[str]:
    """Ask how a job stands until the answer holds a text, and give what was answered before."""
    told: list[str] = []
    deadline = time.monotonic() + ENDS_S
    while True:
        answer = campaign.run("jobs", "status", key, "--json").out
        if text in answer:
            return told
        told.append(answer)
        assert time.monotonic() < deadline, told
