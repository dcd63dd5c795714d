"""Container images on a real Slurm behind a real sshd; only the registry is a folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError
from nemo_runspec.executors.connection import shell_of
from nemo_runspec.executors.slurm_request import slurm_connection
from nemo_runspec.prepare.squash import ensure_squashed_image, image_file, squash_options
from tests.clusters.beds.processes import command, wait_until
from tests.clusters.profiles import slurm_profile
from tests.nemo_runspec.recipes import write_env_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.env import SlurmProfile
    from nemo_runspec.platforms.shell import Shell
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

IMAGE = "registry.example/team/app:1.0"


@pytest.fixture
def profile(slurm: SlurmBed, sshd: SshBed, request: pytest.FixtureRequest) -> SlurmProfile:
    # A folder of its own for each test: an image that is there is not imported again.
    return slurm_profile(slurm, sshd, remote_job_dir=str(slurm.work / f"squash {request.node.name}"))


@pytest.fixture
def shell(profile: SlurmProfile) -> Iterator[Shell]:
    shell = shell_of(slurm_connection(profile))
    yield shell
    shell.close()


@pytest.fixture
def image(slurm: SlurmBed) -> str:
    root = slurm.images / "registry.example+team+app+1.0"
    if not root.exists():
        (root / "etc").mkdir(parents=True)
        # So large that an import takes a moment.
        (root / "etc" / "random").write_bytes(os.urandom(32 * 2**20))
    return IMAGE


def imports(slurm: SlurmBed) -> list[str]:
    return [job["id"] for job in slurm.jobs() if job["name"] == "nemotron-squash"]


def kill_all_about(folder: str) -> list[str]:
    """Kill every process of this machine, which is the whole cluster, whose command names a folder; give the commands.

    The folder is the test's own, so nobody else's process names it.
    """
    killed = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if folder in words:
                os.kill(int(entry.name), signal.SIGKILL)
                killed.append(words)
    return killed


def test_two_who_want_an_image_import_it_once_on_a_compute_node(
    slurm: SlurmBed, profile: SlurmProfile, shell: Shell, image: str
) -> None:
    before, calls = len(imports(slurm)), slurm.calls("enroot")
    found: list[str] = []
    other = shell_of(slurm_connection(profile))

    def squash(on: Shell) -> None:
        found.append(
            ensure_squashed_image(on, image, profile.job_root, srun_options=squash_options(profile), timeout_s=60)
        )

    threads = [threading.Thread(target=squash, args=(on,)) for on in (shell, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    other.close()
    assert found == [image_file(image, profile.job_root).path] * 2
    assert len(imports(slurm)) == before + 1
    assert slurm.calls("enroot") == calls + 1
    assert "squashfs-root/etc/random" in command("unsquashfs", "-l", found[0])


@pytest.mark.parametrize("all_of_it", [True, False], ids=["and the import", "alone"])
def test_after_the_client_was_killed_the_next_one_succeeds(
    profile: SlurmProfile, shell: Shell, image: str, tmp_path: Path, *, all_of_it: bool
) -> None:
    keys = ("account", "partition", "time", "host", "user", "identity", "known_hosts", "remote_job_dir")
    table = "".join(f'{key} = "{getattr(profile, key)}"\n' for key in keys)
    write_env_file(tmp_path, f'[slurm]\nexecutor = "slurm"\ntunnel = "ssh"\nport = {profile.port}\n{table}')
    final = Path(image_file(image, profile.job_root).path)
    nemotron = [str(Path(sys.executable).parent / "nemotron"), "kit", "squash", "slurm", image]
    with (tmp_path / "log").open("w") as log:
        client = subprocess.Popen(nemotron, cwd=tmp_path, stdout=log, stderr=log)
        wait_until(lambda: any(final.parent.glob(".*.part.*/image.sqsh")), 30, "the import")
        client.send_signal(signal.SIGKILL)
        client.wait(10)
    if all_of_it:
        killed = kill_all_about(str(final.parent))
        assert any("mksquashfs" in words for words in killed)
        assert any("flock" in words for words in killed)
        assert not final.exists()
    path = ensure_squashed_image(shell, image, profile.job_root, srun_options=squash_options(profile), timeout_s=60)
    assert path == str(final)
    assert "squashfs-root/etc/random" in command("unsquashfs", "-l", path)
    assert [entry.name for entry in final.parent.iterdir() if entry.suffix not in {".lock", ""}] == [final.name]


def test_what_the_cluster_says_is_told(profile: SlurmProfile, shell: Shell) -> None:
    options = squash_options(profile)
    with pytest.raises(RefusedError, match="error code: 404 Not Found"):
        ensure_squashed_image(shell, "registry.example/no/such:1", profile.job_root, srun_options=options)
    with pytest.raises(RefusedError, match="invalid partition specified: nope"):
        ensure_squashed_image(shell, IMAGE, profile.job_root, srun_options=("--account=research", "--partition=nope"))
