from __future__ import annotations

from pathlib import Path

import pytest

from nemo_runspec.errors import DataError
from nemotron.data_prep.paths import local_path


def test_the_home_of_the_user_is_filled_in() -> None:
    assert local_path("~/b.json") == Path.home() / "b.json"


def test_the_home_of_nobody() -> None:
    with pytest.raises(DataError, match=r"'~nouser/b\.json' begins with the home of a user"):
        local_path("~nouser/b.json")
