from __future__ import annotations

import dataclasses
import hashlib
import io
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError, UnreachableError
from nemo_runspec.platforms.docker.folder import JobFolder
from nemo_runspec.platforms.docker.request import DockerSpec, request
from nemo_runspec.platforms.workload import NAME, Tree

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.platforms.workload import JobFiles, Request


def asked(
    files: JobFiles | None = None,
    secrets: tuple[tuple[str, str], ...] = (),
    source: Tree | None = None,
    nodes: int = 1,
) -> Request:
    spec = DockerSpec(image="i", argv=("true",), nodes=nodes)
    return request(spec, home="/home", files=files, secrets=secrets, source=source)


def tree(*members: tuple[str, bytes, int]) -> Tree:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content, mode in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), mode
            tar.addfile(member, io.BytesIO(content))
    return Tree(hashlib.sha256(raw.getvalue()).hexdigest(), raw.getvalue())


def test_what_a_request_says_lies_in_the_folder(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "jobs/mine-1")
    folder.fill(
        asked(
            {"sub/a.txt": (f"{NAME}\xff".encode("latin1"), False), "run.sh": (b"#!", True)},
            source=tree(("pkg/b.py", b"b", 0o755), ("c", b"c", 0o644)),
        )
    )
    assert (folder.path / "sub/a.txt").read_bytes() == b"mine-1\xff"
    assert (folder.path / "code/pkg/b.py").read_text() == "b"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "jobs").rglob("*")}
    assert modes == dict.fromkeys(("mine-1", "sub", "code", "pkg", "run.sh", "b.py"), 0o700) | {
        "a.txt": 0o600,
        "c": 0o600,
    }


def test_secrets_are_private_shell_lines_and_can_be_forgotten(tmp_path: Path) -> None:
    value = "a ' b \" $HOME `id` \n \\ é"
    folder = JobFolder(tmp_path / "mine-1")
    folder.fill(asked(secrets=(("TOKEN", value), ("OTHER", "x"))))
    path = folder.path / "secrets.sh"
    assert path.stat().st_mode & 0o777 == 0o600
    script = '. "$1"; printf %s "$TOKEN"; [ "$OTHER" = x ]'
    done = subprocess.run(["/bin/bash", "-euc", script, "-", str(path)], capture_output=True, check=True, timeout=10)
    assert done.stdout.decode() == value
    folder.fill(asked(secrets=(("TOKEN", value),)))
    folder.forget_secrets()
    folder.forget_secrets()
    assert not path.exists()


@pytest.mark.parametrize("nodes", [1, 3])
def test_the_last_container_that_has_read_the_secrets_removes_them(tmp_path: Path, nodes: int) -> None:
    folder = JobFolder(tmp_path / "it's mine-1")
    folder.fill(asked(secrets=(("TOKEN", "x"),), nodes=nodes))
    path = folder.path / "secrets.sh"
    for left in range(nodes, 0, -1):
        assert path.exists(), left
        subprocess.run(["/bin/bash", "-euc", '. "$1"; [ "$TOKEN" = x ]', "-", str(path)], check=True, timeout=10)
    assert [each.name for each in folder.path.iterdir()] == ["code"]


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "."])
def test_nothing_lies_outside_of_it(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="is no path below"):
        JobFolder(tmp_path / "mine-1").fill(asked({name: (b"", False)}))
    if name != ".":
        with pytest.raises(RefusedError, match="is no file below"):
            JobFolder(tmp_path / "mine-1").fill(asked(source=tree((name, b"", 0o644))))
    assert [path.name for path in tmp_path.iterdir()] in ([], ["mine-1"])


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine-1").mkdir()
    (tmp_path / "mine-1/a").symlink_to(tmp_path / "other")
    (tmp_path / "other").write_text("kept")
    JobFolder(tmp_path / "mine-1").fill(asked({"a": (b"new", False)}))
    assert (tmp_path / "other").read_text() == "kept"
    assert (tmp_path / "mine-1/a").read_text() == "new"


def test_links_of_the_source_and_another_digest_are_refused(tmp_path: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        tar.addfile(link)
    source = Tree(hashlib.sha256(raw.getvalue()).hexdigest(), raw.getvalue())
    with pytest.raises(RefusedError, match="is no file below"):
        JobFolder(tmp_path / "mine-1").fill(asked(source=source))
    assert list((tmp_path / "mine-1/code").iterdir()) == []
    with pytest.raises(RefusedError, match="not the one with the digest"):
        JobFolder(tmp_path / "mine-1").fill(asked(source=dataclasses.replace(source, sha256="0" * 64)))


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("")
    folder = JobFolder(tmp_path / "jobs/mine-1")
    with (
        pytest.raises(RefusedError, match=r"the job's folder cannot be written: .*jobs.*: "),
        folder.locked(1, make=True),
    ):
        pass
    with pytest.raises(RefusedError, match="cannot be written"):
        folder.fill(asked({"a": (b"", False)}))


def test_one_at_a_time(tmp_path: Path) -> None:
    folder, other = JobFolder(tmp_path / "mine-1"), JobFolder(tmp_path / "mine-1")
    entered = threading.Event()

    def enter() -> None:
        with other.locked(30):
            entered.set()

    waiting = threading.Thread(target=enter)
    with folder.locked(1, make=True):
        with (
            pytest.raises(UnreachableError, match="another process has been busy with the job 'mine-1'"),
            other.locked(0),
        ):
            pass
        waiting.start()
        assert not entered.is_set()
    waiting.join(10)
    assert entered.is_set()


def test_a_folder_that_is_not_there_needs_no_lock(tmp_path: Path) -> None:
    with JobFolder(tmp_path / "none").locked(1):
        assert not (tmp_path / "none").exists()


def test_a_cancelled_job_remembers_what_had_not_ended(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "mine-1")
    assert folder.cancelled() is None
    folder.mark_cancelled(["mine-1-0", "mine-1-1"])
    assert folder.cancelled() == frozenset({"mine-1-0", "mine-1-1"})
    folder.fill(asked())  # the job is made anew
    assert folder.cancelled() is None
    folder.discard()
    assert not folder.path.exists()
