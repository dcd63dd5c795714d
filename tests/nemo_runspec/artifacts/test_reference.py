from __future__ import annotations

import pytest

from nemo_runspec.artifacts import Reference, check_name, parse_reference
from nemo_runspec.artifacts.reference import parse_version
from nemo_runspec.errors import ArtifactError


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("model", Reference("model")),
        ("model:latest", Reference("model")),
        ("nano3-tiny.model_2:v12", Reference("nano3-tiny.model_2", 12)),
    ],
)
def test_the_three_forms(text: str, reference: Reference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize("reference", [Reference("model"), Reference("model", 3)])
def test_a_reference_reads_its_own_text(reference: Reference) -> None:
    assert parse_reference(str(reference)) == reference


@pytest.mark.parametrize("version", ["", "3", "v0", "v-1", "v1.0", "V1", "v1:v2", "newest", "v٣", "v1\n"])
def test_a_wrong_version_is_named_with_the_forms(version: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        parse_reference(f"model:{version}")
    assert f"'{version}'" in caught.value.message
    assert "'name:v3'" in (caught.value.remedy or "")


@pytest.mark.parametrize("text", ["", ":v1", ":latest"])
def test_a_reference_needs_a_name(text: str) -> None:
    with pytest.raises(ArtifactError, match="has no name"):
        parse_reference(text)


@pytest.mark.parametrize("name", ["", ".hidden", "..", "a/b", "a b", "a\n", "späť", "a:b", "a*"])
def test_names_that_cannot_be_a_folder_of_the_store(name: str) -> None:
    with pytest.raises(ArtifactError, match="cannot name an artifact"):
        check_name(name)


def test_a_name_comes_back() -> None:
    assert check_name("A-1.b_c") == "A-1.b_c"


def test_the_number_of_a_version_folder() -> None:
    assert parse_version("v10") == 10
    assert parse_version("v01") is None
