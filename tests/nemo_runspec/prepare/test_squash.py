from __future__ import annotations

import os
import signal
import stat
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec import squash
from nemo_runspec.env import SlurmProfile
from nemo_runspec.errors import ConfigError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import ABANDONED, AbandonedError
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.prepare.squash import ensure_squashed_image, image_file, is_image_path, squash_options
from tests.clusters.beds.processes import wait_until
from tests.nemo_runspec.prepare.stand_ins import lines, make_cluster

if TYPE_CHECKING:
    from collections.abc import Callable

    from nemo_runspec.platforms.shell import Shell

IMAGE = "nvcr.io/nvidia/nemo:25.11"
URI = "docker://nvcr.io#nvidia/nemo:25.11"
DIGEST = f"sha256:{'0a' * 32}"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_cluster(tmp_path / "stand-ins", monkeypatch)


@pytest.fixture
def home(tmp_path: Path) -> str:
    return str(tmp_path / "ho me;$(id)'")


@pytest.fixture
def shell() -> Shell:
    return LocalShell()


def images(home: str) -> list[str]:
    """Give what there is in the folder of images, besides caches and locks."""
    return sorted(path.name for path in Path(home, "images").iterdir() if path.suffix not in {".lock", ""})


@pytest.mark.parametrize(
    ("image", "uri"),
    [
        (IMAGE, URI),
        (f"docker://{IMAGE}", URI),
        ("nvcr.io#nvidia/nemo:25.11", URI),
        (URI, URI),
        ("docker://$oauthtoken@nvcr.io#nvidia/nemo:25.11", "docker://$oauthtoken@nvcr.io#nvidia/nemo:25.11"),
        ("ubuntu", "docker://ubuntu:latest"),
        ("docker.io/library/ubuntu:24.04", "docker://library/ubuntu:24.04"),
        ("team/app:1", "docker://team/app:1"),
        ("localhost:5000/app:1", "docker://localhost:5000#app:1"),
        ("registry:5000/a/b", "docker://registry:5000#a/b:latest"),
        (f"{IMAGE}@{DIGEST}", f"docker://nvcr.io#nvidia/nemo:{DIGEST}"),
        (f"nvcr.io/nvidia/nemo@{DIGEST}", f"docker://nvcr.io#nvidia/nemo:{DIGEST}"),
    ],
)
def test_a_reference_becomes_what_enroot_imports(image: str, uri: str) -> None:
    assert image_file(image, "/home").uri == uri


def test_spellings_of_one_image_are_one_file_and_others_are_others() -> None:
    one = {image_file(name, "/h").path for name in (IMAGE, f"docker://{IMAGE}", "nvcr.io#nvidia/nemo:25.11")}
    (path,) = one
    assert path.startswith("/h/images/nvcr.io-nvidia-nemo-25.11-")
    assert path.endswith(".sqsh")
    assert image_file("nvcr.io/nvidia-nemo:25.11", "/h").path not in one


@pytest.mark.parametrize(
    "image",
    [
        "",
        "-x",
        "a b",
        "image;id",
        "$(id)",
        "image\n--output=/x",
        "dockerd://here:1",
        "podman://here:1",
        "nvcr.io/UPPER:1",
        "user:password@nvcr.io#a/b:1",
        "relative/file.sqsh",
        "~/file.sqsh",
    ],
)
def test_what_is_no_image_is_refused_before_anything_is_asked(image: str) -> None:
    with pytest.raises(ConfigError):
        image_file(image, "/home")


def test_a_path_is_told_from_a_reference() -> None:
    assert [is_image_path(name) for name in ("/x.sqsh", "/x", "x.sqsh", IMAGE, "a/b:1")] == [True] * 3 + [False] * 2


def test_an_image_is_imported_once_and_found_again(cluster: Path, home: str, shell: Shell) -> None:
    told: list[str] = []
    options = ("--account=research", "--time=00:10:00")
    path = ensure_squashed_image(shell, IMAGE, home, srun_options=options, say=told.append)
    assert path == image_file(IMAGE, home).path
    assert told == ["[INFO] Querying registry"]
    assert ensure_squashed_image(shell, IMAGE, home) == path
    call = lines(cluster / "srun.log")[0]
    assert "--account=research --time=00:10:00 bash -c" in call
    (imported,) = lines(cluster / "enroot.log")
    assert imported.endswith(f" {URI} {home}/images/.cache/layers")
    assert images(home) == [Path(path).name]
    assert stat.S_IMODE(Path(path).parent.stat().st_mode) == 0o700


