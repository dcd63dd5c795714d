"""The Megatron-Bridge engine as far as it goes without Megatron-Bridge; tests/contract has the rest."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import ConfigError
from nemo_runspec.stage import Stage
from nemo_runspec.stage.given import JobFacts
from nemotron.training import megatron
from nemotron.training.megatron import LossWatch

if TYPE_CHECKING:
    from pathlib import Path

CONTAINER = SimpleNamespace(
    train=SimpleNamespace(train_iters=20, global_batch_size=4),
    logger=SimpleNamespace(log_interval=5),
    model=SimpleNamespace(seq_length=8),
)
RECIPE = "megatron.bridge.recipes.nemotronh.nemotron_3_nano_sft_config"


def _stage(tmp_path: Path, config: dict[str, Any] | None = None, rank: int = 0) -> Stage:
    facts = JobFacts(name="nano3/pretrain", folder=None, root=str(tmp_path / "artifacts"))
    given = {"output_dir": str(tmp_path / "output"), "artifact": {"name": "model"}, **(config or {})}
    return Stage(name="nano3/pretrain", config=given, config_path=tmp_path / "train.yaml", job=facts, rank=rank)


def _context(steps_done: int, loss: float | None = None) -> SimpleNamespace:
    state = SimpleNamespace(train_state=SimpleNamespace(step=steps_done))
    return SimpleNamespace(state=state, loss_dict=None if loss is None else {"lm loss": loss})


def _train(watch: LossWatch, start: int, end: int) -> None:
    watch.on_train_start(_context(start))
    for done in range(start, end):
        watch.on_train_step_end(_context(done, loss=100.0 - done))


def _watch(tmp_path: Path, rank: int = 0) -> LossWatch:
    ticks = itertools.count()
    return LossWatch(_stage(tmp_path, rank=rank), CONTAINER, tmp_path, clock=lambda: float(next(ticks)))


def test_the_loss_is_noted_at_the_first_the_logged_and_the_last_step(tmp_path: Path) -> None:
    watch = _watch(tmp_path)
    _train(watch, 0, 20)
    result = watch.result()
    assert result.curve == [(1, 100.0), (5, 96.0), (10, 91.0), (15, 86.0), (20, 81.0)]
    assert (result.metric, result.first, result.last) == ("loss", 100.0, 81.0)
    assert result.tokens == 20 * 4 * 8


def test_a_resumed_run_goes_on_with_the_curve_and_drops_steps_that_were_lost(tmp_path: Path) -> None:
    _train(_watch(tmp_path), 0, 12)
    with (tmp_path / "loss.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 15, "lo')
    first_run = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text(encoding="utf-8").splitlines()[:2]]
    resumed = _watch(tmp_path)
    _train(resumed, 8, 20)
    assert [point.step for point in resumed.points] == [1, 5, 10, 15, 20]
    stored = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [point["step"] for point in stored] == [1, 5, 10, 15, 20]
    assert stored[:2] == first_run
    seconds = [point["seconds"] for point in stored]
    assert seconds == sorted(seconds)
    assert resumed.result().seconds > seconds[-1]


def test_only_rank_0_writes_and_a_rank_without_the_loss_notes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = _watch(tmp_path, rank=1)
    watch.on_train_start(_context(0))
    watch.on_train_step_end(_context(0))
    assert watch.points == []
    assert not (tmp_path / "loss.jsonl").exists()
    assert capsys.readouterr().out == ""


def test_progress_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _train(_watch(tmp_path), 0, 20)
    assert "step 20/20  loss 81" in capsys.readouterr().out


def test_a_rank_that_is_told_no_loss_still_reports_what_it_knows(tmp_path: Path) -> None:
    watch = _watch(tmp_path)
    watch.on_train_start(_context(0))
    for done in range(20):
        watch.on_train_step_end(_context(done))
    result = watch.result()
    assert (result.first, result.last, result.tokens) == (None, None, 20 * 4 * 8)
    assert list(result.curve) == []


def test_pretraining_wants_the_data(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.path is needed"):
        megatron.pretrain(_stage(tmp_path))


def test_sft_wants_a_checkpoint_to_start_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"checkpoint\.pretrained_checkpoint is needed"):
        megatron.sft(_stage(tmp_path, {"checkpoint": {"save_interval": 10}}))


def test_without_the_library_the_error_names_the_tiny_configuration(tmp_path: Path) -> None:
    config = {"recipe": {"_target_": RECIPE}, "checkpoint": {"pretrained_checkpoint": "/model"}}
    with pytest.raises(ConfigError, match="Megatron-Bridge is not installed here") as caught:
        megatron.sft(_stage(tmp_path, config))
    assert "-c tiny" in str(caught.value)
