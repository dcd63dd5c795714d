"""Evaluation as a script."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.nemotron.recipes.nano3.running import run_script, write_config

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemotron.recipes.nano3.running import Finished, Prepared


@pytest.mark.slow
def test_models_are_measured_alike_on_text_conversations_and_prompts(
    tmp_path: Path, prepared: Prepared, pretrained: Finished
) -> None:
    config = write_config(
        tmp_path,
        "eval",
        models={name: str(pretrained.model) for name in ("pretrain", "sft", "rl")},
        text={"path": prepared.text, "windows": 4, "sequence_length": 32},
        conversations={"path": prepared.chats},
        prompts={"path": prepared.prompts},
        sampling={"max_answer_tokens": 8},
    )
    finished = run_script(config, "eval/evaluate.py")
    assert finished.status == 0, finished.output
    facts = json.loads(finished.model.read_text())
    measured = facts["models"]
    # The same model three times, and the same seeds: the same numbers.
    assert measured["pretrain"] == measured["sft"] == measured["rl"]
    assert all(value is not None for value in measured["rl"].values())
    assert finished.manifest["type"] == "evaluation"
    assert finished.result["metric"] == "reward"
    assert finished.result["first"] == finished.result["last"]
    assert facts["constant"]["measured"]["distinct_answers"] == 1
    assert set(facts["constant"]["gains"]) == {"pretrain", "sft", "rl"}
    assert finished.result["details"] == {key: finished.manifest["metadata"][key] for key in facts} == facts
    for heading in ("best constant answer", "perplexity", "answer loss", "reward"):
        assert heading in finished.output
