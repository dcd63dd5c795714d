"""Git repositories that jobs on a cluster mount: pinned here, cloned there, once for each commit."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nemo_runspec.errors import ConfigError, RefusedError
from nemo_runspec.git_mounts import pin
from nemo_runspec.platforms.abandoning import ended_when_abandoned
from nemo_runspec.prepare.squash import REMOTE_SCRIPTS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nemo_runspec.git_mounts import GitMount
    from nemo_runspec.platforms.shell import Answer, Shell

_SCRIPT: Final = REMOTE_SCRIPTS / "clone.sh"
_CLONES: Final = "clones"
_CLONE_S: Final = 600.0
_NO_GIT, _NOT_OURS = 69, 73


def require_container(mounts: Iterable[GitMount], image: str | None) -> None:
    """Refuse repositories in a job without a container: there, nothing can be mounted on a folder of the node.

    Args:
        mounts: The repositories.
        image: The job's container image, or None for none.

    Raises:
        ConfigError: There are some, and no image.
    """
    named = [mount.target for mount in mounts]
    if named and not image:
        message = f"a repository is to be mounted on {', '.join(named)}, and the job has no container to mount it in"
        raise ConfigError(message, remedy="Name a container_image, or take the repository out of `mounts`.")


def clone_folder(mount: GitMount, home: str) -> str:
    """Give the folder on a cluster that holds a repository at a commit; nothing is asked or made.

    Args:
        mount: The repository, pinned to a commit.
        home: Folder on the cluster that keeps jobs and clones.
    """
    repository = posixpath.basename(urlsplit(mount.url).path.rstrip("/")).removesuffix(".git")
    words = re.sub(r"[^A-Za-z0-9._-]+", "-", repository).strip("-.") or "repository"
    return posixpath.join(home, _CLONES, f"{words}-{mount.ref}")


@ended_when_abandoned()
def clone_git_repos_via_tunnel(
    shell: Shell, mounts: Iterable[GitMount], home: str, *, timeout_s: float = _CLONE_S
) -> tuple[tuple[str, str], ...]:
    """Clone repositories on a cluster, unless they are there, and tell what to mount where.

    Each is pinned to a commit here, so that the job gets what its branch was when it was submitted. A clone is whole,
    is shared by later jobs and cannot be written to. The cluster has to reach the repositories itself, with its own
    keys; nobody is asked for a password.

    Args:
        shell: The login node.
        mounts: The repositories.
        home: Folder on the cluster that keeps jobs and clones, from the root.
        timeout_s: How long one clone may take, in seconds.

    Returns:
        For each, the folder on the cluster and the folder in the container.

    Raises:
        ConfigError: A repository has no such ref or cannot be asked for it, or two have one target.
        RefusedError: It cannot be cloned there.
        UnreachableError: The cluster does not answer in time.
        AbandonedError: The submission that they are for was given up.
    """
    wanted = tuple(mounts)
    targets = [mount.target for mount in wanted]
    doubled = sorted({target for target in targets if targets.count(target) > 1})
    if doubled:
        message = f"two repositories are to be mounted on {', '.join(doubled)}"
        raise ConfigError(message, remedy="Give each a folder of its own.")
    pinned = [pin(mount) for mount in wanted]
    for folder, mount in {clone_folder(mount, home): mount for mount in pinned}.items():
        answer = shell.bash(_SCRIPT, folder, mount.url, mount.ref, timeout_s=timeout_s)
        if answer.code != 0:
            raise _failure(answer, mount, shell.label)
    return tuple((clone_folder(mount, home), mount.target) for mount in pinned)


def _failure(answer: Answer, mount: GitMount, label: str) -> RefusedError:
    lines = [line.strip() for line in answer.err.splitlines() if line.strip()]
    # Behind it, git gives advice over several lines.
    telling = (line for line in lines if line.startswith(("fatal:", "ERROR:", "error:", "Host key")))
    reason = next(telling, lines[-1] if lines else f"exit code {answer.code}, and no reason given")
    remedy = f"The cluster itself has to reach it; try there: git ls-remote {mount.url}"
    if answer.code == _NO_GIT:
        remedy = "Ask the cluster's administrators for git."
    elif answer.code == _NOT_OURS:
        remedy = "Only you may write to it: chmod go-w the folder, or name another remote_job_dir."
    elif "Host key verification failed" in answer.err:
        reason = "Host key verification failed"
        remedy = f"Log in there and connect once to {urlsplit(mount.url).hostname}, so that its key is known."
    return RefusedError(f"{mount.url} at {mount.ref[:12]} cannot be cloned on {label}: {reason}", remedy=remedy)
