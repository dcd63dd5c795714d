"""Repositories cloned on a real cluster through a real sshd, and seen by a job there."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import RefusedError
from nemo_runspec.executors.connection import shell_of
from nemo_runspec.executors.platform import Task
from nemo_runspec.executors.slurm import create_slurm_executor
from nemo_runspec.executors.slurm_request import slurm_connection
from nemo_runspec.git_mounts import GitMount, parse
from nemo_runspec.prepare.clones import clone_git_repos_via_tunnel
from tests.clusters.profiles import slurm_profile
from tests.nemo_runspec.git_mounts.repositories import commit, git, make_repository

SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc")

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.platforms.shell import Shell
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed


@pytest.fixture
def shell(slurm: SlurmBed, sshd: SshBed) -> Iterator[Shell]:
    shell = shell_of(slurm_connection(slurm_profile(slurm, sshd)))
    yield shell
    shell.close()


@pytest.fixture
def home(slurm: SlurmBed, request: pytest.FixtureRequest) -> str:
    return str(slurm.work / f"clones of {request.node.name}")


@pytest.fixture
def checkout(slurm: SlurmBed, request: pytest.FixtureRequest) -> Path:
    return make_repository(slurm.folder / f"checkout-{request.node.name}")


@pytest.fixture
def repository(slurm: SlurmBed, checkout: Path) -> Path:
    """Give a bare repository of the cluster's user."""
    bare = slurm.work / f"{checkout.name}.git"
    git(checkout, "clone", "--quiet", "--bare", str(checkout), str(bare))
    for path in (bare, *bare.rglob("*")):
        shutil.chown(path, slurm.user)
    return bare


@pytest.fixture(autouse=True)
def _trusted_repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # This process is root, and git asks no repository of somebody else.
    (tmp_path / "gitconfig").write_text("[safe]\n\tdirectory = *\n", encoding="utf-8")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))


def test_a_repository_is_cloned_once_on_the_cluster_and_a_job_reads_it(
    slurm: SlurmBed, shell: Shell, home: str, repository: Path
) -> None:
    mount = parse(f"${{auto_mount:git+file://{repository}@main,/opt/app}}")
    found: list[tuple[tuple[str, str], ...]] = []

    def clone() -> None:
        found.append(clone_git_repos_via_tunnel(shell, [mount], home))

    threads = [threading.Thread(target=clone) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 3
    assert len(set(found)) == 1
    ((folder, target),) = found[0]
    assert target == "/opt/app"
    assert Path(folder).owner() == slurm.user
    log = slurm.work / "read.log"
    job = slurm.submit(f"cat '{folder}/who.txt'; echo; touch '{folder}/x' || echo refused", f"--output={log}")
    slurm.wait_for(job)
    assert log.read_text(encoding="utf-8").splitlines()[0] == "first"
    assert "refused" in log.read_text(encoding="utf-8")


def test_the_commit_is_that_of_the_submission(shell: Shell, home: str, repository: Path, checkout: Path) -> None:
    first = git(checkout, "rev-parse", "HEAD")
    second = commit(checkout, "second")
    git(repository, "fetch", "--quiet", str(checkout), "main:main")
    ((old, _),) = clone_git_repos_via_tunnel(shell, [GitMount(f"file://{repository}", first, "/opt/app")], home)
    ((new, _),) = clone_git_repos_via_tunnel(shell, [GitMount(f"file://{repository}", "main", "/opt/app")], home)
    assert old.endswith(first)
    assert new.endswith(second)
    assert (Path(old) / "who.txt").read_text(encoding="utf-8") == "first"


def test_a_job_sees_the_repository_that_its_profile_names(
    slurm: SlurmBed, sshd: SshBed, repository: Path, checkout: Path
) -> None:
    system = slurm.images / "system+1"  # of this machine, mounted into an image with nothing in it
    system.mkdir()
    system.chmod(0o755)
    home = str(slurm.work / "auto-mount")
    profile = slurm_profile(
        slurm,
        sshd,
        remote_job_dir=home,
        container_image="system:1",
        mounts=(
            *(f"{path}:{path}:ro" for path in SYSTEM),
            f"${{auto_mount:git+file://{repository}@main,/opt/app}}",
        ),
    )
    pinned = git(checkout, "rev-parse", "HEAD")
    executor = create_slurm_executor(profile)
    tasks = [Task("read", "cat /opt/app/who.txt")]
    # Nothing is cloned, nor anybody asked, until it is submitted.
    assert f"/clones/{repository.stem}-main:/opt/app" in executor.request(tasks).body["sbatch"]
    assert not Path(home).exists()
    entry = executor.submit("auto-mount", tasks)
    commit(checkout, "later")
    git(repository, "fetch", "--quiet", str(checkout), "main:main")
    state = slurm.wait_for(entry.id)
    folder = Path(home, "jobs", entry.name)
    assert state == "COMPLETED", [path.read_text(encoding="utf-8") for path in (folder / "logs").iterdir()]
    text = (folder / "job.sbatch").read_text(encoding="utf-8")
    mount = f"{home}/clones/{repository.stem}-{pinned}:/opt/app"
    assert mount in text
    assert all(mount in record["options"]["container-mounts"] for record in slurm.record(entry.id))
    assert "first" in (folder / "logs" / "task-0.0.log").read_text(encoding="utf-8")


def test_a_repository_that_asks_for_a_login_is_refused_without_a_question(
    shell: Shell, home: str, sshd: SshBed
) -> None:
    # The cluster's user has no key for this server, and does not know it either.
    mount = GitMount(f"ssh://{sshd.user}@{sshd.host}:{sshd.port}/nothing.git", "0" * 40, "/opt/app")
    with pytest.raises(RefusedError, match="Host key verification failed") as failure:
        clone_git_repos_via_tunnel(shell, [mount], home, timeout_s=30)
    assert "connect once" in (failure.value.remedy or "")