def test_the_library_gives_it_out_under_its_promised_name() -> None:
    assert squash.ensure_squashed_image is ensure_squashed_image


def test_a_renewal_keeps_the_old_file_until_the_new_one_is_there(cluster: Path, home: str, shell: Shell) -> None:
    path = Path(ensure_squashed_image(shell, IMAGE, home))
    old = path.read_bytes()
    (cluster / "gate").touch()
    (cluster / "enroot.pid").unlink()
    renewing = threading.Thread(target=ensure_squashed_image, args=(shell, IMAGE, home), kwargs={"force": True})
    renewing.start()
    wait_until((cluster / "enroot.pid").exists, 10, "the import")
    assert path.read_bytes() == old
    assert ensure_squashed_image(shell, IMAGE, home) == str(path)
    (cluster / "gate").unlink()
    renewing.join(10)
    assert path.read_bytes() != old
    assert len(lines(cluster / "enroot.log")) == 2


def in_threads(number: int, call: Callable[[], object]) -> list[object]:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(call())) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found


@pytest.mark.parametrize("force", [False, True])
def test_whoever_comes_meanwhile_waits_for_the_same_import(
    cluster: Path, home: str, shell: Shell, *, force: bool
) -> None:
    (cluster / "gate").touch()
    waiting: list[str] = []

    def say(line: str) -> None:
        waiting.append(line)
        if sum("waiting for it" in line for line in waiting) == 3:
            (cluster / "gate").unlink(missing_ok=True)

    found = in_threads(4, lambda: ensure_squashed_image(shell, IMAGE, home, force=force, say=say))
    assert found == [image_file(IMAGE, home).path] * 4
    assert len(lines(cluster / "enroot.log")) == 1


