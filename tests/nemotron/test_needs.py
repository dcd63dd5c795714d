from __future__ import annotations

import pytest

from nemo_runspec.errors import ConfigError
from nemotron.needs import packages_needed


def test_a_missing_package_is_told_with_the_way_to_get_it() -> None:
    with (
        pytest.raises(ConfigError, match="the engine 'x' needs the package 'torch'") as error,
        packages_needed("the engine 'x'"),
    ):
        raise ModuleNotFoundError(name="torch.nn")
    assert "nemotron[tiny]" in str(error.value)


def test_a_module_of_ours_that_is_missing_is_a_mistake_of_ours() -> None:
    with pytest.raises(ModuleNotFoundError), packages_needed("x"):
        raise ModuleNotFoundError(name="nemotron.nowhere")
