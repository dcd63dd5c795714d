from __future__ import annotations

import pytest

from nemo_runspec.errors import UsageError
from nemotron.cli.ages import age_text, seconds_of


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5h", 5400), ("2d", 172_800), (" 1w ", 604_800)])
def test_an_age_in_seconds(text: str, seconds: float) -> None:
    assert seconds_of("--ttl", text) == seconds


@pytest.mark.parametrize("text", ["", "90", "h", "-1h", "1 h", "1y"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(UsageError, match=r"--ttl .*that is no age"):
        seconds_of("--ttl", text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (119, "119s"), (120, "2m"), (7200, "2h"), (200_000, "2d")])
def test_seconds_as_an_age(seconds: float, text: str) -> None:
    assert age_text(seconds) == text
