from __future__ import annotations

import hashlib
import io
import lzma
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from nemo_runspec.data_mover.archive import Entry, pack, read
from nemo_runspec.data_mover.select import SourceFile
from nemo_runspec.errors import PayloadError
from tests.nemo_runspec.data_mover import pods

DIGEST = """
import sys
from nemo_runspec.data_mover import plan_for
print(plan_for(executor_type="lepton", pod_nemotron_home="/x", script_path=sys.argv[1]).sha256)
"""


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(lzma.decompress(data))) as tar:
        return tar.getmembers()


def test_an_archive_says_nothing_of_where_and_when_it_was_made() -> None:
    entries = [Entry("src/a.py", b"1"), Entry("run.sh", b"22", executable=True), Entry("src/ü.yaml", b"")]
    packed = pack(entries)
    found = members(packed.data)
    assert [(info.name, info.mode) for info in found] == [("src/a.py", 0o644), ("run.sh", 0o755), ("src/ü.yaml", 0o644)]
    assert {(info.mtime, info.uid, info.gid, info.uname, info.gname) for info in found} == {(0, 0, 0, "", "")}
    assert all(info.isreg() for info in found)
    assert packed.files == (("run.sh", 2), ("src/a.py", 1), ("src/ü.yaml", 0))
    assert packed.raw_bytes == 3
    assert packed.sha256 == hashlib.sha256(lzma.decompress(packed.data)).hexdigest()
    assert packed.tar_bytes == len(lzma.decompress(packed.data))
    assert packed.data.startswith(b"\xfd7zXZ\0")


def test_files_of_one_kind_stand_together() -> None:
    names = ["z.py", "a.yaml", "b.py", "y.yaml", "README"]
    assert [info.name for info in members(pack(Entry(name, b"") for name in names).data)] == [
        *("README", "b.py", "z.py", "a.yaml", "y.yaml"),
    ]


def test_the_order_of_the_entries_does_not_matter() -> None:
    entries = [Entry(f"{number}.py", str(number).encode()) for number in range(20)]
    assert pack(entries).data == pack(reversed(entries)).data


def test_another_xz_gives_another_archive_of_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(f"{number}.py", b"same\n" * number) for number in range(20)]
    before = pack(entries)
    monkeypatch.setattr("nemo_runspec.data_mover.archive._FILTERS", [{"id": lzma.FILTER_LZMA2, "preset": 0}])
    after = pack(entries)
    assert after.data != before.data
    assert after.sha256 == before.sha256
    assert pack(entries[1:]).sha256 != before.sha256


def test_the_time_that_it_takes_grows_with_the_number_of_files_and_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared = []

    class Counted(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            compared.append(other)
            return str(self) == other

        def __hash__(self) -> int:
            return hash(str(self))

    monkeypatch.setattr("nemo_runspec.data_mover.archive.compress", lambda data: data)
    pack(Entry(Counted(f"{number}.py"), b"") for number in range(500))
    assert len(compared) < 5_000


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../b", "a//b", "./a", "", "a/", "nul\0"])
def test_a_name_that_the_pod_would_refuse_is_refused_here(name: str) -> None:
    with pytest.raises(PayloadError, match="cannot be the name of a file"):
        pack([Entry(name, b"")])


def test_a_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(PayloadError, match=r"'a\.py' cannot be"):
        pack([Entry("a.py", b"1"), Entry("a.py", b"2")])


def test_a_file_that_is_a_folder_too_is_refused() -> None:
    with pytest.raises(PayloadError, match="'a' cannot be"):
        pack([Entry("a/b.py", b"1"), Entry("a", b"2")])


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(PayloadError, match=r"cannot read .*gone\.py: No such file"):
        read([SourceFile("src/gone.py", tmp_path / "gone.py")])


def digest(script: Path, path: str, umask: int) -> str:
    """Give the digest as another process finds it."""
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, str(script)],
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": str(umask), "TZ": "Asia/Tokyo" if umask else "UTC"},
        umask=umask,
        capture_output=True,
        text=True,
        timeout=pods.TIMEOUT_S,
        check=True,
    )
    return done.stdout.strip()


def test_a_checkout_and_an_installed_copy_have_one_digest(tmp_path: Path) -> None:
    source = Path(__file__).resolve().parents[3] / "src"
    script = "nemotron/recipes/nano3/sft/train.py"
    clone, installed = tmp_path / "clone", tmp_path / "lib/site-packages"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, clone / "src", ignore=ignored)
    pods.write(clone, {"pyproject.toml": "", "README.md": "", "tests/x.py": ""})
    before = os.umask(0o077)
    try:
        # As pip writes it: other times, other permissions, its own files beside it, compiled files.
        shutil.copytree(clone / "src", installed, copy_function=shutil.copyfile)
    finally:
        os.umask(before)
    pods.write(installed, {"nemotron-0.1.0.dist-info/RECORD": "", "nemotron/__pycache__/x.pyc": ""})
    for path in clone.rglob("*"):
        os.utime(path, (1, 1))
    first = digest(clone / "src" / script, str(clone / "src"), 0o000)
    second = digest(installed / script, str(installed), 0o077)
    assert len(first) == 64
    assert first == second
