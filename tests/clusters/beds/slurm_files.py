"""The configuration files of a Slurm of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.clusters.beds.network import Network

GPUS_PER_NODE = 8
FREEZER = Path("/sys/fs/cgroup/freezer")

# Each node claims to be a large machine; `config_overrides` makes slurmd believe it. A job that says nothing about
# memory gets enough for a small training, not all of the node.
_SLURM = """\
ClusterName={cluster}
SlurmctldHost={host}({controller})
SlurmctldPort={controller_port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={credential_s}
MpiDefault=none
ProctrackType={tracking}
{task_plugin}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=7000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
PlugStackConfig={folder}/etc/plugstack.conf
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
MessageTimeout=5
MinJobAge={min_job_age}
SlurmdTimeout=10
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
JobCompType=jobcomp/none
JobAcctGatherType=jobacct_gather/none
{accounting}
NodeName=DEFAULT CPUs=256 Boards=1 SocketsPerBoard=2 CoresPerSocket=128 ThreadsPerCore=1 RealMemory=2000000 \
Gres=gpu:{gpus} State=UNKNOWN
{nodes}
PartitionName=DEFAULT Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=batch Default=YES
PartitionName=interactive
PartitionName=preemptible PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent PriorityTier=10
"""

_ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost={controller}
AccountingStoragePort={database_port}
AccountingStoragePass={folder}/munge/socket
"""

_DATABASE = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdAddr={controller}
DbdPort={database_port}
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
"""

# Memory is the one thing that is limited, so that a job can run out of it.
_CGROUP = """\
CgroupPlugin=cgroup/v1
ConstrainCores=no
ConstrainDevices=no
ConstrainRAMSpace=yes
"""

# A node: its own view of control groups, host name, name service and mounts, then slurmd in the foreground.
# Not `ip netns exec`, which mounts /sys anew, without control groups.
_NODE = """\
set -e
for controller in {controllers}; do echo $$ >/sys/fs/cgroup/$controller/{group}/cgroup.procs; done
exec unshare --uts --mount --cgroup /bin/sh -ec '
    hostname {node}
    for controller in {controllers}; do
        umount --lazy /sys/fs/cgroup/$controller
        mount --types cgroup --options $controller cgroup /sys/fs/cgroup/$controller
    done
    for name in hosts nsswitch.conf resolv.conf; do mount --bind {folder}/etc/$name /etc/$name; done
    exec slurmd -D -N {node}'
"""


@dataclass(frozen=True)
class Layout:
    """What the files say that differs between two beds.

    Args:
        folder: The bed's folder.
        cluster: The cluster's name.
        host: This machine's host name.
        network: The bed's network.
        ports: Those of the controller, the accounting daemon, and the nodes' slurmd.
        accounting: Whether there is an accounting daemon.
        min_job_age: Seconds after which the controller forgets a job that has ended.
        credential_s: Seconds that a requeued job waits at least before it starts again.
    """

    folder: Path
    cluster: str
    host: str
    network: Network
    ports: tuple[int, int, int]
    accounting: bool
    min_job_age: int
    credential_s: int

    @property
    def controllers(self) -> tuple[str, ...]:
        """The control groups that the nodes get, of those of the first version; none where there are none."""
        if not FREEZER.is_dir():
            return ()
        return tuple(name for name in ("freezer", "memory") if (FREEZER.parent / name / "cgroup.procs").exists())

    def group(self, controller: str) -> Path:
        """Give the folder of the bed's own control group."""
        return FREEZER.parent / controller / self.cluster

    def write(self) -> None:
        """Write everything below `etc`."""
        etc, network = self.folder / "etc", self.network
        nodes = "\n".join(
            f"NodeName={node} NodeAddr={network.address(node)} Port={self.ports[2]}" for node in network.nodes
        )
        values = {
            "folder": self.folder,
            "cluster": self.cluster,
            "host": self.host,
            "controller": network.controller,
            "controller_port": self.ports[0],
            "database_port": self.ports[1],
            "credential_s": self.credential_s,
            "min_job_age": self.min_job_age,
            "gpus": GPUS_PER_NODE,
            "nodes": nodes,
            # Without the freezer a process that leaves its session outlives the job, as on any such cluster.
            "tracking": "proctrack/cgroup" if "freezer" in self.controllers else "proctrack/linuxproc",
            "task_plugin": "TaskPlugin=task/cgroup" if "memory" in self.controllers else "",
        }
        hosts = {"127.0.0.1": "localhost", network.controller: self.host}
        hosts |= {network.address(node): node for node in network.nodes}
        values["accounting"] = _ACCOUNTING.format(**values) if self.accounting else ""
        database = etc / "slurmdbd.conf"
        database.touch(mode=0o600)
        run = self.folder / "containers"
        texts = {
            "slurm.conf": _SLURM.format(**values),
            "slurmdbd.conf": _DATABASE.format(**values),
            "cgroup.conf": _CGROUP,
            "gres.conf": f"NodeName=n[1-2] Name=gpu File={self.folder}/gpu/[0-{GPUS_PER_NODE - 1}]\n",
            "plugstack.conf": f"required {self.folder}/lib/nemotron_pyxis.so cache={run}/cache run={run}/run "
            f"records={run}/records registry={self.folder}/registry\n",
            "hosts": "".join(f"{address} {name}\n" for address, name in hosts.items()),
            # No name server: a name that is not in the file would otherwise be waited for.
            "nsswitch.conf": "hosts: files\n",
            "resolv.conf": "nameserver 127.0.0.1\n",
        }
        for name, text in texts.items():
            (etc / name).write_text(text, encoding="utf-8")

    def node_script(self, node: str) -> str:
        """Give the shell script that becomes a node's slurmd; it runs in the node's network namespace."""
        return _NODE.format(controllers=" ".join(self.controllers), group=self.cluster, node=node, folder=self.folder)
