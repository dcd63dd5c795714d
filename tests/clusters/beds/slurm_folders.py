"""The folders, devices, programs and the account that a Slurm bed starts from."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path

from tests.clusters.beds.processes import command
from tests.clusters.beds.slurm_files import GPUS_PER_NODE

HERE = Path(__file__).resolve().parent


def make_folders(folder: Path) -> None:
    """Make the folder of a bed, with everything in it that needs no configuration."""
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    for name in ("etc", "bin", "lib", "log", "run", "state", "spool", "db", "gpu", "munge", "faults", "registry"):
        (folder / name).mkdir(mode=0o755)
    for name in ("cache", "run", "records"):
        (folder / "containers" / name).mkdir(mode=0o755, parents=True)
    (folder / "db").chmod(0o700)
    (folder / "run").chmod(0o700)
    # Both kinds of user arm and disarm faults.
    (folder / "faults").chmod(0o777)
    (folder / "faults/calls").touch()
    (folder / "faults/calls").chmod(0o666)
    key = folder / "munge/key-file"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    for number in range(GPUS_PER_NODE):  # copies of /dev/null
        device = folder / f"gpu/{number}"
        os.mknod(device, stat.S_IFCHR, os.makedev(1, 3))
        device.chmod(0o666)
    for shim in (HERE / "shims").iterdir():
        shutil.copy(shim, folder / "bin")
    plugin = folder / "lib/nemotron_pyxis.so"
    source = HERE / "pyxis/nemotron_pyxis.c"
    command("gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o", str(plugin), str(source))


def make_user(user: str, folder: Path) -> None:
    """Make an ordinary account, whose home and work folder are in the bed's."""
    # A password of * is none, without locking the account, which sshd would refuse.
    options = ["--home-dir", str(folder / "home"), "--shell", "/bin/bash", "--password", "*", "--user-group"]
    command("useradd", "--no-create-home", *options, user)
    for name in ("home", "work"):
        (folder / name).mkdir(mode=0o700)
        shutil.chown(folder / name, user, user)
