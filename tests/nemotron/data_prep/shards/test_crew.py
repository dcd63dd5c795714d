from __future__ import annotations

import os
from pathlib import Path

import pytest

from nemo_runspec.errors import ConfigError, DataError, Location
from nemotron.data_prep.shards import WorkerDiedError, is_ray, open_crew, usable_cpus
from tests.nemotron.data_prep.shards.works import kill_oneself, process, refuse, square

CREWS = pytest.mark.parametrize("workers", [1, 2])


@CREWS
def test_every_task_is_done_once(workers: int) -> None:
    with open_crew(workers) as crew:
        assert crew.size == workers
        results = [item for item in crew.run(square, range(20)) if item is not None]
    assert sorted(results) == [(number, number * number) for number in range(20)]


@CREWS
def test_an_error_comes_as_it_was_raised(workers: int) -> None:
    with pytest.raises(DataError) as raised, open_crew(workers) as crew:
        list(crew.run(refuse, range(6)))
    assert raised.value.where == Location(Path("numbers.txt"), 3)
    assert str(raised.value) == "numbers.txt:3: the third is wrong\n  Take another."


def test_work_is_done_in_other_processes() -> None:
    with open_crew(2) as crew:
        ids = {item[1] for item in crew.run(process, range(8)) if item is not None}
    assert os.getpid() not in ids
    assert all(not Path(f"/proc/{number}").exists() for number in ids)


def test_alone_it_is_done_in_this_one() -> None:
    with open_crew(1) as crew:
        assert [item for item in crew.run(process, range(2)) if item is not None] == [
            (0, os.getpid()),
            (1, os.getpid()),
        ]


def test_a_killed_worker_is_told() -> None:
    with pytest.raises(WorkerDiedError, match="ended from outside") as raised, open_crew(2) as crew:
        list(crew.run(kill_oneself, range(6)))
    assert raised.value.exit_code == 1
    assert "the same command goes on" in str(raised.value)


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="backend is 'procesess'") as raised:
        is_ray("procesess")
    assert raised.value.remedy == "Did you mean 'processes'?"


def test_there_is_a_cpu_to_use() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
