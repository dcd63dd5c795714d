from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from nemo_runspec.platforms.limits import LIMITS, Limits, mount_problems, variable_problems
from nemo_runspec.rehearsal.platform_rules import LEPTON, RUNAI, PlatformRules

PAIRS = {"lepton": LEPTON, "dgxcloud": RUNAI}
EACH = pytest.mark.parametrize("executor", PAIRS)
# Every kind of character that the rules tell apart, at the beginning, in the middle and at the end.
CHARACTERS = "aZ0-._ é\n"
TEXTS = ["", *("".join(part) for count in (1, 2, 3) for part in itertools.product(CHARACTERS, repeat=count))]
PLATFORM_NAMES = """
    WORKSPACE_ID WORKSPACE_URL WORKSPACE_TOKEN WORKSPACE_ORIGIN_URL DEPLOYMENT_NAME PHOTON_NAME PHOTON_ID CLASSIC
    RESOURCE_ACCELERATOR_TYPE RESOURCE_ACCELERATOR_NUM JOB_NAME JOB_WORKER_INDEX WORKER_ID SUBDOMAIN VIRTUAL_ENV
"""
VARIABLES = [*TEXTS, *(f"LEPTON_{name}" for name in PLATFORM_NAMES.split()), "RUNAI_PROJECT", "PATH"]
FOLDERS = """
    / /bin /boot /dev /etc /home /lib /lib32 /lib64 /media /mnt /opt /proc /root /run /sbin /srv /sys /tmp /usr /var
    /usr/bin /usr/include /usr/lib /usr/local /usr/sbin /usr/share /sys/fs /sys/fs/cgroup /sys/kernel
    /sys/kernel/security /proc/sys /proc/bus /proc/self /usr/ //usr /usr/. /mnt/../usr /mnt/a/ mnt ./usr
"""


def disagreements(limits: Limits, rules: PlatformRules) -> list[str]:
    """Give everything that one side takes and the other refuses."""
    found = [name for name in VARIABLES if bool(variable_problems([name], limits)) is not any(_variable(rules, name))]
    found += [
        place
        for place in FOLDERS.split()
        if bool(mount_problems([place], limits)) is not bool(list(rules.mount_issues([place])))
    ]
    caps: dict[str, tuple[object, object]] = {
        "name": (limits.name_length, rules.name_characters),
        "ending": (limits.refused_endings, tuple(filter(None, [rules.ending]))),
        "word": (limits.argument_bytes, rules.word_characters),
    }
    if rules.value_characters is not None:
        caps["value"] = (limits.value_cap, rules.value_characters)
    return [*found, *(label for label, (ours, theirs) in caps.items() if ours != theirs)]


def _variable(rules: PlatformRules, name: str) -> list[str]:
    return list(rules.variable_issues(name))


@EACH
def test_a_client_and_its_twin_agree(executor: str) -> None:
    limits, rules = LIMITS[executor], PAIRS[executor]
    assert disagreements(limits, rules) == []
    assert limits.reserved_variables == rules.own_variables
    assert limits.reserved_mounts == rules.own_folders
    twice = ["/mnt/a", "/mnt/b", "/mnt/a/"]
    assert bool(mount_problems(twice, limits)) is bool(list(rules.mount_issues(twice))) is True


CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lepton", {"name_length": 35}),
    ("lepton", {"refused_endings": ()}),
    ("lepton", {"reserved_variables": frozenset({"LEPTON_JOB_NAME"})}),
    ("lepton", {"reserved_mounts": frozenset({"/"})}),
    ("dgxcloud", {"name_length": 63}),
    ("dgxcloud", {"value_cap": 10_001}),
    ("dgxcloud", {"argument_bytes": 9_999}),
    ("dgxcloud", {"reserved_mounts": frozenset({"/", "/usr"})}),
    ("dgxcloud", {"variable_pattern": LEPTON.name}),
)


@pytest.mark.parametrize(("executor", "change"), CHANGES)
def test_a_change_of_the_client_alone_is_noticed(executor: str, change: dict[str, Any]) -> None:
    assert disagreements(replace(LIMITS[executor], **change), PAIRS[executor])


TWINS_CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("lepton", {"name_characters": 37}),
    ("lepton", {"ending": ""}),
    ("lepton", {"own_variables": frozenset()}),
    ("lepton", {"own_folders": RUNAI.own_folders}),
    ("dgxcloud", {"name_characters": 36}),
    ("dgxcloud", {"value_characters": 9_999}),
    ("dgxcloud", {"word_characters": None}),
    ("dgxcloud", {"own_folders": LEPTON.own_folders}),
    ("dgxcloud", {"variable": LEPTON.name}),
)


@pytest.mark.parametrize(("executor", "change"), TWINS_CHANGES)
def test_a_change_of_the_twin_alone_is_noticed(executor: str, change: dict[str, Any]) -> None:
    assert disagreements(LIMITS[executor], replace(PAIRS[executor], **change))


def test_the_numbers_are_those_of_the_notes() -> None:
    assert (LEPTON.name_characters, LEPTON.value_characters, LEPTON.word_characters) == (36, None, None)
    assert (RUNAI.name_characters, RUNAI.value_characters, RUNAI.word_characters) == (35, 10_000, 10_000)
    assert (len(LEPTON.own_folders), len(LEPTON.own_variables)) == (24, 8)


@pytest.mark.parametrize("name", ["a", "a-b", "nano3-sft-abc123", "a" * 35])
def test_names_that_both_take(name: str) -> None:
    assert [*LEPTON.name_issues(name), *RUNAI.name_issues(name)] == []


@pytest.mark.parametrize("name", ["", "-a", "1a", "a-", "A", "a_b", "a.b", "a\n", "\u00e9", "a" * 37])
def test_names_that_both_refuse(name: str) -> None:
    assert any(LEPTON.name_issues(name))
    assert any(RUNAI.name_issues(name))


def test_an_ending_that_only_lepton_refuses() -> None:
    assert any(LEPTON.name_issues("made-by-lepton"))
    assert not any(RUNAI.name_issues("made-by-lepton"))
