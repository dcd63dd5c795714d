from __future__ import annotations

import base64
import hashlib
import io
import lzma
import os
import random
import subprocess
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover.archive import Entry, pack
from nemo_runspec.data_mover.chunks import encode, in_variables
from nemo_runspec.data_mover.pod import unpack
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = (Entry("launch.sh", b"echo\n", executable=True), Entry("a/b/c.txt", b"deep"), Entry("empty", b""))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def archive(*members: tarfile.TarInfo) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size))
    return raw.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = 1 if kind == tarfile.REGTYPE else 0
    return info


def test_chunks_become_the_payload_again() -> None:
    data = bytes(range(256)) * 7
    env = in_variables(encode(lzma.compress(data)), "P_", 10)
    assert len(env) > 10
    assert unpack.payload(env, "P_", len(env), hashlib.sha256(data).hexdigest(), len(data)) == data


@pytest.mark.parametrize("damage", ["missing", "swapped", "short"])
def test_damaged_chunks_are_refused(damage: str) -> None:
    data = bytes(range(256)) * 2
    env = in_variables(encode(lzma.compress(data)), "P_", 40)
    count = len(env)
    if damage == "missing":
        del env["P_3"]
    elif damage == "swapped":
        env["P_1"], env["P_2"] = env["P_2"], env["P_1"]
    else:
        env[f"P_{count - 1}"] = env[f"P_{count - 1}"][:-5]
    with pytest.raises(unpack.PodError, match="payload sha256 mismatch"):
        unpack.payload(env, "P_", count, hashlib.sha256(data).hexdigest(), len(data))


def test_what_would_be_larger_than_it_was_is_not_unpacked() -> None:
    env = in_variables(encode(lzma.compress(bytes(50_000_000))), "P_", 100)
    with pytest.raises(unpack.PodError, match="payload sha256 mismatch"):
        unpack.payload(env, "P_", len(env), "0" * 64, 1_000)


