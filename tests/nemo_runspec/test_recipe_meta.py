from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.recipe_meta import RecipeMeta
from tests.nemo_runspec.recipes import write_recipe

if TYPE_CHECKING:
    from pathlib import Path


def test_a_command_of_several_recipes_offers_what_all_of_them_have(tmp_path: Path) -> None:
    one, two = (write_recipe(tmp_path / name).parent / "config" for name in ("one", "two"))
    (one / "only.yaml").write_text("a: 1\n", encoding="utf-8")
    assert RecipeMeta(tmp_path, "Do it.", lambda: (one, two)).configs() == ["default"]
    assert RecipeMeta(tmp_path, "Do it.", lambda: (one,)).configs() == ["default", "only"]
