"""Reads prepared data with the real megatron-core and Megatron-Bridge; part of megatron_probe, which see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

Request = dict[str, Any]


def pairs(request: Request) -> dict[str, Any]:
    """Read pairs of token files as training does.

    Args:
        request: `prefixes`, paths without extension, and `mmap`, whether the files are mapped into memory.
    """
    from megatron.core.datasets.indexed_dataset import IndexedDataset  # noqa: PLC0415 - after the stand-ins

    read = {}
    for prefix in request["prefixes"]:
        dataset = IndexedDataset(prefix, mmap=request["mmap"])
        read[prefix] = {
            "exists": IndexedDataset.exists(prefix),
            "sequences": [dataset[number].tolist() for number in range(len(dataset))],
            # The second half of each sequence alone, as a sample reads it that begins in the middle.
            "halves": [
                dataset.get(number, offset=int(size) // 2).tolist() for number, size in enumerate(_sizes(dataset))
            ],
            "lengths": _sizes(dataset),
            "document_indices": dataset.document_indices.tolist(),
            "dtype": dataset[0].dtype.name,
        }
    return read


def blend(request: Request) -> dict[str, Any]:
    """Build the datasets of a blend and count what they sample.

    Args:
        request: `blend` (a `blend.json`), `sequence_length`, `samples` (of training, validation and test), `cache`
            (an empty folder), `vocabulary` and `end` (id of the token that ends a document).

    Returns:
        For each split None, or its `prefixes` and `weights` as read, and for each prefix how many `samples` come from
        it, and the `tokens` of those, sorted, each once.
    """
    import torch  # noqa: PLC0415 - after the stand-ins
    from megatron.bridge.data.loaders import get_blend_and_blend_per_split  # noqa: PLC0415 - as above
    from megatron.core.datasets.blended_megatron_dataset_builder import (  # noqa: PLC0415 - as above
        BlendedMegatronDatasetBuilder,
    )
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig  # noqa: PLC0415 - as above

    whole, per_split = get_blend_and_blend_per_split(per_split_data_args_path=request["blend"])
    config = GPTDatasetConfig(
        random_seed=1,
        sequence_length=request["sequence_length"],
        blend=whole,
        blend_per_split=per_split,
        path_to_cache=request["cache"],
        tokenizer=SimpleNamespace(vocab_size=request["vocabulary"], eod=request["end"], unique_identifiers={}),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        mid_level_dataset_surplus=0.005,
    )
    # The one process of a group of one: the library asks for its rank.
    torch.distributed.init_process_group("gloo", f"file://{request['cache']}.group", rank=0, world_size=1)
    try:
        built = BlendedMegatronDatasetBuilder(GPTDataset, request["samples"], lambda: True, config).build()
    finally:
        torch.distributed.destroy_process_group()
    names = ("train", "valid", "test")
    return {name: _sampled(dataset, part) for name, dataset, part in zip(names, built, per_split, strict=True)}


def packs(request: Request) -> dict[str, Any]:
    """Collate packs one by one with Megatron-Bridge's own packed dataset, over what reads our Parquet.

    Args:
        request: `file`, a glob pattern; `pack_size`, `pad_id` and `pad_seq_to_mult`; `metadata`, the JSON file that
            makes all `cu_seqlens` equally long, or None.
    """
    from nemotron.training.megatron_data import ParquetPackedDataset  # noqa: PLC0415 - imports the library

    dataset = ParquetPackedDataset(
        file_path=request["file"],
        tokenizer=SimpleNamespace(eos_id=request["pad_id"]),
        max_seq_length=request["pack_size"],
        pad_to_max_length=True,
        pad_seq_to_mult=request["pad_seq_to_mult"],
        pad_cu_seqlens=request["metadata"] is not None,
        pack_metadata_file_path=request["metadata"],
        prompt_template="{input} {output}",
        label_key="output",
        truncation_field="input",
    )
    collated = [dataset.collate_fn([dataset[row]]) for row in range(len(dataset))]
    names = ("tokens", "labels", "loss_mask", "position_ids", "cu_seqlens", "max_seqlen")
    unpadded = [name for name in ("cu_seqlens_unpadded",) if collated and name in collated[0]]
    columns = (*names, *unpadded)
    return {"rows": [{name: np.asarray(row[name])[0].tolist() for name in columns} for row in collated]}


PROBES: dict[str, Callable[[Request], dict[str, Any]]] = {"pairs": pairs, "blend": blend, "packs": packs}


def _sizes(dataset: Any) -> list[int]:  # noqa: ANN401 - the library ships no types
    return [int(size) for size in dataset.sequence_lengths]


def _sampled(dataset: Any, part: Any) -> dict[str, Any] | None:  # noqa: ANN401 - as above
    if dataset is None:
        return None
    prefixes, weights = part
    blended = hasattr(dataset, "dataset_index")
    sources = [int(source) for source in dataset.dataset_index] if blended else [0] * len(dataset)
    tokens: list[set[int]] = [set() for _ in prefixes]
    for number, source in enumerate(sources):
        tokens[source].update(dataset[number]["tokens"].tolist())
    return {
        "prefixes": list(prefixes),
        "weights": weights,
        "samples": [sources.count(source) for source in range(len(prefixes))],
        "tokens": [sorted(found) for found in tokens],
    }
