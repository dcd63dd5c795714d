from __future__ import annotations

import os
import site
import sys
from pathlib import Path

import pytest

from nemo_runspec.rehearsal import python_environment
from nemo_runspec.rehearsal.python_environment import PythonEnvironment, outermost, this_environment


def installation(folder: Path) -> Path:
    """Make the folders of an interpreter and give its program."""
    program = folder / "bin" / "python3.11"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    return program


def test_this_environment_holds_what_the_interpreter_needs() -> None:
    environment = this_environment()
    assert environment.executable == Path(sys.executable)
    assert environment.missing_names == ()
    system = python_environment.SYSTEM_FOLDERS
    for needed in (sys.prefix, sys.base_prefix, os.__file__, os.path.realpath(sys.executable)):
        assert any(Path(needed).is_relative_to(folder) for folder in (*environment.folders, *system)), needed
    assert Path.home() not in environment.folders


def test_this_library_is_hidden_from_where_it_is_imported() -> None:
    assert Path(python_environment.__file__).parents[1] in this_environment().hidden


def test_a_chain_of_links_is_followed_to_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As uv lays it out: the environment's program is a link into a folder that is itself a link.
    program = installation(tmp_path / "share" / "cpython-3.11.7")
    (tmp_path / "share" / "cpython-3.11").symlink_to("cpython-3.11.7")
    environment = tmp_path / "project" / ".venv"
    (environment / "bin").mkdir(parents=True)
    (environment / "bin" / "python").symlink_to("../../../share/cpython-3.11/bin/python3")
    program.with_name("python3").symlink_to("python3.11")
    monkeypatch.setattr(sys, "executable", str(environment / "bin" / "python"))
    for name in ("prefix", "exec_prefix"):
        monkeypatch.setattr(sys, name, str(environment))
    for name in ("base_prefix", "base_exec_prefix"):
        monkeypatch.setattr(sys, name, "/usr")
    found = this_environment()
    share = tmp_path / "share"
    assert found.folders == (environment, share / "cpython-3.11", share / "cpython-3.11.7")
    assert found.missing_names == ("python3",)


def test_packages_of_the_user_are_a_part_where_they_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "lib" / "python3.11" / "site-packages"
    (packages / "nemo_runspec").mkdir(parents=True)
    monkeypatch.setattr(site, "getusersitepackages", lambda: str(packages))
    monkeypatch.setattr(site, "getuserbase", lambda: str(tmp_path))
    monkeypatch.setattr(site, "ENABLE_USER_SITE", True)
    assert this_environment().user_base is None  # nothing is imported from there
    monkeypatch.syspath_prepend(packages)
    found = this_environment()
    assert found.user_base == tmp_path
    assert packages in found.folders
    assert packages / "nemo_runspec" in found.hidden
    monkeypatch.setattr(site, "ENABLE_USER_SITE", None)
    assert packages not in this_environment().folders


def test_links_in_a_circle_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a"))
    assert this_environment().executable == tmp_path / "a"


def test_only_the_outermost_folders_are_named_and_no_system_ones(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "ab").mkdir()
    folders = [
        tmp_path / "a",
        tmp_path / "a" / "b",
        tmp_path / "ab",
        tmp_path / "none",
        Path("/usr/local"),
        Path("/usr"),
    ]
    assert outermost(folders) == (tmp_path / "a", tmp_path / "ab")


def test_what_cannot_be_read_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path / "closed")
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
    assert outermost([tmp_path / "closed", tmp_path / "open"]) == (tmp_path / "open",)


@pytest.mark.parametrize(("names", "missing"), [((), ("python3", "python")), (("python3",), ("python",))])
def test_names_that_lead_to_another_interpreter_are_missing(
    tmp_path: Path, names: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    program = installation(tmp_path)
    (program.parent / "python").touch()
    for name in names:
        (program.parent / name).symlink_to(program)
    assert PythonEnvironment(program).missing_names == missing
