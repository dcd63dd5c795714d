from __future__ import annotations

import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import PayloadError
from nemo_runspec.executors.job_files import collect, make_private, read, unpack

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def test_what_the_pods_need_travels_and_nothing_that_repeats_the_executor(tmp_path: Path) -> None:
    write(tmp_path / "scripts" / "job with spaces.sh", "echo", 0o755)
    write(tmp_path / "configs" / "job_fn_or_script", "task")
    write(tmp_path / "configs" / "job_packager", "packager")
    write(tmp_path / "configs" / "job_executor.yaml", "client_secret: canary")
    write(tmp_path / "configs" / "job_config.yaml", "env: canary")
    write(tmp_path / "code" / "configs" / "train.yaml", "mine")
    write(tmp_path / "code" / "empty.py", "")
    assert collect(tmp_path) == {
        "code/configs/train.yaml": (b"mine", False),
        "code/empty.py": (b"", False),
        "configs/job_fn_or_script": (b"task", False),
        "scripts/job with spaces.sh": (b"echo", True),
    }


def test_a_link_travels_as_its_file_and_not_out_of_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = tmp_path / "job"
    write(tmp_path / "secret", "canary")
    write(job / "code" / "real.py", "text")
    (job / "code" / "link.py").symlink_to("real.py")
    (job / "code" / "out.py").symlink_to(tmp_path / "secret")
    (job / "code" / "gone.py").symlink_to("nowhere")
    (job / "code" / "folder").symlink_to(tmp_path, target_is_directory=True)
    assert collect(job) == {"code/link.py": (b"text", False), "code/real.py": (b"text", False)}
    told = [record.getMessage().partition(" is a link")[0] for record in caplog.records]
    assert told == [str(job / "code" / name) for name in ("folder", "gone.py", "out.py")]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match=r"cannot be read: .*gone\.txt: No such file"):
        read(tmp_path / "gone.txt")


def test_an_archive_is_unpacked_whatever_its_path(tmp_path: Path) -> None:
    write(tmp_path / "tree" / "pkg" / "run.sh", "echo", 0o755)
    folder = tmp_path / "it's; a $HOME"
    folder.mkdir()
    archive = folder / "job.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "tree", ".")
    unpack(archive, folder / "code")
    assert collect(folder / "code") == {"pkg/run.sh": (b"echo", True)}
    write(archive, "no archive")
    with pytest.raises(PayloadError, match="cannot be unpacked"):
        unpack(archive, folder / "code")


def test_a_private_folder_is_its_owners_alone(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b.sh", "x", 0o755)
    write(tmp_path / "a" / "c", "x", 0o644)
    (tmp_path / "a" / "link").symlink_to("nowhere")
    make_private(tmp_path / "a")
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in (tmp_path / "a").iterdir()}
    assert (modes["b.sh"], modes["c"]) == (0o700, 0o600)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
