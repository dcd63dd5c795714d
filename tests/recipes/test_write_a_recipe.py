"""The recipe that docs/write-a-recipe.md shows does what the page says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.spec import BLOCK
from nemo_runspec.toml.kinds import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "write-a-recipe.md"


def block(language: str, holding: str) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return next(str(text) for text in found if holding in text)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a folder with the page's recipe and some text to count."""
    (tmp_path / "words" / "config").mkdir(parents=True)
    (tmp_path / "words" / "words.py").write_text(block("python", "my/words"), encoding="utf-8")
    (tmp_path / "words" / "config" / "default.yaml").write_text(block("yaml", "my-words"), encoding="utf-8")
    (tmp_path / "pyproject.toml").touch()
    for folder, suffix in (("docs", "md"), ("notes", "txt")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"a.{suffix}").write_text("one two three", encoding="utf-8")
    (tmp_path / "docs" / "b.md").write_text("four", encoding="utf-8")
    return tmp_path


def nemotron(folder: Path, *arguments: str) -> str:
    program = Path(sys.executable).with_name("nemotron")
    command = [str(program), "run", "words/words.py", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_recipe_of_the_page(project: Path) -> None:
    assert "words/words.py" in nemotron(project, "--dry-run")
    assert not (project / "output").exists()

    assert "words  published my-words:v1" in nemotron(project)
    found = list((project / "output" / "my" / "words").glob("*/words.json"))
    assert [json.loads(path.read_text(encoding="utf-8")) for path in found] == [{"words": 4}]

    assert "words  reused my-words:v1" in nemotron(project)
    assert "words  published my-words:v2" in nemotron(project, "folder=notes", "suffix=.txt")


def keys(record: Record, above: str = "") -> Iterator[str]:
    for name, kind in record.keys.items():
        if isinstance(kind, Record):
            yield from keys(kind, f"{above}{name}.")
        else:
            yield above + name


def test_the_page_explains_every_key_of_the_block() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## The block")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w.]+)`", section, re.MULTILINE) == list(keys(BLOCK))
