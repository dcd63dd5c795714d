from __future__ import annotations

import pytest

from nemo_runspec.errors import ConfigError
from nemotron.data_prep.options import TokenizerSettings, WorkOptions, check_choice, check_given


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (None, None),
        ("1", 1),
        ("100B", 100),
        ("64MiB", 64 << 20),
        ("64 MiB", 64 << 20),
        (" 1.5GB ", 1_500_000_000),
        ("2KB", 2000),
        ("2KiB", 2048),
        ("3MB", 3_000_000),
        ("0.5GiB", 1 << 29),
    ],
)
def test_sizes(written: str | None, size: int | None) -> None:
    assert WorkOptions(shard_size=written).shard_bytes() == size


@pytest.mark.parametrize("written", ["", "0", "0MiB", "-1MB", "MiB", "64 mib", "1TB", "64MiB per shard", "1e9", "0.1B"])
def test_what_is_no_size(written: str) -> None:
    with pytest.raises(ConfigError, match=f"shard_size is '{written}'") as raised:
        WorkOptions(shard_size=written).check()
    assert raised.value.remedy == "Write a size such as 64MiB."


@pytest.mark.parametrize(
    ("options", "said", "remedy"),
    [
        ({"on_error": "skipp"}, "on_error is 'skipp'", "Did you mean 'skip'?"),
        ({"backend": "rai"}, "backend is 'rai'", "Did you mean 'ray'?"),
        ({"sample": 0}, "sample is 0", "It must be above zero."),
        ({"workers": -1}, "workers is -1", "It must be above zero."),
    ],
)
def test_what_makes_no_sense(options: dict[str, object], said: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=said) as raised:
        WorkOptions(**options).check()  # type: ignore[arg-type]  # entries are of several types
    assert raised.value.remedy == remedy


@pytest.mark.parametrize("backend", ["auto", "processes", "ray"])
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_what_makes_sense(backend: str, on_error: str) -> None:
    WorkOptions(backend=backend, on_error=on_error, sample=1, workers=1, shard_size="1MiB").check()


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"vocab_size": 0}, r"tokenizer\.vocab_size is 0"), ({"engine": "fast"}, r"tokenizer\.engine is 'fast'")],
)
def test_a_tokenizer_that_makes_no_sense(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        TokenizerSettings(**settings)  # type: ignore[arg-type]  # entries are of several types


def test_an_unlike_value_gets_the_list_of_those_known() -> None:
    with pytest.raises(ConfigError, match="overlong is 'xyz'") as raised:
        check_choice("overlong", "xyz", ("drop", "truncate"))
    assert "drop, truncate" in str(raised.value.remedy)


def test_only_what_is_given_is_checked() -> None:
    check_given(WorkOptions(), "sample", "workers")
    with pytest.raises(ConfigError, match="workers is 0"):
        check_given(WorkOptions(workers=0), "sample", "workers")
