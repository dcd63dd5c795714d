from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml

from nemo_runspec.artifacts import ArtifactStore, Manifest
from nemo_runspec.errors import ArtifactError, ConfigError, DataError, Location
from nemo_runspec.stage import Stage, StageResult, run_stage, running
from nemo_runspec.stage.given import JobFacts


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    """Give a job folder as the launcher leaves it."""
    folder = tmp_path / "job"
    folder.mkdir()
    job = {
        "name": "nano3/pretrain",
        "artifacts": {"root": str(tmp_path / "store"), "inputs": {"data": "tiny-data:v1"}},
        "provenance": {"argv": ["nemotron", "nano3", "pretrain"], "git": {"commit": "abc", "dirty": []}},
    }
    config = {"output_dir": str(tmp_path / "out"), "artifact": {"name": "tiny-model"}, "steps": 3}
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    (folder / "train.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture
def stage(job_dir: Path) -> Stage:
    return make_stage(job_dir)


def make_stage(job_dir: Path, *, rank: int = 0, **changes: object) -> Stage:
    job = yaml.safe_load((job_dir / "job.yaml").read_text())
    facts = JobFacts(job["artifacts"]["root"], job_dir, job["name"], job["artifacts"]["inputs"])
    config = {**yaml.safe_load((job_dir / "train.yaml").read_text()), **changes}
    return Stage(facts.name or "", config, job_dir / "train.yaml", facts, rank=rank, world_size=2)


def publish(stage: Stage, content: str = "weights", **changes: Any) -> Manifest:  # noqa: ANN401 - arguments of publish
    run_dir = stage.run_dir()
    (run_dir / "model").mkdir(exist_ok=True)
    (run_dir / "model" / "weights.bin").write_text(content)
    manifest = stage.publish(run_dir, **{"path": "model", "type": "model", **changes})
    assert manifest is not None
    return manifest


def read_result(job_dir: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((job_dir / "result.json").read_text())
    return result


def test_the_command_line_and_the_environment(job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[bool] = []
    monkeypatch.setattr(running, "die_with_parent", lambda: bound.append(True))
    for name, value in {"NEMO_RUNSPEC_JOB_DIR": str(job_dir), "RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    stage = Stage.from_command_line(["--config", str(job_dir / "train.yaml"), "--extra", "a=1"])
    assert (stage.name, stage.label, stage.rank, stage.world_size) == ("nano3/pretrain", "pretrain", 1, 2)
    assert stage.config["steps"] == 3
    assert stage.arguments == ["--extra", "a=1"]
    assert stage.job.inputs == {"data": "tiny-data:v1"}
    assert bound == [True]


def test_a_script_started_by_hand_outlives_its_shell(
    job_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "die_with_parent", pytest.fail)
    stage = Stage.from_command_line([f"--config={job_dir / 'train.yaml'}"])
    assert (stage.name, stage.rank, stage.world_size) == ("tiny-model", 0, 1)
    assert stage.job == JobFacts(str(tmp_path / "output" / "artifacts"))


def test_a_rank_of_a_torchrun_by_hand_does_not(job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[bool] = []
    monkeypatch.setattr(running, "die_with_parent", lambda: bound.append(True))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    Stage.from_command_line(["--config", str(job_dir / "train.yaml")])
    assert bound == [True]


def test_a_stage_without_any_name_has_its_files(tmp_path: Path) -> None:
    path = tmp_path / "words.yaml"
    path.write_text("a: 1\n")
    assert Stage.from_command_line(["--config", str(path)]).name == "words"


def test_the_same_run_has_the_same_folder(stage: Stage, tmp_path: Path) -> None:
    folder = stage.run_dir("corpus")
    assert folder.is_dir()
    assert folder.parent == tmp_path / "out"
    assert len(folder.name) == 12
    assert stage.run_dir("corpus") == folder


def test_places_and_names_do_not_make_another_run(job_dir: Path, tmp_path: Path) -> None:
    moved = make_stage(job_dir, output_dir=str(tmp_path / "other"), artifact={"name": "other"})
    assert moved.run_dir().name == make_stage(job_dir).run_dir().name


def test_whatever_changes_the_result_makes_another_run(job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = make_stage(job_dir)
    folders = [stage.run_dir(), stage.run_dir("a"), stage.run_dir("a", "b"), stage.run_dir("ab")]
    folders += [make_stage(job_dir, steps=4).run_dir(), make_stage(job_dir, seed=0).run_dir()]
    monkeypatch.setattr(running, "package_version", lambda: "9.9")
    folders.append(stage.run_dir())
    assert len(set(folders)) == len(folders)


@pytest.mark.parametrize("output_dir", [None, "", 3, "s3://bucket/out"])
def test_an_output_folder_is_a_local_path(job_dir: Path, output_dir: object) -> None:
    with pytest.raises(ConfigError, match="output_dir is") as caught:
        make_stage(job_dir, output_dir=output_dir).run_dir()
    assert caught.value.where == Location(job_dir / "train.yaml")


def test_an_output_folder_that_cannot_be_made_is_told(job_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot make the run's folder .*/file: File exists"):
        make_stage(job_dir, output_dir=str(tmp_path / "file")).run_dir()


def test_what_publishing_needs_is_asked_before_the_work(job_dir: Path) -> None:
    with pytest.raises(ConfigError, match="does not say what the stage's artifact is called"):
        make_stage(job_dir, artifact={}).run_dir()
    with pytest.raises(ArtifactError, match="cannot name an artifact"):
        make_stage(job_dir, artifact={"name": "a/b"}).run_dir()
    unreachable = Stage("s", make_stage(job_dir).config, job_dir / "train.yaml", JobFacts("nosuch://bucket"))
    with pytest.raises(ArtifactError, match="cannot open the artifact location"):
        unreachable.run_dir()


def test_publishing(job_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = make_stage(job_dir)
    result = StageResult("loss", 8.0, 4.0, 3000, 1.5, [(1, 8.0), (3, 4.0)], {"steps": 3})
    manifest = publish(stage, metadata={"vocab_size": 4096}, result=result)
    assert ArtifactStore(tmp_path / "store").get("tiny-model") == manifest
    assert manifest.path == str(stage.run_dir() / "model")
    assert manifest.inputs == {"data": "tiny-data:v1"}
    assert manifest.field("vocab_size") == 4096
    assert [entry.path for entry in manifest.files] == ["weights.bin"]
    assert read_result(job_dir) == {
        "name": "nano3/pretrain",
        "artifact": "tiny-model:v1",
        "path": manifest.path,
        "metric": "loss",
        "first": 8.0,
        "last": 4.0,
        "tokens": 3000,
        "seconds": 1.5,
        "tokens_per_s": 2000.0,
        "curve": [[1, 8.0], [3, 4.0]],
        "details": {"steps": 3},
        "reused": False,
    }
    assert capsys.readouterr().out == "pretrain  published tiny-model:v1\n"


def test_the_producer_is_recorded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", "x.yaml", "--hub-token", "canary"])
    producer = publish(stage).producer
    assert producer.name == "nano3/pretrain"
    assert producer.argv == ("train.py", "--config", "x.yaml", "--hub-token", "***")
    assert producer.packages["nemotron"] == metadata.version("nemotron")
    assert set(producer.packages) >= {"python", "nemotron"}
    assert len(producer.config_digest) == 64


def test_the_launchers_command_line_and_source_are_recorded(job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "die_with_parent", lambda: None)
    monkeypatch.setenv("NEMO_RUNSPEC_JOB_DIR", str(job_dir))
    producer = publish(Stage.from_command_line(["--config", str(job_dir / "train.yaml")])).producer
    assert producer.argv == ("nemotron", "nano3", "pretrain")
    assert producer.git == {"commit": "abc", "dirty": []}


def test_only_rank_0_publishes_and_speaks(job_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = publish(make_stage(job_dir))
    capsys.readouterr()
    (job_dir / "result.json").unlink()
    other = make_stage(job_dir, rank=1)
    assert other.publish(other.run_dir(), path="gone", type="model") is None
    assert other.reuse(manifest) is None
    other.progress(10).update(10)
    assert capsys.readouterr().out == ""
    assert not (job_dir / "result.json").exists()
    assert ArtifactStore(tmp_path / "store").versions("tiny-model") == [1]


def test_publishing_the_whole_folder_leaves_its_own_manifest_out(stage: Stage) -> None:
    run_dir = stage.run_dir()
    first = publish(stage, path=run_dir)
    again = publish(stage, path=run_dir)
    assert [entry.path for entry in first.files] == ["model/weights.bin"]
    assert again == first
    assert [entry.path for entry in publish(stage, path=run_dir.parent).files] == [f"{run_dir.name}/model/weights.bin"]


def test_a_stage_by_hand_publishes_without_a_job_folder(job_dir: Path, tmp_path: Path) -> None:
    by_hand = Stage("s", make_stage(job_dir).config, job_dir / "train.yaml", JobFacts(str(tmp_path / "store")))
    assert publish(by_hand).reference == "tiny-model:v1"
    assert not (job_dir / "result.json").exists()


def test_a_run_is_finished_once_it_has_published(stage: Stage) -> None:
    assert stage.finished(stage.run_dir()) is None
    manifest = publish(stage)
    assert stage.finished(stage.run_dir()) == manifest
    assert stage.finished(stage.run_dir("other")) is None


def test_a_failed_publication_leaves_the_run_unfinished(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Manifest:
        message = "the store is full"
        raise ArtifactError(message)

    monkeypatch.setattr(ArtifactStore, "publish", fail)
    with pytest.raises(ArtifactError, match="full"):
        publish(stage)
    assert stage.finished(stage.run_dir()) is None


def test_a_run_whose_files_went_is_done_again(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    published = publish(stage)
    weights = Path(published.path, "weights.bin")
    weights.write_text("shorter")
    assert stage.finished(stage.run_dir()) is not None
    weights.unlink()
    capsys.readouterr()
    (stage.run_dir() / ".manifest.json.draft").touch()
    assert stage.finished(stage.run_dir()) is None
    assert not list(stage.run_dir().glob(".manifest*")), "what a killed run has left goes too"
    assert capsys.readouterr().out == f"pretrain  {published.path} lacks weights.bin: running again\n"
    weights.write_text("half-of")
    assert stage.finished(stage.run_dir()) is None


def test_the_other_ranks_follow_rank_0(job_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leader, follower = make_stage(job_dir), make_stage(job_dir, rank=1)
    assert leader.finished(leader.run_dir()) is None
    assert follower.finished(follower.run_dir()) is None
    published = publish(leader)
    assert follower.finished(follower.run_dir()) == published
    Path(published.path, "weights.bin").unlink()
    capsys.readouterr()
    assert follower.finished(follower.run_dir()) is None
    assert capsys.readouterr().out == ""


def test_a_damaged_manifest_is_no_reason_to_start_over_silently(stage: Stage) -> None:
    path = stage.run_dir() / "manifest.json"
    path.write_text("{")
    with pytest.raises(ArtifactError, match=str(path)):
        stage.finished(stage.run_dir())


def test_an_earlier_run_is_taken_over(job_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = make_stage(job_dir)
    publish(stage, result=StageResult("loss", 8.0, 4.0))
    before = read_result(job_dir)
    earlier = stage.finished(stage.run_dir())
    assert earlier is not None
    assert stage.reuse(earlier) == earlier
    assert read_result(job_dir) == {**before, "reused": True}
    assert ArtifactStore(tmp_path / "store").versions("tiny-model") == [1]
    assert capsys.readouterr().out.splitlines()[-1] == "pretrain  reused tiny-model:v1"


def test_taking_over_makes_an_earlier_run_the_latest(job_dir: Path, tmp_path: Path) -> None:
    first, second = make_stage(job_dir), make_stage(job_dir, steps=4)
    published = publish(first)
    publish(second)
    earlier = first.finished(first.run_dir())
    assert earlier is not None
    again = first.reuse(earlier)
    assert again is not None
    assert again.reference == "tiny-model:v3"
    assert ArtifactStore(tmp_path / "store").get("tiny-model").path == published.path


def test_taking_over_fills_a_store_that_lost_it_or_calls_it_otherwise(job_dir: Path, tmp_path: Path) -> None:
    manifest = publish(make_stage(job_dir))
    renamed = make_stage(job_dir, artifact={"name": "renamed"}).reuse(manifest)
    assert renamed is not None
    assert renamed.reference == "renamed:v1"
    (tmp_path / "store").rename(tmp_path / "old")
    assert make_stage(job_dir).reuse(manifest) == manifest
    assert ArtifactStore(tmp_path / "store").names() == ["tiny-model"]


def test_a_run_killed_between_store_and_folder_ends_as_the_same_version(stage: Stage) -> None:
    first = publish(stage)
    (stage.run_dir() / "manifest.json").unlink()
    assert publish(stage, result=StageResult(seconds=9.0)) == first


def test_progress_starts_with_the_stages_label(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    stage.progress(5, unit="doc").update(5)
    assert capsys.readouterr().out.startswith("pretrain  doc 5/5")


def test_labels() -> None:
    facts = JobFacts("/store")
    names = ["nano3/data_prep/sft", "hello", "nano3/eval"]
    labels = [Stage(name, {}, Path("train.yaml"), facts).label for name in names]
    assert labels == ["data_prep/sft", "hello", "eval"]


def test_an_expected_error_becomes_a_message_and_a_status(
    job_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: Stage) -> None:
        message = "this is not JSON"
        raise DataError(message, where=Location(Path("data.jsonl"), 3), remedy="Correct the line.")

    monkeypatch.setattr(running, "die_with_parent", lambda: None)
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(job_dir / "train.yaml")])
    assert run_stage(main) == 2
    monkeypatch.setenv("NEMO_RUNSPEC_JOB_DIR", str(job_dir))
    assert run_stage(main) == 2
    says = "data.jsonl:3: this is not JSON\n  Correct the line."
    assert capsys.readouterr().err == f"data error: {says}\n" * 2
    error = json.loads((job_dir / "error.json").read_text())
    assert error == {"title": "data error", "message": says, "exit_code": 2}


def test_a_stage_that_ends_well_has_status_0(job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(job_dir / "train.yaml")])
    assert run_stage(lambda stage: stage.name) == 0


def test_ctrl_c_is_one_word_and_the_shell_s_status(
    job_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(_: Stage) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(job_dir / "train.yaml")])
    assert run_stage(main) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_an_unexpected_error_keeps_its_traceback(job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def main(_: Stage) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(job_dir / "train.yaml")])
    with pytest.raises(ZeroDivisionError):
        run_stage(main)


def test_a_package_that_is_not_installed_has_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.package_version() == metadata.version("nemotron")
    monkeypatch.setattr(running, "DISTRIBUTION", "no-such-distribution-of-nemotron")
    assert running.package_version() == "unknown"


SCRIPT = """
from nemo_runspec.stage import Stage, StageResult, run_stage

def main(stage: Stage) -> None:
    run_dir = stage.run_dir()
    if earlier := stage.finished(run_dir):
        stage.reuse(earlier)
        return
    progress = stage.progress(stage.config["steps"])
    for step in range(1, stage.config["steps"] + 1):
        progress.update(step, loss=1 / step)
    (run_dir / "weights.bin").write_text("weights")
    stage.publish(run_dir, path="weights.bin", type="model", result=StageResult("loss", last=1 / 3))

if __name__ == "__main__":
    raise SystemExit(run_stage(main))
"""


def test_a_script_as_its_own_process_and_then_again(job_dir: Path, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), "--config", str(job_dir / "train.yaml")]
    environment = {**os.environ, "NEMO_RUNSPEC_JOB_DIR": str(job_dir)}
    first = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert first.stdout.splitlines()[-1] == "pretrain  published tiny-model:v1"
    assert second.stdout == "pretrain  reused tiny-model:v1\n"
    assert read_result(job_dir)["reused"] is True
    broken = subprocess.run([*command[:-1], "gone.yaml"], env=environment, capture_output=True, text=True, check=False)
    assert broken.returncode == 2
    assert broken.stderr.startswith("configuration error: cannot read gone.yaml")
