"""The dataset that Megatron-Bridge trains on in SFT: our packed Parquet, through the library's own packed dataset.

Named by `dataset._target_` in the SFT recipe and imported inside the NGC image only: it subclasses Megatron-Bridge.
Release 0.3.1 reads packs from one pickled `.npy` file held in memory; its collation (boundaries, position ids,
cu_seqlens, padding) is kept as it is, only where the packs come from is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron.bridge.data.datasets.sft import GPTSFTPackedDataset
from megatron.bridge.training.config import DatasetBuildContext, DatasetProvider, FinetuningDatasetConfig

from nemo_runspec.errors import ConfigError, DataError
from nemotron.training.packed_rows import PackedRows


class ParquetPackedDataset(GPTSFTPackedDataset):  # type: ignore[misc]  # the library is not importable where types are checked
    """Megatron-Bridge's packed dataset over Parquet files; `file_path` is a glob pattern."""

    def _load_dataset(self) -> None:
        pattern = Path(self.file_path)
        self.indexed_dataset = PackedRows(sorted(pattern.parent.glob(pattern.name)))


@dataclass(kw_only=True)
class PackedParquet(FinetuningDatasetConfig, DatasetProvider):  # type: ignore[misc]  # as above
    """Where the packs lie, and how to make the datasets of it.

    Args:
        path: Folder that `data prep sft` wrote.
        train: Glob pattern of the training packs, below `path`.
        validation: Glob pattern of the validation packs, below `path`; no match means no validation.
    """

    path: str
    train: str = "splits/train/*.parquet"
    validation: str = "splits/valid/*.parquet"

    def build_datasets(self, context: DatasetBuildContext) -> tuple[Any, Any, Any]:
        """Make the datasets; Megatron-Bridge calls this on every rank.

        Args:
            context: The run's tokenizer (its end token pads a pack) and the wanted sample counts, which do not
                matter here: the library starts over when the packs are used up.

        Returns:
            Training, validation and test dataset; the last is always None.

        Raises:
            ConfigError: `packed_sequence_specs` gives no pack size.
            DataError: No training packs, or they cannot be read.
        """
        train = self._dataset(self.train, context)
        if train is None:
            message = f"no packed samples at {Path(self.path) / self.train}"
            raise DataError(message, remedy="Run `nemotron nano3 data prep sft`, and name its artifact in run.data.")
        validation = self._dataset(self.validation, context) if self.do_validation else None
        return train, validation, None

    def _dataset(self, pattern: str, context: DatasetBuildContext) -> ParquetPackedDataset | None:
        specs = self.packed_sequence_specs
        if specs is None or specs.packed_sequence_size <= 0:
            message = "dataset.packed_sequence_specs.packed_sequence_size is needed: the data is packed"
            raise ConfigError(message, remedy="Give the pack size of the data preparation.")
        if not any(Path(self.path).glob(pattern)):
            return None
        return ParquetPackedDataset(
            file_path=str(Path(self.path) / pattern),
            tokenizer=context.tokenizer,
            max_seq_length=specs.packed_sequence_size,
            pad_to_max_length=True,
            pad_seq_to_mult=specs.pad_seq_to_mult,
            pad_cu_seqlens=specs.pad_cu_seqlens,
            pack_metadata_file_path=specs.packed_metadata_path,
            seed=self.seed,
            # The base class checks its text fields although packs have none; these are create_sft_dataset's own.
            prompt_template="{input} {output}",
            label_key="output",
            truncation_field="input",
        )
