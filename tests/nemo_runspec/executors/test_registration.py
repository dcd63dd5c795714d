"""nemo-run accepts the executors in each of its tables; it matches classes by identity."""

from __future__ import annotations

import pytest
from nemo_run import LeptonExecutor as StockLeptonExecutor
from nemo_run.cli import api as cli
from nemo_run.core.execution.base import LogSupportedExecutor
from nemo_run.run.experiment import Experiment
from nemo_run.run.job import JobGroup
from nemo_run.run.torchx_backend.schedulers import api as schedulers
from torchx.schedulers import get_scheduler_factories

from nemo_runspec.executors import dgxcloud, lepton
from nemo_runspec.executors.registration import register

BOTH = pytest.mark.parametrize(
    ("executor", "scheduler"),
    [(lepton.LeptonExecutor, lepton.SCHEDULER), (dgxcloud.DGXCloudExecutor, dgxcloud.SCHEDULER)],
)


@BOTH
def test_each_table_has_the_executor_once(executor: type, scheduler: str) -> None:
    register(executor, scheduler)
    assert schedulers.EXECUTOR_MAPPING[executor] == scheduler
    assert schedulers.REVERSE_EXECUTOR_MAPPING[scheduler] is executor
    for table in (
        Experiment._PARALLEL_SUPPORTED_EXECUTORS,  # noqa: SLF001 - nemo-run's table
        Experiment._DETACH_SUPPORTED_EXECUTORS,  # noqa: SLF001 - nemo-run's table
        JobGroup.SUPPORTED_EXECUTORS,
        cli.EXECUTOR_CLASSES,
    ):
        assert [entry for entry in table if entry is executor] == [executor]
    assert executor not in Experiment._DEPENDENCY_SUPPORTED_EXECUTORS  # noqa: SLF001 - nemo-run's table


@BOTH
def test_torchx_finds_the_scheduler_and_nemo_run_the_log(executor: type, scheduler: str) -> None:
    made = get_scheduler_factories()[scheduler]("nemo_run", experiment=None)
    assert made.backend == scheduler
    assert issubclass(executor, LogSupportedExecutor)


def test_nemo_runs_own_executor_keeps_its_scheduler() -> None:
    assert schedulers.EXECUTOR_MAPPING[StockLeptonExecutor] == "lepton"
    assert schedulers.REVERSE_EXECUTOR_MAPPING["lepton"] is StockLeptonExecutor
