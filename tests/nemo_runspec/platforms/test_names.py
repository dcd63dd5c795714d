from __future__ import annotations

import pytest

from nemo_runspec.platforms.limits import LIMITS
from nemo_runspec.platforms.names import TOKEN_LENGTH, new_token, workload_name
from nemo_runspec.rehearsal.platform_rules import LEPTON, RUNAI

TWINS = {"lepton": LEPTON, "dgxcloud": RUNAI}

TITLES = [
    "nano3-sft",
    "Nano3 SFT (tiny)_v1.0",
    "",
    "---",
    "___",
    "9b model",
    "1",
    "Größe äöü",
    "日本語",
    "a" * 200,
    "a-" * 100,
    "x" * 28 + "-y",
    "x" * 27 + "--y",
    "by",
    "run by",
    "b-y",
    "line\nbreak",
]


@pytest.mark.parametrize("platform", sorted(LIMITS))
@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("token", ["abc123", "000000", "lepton"])
def test_every_title_gives_a_name_that_the_platform_takes(title: str, token: str, platform: str) -> None:
    limits = LIMITS[platform]
    name = workload_name(title, token, limits)
    assert list(TWINS[platform].name_issues(name)) == []
    assert name.endswith(f"-{token}")
    assert "--" not in name


def test_a_name_is_legible() -> None:
    assert workload_name("Nano3_SFT.tiny", "abc123", LIMITS["lepton"]) == "nano3-sft-tiny-abc123"
    assert workload_name("9b", "abc123", LIMITS["dgxcloud"]) == "job-9b-abc123"
    assert workload_name("", "abc123", LIMITS["dgxcloud"]) == "job-abc123"


def test_a_long_title_uses_the_whole_length() -> None:
    assert len(workload_name("a" * 99, "abc123", LIMITS["lepton"])) == 36
    assert len(workload_name("a" * 99, "abc123", LIMITS["dgxcloud"])) == 35


@pytest.mark.parametrize("token", ["", "abc", "ABC123", "abc-12", "abc1234", "abc123\n"])
def test_a_token_that_is_none_is_a_mistake(token: str) -> None:
    with pytest.raises(ValueError, match="a token is 6 small letters and digits"):
        workload_name("x", token, LIMITS["lepton"])


def test_tokens_differ() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(len(token) == TOKEN_LENGTH and token.isalnum() and token == token.lower() for token in tokens)
