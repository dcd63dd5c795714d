"""The files that a rehearsed pod finds in its root folder, besides the machine's software and its volumes."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemo_runspec.rehearsal.pod import PodSpec
    from nemo_runspec.rehearsal.python_environment import PythonEnvironment

SHIMS: Final = "/.rehearsal"
"""Folder of programs that come before all others of their names."""

_FOLDER = Path(__file__).parent / "shims"
_TEXT = 0o644
_PROGRAM = 0o755


def root_files(environment: PythonEnvironment, *, lepton_script: bool) -> dict[str, tuple[bytes, int]]:
    """Give the files that are the same for every pod.

    Args:
        environment: Its programs come under the names `python3` and `python`, whatever they are called there.
        lepton_script: Whether `wget` gives the script that nemo-run's own Lepton executor downloads.

    Returns:
        Path in the pod -> content and mode.
    """
    no_network = (_FOLDER / "no_network.sh").read_bytes()
    files = {
        "/etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", _TEXT),
        "/etc/group": (b"root:x:0:\nnogroup:x:65534:\n", _TEXT),
        # Names come from files alone: whatever answers for them on this machine is not there.
        "/etc/nsswitch.conf": (b"passwd: files\ngroup: files\nhosts: files\n", _TEXT),
        "/etc/resolv.conf": (b"", _TEXT),
        f"{SHIMS}/wget": (no_network, _PROGRAM),
        f"{SHIMS}/curl": (no_network, _PROGRAM),
    }
    if lepton_script:
        script = "lepton_env_to_pytorch.sh"
        files[f"{SHIMS}/wget"] = ((_FOLDER / "lepton_wget.sh").read_bytes(), _PROGRAM)
        files[f"{SHIMS}/{script}"] = ((_FOLDER / script).read_bytes(), _TEXT)
    for name in environment.missing_names:
        # Not a link: an interpreter finds its packages by the path under which it is started.
        wrapper = f'#!/bin/sh\nexec {shlex.quote(str(environment.executable))} "$@"\n'
        files[f"{SHIMS}/{name}"] = (wrapper.encode(), _PROGRAM)
    return files


def hosts(spec: PodSpec) -> bytes:
    """Give a pod's /etc/hosts: itself and its job's other names are all on the loopback interface they share."""
    names = dict.fromkeys(("localhost", spec.name, *spec.hosts))
    return "".join(f"127.0.0.1 {name}\n" for name in names).encode()


def in_memory(content: bytes) -> int:
    """Give the descriptor of a file without a name, at its beginning; the caller closes it."""
    descriptor = os.memfd_create("pod-file")
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def open_files(files: Mapping[str, tuple[bytes, int]], descriptors: list[int]) -> list[str]:
    """Give bubblewrap's options that write files into a pod's root folder.

    Args:
        files: Path in the pod -> content and mode.
        descriptors: Takes the descriptors that the options name; the caller passes them on and closes them.
    """
    options = []
    for path, (content, mode) in files.items():
        descriptors.append(in_memory(content))
        options += ["--perms", f"{mode:04o}", "--file", str(descriptors[-1]), path]
    return options
