from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract import megatron_env

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.contract


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(megatron_env, "HOME", tmp_path / "home")
    monkeypatch.setattr(megatron_env, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "home"


def test_what_pip_cannot_install_is_an_error_with_its_words_and_leaves_nothing(home: Path) -> None:
    megatron_env.REQUIREMENTS.write_text("no-such-package-of-ours==1\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"(?s)could not install .*no-such-package-of-ours"):
        megatron_env.site()
    assert list(home.iterdir()) == []


def test_packages_are_installed_once_for_each_list_of_them(home: Path) -> None:
    megatron_env.REQUIREMENTS.write_text("# nothing\n", encoding="utf-8")
    first = megatron_env.site()
    (first / "mark").touch()
    assert megatron_env.site() == first
    assert (first / "mark").is_file()
    megatron_env.REQUIREMENTS.write_text("# nothing else\n", encoding="utf-8")
    assert megatron_env.site() != first
    assert len(list(home.iterdir())) == 2
