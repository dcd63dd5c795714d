from __future__ import annotations

import shutil
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import ConfigError, RefusedError
from nemo_runspec.git_mounts import GitMount
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.prepare.clones import clone_folder, clone_git_repos_via_tunnel, require_container
from tests.nemo_runspec.git_mounts.repositories import commit, git, make_repository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.platforms.shell import Shell

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "my repo")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[str]:
    yield str(tmp_path / "ho me;$(id)")
    # pytest's own sweep does not write-enable folders.
    for folder in (tmp_path / "ho me;$(id)").glob("clones/*/"):
        for path in (folder, *folder.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o700)


@pytest.fixture
def shell() -> Shell:
    return LocalShell()


def mount_of(repository: Path, ref: str = "main", target: str = "/opt/r") -> GitMount:
    # Straight to the value: `parse` takes no blanks, and git must get an address as one word whatever is in it.
    return GitMount(f"file://{repository}", ref, target)


def clones(home: str) -> list[str]:
    return sorted(path.name for path in Path(home, "clones").iterdir() if path.suffix != ".lock")


def test_a_repository_is_cloned_once_at_the_commit_of_its_branch(repository: Path, home: str, shell: Shell) -> None:
    first = git(repository, "rev-parse", "HEAD")
    ((folder, target),) = clone_git_repos_via_tunnel(shell, [mount_of(repository)], home)
    assert target == "/opt/r"
    assert folder == f"{home}/clones/my-repo-{first}"
    assert (Path(folder) / "who.txt").read_text(encoding="utf-8") == "first"
    assert git(Path(folder), "rev-parse", "HEAD") == first
    second = commit(repository, "second")
    ((later, _),) = clone_git_repos_via_tunnel(shell, [mount_of(repository)], home)
    assert (Path(later) / "who.txt").read_text(encoding="utf-8") == "second"
    assert clones(home) == sorted([f"my-repo-{first}", f"my-repo-{second}"])


def test_a_clone_that_is_there_needs_no_repository(repository: Path, home: str, shell: Shell) -> None:
    pinned = mount_of(repository, git(repository, "rev-parse", "HEAD"))
    expected = clone_git_repos_via_tunnel(shell, [pinned], home)
    shutil.rmtree(repository)
    assert clone_git_repos_via_tunnel(shell, [pinned], home) == expected


def test_only_the_commit_is_fetched_and_nothing_can_be_written(repository: Path, home: str, shell: Shell) -> None:
    commit(repository, "second")
    ((folder, _),) = clone_git_repos_via_tunnel(shell, [mount_of(repository)], home)
    assert git(Path(folder), "rev-list", "--count", "HEAD") == "1"
    modes = [stat.S_IMODE(path.lstat().st_mode) for path in (Path(folder), *Path(folder).rglob("*"))]
    assert not [mode for mode in modes if mode & 0o222]
    assert stat.S_IMODE(Path(home, "clones").stat().st_mode) == 0o700


def test_a_server_without_single_commits_gives_all_of_them(repository: Path, home: str, shell: Shell) -> None:
    first = git(repository, "rev-parse", "HEAD")
    commit(repository, "second")
    # git's protocol before version 2 gives only what a name points at.
    git(repository, "config", "uploadpack.allowAnySHA1InWant", "false")
    git(repository, "config", "protocol.version", "0")
    ((folder, _),) = clone_git_repos_via_tunnel(shell, [mount_of(repository, first)], home)
    assert (Path(folder) / "who.txt").read_text(encoding="utf-8") == "first"


def test_one_repository_on_two_folders_is_one_clone(repository: Path, home: str, shell: Shell) -> None:
    mounts = [mount_of(repository, target="/opt/a"), mount_of(repository, target="/opt/b")]
    found = clone_git_repos_via_tunnel(shell, mounts, home)
    assert [target for _, target in found] == ["/opt/a", "/opt/b"]
    assert len({folder for folder, _ in found}) == 1


def test_whoever_comes_together_makes_one_clone(repository: Path, home: str) -> None:
    found: list[object] = []

    def clone() -> None:
        found.append(clone_git_repos_via_tunnel(LocalShell(), [mount_of(repository)], home))

    threads = [threading.Thread(target=clone) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert all(one == found[0] for one in found)
    assert len(clones(home)) == 1


def test_what_a_killed_clone_left_is_removed(repository: Path, home: str, shell: Shell) -> None:
    pinned = mount_of(repository, git(repository, "rev-parse", "HEAD"))
    final = Path(clone_folder(pinned, home))
    left = final.parent / f".{final.name}.part.abcdef"
    (left / "deep").mkdir(parents=True)
    left.parent.chmod(0o700)
    (left / "deep").chmod(0o500)
    clone_git_repos_via_tunnel(shell, [pinned], home)
    assert clones(home) == [final.name]


def test_a_repository_that_the_cluster_does_not_reach_is_told(home: str, shell: Shell) -> None:
    with pytest.raises(RefusedError, match=r"not appear to be a git repository|does not exist") as failure:
        clone_git_repos_via_tunnel(shell, [GitMount("file:///not/there", SHA, "/opt/r")], home)
    assert "git ls-remote file:///not/there" in (failure.value.remedy or "")
    assert "\n" not in failure.value.message
    assert clones(home) == []


def test_a_commit_that_is_not_in_the_repository_is_told(repository: Path, home: str, shell: Shell) -> None:
    with pytest.raises(RefusedError, match=SHA[:12]):
        clone_git_repos_via_tunnel(shell, [mount_of(repository, SHA)], home)
    assert clones(home) == []


def test_a_branch_that_is_not_there_is_told_before_the_cluster_is_asked(repository: Path, home: str) -> None:
    with pytest.raises(ConfigError, match="no branch and no tag 'nope'"):
        clone_git_repos_via_tunnel(LocalShell(), [mount_of(repository, "nope")], home)
    assert not Path(home).exists()


def test_a_folder_that_others_may_write_to_is_not_used(repository: Path, home: str, shell: Shell) -> None:
    Path(home, "clones").mkdir(parents=True)
    Path(home, "clones").chmod(0o777)
    with pytest.raises(RefusedError, match="not yours alone"):
        clone_git_repos_via_tunnel(shell, [mount_of(repository)], home)


def test_two_repositories_on_one_folder_are_refused(repository: Path, home: str, shell: Shell) -> None:
    with pytest.raises(ConfigError, match="two repositories are to be mounted on /opt/r"):
        clone_git_repos_via_tunnel(shell, [mount_of(repository), mount_of(repository, "HEAD")], home)


def test_nothing_is_asked_where_nothing_is_mounted(home: str, shell: Shell) -> None:
    assert clone_git_repos_via_tunnel(shell, [], home) == ()
    assert not Path(home).exists()


@pytest.mark.parametrize("url", ["https://h/a/b.git", "ssh://git@h/a/b", "file:///srv/b.git/"])
def test_a_clone_is_named_after_its_repository(url: str) -> None:
    assert clone_folder(GitMount(url, SHA, "/opt/b"), "/lustre/me") == f"/lustre/me/clones/b-{SHA}"


@pytest.mark.parametrize("image", [None, ""])
def test_without_a_container_nothing_can_be_mounted(image: str | None) -> None:
    with pytest.raises(ConfigError, match="on /opt/r, and the job has no container"):
        require_container([GitMount("https://h/r", SHA, "/opt/r")], image)
    require_container([], image)
    require_container([GitMount("https://h/r", SHA, "/opt/r")], "/x.sqsh")
