"""A twin of a cloud platform on this machine: its API on the loopback interface, and pods that really run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Self

from nemo_runspec.rehearsal.cluster import Cluster
from nemo_runspec.rehearsal.faults import Faults
from nemo_runspec.rehearsal.inventory import LeptonInventory
from nemo_runspec.rehearsal.lepton_api import LeptonApi
from nemo_runspec.rehearsal.pod_api import KUBERNETES
from nemo_runspec.rehearsal.request_log import LoggedRequest, RequestLog
from nemo_runspec.rehearsal.runai_api import BASE, RunaiApi
from nemo_runspec.rehearsal.server import TwinServer
from nemo_runspec.rehearsal.workloads import Timing, WorkloadSeen

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import TracebackType

    from nemo_runspec.rehearsal.faults import Fault
    from nemo_runspec.rehearsal.inventory import Inventory
    from nemo_runspec.rehearsal.pod import PodRunner

LOGS_FOLDER = "logs"


class Twin:
    """A platform that refuses what the real one refuses, and runs what it would run.

    `with twin:` starts and closes it. The folder keeps the volumes (`volumes/`) from one twin to the next; the pods'
    logs (`logs/`) and the request log (`requests.jsonl`) are those of the last one.

    Args:
        inventory: What exists; its type says which platform this is.
        runner: Runs the pods; it belongs to the twin from then on and is closed with it.
        folder: Where volumes and logs are; made when it is not there.
        faults: Disturbances that happen to requests.
        with_master: Whether run:ai gives distributed workloads a master besides their workers.
        timing: How long things take.
    """

    def __init__(
        self,
        inventory: Inventory,
        runner: PodRunner,
        folder: Path,
        *,
        faults: Iterable[Fault] = (),
        with_master: bool = False,
        timing: Timing | None = None,
    ) -> None:
        """Take a free port, and empty what an earlier twin logged; nothing is answered before `start`."""
        timing = timing or Timing()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(folder / LOGS_FOLDER, ignore_errors=True)
        self.faults = Faults(faults)
        self._cluster = Cluster(runner, timing)
        self._log = RequestLog(folder, inventory.secret_values)
        api: LeptonApi | RunaiApi
        if isinstance(inventory, LeptonInventory):
            api = LeptonApi(inventory, self._cluster, folder, timing)
            self._base = api.base
        else:
            api = RunaiApi(inventory, self._cluster, folder, timing, with_master=with_master)
            self._base = BASE
        self._server = TwinServer(api, self.faults, self._log)
        if isinstance(api, LeptonApi):
            api.ray.opened = self._reachable_from

    def _reachable_from(self, network: str) -> None:
        """Answer the pods of a network too, at the address that everybody has: a platform's reach its API."""
        try:
            listener = self._cluster.listener(network, self._server.server_port)
        except OSError:
            return  # it is there already, or the network is just going away
        if listener is not None:
            self._server.answer_at(listener)

    def start(self) -> str:
        """Begin to answer.

        Returns:
            The API's address: for Lepton the workspace's, for run:ai with `/api/v1`.
        """
        self._cluster.start()
        self._server.start()
        return self.url

    def close(self) -> None:
        """End every connection, pod and thread; returns when they have ended. A second call does nothing."""
        self._server.close()
        self._cluster.close()
        self._log.close()

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def preempt(self, name: str) -> None:
        """Take away what a running workload runs on, as one of higher priority does: it waits for its turn again.

        Args:
            name: The workload's name.
        """
        for seen in self._cluster.workloads():
            if seen.name == name:
                self._cluster.preempt(seen.key)

    @property
    def url(self) -> str:
        """The API's address."""
        return f"{self._server.origin}{self._base}"

    @property
    def kubernetes_url(self) -> str:
        """The address of the run:ai cluster's Kubernetes API."""
        return f"{self._server.origin}{KUBERNETES}"

    @property
    def requests(self) -> tuple[LoggedRequest, ...]:
        """Every request so far, in the order of the answers, without secrets."""
        return self._log.entries

    @property
    def workloads(self) -> tuple[WorkloadSeen, ...]:
        """Every workload so far in the order of creation, also those that are gone; their bodies hold secrets."""
        return self._cluster.workloads()
