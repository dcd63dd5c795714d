from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nemo_runspec import versions

if TYPE_CHECKING:
    import pytest


def test_only_what_is_installed_has_a_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "PACKAGES", ("omegaconf", "no-such-package"))
    before = set(sys.modules)
    assert list(versions.package_versions()) == ["omegaconf"]
    assert not [name for name in set(sys.modules) - before if name.startswith("omegaconf")]