def test_an_import_that_was_killed_leaves_no_image_and_the_next_one_cleans_up(
    cluster: Path, home: str, shell: Shell
) -> None:
    (cluster / "gate").touch()
    failures: list[Exception] = []

    def first() -> None:
        try:
            ensure_squashed_image(shell, IMAGE, home)
        except (RefusedError, UnreachableError) as error:
            failures.append(error)

    importing = threading.Thread(target=first)
    importing.start()
    wait_until((cluster / "enroot.pid").exists, 10, "the import")
    half = next(Path(home, "images").glob(".*.part.*"))
    # The script that would clean up goes first, as when the machine goes down.
    enroot = int((cluster / "enroot.pid").read_text(encoding="ascii"))
    script = int(Path(f"/proc/{enroot}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
    os.kill(script, signal.SIGKILL)
    os.kill(enroot, signal.SIGKILL)
    importing.join(10)
    assert failures
    assert half.exists()
    assert not Path(image_file(IMAGE, home).path).exists()
    (cluster / "gate").unlink()
    path = ensure_squashed_image(shell, IMAGE, home)
    assert images(home) == [Path(path).name]


@pytest.mark.parametrize(
    ("said", "told", "remedy"),
    [
        ("[ERROR] URL https://nvcr.io/v2/x returned error code: 404", "error code: 404", "Check the name and the tag"),
        ("[ERROR] URL https://nvcr.io/v2/x returned error code: 401 Unauthorized", "401", ".credentials"),
        ("[INFO] a\nWrite failed because No space left on device\nFATAL ERROR", "No space left", "Make room"),
        ("mksquashfs: Disk quota exceeded", "quota", "Make room"),
        ("[ERROR] Something\nsrun: error: n1: task 0: Exited with exit code 1", "Something", "enroot import docker://"),
        ("Could not create x\nsrun: error: n1: task 0: Exited with exit code 1", "Could not create x", "enroot import"),
        ("", "exit code 1", "enroot import"),
    ],
)
def test_an_import_that_fails_says_why_in_one_line(
    cluster: Path, home: str, shell: Shell, said: str, told: str, remedy: str
) -> None:
    (cluster / "enroot.fails").write_text(said, encoding="utf-8")
    with pytest.raises(RefusedError) as failure:
        ensure_squashed_image(shell, IMAGE, home)
    assert told in failure.value.message
    assert "\n" not in failure.value.message
    assert remedy in (failure.value.remedy or "")
    assert images(home) == []


def test_an_srun_that_gets_no_node_says_why(cluster: Path, home: str, shell: Shell) -> None:
    (cluster / "srun.fails").write_text("srun: error: invalid partition specified: nope\n", encoding="utf-8")
    with pytest.raises(RefusedError, match="invalid partition specified: nope") as failure:
        ensure_squashed_image(shell, IMAGE, home, srun_options=("--partition=nope",))
    assert "partition" in (failure.value.remedy or "")


def test_a_node_without_enroot_is_told(cluster: Path, home: str, shell: Shell) -> None:
    (cluster / "enroot").unlink()
    with pytest.raises(RefusedError, match="enroot is not there") as failure:
        ensure_squashed_image(shell, IMAGE, home)
    assert "administrators" in (failure.value.remedy or "")


def test_a_machine_without_slurm_is_told(
    home: str, shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "stat", "base64"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    monkeypatch.setenv("PATH", str(tools))
    # What a login would add to the PATH is this machine's affair.
    monkeypatch.setattr("nemo_runspec.prepare.squash._SCRIPT", _without_login(tmp_path))
    with pytest.raises(UnreachableError, match="srun is not there"):
        ensure_squashed_image(shell, IMAGE, home)


def _without_login(folder: Path) -> Path:
    from nemo_runspec.prepare.squash import REMOTE_SCRIPTS  # noqa: PLC0415 - only this test reads a script

    text = (REMOTE_SCRIPTS / "squash.sh").read_text(encoding="utf-8")
    path = folder / "squash.sh"
    path.write_text(text.replace("/etc/profile", "/dev/null"), encoding="utf-8")
    return path


def test_a_folder_that_others_may_write_to_is_not_used(cluster: Path, home: str, shell: Shell) -> None:
    folder = Path(home, "images")
    folder.mkdir(parents=True)
    folder.chmod(0o770)
    with pytest.raises(RefusedError, match="not yours alone") as failure:
        ensure_squashed_image(shell, IMAGE, home)
    assert "chmod go-w" in (failure.value.remedy or "")
    assert not lines(cluster / "enroot.log")


def test_an_import_that_takes_too_long_is_not_called_a_failure(cluster: Path, home: str, shell: Shell) -> None:
    (cluster / "gate").touch()
    with pytest.raises(UnreachableError, match="not seen to its end") as failure:
        ensure_squashed_image(shell, IMAGE, home, timeout_s=0.5)
    assert "Ask again" in (failure.value.remedy or "")
    (cluster / "gate").unlink()


def test_a_file_is_only_looked_for(home: str, tmp_path: Path, shell: Shell) -> None:
    image = tmp_path / "my image.sqsh"
    with pytest.raises(ConfigError, match="there is no image file"):
        ensure_squashed_image(shell, str(image), home)
    image.write_bytes(b"squashed")
    assert ensure_squashed_image(shell, str(image), home, force=True) == str(image)
    assert not Path(home).exists()


def test_the_profile_says_where_an_import_runs() -> None:
    profile = SlurmProfile(
        name="s", account="a", partition="p", run_partition="i", qos="q", time="01:00:00", constraint="cpu"
    )
    rest = ("--qos=q", "--time=01:00:00", "--constraint=cpu")
    assert squash_options(profile) == ("--account=a", "--partition=p", *rest)
    assert squash_options(profile, attached=True) == ("--account=a", "--partition=i", *rest)
    assert squash_options(SlurmProfile(name="s")) == ()


def test_an_import_is_not_waited_for_when_its_submission_is_given_up(cluster: Path, home: str, shell: Shell) -> None:
    (cluster / "gate").touch()
    given_up = threading.Event()
    token = ABANDONED.set(given_up)
    began = time.monotonic()
    try:
        with pytest.raises(AbandonedError):
            ensure_squashed_image(shell, IMAGE, home, say=lambda _: given_up.set(), timeout_s=60)
    finally:
        ABANDONED.reset(token)
        (cluster / "gate").unlink()
    assert time.monotonic() - began < 10
    path = Path(ensure_squashed_image(shell, IMAGE, home))
    assert path.is_file()