@pytest.mark.parametrize(
    "evil",
    [
        member("../outside"),
        member("a/../../outside"),
        member("/etc/passwd"),
        member("a//b"),
        member("./a"),
        member("link", tarfile.SYMTYPE, "/etc"),
        member("hard", tarfile.LNKTYPE, "a"),
        member("folder", tarfile.DIRTYPE),
        member("device", tarfile.CHRTYPE),
        member("fifo", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name} {info.type!r}",
)
def test_members_that_would_leave_the_folder_are_refused(evil: tarfile.TarInfo) -> None:
    with pytest.raises(unpack.PodError, match="refusing"):
        unpack.members(archive(member("good"), evil))


def test_an_archive_is_read_as_it_was_packed() -> None:
    found = unpack.members(lzma.decompress(pack(FILES).data))
    assert {entry.name: (entry.data, entry.executable) for entry in found} == {
        entry.name: (entry.data, entry.executable) for entry in FILES
    }


@pytest.fixture
def umask_077() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask_077")
def test_permissions_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    unpack.stage(unpack.members(lzma.decompress(pack(FILES).data)), target, 0o755)
    modes = {path.relative_to(target).as_posix(): path.stat().st_mode & 0o777 for path in target.rglob("*")}
    assert modes == {"launch.sh": 0o755, "a": 0o755, "a/b": 0o755, "a/b/c.txt": 0o644, "empty": 0o644}
    assert target.stat().st_mode & 0o777 == 0o755


def test_what_is_there_stays_and_nothing_is_left_over(tmp_path: Path) -> None:
    target = tmp_path / "tree"
    files = unpack.members(lzma.decompress(pack(FILES).data))
    unpack.stage(files, target, 0o755)
    (target / "a/b/c.txt").write_text("changed")
    unpack.stage(files, target, 0o755)
    assert (target / "a/b/c.txt").read_text() == "changed"
    assert names(tmp_path) == ["tree"]
    with pytest.raises(unpack.UntrustedError, match=r"c\.txt is not what was sent"):
        unpack.check_content(files, target)


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    twice = [unpack.Member("a", b"1", executable=False), unpack.Member("a", b"2", executable=False)]
    with pytest.raises(FileExistsError):
        unpack.stage(twice, tmp_path / "tree", 0o755)
    assert names(tmp_path) == []


def test_only_old_partial_folders_are_swept(tmp_path: Path) -> None:
    for name in (".tmp.old.x", ".tmp.new.x", "old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    (tmp_path / ".tmp.file").write_text("")
    for name in (".tmp.old.x", "old", ".tmp.file"):
        os.utime(tmp_path / name, (0, 0))
    unpack.stage([], tmp_path / "tree", 0o755)
    assert names(tmp_path) == [".tmp.file", ".tmp.new.x", "old", "tree"]


@pytest.mark.parametrize("mode", [0o775, 0o757, 0o777])
def test_a_folder_that_others_may_write_is_not_trusted(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(unpack.UntrustedError, match="others may write"):
        unpack.check_owner(tmp_path)
    tmp_path.chmod(0o755)
    unpack.check_owner(tmp_path)


def test_a_link_is_not_trusted(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(unpack.UntrustedError, match="is no folder"):
        unpack.check_owner(tmp_path / "link")


def test_a_folder_of_another_user_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(unpack.UntrustedError, match="belongs to user"):
        unpack.check_owner(tmp_path)
    # A volume that shows other owners shows them for what is made there now as well.
    (tmp_path / "job").mkdir()
    unpack.check_job_folder(tmp_path / "job")
    assert names(tmp_path) == ["job"]


# Without the file that another pod is just making, or was killed over; nor is it told that such a one went away.
_FIND = "find -L src -ignore_readdir_race -type f ! -name '.tmp.*'"
SURVIVED = f"{_FIND} | wc -l; {_FIND} -exec cat {{}} + | wc -c"
PODS = 64

# Stands before the pod's program. A volume without locks:
LOCKLESS = """
import fcntl
def flock(handle, operation): raise OSError("this volume has no locks")
fcntl.flock = flock
"""
# A pod that is killed while it writes its Nth file:
KILLED_AT = """
import os
opened, fdopen = [], os.fdopen
def killing(*arguments):
    opened.append(1)
    if len(opened) == {}: os.kill(os.getpid(), 9)
    return fdopen(*arguments)
os.fdopen = killing
"""


def test_64_pods_race_and_a_quarter_is_killed(tmp_path: Path) -> None:
    choice = random.Random(20_251)  # noqa: S311 - which pods are killed, and when, is no secret
    many = {f"src/nemotron/part{i}.py": f"VALUE = {choice.random()}\n" * 20 for i in range(120)}
    repository = pods.write(pods.repository(tmp_path / "repository"), many)
    plan = pods.plan(repository, tmp_path / "home", nodes=PODS)

    def start(index: int, before: str) -> subprocess.Popen[str]:
        more = {"LEPTON_JOB_WORKER_INDEX": str(index), "LEPTON_JOB_TOTAL_WORKERS": str(PODS), "HOSTNAME": f"w-{index}"}
        env = {**pods.variables(plan, tmp_path / f"link{index}"), **more}
        *python, program, shell, flag, text = pods.argv(plan, ["sh", "-c", SURVIVED])
        command = [*python, before + program, shell, flag, text]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    # The first eight die in the middle of it, so that the others find what they have left.
    first = [start(index, LOCKLESS + KILLED_AT.format(choice.randint(2, 100))) for index in range(8)]
    outputs = [pod.communicate(timeout=pods.TIMEOUT_S)[0] for pod in first]
    assert [pod.returncode for pod in first] == [-9] * 8, outputs
    left = [path.name for path in (tmp_path / "home/_nemotron").iterdir()]
    assert len(left) == 8
    assert all(name.startswith(".tmp.src-") for name in left)
    # Eight more are killed when so many of the others have been started: before, while or after they unpack.
    victims = {index: index + choice.randint(1, 12) for index in choice.sample(range(8, PODS - 12), 8)}
    others: dict[int, subprocess.Popen[str]] = {}
    for index in range(8, PODS):
        others[index] = start(index, LOCKLESS if index % 2 else "")
        for victim in (victim for victim, when in victims.items() if when == index):
            others[victim].kill()
    printed = {index: pod.communicate(timeout=pods.TIMEOUT_S)[0].splitlines() for index, pod in others.items()}
    survivors = [lines for index, lines in printed.items() if others[index].returncode != -9]
    assert len(survivors) >= PODS * 3 // 4
    whole = [str(len(plan.files)), str(sum(size for _, size in plan.files))]
    assert [lines[:2] for lines in survivors] == [whole] * len(survivors)
    assert [lines for lines in survivors if not lines[-1].endswith("exit code 0")] == []
    trees = [name for name in names(tmp_path / "home/_nemotron") if not name.startswith(".tmp.")]
    assert trees == [f"src-{plan.sha256[:16]}"]


def test_the_encoding_is_base_85_with_four_signs_replaced() -> None:
    data = bytes(range(256))
    text = encode(data)
    assert not set("$&<>") & set(text)
    assert base64.b85decode(text.translate(str.maketrans(",./:", "$&<>"))) == data
    assert Path(unpack.__file__).parent.name == "pod"
