"""nemo-run accepts the executors in each of its tables; it matches classes by identity."""

from __future__ import annotations

import pytest
from nemo_run import DockerExecutor as StockDockerExecutor
from nemo_run import LeptonExecutor as StockLeptonExecutor
from nemo_run import SlurmExecutor as StockSlurmExecutor
from nemo_run.cli import api as cli
from nemo_run.core.execution.base import LogSupportedExecutor
from nemo_run.run.experiment import Experiment
from nemo_run.run.job import JobGroup
from nemo_run.run.torchx_backend.schedulers import api as schedulers
from torchx.schedulers import get_scheduler_factories

from nemo_runspec.executors import dgxcloud, docker, lepton, slurm
from nemo_runspec.executors.registration import register

ALL = pytest.mark.parametrize(
    ("executor", "scheduler", "keeps_dependencies"),
    [
        (lepton.LeptonExecutor, lepton.SCHEDULER, False),
        (dgxcloud.DGXCloudExecutor, dgxcloud.SCHEDULER, False),
        (docker.DockerExecutor, docker.SCHEDULER, False),
        (slurm.SlurmExecutor, slurm.SCHEDULER, True),
    ],
)


@ALL
def test_each_table_has_the_executor_once(executor: type, scheduler: str, *, keeps_dependencies: bool) -> None:
    register(executor, scheduler, keeps_dependencies=keeps_dependencies)
    assert schedulers.EXECUTOR_MAPPING[executor] == scheduler
    assert schedulers.REVERSE_EXECUTOR_MAPPING[scheduler] is executor
    for table in (
        Experiment._PARALLEL_SUPPORTED_EXECUTORS,  # noqa: SLF001 - nemo-run's table
        Experiment._DETACH_SUPPORTED_EXECUTORS,  # noqa: SLF001 - nemo-run's table
        JobGroup.SUPPORTED_EXECUTORS,
        cli.EXECUTOR_CLASSES,
    ):
        assert [entry for entry in table if entry is executor] == [executor]
    waiting = Experiment._DEPENDENCY_SUPPORTED_EXECUTORS  # noqa: SLF001 - nemo-run's table
    assert [entry for entry in waiting if entry is executor] == ([executor] if keeps_dependencies else [])


@ALL
def test_torchx_finds_the_scheduler_and_nemo_run_the_log(
    executor: type, scheduler: str, *, keeps_dependencies: bool
) -> None:
    del keeps_dependencies
    made = get_scheduler_factories()[scheduler]("nemo_run", experiment=None)
    assert made.backend == scheduler
    assert issubclass(executor, LogSupportedExecutor)


@pytest.mark.parametrize(
    ("stock", "scheduler"),
    [(StockLeptonExecutor, "lepton"), (StockSlurmExecutor, "slurm_tunnel"), (StockDockerExecutor, "docker_persistent")],
)
def test_nemo_runs_own_executor_keeps_its_scheduler(stock: type, scheduler: str) -> None:
    assert schedulers.EXECUTOR_MAPPING[stock] == scheduler
    assert schedulers.REVERSE_EXECUTOR_MAPPING[scheduler] is stock
