"""What docs/artifacts.md shows is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from nemo_runspec.artifacts import ArtifactStore, Manifest, Producer
from nemo_runspec.artifacts.manifest import parse_manifest
from tests.nemo_runspec.artifacts.making import manifest

PAGE = Path(__file__).parents[3] / "docs" / "artifacts.md"


def blocks(language: str) -> list[str]:
    """Give the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_manifest_of_the_page_can_be_read() -> None:
    (text,) = blocks("json")
    assert parse_manifest(text.encode(), str(PAGE)).reference == "nano3-tiny-pretrain-model:v1"


def test_the_table_explains_every_key() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("## The manifest")[2]
    explained = {
        key for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)
    }
    assert explained == {"schema", *(field.name for field in fields(Manifest))}


def test_the_python_example_prints_what_the_page_says(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path / "output" / "artifacts")
    data = manifest("nano3-tiny-pretrain-data", producer=Producer("nano3/data_prep/pretrain"), inputs={})
    store.publish(data)
    store.publish(manifest("nano3-tiny-pretrain-model", inputs={"data": "nano3-tiny-pretrain-data:v1"}))
    example = blocks("python")[-1]
    result = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == blocks("text")[-1]
