"""What the configurations of all three preparations have in common, and how it is checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nemo_runspec.errors import ConfigError, guess
from nemotron.data_prep.encoding.choice import ENGINES
from nemotron.data_prep.holdout import Holdout, check_fraction
from nemotron.data_prep.shards import BACKENDS
from nemotron.settings import check_positive

ON_ERROR = ("fail", "skip")
_SIZE = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?) ?(?P<unit>B|KiB|MiB|GiB|KB|MB|GB)?")
_UNITS = {
    None: 1,
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOptions:
    """How the work is done, in every preparation.

    Args:
        on_error: `fail` at the first record that cannot be used, or `skip` such records, count and list them.
        sample: Use only the first records of each data set, this many; None uses all.
        shard_size: Input of one shard, such as "64MiB"; None decides by the size of each file.
        workers: Processes; None takes one for each CPU.
        backend: `processes`, `ray`, or `auto`.
    """

    on_error: str = "fail"
    sample: int | None = None
    shard_size: str | None = None
    workers: int | None = None
    backend: str = "auto"

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ConfigError: Naming the entry.
        """
        check_choice("on_error", self.on_error, ON_ERROR)
        check_choice("backend", self.backend, BACKENDS)
        check_given(self, "sample", "workers")
        self.shard_bytes()

    def shard_bytes(self) -> int | None:
        """Give `shard_size` in bytes.

        Raises:
            ConfigError: It is no size.
        """
        if self.shard_size is None:
            return None
        found = _SIZE.fullmatch(self.shard_size.strip())
        size = int(float(found["number"]) * _UNITS[found["unit"]]) if found else 0
        if size <= 0:
            message = f"shard_size is '{self.shard_size}'"
            raise ConfigError(message, remedy="Write a size such as 64MiB.")
        return size


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitOptions(WorkOptions):
    """What is kept out of training, where the blend does not say it.

    Args:
        valid_fraction: Share of the records for validation.
        test_fraction: Share of the records for testing.
        seed: Another seed chooses others.
    """

    valid_fraction: float
    test_fraction: float = 0.0
    seed: int

    def check(self) -> None:
        """Refuse values that make no sense.

        Raises:
            ConfigError: Naming the entry.
        """
        WorkOptions.check(self)
        check_fraction("valid_fraction", self.valid_fraction)
        check_fraction("test_fraction", self.test_fraction)
        check_fraction("valid_fraction + test_fraction", self.valid_fraction + self.test_fraction)

    def holdout(self) -> Holdout:
        """Give which records are kept out."""
        return Holdout(self.valid_fraction, self.test_fraction, self.seed)


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """Which tokenizer.

    Args:
        path: A folder with a tokenizer.json, or a Hub id; None, where the stage permits it, trains one.
        vocab_size: Number of token ids of a trained one.
        engine: What encodes: `auto`, `hf` (tokenizers) or `gigatoken`.
    """

    path: str | None = None
    vocab_size: int = 4096
    engine: str = "auto"

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check_positive(self, "tokenizer", "vocab_size")
        check_choice("tokenizer.engine", self.engine, ENGINES)


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a value that is not one of those known.

    Raises:
        ConfigError: Naming the entry.
    """
    if value not in known:
        message = f"{name} is '{value}'"
        raise ConfigError(message, remedy=guess(value, known, what="values"))


def check_given(settings: object, *names: str) -> None:
    """Refuse entries that are given and are zero or less.

    Raises:
        ConfigError: Naming the first such entry.
    """
    check_positive(settings, "", *(name for name in names if getattr(settings, name) is not None))
