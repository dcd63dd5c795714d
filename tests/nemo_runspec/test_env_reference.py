from __future__ import annotations

import re
from pathlib import Path

import pytest

from nemo_runspec.env import EXECUTORS, RESERVED, profile_fields, table_fields
from nemo_runspec.env_reference import main, reference
from nemo_runspec.executors import FACTORIES

PAGE = Path(__file__).parents[2] / "docs" / "env-toml.md"


def test_the_page_is_what_the_profile_types_say() -> None:
    assert main(["--check", str(PAGE)]) == 0, "run: python -m nemo_runspec.env_reference --write docs/env-toml.md"


def test_every_key_has_its_row() -> None:
    page = reference()
    tables = [profile_fields(kind) for kind in EXECUTORS.values()] + [table_fields(kind) for kind in RESERVED.values()]
    for info in (info for fields in tables for info in fields):
        row = next(line for line in page.splitlines() if line.startswith(f"| `{info.name}`"))
        assert all(f"`{alias}`" in row for alias in info.aliases)


def test_every_executor_that_it_names_can_start_a_job() -> None:
    found = re.search(r"Every profile says its `executor`: ([^.]*)\.", reference())
    assert found is not None
    assert sorted(re.findall(r"`(\w+)`", found[1])) == sorted(FACTORIES)


def test_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == reference()


def test_it_is_written_and_then_found_fresh(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert main(["--write", str(page)]) == 0
    assert main(["--check", str(page)]) == 0


@pytest.mark.parametrize("text", [None, "# other\n"])
def test_a_stale_or_missing_page_fails(text: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    if text is not None:
        page.write_text(text, encoding="utf-8")
    assert main(["--check", str(page)]) == 1
    assert f"--write {page}" in capsys.readouterr().err
