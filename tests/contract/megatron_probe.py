"""Builds configurations with the real Megatron-Bridge, in a process of its own.

Run as `-m tests.contract.megatron_probe REQUEST ANSWER`. REQUEST is a JSON file, a mapping of case name to what to do
(`kind`, one of `PROBES`, and what that reads); ANSWER becomes one with what came of each: `{"value": ...}`, or
`{"error": {"type", "message"}}` for an error that a user would see.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from tests.contract import cuda_stand_ins, megatron_data_probe

if TYPE_CHECKING:
    from collections.abc import Callable

Request = dict[str, Any]


def build(request: Request) -> dict[str, Any]:
    """Build a stage's configuration, let the library check it for a cluster's size, and read values from it.

    Args:
        request: `config`, `run_dir`, `world_size`, `read` (dotted names), and `blend` (folder) for pretraining.
    """
    from megatron.bridge.training.config import runtime_config_update  # noqa: PLC0415 - after the stand-ins

    from nemotron.training.megatron_config import attach_blend, build_config  # noqa: PLC0415 - imports the library

    container = build_config(request["config"], Path(request["run_dir"]))
    if "blend" in request:
        attach_blend(container, Path(request["blend"]))
    built = {name: _plain(_get(container, name)) for name in request["read"]}
    os.environ.update(WORLD_SIZE=str(request["world_size"]), RANK="0", LOCAL_RANK="0")
    runtime_config_update(container)
    return built


def batch(request: Request) -> dict[str, Any]:
    """Build the SFT datasets and collate one batch.

    Args:
        request: `config`, `run_dir`, `pad_id` (the tokenizer's end token), and `rows` (numbers of the packs).
    """
    from megatron.bridge.training.config import DatasetBuildContext  # noqa: PLC0415 - after the stand-ins

    from nemotron.training.megatron_config import build_config  # noqa: PLC0415 - imports the library

    container = build_config(request["config"], Path(request["run_dir"]))
    tokenizer = SimpleNamespace(eos_id=request["pad_id"])
    context = DatasetBuildContext(train_samples=8, valid_samples=1, test_samples=0, tokenizer=tokenizer)
    train, validation, test = container.dataset.build_datasets(context)
    collated = train.collate_fn([train[row] for row in request["rows"]])
    return {
        "train": len(train),
        "validation": None if validation is None else len(validation),
        "test": test,
        **{name: _plain(value) for name, value in collated.items()},
    }


def shards(request: Request) -> dict[str, Any]:
    """Read shards as training does.

    Args:
        request: `prefix`, the path of a pair without suffix.
    """
    from megatron.core.datasets.indexed_dataset import IndexedDataset  # noqa: PLC0415 - after the stand-ins

    dataset = IndexedDataset(request["prefix"])
    return {
        "documents": [_plain(dataset[number]) for number in range(len(dataset))],
        "document_indices": _plain(dataset.document_indices),
        "dtype": dataset[0].dtype.name,
    }


def interface(_request: Request) -> dict[str, Any]:
    """Call the training entry point as the engine does, short of training, and say what the callbacks are given."""
    from megatron.bridge.training import callbacks, pretrain  # noqa: PLC0415 - after the stand-ins
    from megatron.bridge.training.state import TrainState  # noqa: PLC0415 - as above

    from nemotron.training import megatron  # noqa: PLC0415 - imports the library

    calls: list[dict[str, Any]] = []
    entry = inspect.signature(pretrain.pretrain)

    def record(*args: object, **kwargs: object) -> None:
        calls.append(entry.bind(*args, **kwargs).arguments)

    pretrain.pretrain = record
    watch: Any = SimpleNamespace(on_train_start=print, on_train_step_end=print)
    megatron.train(SimpleNamespace(), watch)
    manager = calls[0]["callbacks"]
    return {
        "arguments": sorted(calls[0]),
        "forward_step": list(inspect.signature(calls[0]["forward_step_func"]).parameters),
        "events": sorted(event for event in manager.events if manager.list_callbacks(event)),
        "context": [field.name for field in fields(callbacks.CallbackContext)],
        "train_state": [field.name for field in fields(TrainState)],
    }


def versions(_request: Request) -> dict[str, str]:
    """Give the versions that the answers hold for."""
    return {name: metadata.version(name) for name in ("megatron-bridge", "megatron-core", "torch", "transformers")}


PROBES: dict[str, Callable[[Request], dict[str, Any]]] = {
    "build": build,
    "batch": batch,
    "shards": shards,
    "interface": interface,
    "versions": versions,
    **megatron_data_probe.PROBES,
}


def main(request_path: str, answer_path: str) -> None:
    """Answer all requests."""
    cuda_stand_ins.install()
    import torch  # noqa: PLC0415 - after the stand-ins

    from nemo_runspec.errors import NemotronError  # noqa: PLC0415 - with the imports above

    # The library asks which GPU it has when it checks an expert-parallel dispatcher: say an H100.
    gpu = SimpleNamespace(major=9, minor=0, name="NVIDIA H100 80GB HBM3")
    answers: dict[str, Any] = {}
    with patch.object(torch.cuda, "get_device_properties", lambda *_: gpu):
        for name, request in json.loads(Path(request_path).read_text(encoding="utf-8")).items():
            try:
                answers[name] = {"value": PROBES[request["kind"]](request)}
            except NemotronError as error:
                answers[name] = {"error": {"type": type(error).__name__, "message": str(error)}}
    Path(answer_path).write_text(json.dumps(answers), encoding="utf-8")


def _get(value: Any, name: str) -> Any:  # noqa: ANN401 - any field of the library's dataclasses
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _plain(value: Any) -> Any:  # noqa: ANN401 - any field of the library's dataclasses
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | None) else str(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
