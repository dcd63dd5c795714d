from __future__ import annotations

import pytest

from nemo_runspec.artifacts.reading import Reader
from nemo_runspec.errors import ArtifactError


def test_values_are_taken_by_type() -> None:
    reader = Reader({"a": 1, "b": {"x": "y"}, "c": ["p", "q"], "d": [{"n": 1}], "e": {"n": "m"}, "f": {"z": [1]}})
    assert reader.take("a", int) == 1
    assert reader.text_table("b") == {"x": "y"}
    assert reader.text_list("c") == ("p", "q")
    assert [entry.take("n", int) for entry in reader.each("d")] == [1]
    assert reader.nested("e").take("n", str) == "m"
    assert reader.table("f") == {"z": [1]}
    reader.finish()


@pytest.mark.parametrize("document", [None, [], "text", 3])
def test_a_document_is_an_object(document: object) -> None:
    with pytest.raises(ArtifactError, match="the document is not a JSON object"):
        Reader(document)


def test_a_missing_key_is_named() -> None:
    with pytest.raises(ArtifactError, match=r"'outer\.inner' is missing"):
        Reader({"outer": {}}).nested("outer").take("inner", str)


@pytest.mark.parametrize("value", [True, "1", 1.0, None])
def test_a_value_of_another_type_is_shown(value: object) -> None:
    with pytest.raises(ArtifactError, match=r"'version' is .*not of type int"):
        Reader({"version": value}).take("version", int)


def test_each_place_in_a_list_has_its_number() -> None:
    with pytest.raises(ArtifactError, match=r"'files\.1\.size' is missing"):
        [entry.take("size", int) for entry in Reader({"files": [{"size": 1}, {}]}).each("files")]
    with pytest.raises(ArtifactError, match=r"'argv\.1' is 2"):
        Reader({"argv": ["a", 2]}).text_list("argv")
    with pytest.raises(ArtifactError, match=r"files\.0 is not a JSON object"):
        Reader({"files": ["name"]}).each("files")


def test_an_unknown_key_gets_a_guess() -> None:
    reader = Reader({"metadata": {}, "metdata": {}})
    reader.table("metadata")
    with pytest.raises(ArtifactError, match="unknown key 'metdata'") as caught:
        reader.finish()
    assert caught.value.remedy == "Did you mean 'metadata'?"
