from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemo_runspec.git_mounts import clone as module
from nemo_runspec.git_mounts.clone import CloneError, clone, link, main
from tests.nemo_runspec.git_mounts.repositories import commit, git, make_repository

SCRIPT = Path(module.__file__)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # where a clone goes that is no job's
    return tmp_path / "home"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository of two commits, the first of which no branch ends with."""
    folder = make_repository(tmp_path / "repository")
    commit(folder, "second")
    return folder


def first_commit(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD~1")


def left_overs(home: Path, folder: Path | None = None) -> list[str]:
    return sorted(path.name for path in (folder or home / "_nemotron").iterdir() if not path.name.startswith("git-"))


def job_folder(home: Path, name: str) -> Path:
    folder = home / "jobs" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_the_commit_is_on_its_target_and_nothing_is_left_over(tmp_path: Path, home: Path, repository: Path) -> None:
    wanted = first_commit(repository)
    target, job = tmp_path / "opt" / "here", job_folder(home, "one job")
    words = [sys.executable, str(SCRIPT), str(home), f"file://{repository}", wanted, str(target)]
    environment = {**os.environ, "NEMO_RUNSPEC_JOB_DIR": str(job)}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (target / "who.txt").read_text() == "first"
    assert target.resolve() == job / ".git-mounts" / wanted
    assert git(target, "rev-parse", "HEAD") == wanted
    assert git(target, "remote", "get-url", "origin") == f"file://{repository}"
    assert target.resolve().stat().st_mode & 0o777 == 0o755
    assert left_overs(home) == []
    assert left_overs(home, job / ".git-mounts") == [wanted]


def test_the_second_job_needs_no_repository_and_sees_nothing_of_the_first(home: Path, repository: Path) -> None:
    wanted = first_commit(repository)
    (repository / ".gitignore").write_text("ignored.txt\n")
    first = clone(home, f"file://{repository}", wanted, job_folder(home, "first"))
    (first / "who.txt").write_text("changed by the first job")
    (first / "ignored.txt").write_text("left by the first job")
    second = clone(home, "file:///nowhere", wanted, job_folder(home, "second"))
    assert second != first
    assert (second / "who.txt").read_text() == "first"
    assert [path.name for path in second.iterdir() if path.name != ".git"] == ["who.txt"]
    # The same job, started again, goes on in its own.
    assert clone(home, "file:///nowhere", wanted, job_folder(home, "first")) == first
    assert (first / "who.txt").read_text() == "changed by the first job"


@pytest.mark.parametrize("kind", ["changed", "ignored", "hidden from git"])
def test_a_changed_work_tree_of_a_kept_clone_gets_into_no_job(home: Path, repository: Path, kind: str) -> None:
    wanted = first_commit(repository)
    clone(home, f"file://{repository}", wanted)
    kept = home / "_nemotron" / f"git-{wanted}"
    if kind == "ignored":
        (kept / ".git/info").mkdir(exist_ok=True)
        (kept / ".git/info/exclude").write_text("*.so\n")
        (kept / "evil.so").write_text("left by another job")
    else:
        (kept / "who.txt").write_text("other")
    if kind == "hidden from git":
        git(kept, "update-index", "--assume-unchanged", "who.txt")
    assert not git(kept, "status", "--porcelain") or kind == "changed"
    folder = clone(home, "file:///nowhere", wanted, job_folder(home, "job"))
    assert [path.name for path in folder.iterdir() if path.name != ".git"] == ["who.txt"]
    assert (folder / "who.txt").read_text() == "first"


@pytest.mark.parametrize("damage", ["objects", "everything"])
def test_a_damaged_kept_clone_is_left_alone_and_another_is_made_beside_it(
    home: Path, repository: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = first_commit(repository)
    clone(home, f"file://{repository}", wanted)
    kept = home / "_nemotron" / f"git-{wanted}"
    if damage == "everything":
        shutil.rmtree(kept / ".git")
    else:
        for path in (kept / ".git/objects").rglob("*"):
            if path.is_file():
                path.chmod(0o600)
                path.write_bytes(path.read_bytes()[:-30] + bytes(30))
    folder = clone(home, f"file://{repository}", wanted, job_folder(home, "job"))
    assert (folder / "who.txt").read_text() == "first"
    assert f"{kept} is not used: git fetch: " in capsys.readouterr().err
    assert sorted(path.name for path in kept.parent.iterdir()) == [kept.name, f"{kept.name}-1"]
    # From now on the second one serves.
    assert (clone(home, "file:///nowhere", wanted, job_folder(home, "next")) / "who.txt").read_text() == "first"


def test_a_server_without_single_commits_is_fetched_as_a_whole(
    home: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.version")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "0")  # version 0 gives out the ends of branches only
    wanted = first_commit(repository)
    folder = clone(home, f"file://{repository}", wanted)
    assert (folder / "who.txt").read_text() == "first"


def test_many_pods_at_once_all_see_the_whole_clone(tmp_path: Path, home: Path, repository: Path) -> None:
    wanted = first_commit(repository)
    targets = [tmp_path / f"target{number}" for number in range(8)]
    words = [sys.executable, str(SCRIPT), str(home), f"file://{repository}", wanted]
    jobs = [job_folder(home, f"job {number % 2}") for number in range(len(targets))]
    environments = [{**os.environ, "NEMO_RUNSPEC_JOB_DIR": str(job)} for job in jobs]
    pods = [
        subprocess.Popen([*words, str(target)], stdout=subprocess.DEVNULL, env=environment)
        for target, environment in zip(targets, environments, strict=True)
    ]
    assert [pod.wait(timeout=60) for pod in pods] == [0] * len(pods)
    assert {(target.resolve(), (target / "who.txt").read_text()) for target in targets} == {
        (job / ".git-mounts" / wanted, "first") for job in jobs
    }
    assert [path.name for path in (home / "_nemotron").iterdir()] == [f"git-{wanted}"]
    assert left_overs(home) == []


@pytest.mark.parametrize("kind", ["writable", "link", "file", "incomplete"])
def test_what_cannot_be_trusted_is_not_used(
    tmp_path: Path, home: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wanted = first_commit(repository)
    final = home / "_nemotron" / f"git-{wanted}"
    foreign = clone(tmp_path / "foreign", f"file://{repository}", wanted)
    (foreign / "who.txt").write_text("foreign", encoding="utf-8")
    final.parent.mkdir(parents=True)
    if kind == "file":
        final.write_text("foreign", encoding="utf-8")
    elif kind == "link":
        final.symlink_to(foreign)
    elif kind == "incomplete":
        final.mkdir()
        (final / "who.txt").write_text("foreign", encoding="utf-8")
    else:
        foreign.rename(final)
        final.chmod(0o777)
    folder = clone(home, f"file://{repository}", wanted, job_folder(home, "job"))
    assert (folder / "who.txt").read_text() == "first"
    assert (final.parent / f"git-{wanted}-1" / "who.txt").read_text() == "first"
    if kind != "file":
        assert (final / "who.txt").read_text() == "foreign"  # left as it was


def test_a_repository_around_the_clones_is_not_taken_for_one(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wanted = git(repository, "rev-parse", "HEAD")
    incomplete = repository / "home" / "_nemotron" / f"git-{wanted}"
    (incomplete / "part").mkdir(parents=True)
    folder = clone(repository / "home", f"file://{repository}", wanted)
    assert folder != incomplete
    assert (folder / "who.txt").read_text() == "second"


def test_a_killed_clone_is_swept_after_an_hour(home: Path, repository: Path) -> None:
    store = home / "_nemotron"
    for name, age in ((".tmp.git-old", 7200), (".tmp.git-new", 60)):
        (store / name / "part").mkdir(parents=True)
        os.utime(store / name, times=(time.time() - age,) * 2)
    clone(home, f"file://{repository}", first_commit(repository))
    assert left_overs(home) == [".tmp.git-new"]


@pytest.mark.parametrize("wanted", ["main", "0123456", "--help", "A" * 40])
def test_a_ref_that_is_not_pinned_is_refused(home: Path, repository: Path, wanted: str) -> None:
    with pytest.raises(CloneError, match="not the 40 digits"):
        clone(home, f"file://{repository}", wanted)


def test_a_commit_that_is_not_there_is_told(
    tmp_path: Path, home: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target"
    assert main([str(home), f"file://{repository}", "0" * 40, str(target)]) == 1
    error = capsys.readouterr().err
    assert f"file://{repository} at {'0' * 40} is not mounted on {target}: git " in error
    assert not target.exists()
    assert left_overs(home) == []


def test_an_image_without_git_is_told(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main([str(home), "file:///r", "0" * 40, str(tmp_path / "t")]) == 1
    assert "the image has no git" in capsys.readouterr().err


def test_four_words_are_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["only", "three", "words"]) == 2
    assert capsys.readouterr().err.startswith("use: ")


def test_what_the_image_has_there_is_moved_aside(tmp_path: Path) -> None:
    folder, target = tmp_path / "clone", tmp_path / "opt"
    folder.mkdir()
    target.mkdir()
    (target / "image.txt").write_text("kept", encoding="utf-8")
    link(target, folder)
    assert target.resolve() == folder
    assert (tmp_path / f"opt.of-image-{os.getpid()}" / "image.txt").read_text() == "kept"


@pytest.mark.parametrize("reason", [errno.EXDEV, errno.EACCES])
def test_what_cannot_be_moved_is_removed_only_from_the_pod_s_own_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def refuse(path: Path, _: Path) -> None:
        raise OSError(reason, os.strerror(reason), str(path))

    folder, target = tmp_path / "clone", tmp_path / "opt"
    folder.mkdir()
    (target / "part").mkdir(parents=True)
    monkeypatch.setattr(Path, "rename", refuse)
    own = target.stat().st_dev == Path("/").stat().st_dev
    if reason == errno.EXDEV and own:
        link(target, folder)
        assert target.resolve() == folder
    else:
        with pytest.raises(CloneError, match="cannot be moved aside"):
            link(target, folder)
        assert (target / "part").is_dir()


def test_a_link_of_an_earlier_start_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "opt"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        link(target, tmp_path / name)
    assert target.resolve() == tmp_path / "two"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "opt", "two"]
    dangling = tmp_path / "gone"
    dangling.symlink_to(tmp_path / "nothing")
    link(dangling, tmp_path / "one")
    assert dangling.resolve() == tmp_path / "one"
