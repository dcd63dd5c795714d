"""Source trees on their way: unpacked whole, listed, one sender at a time."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import threading
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError, UnreachableError
from nemo_runspec.platforms.slurm.sources import digests, turn, unpack
from nemo_runspec.platforms.workload import Tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def tree_of(members: Iterable[tuple[str, bytes, bool]], kind: bytes = tarfile.REGTYPE) -> Tree:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data, executable in members:
            member = tarfile.TarInfo(name)
            member.type, member.size, member.mode = kind, len(data), 0o755 if executable else 0o644
            tar.addfile(member, io.BytesIO(data))
    return Tree(hashlib.sha256(archive.getvalue()).hexdigest(), archive.getvalue())


SMALL = tree_of([("pkg/a b.py", b"one", False), ("pkg/sub/run", b"two", True), ("new\nline\\x", b"", False)])


def test_a_tree_is_unpacked_once(tmp_path: Path) -> None:
    folder = unpack(SMALL, tmp_path)
    assert folder.name == SMALL.sha256
    assert (folder / "pkg/a b.py").read_bytes() == b"one"
    assert os.access(folder / "pkg/sub/run", os.X_OK)
    assert not (folder / "pkg/a b.py").stat().st_mode & 0o177
    before = folder.stat().st_mtime_ns
    assert unpack(SMALL, tmp_path).stat().st_mtime_ns == before
    assert [path.name for path in tmp_path.iterdir()] == [SMALL.sha256]


def test_many_may_unpack_at_once(tmp_path: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(unpack(SMALL, tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / SMALL.sha256] * 8
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "a//b", "./a", ""])
def test_members_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RefusedError, match="no file below its root"):
        unpack(tree_of([(name, b"x", False)]), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_links_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="no file below its root"):
        unpack(tree_of([("link", b"", False)], tarfile.SYMTYPE), tmp_path)


def test_an_archive_of_another_digest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="not the one with the digest"):
        unpack(Tree("0" * 64, SMALL.tar), tmp_path)


def test_the_list_is_one_that_sha256sum_reads(tmp_path: Path) -> None:
    folder = unpack(SMALL, tmp_path)
    text, count = digests(SMALL)
    assert count == 3
    check = ["sha256sum", "--check", "--strict"]
    assert subprocess.run(check, input=text, cwd=folder, check=False, capture_output=True, timeout=20).returncode == 0
    (folder / "new\nline\\x").write_bytes(b"other")
    assert subprocess.run(check, input=text, cwd=folder, check=False, capture_output=True, timeout=20).returncode == 1


def test_what_was_left_long_ago_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp.old").mkdir()
    (tmp_path / ".lock").touch()
    for path in tmp_path.iterdir():
        os.utime(path, (0, 0))
    (tmp_path / ".tmp.new").mkdir()
    unpack(SMALL, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".tmp.new", SMALL.sha256}


def test_one_sends_a_tree_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    with turn("a" * 64, folder, 1), turn("b" * 64, folder, 1):
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(UnreachableError, match="another process"), turn("a" * 64, folder, 0.2):
            pytest.fail("two at a time")
    with turn("a" * 64, folder, 0):
        pass


def test_what_is_no_digest_is_no_name_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"), turn("../x", tmp_path, 1):
        pass
