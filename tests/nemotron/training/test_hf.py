"""The parts of the Transformers engine that need no training; the recipe's tests run the rest."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import nemotron
from nemo_runspec.errors import ConfigError, DataError
from nemotron.data_prep.binidx import token_dtype
from nemotron.data_prep.packing import Sample
from nemotron.settings import read_settings
from nemotron.training.hf.data import IGNORED, Conversations, Stream, Windows, collate, conversation_example, read_blend
from nemotron.training.hf.drawing import seed_of, slices
from nemotron.training.hf.evaluation import EvaluationSettings
from nemotron.training.hf.grpo import GrpoTraining, improvement
from nemotron.training.hf.grpo_trainer import function_reward
from nemotron.training.hf.language import valid_windows
from nemotron.training.hf.model import in_bfloat16
from nemotron.training.hf.prompts import Prompt, draw_prompts, read_prompts, split_files
from nemotron.training.hf.run import History, TrainSettings, last_complete, remove_incomplete
from nemotron.training.rewards import Scorer
from tests.nemotron.data_prep.small import write_pair


def settings(batch_size: int) -> TrainSettings:
    return TrainSettings(10, batch_size, 0.1, 1, 0.0, 5, 1)


def sample(length: int, value: int = 7) -> Sample:
    mask = np.zeros(length, dtype=np.uint8)
    mask[length // 2 : -1] = 1
    return Sample(np.full(length, value, dtype=np.int32), mask)


def test_windows_follow_the_weights_and_come_round_again() -> None:
    streams = [Stream(np.arange(40), 3.0), Stream(np.arange(100, 120), 1.0)]
    windows = Windows(streams, 10, 40, seed=1)
    starts = [int(windows[position]["input_ids"][0]) for position in range(len(windows))]
    assert len(starts) == 40
    counts = {start: starts.count(start) for start in sorted(set(starts))}
    assert list(counts) == [0, 10, 20, 30, 100, 110]
    assert counts[100] + counts[110] == 10
    assert max(counts.values()) - min(counts[start] for start in (0, 10, 20, 30)) <= 1


def test_a_window_s_labels_are_its_tokens() -> None:
    example = Windows([Stream(np.arange(10, dtype=np.uint16), 1.0)], 5, 1, seed=0)[0]
    assert example["labels"].tolist() == example["input_ids"].tolist()
    assert len(example["input_ids"]) == 5


def test_a_stream_shorter_than_a_window() -> None:
    with pytest.raises(DataError, match="a token file has 4 tokens, fewer than a sequence of 5"):
        Windows([Stream(np.arange(4), 1.0)], 5, 1, seed=0)


def test_a_blend_names_its_streams(tmp_path: Path) -> None:
    write_pair(tmp_path / "a", [np.asarray([1, 2])], token_dtype(10))
    (tmp_path / "blend.json").write_text(
        json.dumps({"train": ["2.5", str(tmp_path / "a")], "valid": None, "test": None})
    )
    (stream,) = read_blend(tmp_path / "blend.json", "train")
    assert (stream.tokens.tolist(), stream.weight) == ([1, 2], 2.5)
    assert read_blend(tmp_path / "blend.json", "valid") == []


def blend_of(folder: Path, **streams: range) -> Path:
    for name, tokens in streams.items():
        write_pair(folder / name, [np.asarray(tokens)], token_dtype(1000))
    entries = [entry for name in streams for entry in ("1.0", str(folder / name))]
    (folder / "blend.json").write_text(json.dumps({"train": entries, "valid": entries, "test": None}))
    return folder


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        # Half of the windows each; all that the small one has; nothing of the one that is shorter than a window.
        (4, 4),
        (10, 3 + 5),
        (1000, 3 + 20),
    ],
)
def test_no_held_out_window_comes_twice(tmp_path: Path, count: int, expected: int) -> None:
    folder = blend_of(tmp_path, small=range(30), large=range(100, 300), tiny=range(900, 909))
    windows = valid_windows(folder, 10, count)
    starts = [int(window["input_ids"][0]) for window in windows]
    assert len(set(starts)) == len(starts) == expected
    assert {len(window["input_ids"]) for window in windows} == {10}
    assert {start >= 100 for start in starts} == {True, False}


def test_no_held_out_text(tmp_path: Path) -> None:
    assert valid_windows(blend_of(tmp_path, tiny=range(9)), 10, 4) == []


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_what_is_no_blend(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "blend.json").write_text(content)
    with pytest.raises(DataError, match=r"blend\.json: this is not the blend"):
        read_blend(tmp_path / "blend.json", "train")


def test_conversations_are_batched_by_length_and_all_seen_before_one_comes_again() -> None:
    samples = [sample(length) for length in range(4, 36)]
    conversations = Conversations(samples, 4, 64, seed=1)
    lengths = [len(conversations[position]["input_ids"]) for position in range(64)]
    assert sorted(lengths) == sorted([*range(4, 36)] * 2)
    batches = [lengths[first : first + 4] for first in range(0, 64, 4)]
    assert max(max(batch) - min(batch) for batch in batches) <= 3
    assert batches != sorted(batches)


def test_labels_undo_the_shift_of_the_stored_mask() -> None:
    stored = Sample(np.asarray([5, 6, 7, 8], dtype=np.int32), np.asarray([0, 1, 1, 0], dtype=np.uint8))
    assert conversation_example(stored)["labels"].tolist() == [IGNORED, IGNORED, 7, 8]


def test_padding_is_masked_and_never_a_label() -> None:
    batch = collate([conversation_example(sample(3)), conversation_example(sample(5))])
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert batch["labels"][0, 3:].tolist() == [IGNORED] * 2
    assert {name: tuple(values.shape) for name, values in batch.items()} == dict.fromkeys(batch, (2, 5))
    assert batch["input_ids"].dtype == torch.int64


def test_the_batch_is_shared_by_the_processes() -> None:
    assert settings(8).per_process(2) == 4
    with pytest.raises(ConfigError, match=r"train\.batch_size is 8, which 3 processes cannot share"):
        settings(8).per_process(3)


@pytest.mark.parametrize("batch_size", [0, -4])
def test_a_batch_of_nothing(batch_size: int) -> None:
    with pytest.raises(ConfigError, match=rf"train\.batch_size is {batch_size}"):
        settings(batch_size)


def test_answers_are_compared_in_whole_groups() -> None:
    with pytest.raises(ConfigError, match="multiple of answers_per_prompt"):
        GrpoTraining(10, 12, 0.1, 1, 0.0, 5, 1, answers_per_prompt=8)


@pytest.mark.parametrize(
    ("gpu", "native", "expected"), [(False, True, False), (True, False, False), (True, True, True)]
)
def test_bfloat16_is_for_gpus_that_have_it(
    monkeypatch: pytest.MonkeyPatch,
    gpu: bool,  # noqa: FBT001 a parameter of the test
    native: bool,  # noqa: FBT001 as above
    expected: bool,  # noqa: FBT001 as above
) -> None:
    def supported(*, including_emulation: bool = True) -> bool:
        return native or including_emulation

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert in_bfloat16() is expected


@pytest.mark.parametrize(("answers", "said"), [(1, "2 or more"), (0, "above zero")])
def test_an_answer_needs_another_one_to_be_compared_with(answers: int, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"answers_per_prompt is {answers}") as caught:
        GrpoTraining(10, 12, 0.1, 1, 0.0, 5, 1, answers_per_prompt=answers)
    assert said in str(caught.value)


@pytest.mark.parametrize(("workers", "said"), [(0, "above zero"), (17, "not be above batch_size, 16")])
def test_each_worker_has_something_to_draw(workers: int, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"generation_workers is {workers}") as caught:
        GrpoTraining(10, 16, 0.1, 1, 0.0, 5, 1, generation_workers=workers)
    assert said in str(caught.value)


@pytest.mark.parametrize(("count", "parts"), [(32, 2), (9, 2), (2, 3), (7, 7)])
def test_rows_are_shared_out_in_order(count: int, parts: int) -> None:
    shared = [list(range(count))[rows] for rows in slices(count, parts)]
    assert len(shared) == parts
    assert [row for part in shared for row in part] == list(range(count))
    assert max(map(len, shared)) - min(map(len, shared)) <= 1


def test_every_part_of_every_generation_has_a_seed_of_its_own() -> None:
    seeds = {seed_of(seed, generation, part) for seed in (1, 2) for generation in range(20) for part in range(3)}
    assert len(seeds) == 120
    assert seed_of(1234, 7, 1) == seed_of(1234, 7, 1)


def test_only_complete_checkpoints_are_kept_and_the_newest_is_found(tmp_path: Path) -> None:
    for step, complete in ((5, True), (10, True), (90, True), (100, False)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
        if complete:
            (folder / "complete.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    remove_incomplete(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "checkpoint-10",
        "checkpoint-5",
        "checkpoint-90",
        "notes",
    ]
    assert last_complete(tmp_path) == tmp_path / "checkpoint-90"
    assert last_complete(tmp_path / "notes") is None


def test_a_curve_is_the_first_value_and_then_means() -> None:
    entries = [{"step": float(step), "loss": float(step), "seconds": step / 2} for step in range(1, 26)]
    history = History(entries)
    assert history.curve("loss") == [(1, 1.0), (10, 5.5), (20, 15.5), (25, 20.5)]
    assert history.seconds == 12.5
    assert history.held_out() == []


def test_held_out_values_start_before_the_first_step() -> None:
    first = {"step": 1, "held_out_loss_before": 9.0}
    assert History([first, {"step": 2, "held_out_loss": 7.0}]).held_out() == [(0, 9.0), (2, 7.0)]


def test_improvement_is_measured_in_its_own_noise() -> None:
    gained = improvement([0.1, 0.3, 5.0, 5.0, 5.0, 5.0, 0.7, 0.9])
    assert gained is not None
    assert (gained.first_quarter, gained.last_quarter) == pytest.approx((0.2, 0.8))
    assert gained.standard_error == pytest.approx(math.sqrt(0.02 / 2 + 0.02 / 2))
    assert gained.z == pytest.approx(gained.difference / gained.standard_error)


@pytest.mark.parametrize(("rewards", "z"), [([0.5] * 7, None), ([0.5] * 8, 0.0)])
def test_improvement_of_too_little(rewards: list[float], z: float | None) -> None:
    gained = improvement(rewards)
    assert (gained.z if gained else None) == z


def test_rewards_in_the_trainer_s_form() -> None:
    answers = [[{"role": "assistant", "content": text}] for text in ("def f(a): pass", "((")]
    reward = function_reward(Scorer().score)
    assert reward(answers, ["f", "f"], [["a"], ["a"]], prompts=[]) == pytest.approx([1.0, 0.0])


def test_prompts_are_read(tmp_path: Path) -> None:
    row = {"prompt": [{"role": "user", "content": "x"}], "expected": {"name": "f", "arguments": []}}
    (tmp_path / "val.jsonl").write_text(json.dumps(row) + "\n")
    assert read_prompts([tmp_path / "val.jsonl"]) == [Prompt([{"role": "user", "content": "x"}], "f", [])]


def test_a_split_in_several_files(tmp_path: Path) -> None:
    row = {"prompt": [], "expected": {"name": "f", "arguments": []}}
    files = [tmp_path / "train" / f"train-0000{number}-of-00002.jsonl" for number in range(2)]
    (tmp_path / "train").mkdir()
    for file in files:
        file.write_text(json.dumps(row) + "\n")
    (tmp_path / "manifest.json").write_text(json.dumps({"train": [*map(str, files)], "val": "", "test": ""}))
    assert split_files(str(tmp_path), "train") == files
    assert len(read_prompts(split_files(str(tmp_path), "train"))) == 2


def test_only_a_line_feed_ends_a_row(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\u2029four\x1cfive"
    row = {"prompt": [{"role": "user", "content": text}], "expected": {"name": "f", "arguments": []}}
    rows = json.dumps(row, ensure_ascii=False) + "\n"
    (tmp_path / "val.jsonl").write_text(rows * 2, encoding="utf-8")
    assert [prompt.messages[0]["content"] for prompt in read_prompts([tmp_path / "val.jsonl"])] == [text] * 2


def test_prompts_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "val.jsonl").write_bytes(b'{"prompt": "\xe9"}\n')
    with pytest.raises(DataError, match="cannot be read: it is not UTF-8"):
        read_prompts([tmp_path / "val.jsonl"])


def test_prompts_are_drawn_from_the_whole_file_and_the_same_for_a_seed(tmp_path: Path) -> None:
    rows = [{"prompt": [], "expected": {"name": f"f{number:03}", "arguments": []}} for number in range(200)]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    names = [prompt.name for prompt in draw_prompts([tmp_path / "val.jsonl"], 40, 1)]
    assert len(set(names)) == 40
    assert min(names) < "f040"
    assert max(names) >= "f160"
    assert names == [prompt.name for prompt in draw_prompts([tmp_path / "val.jsonl"], 40, 1)]
    assert names != [prompt.name for prompt in draw_prompts([tmp_path / "val.jsonl"], 40, 2)]
    assert len(draw_prompts([tmp_path / "val.jsonl"], 999, 1)) == 200


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("", "there are no prompts"), ('{"prompt": []}\n', ":1: "), ("{\n", ":1: ")],
)
def test_what_is_no_prompt(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "val.jsonl").write_text(content)
    with pytest.raises(DataError, match=said):
        read_prompts([tmp_path / "val.jsonl"])


def test_the_production_configuration_is_one_that_the_evaluation_takes() -> None:
    folder = Path(nemotron.__file__).parent / "recipes" / "nano3" / "eval" / "config"
    config = yaml.safe_load(re.sub(r"\$\{.*?\}", "somewhere", (folder / "default.yaml").read_text()))
    del config["run"]
    settings = read_settings(config, EvaluationSettings)
    assert {settings.compare.before, settings.compare.after} <= set(settings.models)
    assert settings.prompts is None
