from __future__ import annotations

import shutil
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import PayloadError
from nemo_runspec.executors.job_files import code_folder, collect, make_private, prepare, read, unpack

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def test_what_the_pods_need_travels_and_nothing_that_repeats_the_executor(tmp_path: Path) -> None:
    write(tmp_path / "scripts" / "job.sh", "echo", 0o755)
    write(tmp_path / "configs" / "job_fn_or_script", "task")
    write(tmp_path / "configs" / "job_packager", "packager")
    write(tmp_path / "configs" / "job_executor.yaml", "client_secret: canary")
    write(tmp_path / "configs" / "job_config.yaml", "env: canary")
    write(tmp_path / "code" / "configs" / "train.yaml", "mine")
    write(tmp_path / "code" / "empty.py", "")
    assert collect(tmp_path, "job") == {
        "code/configs/train.yaml": (b"mine", False),
        "code/empty.py": (b"", False),
        "configs/job_fn_or_script": (b"task", False),
        "scripts/job.sh": (b"echo", True),
    }


@pytest.mark.parametrize("name", ["t", "t_1", "t-0", "its own/é; $HOME", "..", "n" * 200])
def test_tasks_that_share_a_folder_have_their_files_for_themselves(tmp_path: Path, name: str) -> None:
    prepare(tmp_path)
    for task in ("t", "t_1", "t-0", "its own/é; $HOME", "..", "n" * 200):
        write(tmp_path / "scripts" / f"{task}.sh", task)
        write(tmp_path / "configs" / f"{task}_fn_or_script", task)
        write(tmp_path / "packed" / f"{len(task)}.py", task)
        with tarfile.open(tmp_path / "packed.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / "packed", ".")
        unpack(tmp_path / "packed.tar.gz", code_folder(tmp_path, task))
        shutil.rmtree(tmp_path / "packed")
        (tmp_path / "packed.tar.gz").unlink()
    own = (name.encode(), False)
    assert collect(tmp_path, name) == {
        f"code/{len(name)}.py": own,
        f"configs/{name}_fn_or_script": own,
        f"scripts/{name.rpartition('/')[2]}.sh": own,
    }


def test_a_task_whose_name_begins_with_anothers_is_no_part_of_it(tmp_path: Path) -> None:
    prepare(tmp_path / "t")
    prepare(tmp_path / "t" / "deeper" / "still")
    write(tmp_path / "t" / "deeper" / "still" / "scripts" / "t" / "deeper" / "still.sh", "other")
    write(tmp_path / "t" / "deeper" / "beside.txt", "mine")
    assert collect(tmp_path / "t", "t") == {"deeper/beside.txt": (b"mine", False)}
    assert collect(tmp_path / "nowhere", "t") == {}


def test_what_was_unpacked_before_is_gone(tmp_path: Path) -> None:
    for name in ("old", "new"):
        write(tmp_path / name / f"{name}.py", name)
        with tarfile.open(tmp_path / f"{name}.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / name, ".")
        unpack(tmp_path / f"{name}.tar.gz", tmp_path / "code")
    assert [path.name for path in (tmp_path / "code").iterdir()] == ["new.py"]


def test_a_link_travels_as_its_file_and_not_out_of_the_folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = tmp_path / "job"
    write(tmp_path / "secret", "canary")
    write(job / "code" / "real.py", "text")
    (job / "code" / "link.py").symlink_to("real.py")
    (job / "code" / "out.py").symlink_to(tmp_path / "secret")
    (job / "code" / "gone.py").symlink_to("nowhere")
    (job / "code" / "folder").symlink_to(tmp_path, target_is_directory=True)
    assert collect(job, "job") == {"code/link.py": (b"text", False), "code/real.py": (b"text", False)}
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
    assert collect(folder / "code", "job") == {"pkg/run.sh": (b"echo", True)}
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
