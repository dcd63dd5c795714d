from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.context import Mode, Override, RecipeConfig
from nemo_runspec.errors import JobFailedError
from nemo_runspec.job_folder import RESULT_FILE
from nemo_runspec.platforms.workload import Submitted
from nemo_runspec.step import Step
from nemo_runspec.submit import chain
from nemo_runspec.submit.platform import Sent
from nemotron.cli.stages.pipe import run_pipeline
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nemo_runspec.job import Job

RESULT: dict[str, Any] = {
    "tokens": 7, "tokens_per_s": 1.0, "metric": "loss", "first": 2.0, "last": 1.0, "artifact": "thing:v1",
    "reused": False, "curve": [], "details": None,
}  # fmt: skip
PROFILE = (
    '[far]\nexecutor = "slurm"\ntunnel = "ssh"\nhost = "h"\nremote_job_dir = "/lustre/me"\ncontainer_image = "none"\n'
)


class Cluster:
    """Accepts every job, and lets them succeed but for the one that it is told of."""

    def __init__(self) -> None:
        self.failing = ""
        self.sent: list[tuple[str, tuple[str, ...]]] = []
        self.cancelled: list[str] = []

    def submit(self, job: Job, *_: object, accepted: Callable[..., None], after: list[str], **_take: object) -> Sent:
        number = str(len(self.sent) + 1)
        self.sent.append((job.spec.name, tuple(after)))
        workload = Submitted("slurm", "job", number, f"{job.spec.name.replace('/', '-')}-abc123")
        accepted(workload, 0.1)
        return Sent(job, workload, self)  # type: ignore[arg-type]  # all that is asked of a platform here

    def follow(self, sent: Sent, *_: object) -> None:
        if sent.job.spec.name == self.failing:
            message = "it failed"
            raise JobFailedError(message, exit_code=3)
        sent.job.job_dir.mkdir(parents=True)
        (sent.job.job_dir / RESULT_FILE).write_text(json.dumps(RESULT), encoding="utf-8")

    def cancel(self, workload: Submitted) -> None:
        self.cancelled.append(workload.id)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(chain, "submit", made.submit)
    monkeypatch.setattr(chain, "follow", made.follow)
    return made


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    monkeypatch.chdir(tmp_path)
    write_env_file(tmp_path, PROFILE)
    return [Step(name, write_recipe(tmp_path / name, name=name)) for name in ("one", "two", "three")]


def request(mode: Mode = Mode.RUN, **more: Any) -> RecipeConfig:  # noqa: ANN401 - fields of a command line
    return RecipeConfig(profile="far", mode=mode, **more)


def test_the_stages_are_submitted_at_once_and_reported_as_they_end(
    cluster: Cluster, steps: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_pipeline(request(), "test", steps)
    assert cluster.sent == [("test/one", ()), ("test/two", ("1",)), ("test/three", ("2",))]
    report = json.loads((tmp_path / "output" / "report.json").read_text(encoding="utf-8"))
    assert [(stage["name"], stage["artifact"]) for stage in report["stages"]] == [
        (name, "thing:v1") for name in ("one", "two", "three")
    ]
    told = capsys.readouterr()
    assert "test/two is test-two-abc123, Slurm job 2" in told.err
    assert told.out.index("1/3  one") < told.out.index("3/3  three") < told.out.index("report: output/report.html")


def test_a_stage_that_fails_cancels_the_rest_and_what_was_done_is_reported(
    cluster: Cluster, steps: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.failing = "test/two"
    with pytest.raises(JobFailedError):
        run_pipeline(request(), "test", steps)
    assert cluster.cancelled == ["3"]
    report = json.loads((tmp_path / "output" / "report.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in report["stages"]] == ["one"]
    assert "test/three (test-three-abc123) is cancelled" in capsys.readouterr().err


def test_a_detached_pipeline_is_submitted_and_left(
    cluster: Cluster, steps: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_pipeline(request(Mode.BATCH), "test", steps)
    assert [after for _, after in cluster.sent] == [(), ("1",), ("2",)]
    out = capsys.readouterr().out
    for name in ("one", "two", "three"):
        assert f"nemotron jobs logs test-{name}-abc123" in out
    assert not (tmp_path / "output" / "report.json").exists()


def test_data_of_the_cluster_is_not_looked_for_here(cluster: Cluster, steps: list[Step]) -> None:
    blend = Override("one.blend", "/lustre/me/blend.json", add=True)
    run_pipeline(request(overrides=(blend,)), "test", steps)
    assert len(cluster.sent) == 3
