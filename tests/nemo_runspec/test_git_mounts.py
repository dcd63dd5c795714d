from __future__ import annotations

import ast
import shlex
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import ConfigError
from nemo_runspec.git_mounts import POD_SCRIPT, GitMount, clone_lines, is_git_mount, job_file, parse, pin
from tests.nemo_runspec.git_mounts.repositories import commit, git, make_repository

if TYPE_CHECKING:
    from pathlib import Path

SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "re po%")


def mount_of(repository: Path, ref: str) -> GitMount:
    # Straight to the value: `parse` takes no blanks, and git must get an address as one word whatever is in it.
    return GitMount(f"file://{repository}", ref, "/opt/r")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("git+https://host.example/a/b.git@main,/opt/b", ("https://host.example/a/b.git", "main", "/opt/b")),
        ("git+https://h:8443/a/b@v1.2.3-rc_1,/opt/b/", ("https://h:8443/a/b", "v1.2.3-rc_1", "/opt/b")),
        ("git+ssh://git@h/a/b.git@refs/heads/x/y,/w/b", ("ssh://git@h/a/b.git", "refs/heads/x/y", "/w/b")),
        (f"git+file:///srv/b.git@{SHA}, /opt/b", ("file:///srv/b.git", SHA, "/opt/b")),
        ("${auto_mount:git+https://h/b@HEAD,/opt/b}", ("https://h/b", "HEAD", "/opt/b")),
    ],
)
def test_a_repository_is_read_and_given_back(written: str, expected: tuple[str, str, str]) -> None:
    mount = parse(written)
    assert (mount.url, mount.ref, mount.target) == expected
    assert parse(str(mount)) == mount
    assert is_git_mount(written)
    assert mount.is_pinned == (mount.ref == SHA)


@pytest.mark.parametrize("text", ["/data:/data", "https://h/r@main,/opt/r", "${workspace:}/x:/x", ""])
def test_other_mounts_are_none(text: str) -> None:
    assert not is_git_mount(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://h/r",
        "git://h/r",
        "ext::sh -c touch% /tmp/x",
        "ext::id",
        "--upload-pack=touch",
        "https://user@h/r",
        "https://user:canary@h/r",
        "ssh://git:canary@h/r",
        "ssh://-oProxyCommand=x/r",
        "ssh://-l@h/r",
        "https://h",
        "https:///r",
        "https://h/r?token=canary",
        "https://h/r#x",
        "https://h/../r",
        "https://h/r;id",
        "https://h/$(id)",
        "https://h:x/r",
        "https://[h/r",
        "file://host/r",
        "file://r",
        "/srv/r",
        "git@h:r",
    ],
)
def test_an_address_that_is_not_plain_is_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(f"git+{url}@main,/opt/r")
    assert caught.value.remedy
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "ref",
    ["-x", "main;id", "a..b", "a b", "$(id)", "main~1", "a^", "a:b", "/main", "main/", "a//b", "x.lock", "a.", ""],
)
def test_a_ref_that_git_would_not_take_is_refused(ref: str) -> None:
    with pytest.raises(ConfigError):
        parse(f"git+https://h/r@{ref},/opt/r")


@pytest.mark.parametrize(
    "target",
    [
        *("opt/r", "/", "/opt", "/usr/bin", "/etc/x", "/proc/self", "/nemo_run/code", "/opt/../etc", "/opt//r"),
        *("/opt/r;id", "/opt/$(id)", "/opt/a b", "/opt/./r", "//opt/r", ""),
    ],
)
def test_a_target_that_is_not_a_folder_of_its_own_is_refused(target: str) -> None:
    with pytest.raises(ConfigError):
        parse(f"git+https://h/r@main,{target}")


def test_a_repository_without_a_ref_is_refused() -> None:
    for url in ("https://h/r", "ssh://git@h/r"):
        with pytest.raises(ConfigError):
            parse(f"git+{url},/opt/r")


def test_a_branch_and_a_tag_become_commits(repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "tag", "light")
    git(repository, "tag", "--annotate", "--message", "m", "heavy")
    second = commit(repository, "second")
    git(repository, "branch", "feature/main")
    commit(repository, "third")
    refs = {"light": first, "heavy": first, "refs/tags/heavy": first, "feature/main": second}
    assert {ref: pin(mount_of(repository, ref)).ref for ref in refs} == refs
    assert pin(mount_of(repository, "main")).ref == pin(mount_of(repository, "HEAD")).ref
    assert pin(mount_of(repository, "main")).is_pinned


def test_a_commit_needs_neither_git_nor_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    mount = GitMount("https://host.invalid/r", SHA, "/opt/r")
    assert pin(mount) == mount


def test_a_name_of_a_branch_and_of_another_tag_is_refused(repository: Path) -> None:
    git(repository, "tag", "main")
    assert pin(mount_of(repository, "main")).is_pinned
    second = commit(repository, "second")
    with pytest.raises(ConfigError, match="both a branch and a tag") as caught:
        pin(mount_of(repository, "main"))
    assert "refs/heads/main or refs/tags/main" in str(caught.value)
    assert pin(mount_of(repository, "refs/heads/main")).ref == second


def test_what_the_repository_does_not_have_is_told(repository: Path) -> None:
    with pytest.raises(ConfigError, match="no branch and no tag 'mian'"):
        pin(mount_of(repository, "mian"))
    short = git(repository, "rev-parse", "HEAD")[:12]
    with pytest.raises(ConfigError, match="all 40 digits"):
        pin(mount_of(repository, short))
    with pytest.raises(ConfigError, match="cannot be asked for its commits"):
        pin(mount_of(repository / "nothing", "main"))


def test_without_git_the_remedy_is_a_commit(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigError, match="git is not installed") as caught:
        pin(mount_of(repository, "main"))
    assert "40 digits" in str(caught.value)


def test_the_pod_script_is_a_file_that_an_old_python_reads() -> None:
    name, content = job_file()
    assert name == POD_SCRIPT
    tree = ast.parse(content, feature_version=(3, 8))
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert [module for module in imported if module and module.startswith("nemo_runspec")] == []


def test_every_line_is_exact_words_and_ends_the_script_on_failure() -> None:
    mounts = [GitMount("https://h/r", SHA, "/opt/r"), GitMount("https://h/s", SHA, "/opt/s")]
    lines = clone_lines(mounts, "/mnt/my home")
    assert [shlex.split(line)[:6] for line in lines] == [
        ["python3", "/nemo_run/clone.py", "/mnt/my home", mount.url, SHA, mount.target] for mount in mounts
    ]
    assert all(line.endswith(" || exit $?") for line in lines)
