from __future__ import annotations

from typing import TYPE_CHECKING

import nemo_run as run
from nemo_run.core.serialization.zlib_json import ZlibJSONSerializer

from tests.nemo_runspec.executors.leaks import holding

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_is_found_in_the_clear_and_as_nemo_run_packs_it(tmp_path: Path) -> None:
    (tmp_path / "clear").write_text("x canary y", encoding="utf-8")
    packed = ZlibJSONSerializer().serialize(run.Config(run.LocalExecutor, env_vars={"A": "canary"}))
    assert "canary" not in packed
    (tmp_path / "packed").write_text(f'[["{packed}", "{"x" * 60}"]]', encoding="utf-8")
    (tmp_path / "nothing").write_text("bird", encoding="utf-8")
    assert sorted(path.name for path in holding(tmp_path, "canary")) == ["clear", "packed"]
