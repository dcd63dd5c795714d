from __future__ import annotations

import tomllib

import pytest

from nemo_runspec.env import EXECUTORS, RESERVED, ArtifactsTable, WandbTable, table_fields


def test_the_reserved_names() -> None:
    assert list(RESERVED) == ["wandb", "artifacts", "cache", "cli"]
    assert not set(RESERVED) & set(EXECUTORS)


@pytest.mark.parametrize("name", RESERVED)
def test_every_example_is_right(name: str) -> None:
    for info in table_fields(RESERVED[name]):
        assert list(info.kind.check(tomllib.loads(f"value = {info.example}")["value"])) == []


def test_tables_without_values_are_empty() -> None:
    assert WandbTable(name="wandb").as_config() == {}
    assert ArtifactsTable(name="artifacts").root is None
