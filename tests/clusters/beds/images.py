"""Images for a Docker engine that reaches no registry: their file systems, as tar archives made on this machine."""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

PYTHON: Final = "deb-py:1"
"""Debian as this machine's, with Python 3 and bash."""

BUSYBOX: Final = "busybox:1"
"""Busybox alone: a shell, and no bash."""

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PACKAGES: Final = ("python3",)
_RECIPE: Final = 1  # part of the cached archive's name: to be raised when what is put into it changes
_MAKING_S: Final = 900
_NOT_NEEDED: Final = (
    "./var/cache/apt",
    "./var/lib/apt/lists",
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/info",
)
_APPLETS: Final = (
    *("cat", "chmod", "dd", "echo", "env", "false", "head", "hostname", "id", "ip", "ls", "mkdir", "nslookup", "ping"),
    *("printf", "rm", "sh", "sleep", "tail", "touch", "true", "wc", "yes"),
)


def archive(image: str) -> Path:
    """Give the file system of an image as a tar archive, made now or kept from an earlier session on this machine.

    Args:
        image: One of the names above.
    """
    makers = {PYTHON: (_make_python, _python_source()), BUSYBOX: (_make_busybox, (str(_busybox().stat().st_size),))}
    make, source = makers[image]
    key = hashlib.sha256(repr((_RECIPE, platform.machine(), *source)).encode()).hexdigest()[:16]
    kept = _cache() / f"{re.sub(r'[^a-z0-9-]', '-', image)}-{key}.tar"
    with _locked(kept.with_suffix(".lock")):
        if not kept.exists():
            making = kept.with_suffix(".making")
            shutil.rmtree(making, ignore_errors=True)  # of a session that was killed
            make(making / "root")
            _pack(making / "root", making / "image.tar")
            (making / "image.tar").rename(kept)
            shutil.rmtree(making)
    return kept


def _cache() -> Path:
    """Give a folder of the user's own that outlives the session, because making Debian takes half a minute."""
    folder = Path(tempfile.gettempdir()) / f"nemotron-test-images-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        message = f"{folder} belongs to somebody else"
        raise RuntimeError(message)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pack(root: Path, part: Path) -> None:
    left_out = [f"--exclude={name}" for name in _NOT_NEEDED]
    _run("tar", "-C", str(root), *left_out, "-cf", str(part), ".")


def _python_source() -> tuple[str, ...]:
    """Give the mirror and suite of this machine's packages, and what is installed besides the smallest system."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release["VERSION_CODENAME"].strip('"')
    targets = _run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Identifier: Packages")
    for line in targets.splitlines():
        site, *rest = line.split()
        if rest == [suite, "main"]:
            return (site, suite, *_PACKAGES)
    message = f"apt knows no source of {suite}/main"
    raise RuntimeError(message)


def _make_python(root: Path) -> None:
    root.parent.mkdir()
    site, suite, *packages = _python_source()
    _run("debootstrap", "--variant=minbase", f"--include={','.join(packages)}", suite, str(root), site)


def _busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        message = "busybox is not installed"
        raise RuntimeError(message)
    return Path(found)


def _make_busybox(root: Path) -> None:
    for folder in ("bin", "etc", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(_busybox(), root / "bin/busybox")
    for applet in _APPLETS:
        (root / "bin" / applet).symlink_to("busybox")


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=_MAKING_S, check=False)
    if done.returncode:
        message = f"{argv[0]} failed ({done.returncode}): {(done.stdout + done.stderr)[-2000:]}"
        raise RuntimeError(message)
    return done.stdout
