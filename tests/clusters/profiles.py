"""The profile of a Slurm bed's login node, for tests of commands that take one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_runspec.env import SlurmProfile

if TYPE_CHECKING:
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed


def slurm_profile(slurm: SlurmBed, sshd: SshBed, **changes: Any) -> SlurmProfile:  # noqa: ANN401 - keys of a profile
    """Give a profile that leads through SSH to a bed's Slurm."""
    values: dict[str, Any] = {
        "name": "slurm",
        "account": "research",
        "partition": "batch",
        "time": "00:05:00",
        "tunnel": "ssh",
        "host": sshd.host,
        "port": sshd.port,
        "user": sshd.user,
        "identity": str(sshd.identity),
        "known_hosts": str(sshd.known_hosts),
        "remote_job_dir": str(slurm.work / "jobs"),
    }
    return SlurmProfile(**(values | changes))
