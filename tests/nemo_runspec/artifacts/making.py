"""Manifests for tests."""

from __future__ import annotations

import dataclasses
from typing import Any

from nemo_runspec.artifacts import FileEntry, Manifest, Producer


def manifest(name: str = "tiny-model", **changes: Any) -> Manifest:  # noqa: ANN401 - any field of a Manifest
    made = Manifest(
        name=name,
        type="model",
        path="/results/model",
        producer=Producer("nano3/pretrain", ("nemotron", "nano3"), {"commit": "abc"}, {"python": "3.11"}, "d" * 64),
        metadata={"vocab_size": 4096},
        result={"metric": "loss", "first": 8.3},
        inputs={"data": "tiny-data:v1"},
        files=(FileEntry("weights.bin", 3, "e" * 64),),
    )
    return dataclasses.replace(made, **changes)
