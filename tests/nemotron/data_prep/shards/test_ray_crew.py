"""Ray's workers, on a Ray of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
import ray

from nemo_runspec.errors import ConfigError, DataError, Location
from nemotron.data_prep.shards import is_ray
from nemotron.data_prep.shards.ray_crew import open_ray_crew
from tests.nemotron.data_prep.shards.works import die_once, process, refuse, square

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def own_ray() -> Iterator[None]:
    """Start Ray once: a crew joins what this process has joined."""
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def test_every_task_is_done_once() -> None:
    with open_ray_crew(2) as there:
        crew = there()
        assert crew.size == 2
        results = [item for item in crew.run(square, range(20)) if item is not None]
        assert crew.measured().read == 0
    assert sorted(results) == [(number, number * number) for number in range(20)]


def test_an_error_comes_as_it_was_raised() -> None:
    with pytest.raises(DataError) as raised, open_ray_crew(2) as crew:
        list(crew().run(refuse, range(6)))
    assert raised.value.where == Location(Path("numbers.txt"), 3)
    assert str(raised.value) == "numbers.txt:3: the third is wrong\n  Take another."


def test_a_task_whose_worker_is_killed_is_done_by_another(tmp_path: Path) -> None:
    with open_ray_crew(None) as crew:
        results = [item for item in crew().run(die_once, [str(tmp_path / "flag")]) if item is not None]
    assert results == [(str(tmp_path / "flag"), "done")]


def test_the_work_is_done_by_ray() -> None:
    with open_ray_crew(1) as crew:
        ((_, pid),) = [item for item in crew().run(process, [0]) if item is not None]
    assert "ray::" in Path(f"/proc/{pid}/cmdline").read_text()


def test_an_address_means_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_ray("auto")
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert is_ray("auto")


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> NoReturn:
        message = "no answer"
        raise Exception(message)  # noqa: TRY002 - as Ray does it

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    # Whoever finds another mistake first, before the crew is asked for, hears of that one.
    with open_ray_crew(None):
        pass
    refused = r"the Ray cluster at '10\.0\.0\.1:6379' cannot be joined: no answer"
    with open_ray_crew(None) as crew, pytest.raises(ConfigError, match=refused):
        crew()
