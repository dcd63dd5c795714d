"""constraints.txt pins what pyproject.toml asks for; `make constraints` writes it anew."""

from __future__ import annotations

import tomllib

import pytest
from packaging.requirements import Requirement

from scripts import install
from tests.guardrails.checkout import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def pins() -> dict[str, str]:
    lines = install.CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    found = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {name.lower().replace("_", "-"): version for name, _, version in found}


def requirements() -> list[str]:
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    return wanted + [requirement for extra in extras.values() for requirement in extra]


@pytest.mark.parametrize("text", requirements())
def test_requirement_is_pinned_to_a_version_it_allows(text: str) -> None:
    requirement = Requirement(text)
    version = pins().get(requirement.name.lower().replace("_", "-"))
    assert version is not None, "not in constraints.txt: run `make constraints`"
    assert requirement.specifier.contains(version, prereleases=True)


def test_every_pin_is_exact_and_names_no_build() -> None:
    assert [version for version in pins().values() if not version or "+" in version] == []


def test_make_installs_only_extras_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = {extra for line in makefile.splitlines() if "--extras" in line for extra in line.split()[-1].split(",")}
    assert named == set(PROJECT["project"]["optional-dependencies"])
    assert named == set(install.EVERY_EXTRA.split(","))
