from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml

from nemo_runspec.errors import ConfigError
from nemo_runspec.stage import agreement
from nemo_runspec.stage.agreement import announce_work, launch_name, wait_for_decision
from nemo_runspec.stage.lock import hold

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "none",
    "TORCHELASTIC_RESTART_COUNT": "0",
    "MASTER_ADDR": "localhost",
    "MASTER_PORT": "29500",
    "WORLD_SIZE": "2",
    "LOCAL_WORLD_SIZE": "2",
}

RANK = """
import sys
from nemo_runspec.stage import Stage, StageResult
stage = Stage.from_command_line()
print("asks", flush=True)
run_dir = stage.run_dir()
earlier = stage.finished(run_dir)
print("takes over" if earlier else "works", flush=True)
if sys.stdin.readline() == "publish\\n":
    (run_dir / "weights").write_text("x")
    stage.publish(run_dir, path="weights", type="model", result=StageResult())
"""


def test_the_processes_of_a_launch_have_its_name_and_no_other_has(monkeypatch: pytest.MonkeyPatch) -> None:
    name = launch_name({**TORCHRUN, "RANK": "0"})
    assert name == launch_name({**TORCHRUN, "RANK": "1"})
    changes = [{key: "7"} for key in TORCHRUN]
    others = {launch_name({**TORCHRUN, **change}) for change in changes}
    assert len(others - {name}) == len(TORCHRUN)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    assert launch_name(TORCHRUN) != name
    assert "elsewhere" not in launch_name({**TORCHRUN, "WORLD_SIZE": "4"})


class Clock:
    """Time that only passes while somebody sleeps."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.now = 0.0
        self.then = then

    def __call__(self) -> float:
        return self.now

    def sleep(self, _seconds: float) -> None:
        self.now += agreement.PATIENCE_S / 2
        self.then()


def test_work_is_announced_to_one_s_own_launch(tmp_path: Path) -> None:
    announce_work(tmp_path, "another")
    clock = Clock(then=lambda: announce_work(tmp_path, "mine"))
    assert wait_for_decision(tmp_path, "mine", lambda: None, clock=clock, sleep=clock.sleep) is None
    assert clock.now > 0


def test_the_end_of_a_run_needs_no_announcement(tmp_path: Path) -> None:
    clock = Clock(then=(tmp_path / "ended").touch)
    given = wait_for_decision(
        tmp_path, "mine", lambda: "ended" if (tmp_path / "ended").exists() else None, clock=clock, sleep=clock.sleep
    )
    assert given == "ended"


def test_without_any_sign_of_rank_0_a_rank_gives_up(tmp_path: Path) -> None:
    clock = Clock()
    with pytest.raises(ConfigError, match="nothing was seen of rank 0") as caught:
        wait_for_decision(tmp_path, "mine", lambda: None, clock=clock, sleep=clock.sleep)
    assert clock.now == agreement.PATIENCE_S
    assert "every node" in (caught.value.remedy or "")


def test_a_rank_waits_for_as_long_as_another_run_holds_the_folder(tmp_path: Path) -> None:
    hold(tmp_path, pytest.fail)
    ends = iter([None] * 20)
    clock = Clock()
    assert wait_for_decision(tmp_path, "mine", lambda: next(ends, "ended"), clock=clock, sleep=clock.sleep) == "ended"
    assert clock.now == agreement.PATIENCE_S * 10


class Launch:
    """Two ranks of one launch, started one by one."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.ranks: list[subprocess.Popen[str]] = []

    def start(self, rank: int) -> subprocess.Popen[str]:
        variables = {**TORCHRUN, "TORCHELASTIC_RUN_ID": self.name, "RANK": str(rank), "NEMO_RUNSPEC_JOB_DIR": ""}
        process = subprocess.Popen(
            [sys.executable, "-c", RANK, "--config", str(self.folder / "train.yaml")],
            env={**os.environ, **variables, "NEMOTRON_ARTIFACTS": str(self.folder / "store")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ranks.append(process)
        assert said(process) == "asks"
        return process


@pytest.fixture
def launches(tmp_path: Path) -> Iterator[tuple[Launch, Launch]]:
    """Give two launches of the same run."""
    config = {"output_dir": str(tmp_path / "out"), "artifact": {"name": "m"}}
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(config))
    pair = (Launch(tmp_path, "first"), Launch(tmp_path, "second"))
    yield pair
    for process in [process for launch in pair for process in launch.ranks]:
        process.kill()
        process.communicate()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_launch_takes_over_as_one_what_the_first_made(launches: tuple[Launch, Launch]) -> None:
    first, second = launches
    # The other rank comes first: it must not decide for itself.
    follower, leader = first.start(1), first.start(0)
    assert (said(follower), said(leader)) == ("works", "works")
    later_follower, later_leader = second.start(1), second.start(0)
    assert said(later_leader) == "m  waiting for another run of the same to end"
    leader.communicate("publish\n", timeout=60)
    assert (said(later_leader), said(later_follower)) == ("takes over", "takes over")
    # Even a rank that comes when its rank 0 is gone.
    later_leader.communicate("\n", timeout=60)
    assert said(second.start(1)) == "takes over"


def test_a_second_launch_goes_on_as_one_where_the_first_died(launches: tuple[Launch, Launch]) -> None:
    first, second = launches
    leader = first.start(0)
    assert said(leader) == "works"
    later_follower, later_leader = second.start(1), second.start(0)
    assert said(later_leader) == "m  waiting for another run of the same to end"
    leader.kill()
    assert (said(later_leader), said(later_follower)) == ("works", "works")
