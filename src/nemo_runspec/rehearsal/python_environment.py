"""Which Python a rehearsed pod sees: this process's own, in its place, without the checkouts that it imports from."""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from nemo_runspec.versions import OWN_PACKAGES

PROGRAMS = ("python3", "python")
"""The names under which a container image offers its interpreter."""

SYSTEM_FOLDERS = tuple(Path(name) for name in ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix"))
"""What is part of the machine's own software: every pod sees it, so it needs no mention."""


@dataclass(frozen=True, slots=True)
class PythonEnvironment:
    """A Python environment, as a pod must see it.

    Args:
        executable: The interpreter, under the name that makes it find its packages.
        folders: The folders beyond the machine's own software that it lives in, none within another.
        hidden: Folders of installed packages that a pod must not see.
        user_base: Where `pip install --user` has put packages that it imports; its home, which says so, is not there.
    """

    executable: Path
    folders: tuple[Path, ...] = ()
    hidden: tuple[Path, ...] = ()
    user_base: Path | None = None

    @property
    def programs(self) -> Path:
        """The folder of its programs, such as `torchrun`."""
        return self.executable.parent

    @property
    def missing_names(self) -> tuple[str, ...]:
        """The names of an interpreter that its folder of programs does not give to this one."""
        own = os.path.realpath(self.executable)
        return tuple(name for name in PROGRAMS if os.path.realpath(self.programs / name) != own)


def this_environment() -> PythonEnvironment:
    """Describe the environment of this process.

    A virtual environment needs the installation that it was made from, wherever that is; of the folders around the
    two, such as somebody's home, nothing is named but the packages that the user has installed there.
    """
    executable = Path(sys.executable)
    prefixes = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}
    user_site = site.getusersitepackages()
    has_user_site = bool(site.ENABLE_USER_SITE) and user_site in sys.path
    if has_user_site:
        prefixes.add(user_site)
    folders = outermost([*(Path(prefix) for prefix in prefixes), *_installations(executable)])
    user_base = Path(site.getuserbase()) if has_user_site else None
    return PythonEnvironment(executable, folders, _installed_copies(), user_base)


def outermost(folders: list[Path]) -> tuple[Path, ...]:
    """Give the folders that are readable, within no other one of them, and no part of the machine's own software.

    Args:
        folders: Absolute paths; a path and what it is a link to are different ones, and a pod needs both.
    """
    readable = {folder for folder in folders if folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)}
    return tuple(sorted(folder for folder in readable if not _within(folder, (*SYSTEM_FOLDERS, *readable - {folder}))))


def _installations(executable: Path) -> list[Path]:
    """Give the installations through which an interpreter's chain of links leads, and what they are links to."""
    found = []
    for _ in range(40):  # the kernel follows no more links than that
        if not executable.is_symlink():
            break
        executable = Path(os.path.normpath(executable.parent / executable.readlink()))
        installation = executable.parent.parent
        found += [installation, installation.resolve()]
    return found


def _installed_copies() -> tuple[Path, ...]:
    """Find the packages that travel where they are installed, or imported from."""
    sites = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), site.getusersitepackages()}
    candidates = {Path(site) / name for site in sites for name in OWN_PACKAGES}
    for name in OWN_PACKAGES:
        spec = importlib.util.find_spec(name)
        locations = spec.submodule_search_locations if spec else None
        candidates |= {Path(location) for location in locations or ()}
    return tuple(sorted(folder for folder in candidates if folder.is_dir()))


def _within(folder: Path, others: tuple[Path, ...]) -> bool:
    return any(folder.is_relative_to(other) for other in others)
