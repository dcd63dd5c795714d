"""Git repositories that a pod clones for itself: read from a configuration, pinned to a commit, cloned by `clone.py`.

Written `git+URL@REF,/TARGET`, in a configuration as `${auto_mount:git+URL@REF,/TARGET}`.
"""

from __future__ import annotations

import os
import posixpath
import re
import shlex
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nemo_runspec.errors import ConfigError
from nemo_runspec.job_folder import JOB_LINK

if TYPE_CHECKING:
    from collections.abc import Iterable

POD_SCRIPT: Final = "clone.py"
EXAMPLE: Final = "git+https://github.com/NVIDIA-NeMo/Megatron-Bridge.git@main,/opt/Megatron-Bridge"

_LS_REMOTE_SECONDS = 60
_INTERPOLATION = re.compile(r"\s*\$\{\s*auto_mount:(?P<mount>[^{}]+)\}\s*")
# The ref has neither @ nor a comma, so that the user of an ssh address is not taken for one.
_MOUNT = re.compile(r"git\+(?P<url>[^,\s]+)@(?P<ref>[^@,]+),(?P<target>.+)")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_ABBREVIATED = re.compile(r"[0-9a-f]{7,39}")
_REF = re.compile(r"(?!.*(?:\.\.|//|/\.|/-|\.lock(?:/|$)|[./]$))[A-Za-z0-9][A-Za-z0-9._/-]*")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PATH = re.compile(r"(?!.*/\.\.(?:/|$))(?:/[A-Za-z0-9._~%+@-]+)+/?")
_TARGET = re.compile(r"(?:/[A-Za-z0-9._+@~-]+)+/?")
# What a link must not take the place of: the system's folders themselves, and everything below some of them.
_RESERVED = frozenset({JOB_LINK}) | frozenset(
    f"/{name}"
    for name in (
        *("bin", "boot", "dev", "etc", "home", "lib", "lib64", "media", "mnt", "opt", "proc", "root"),
        *("run", "sbin", "srv", "sys", "tmp", "usr", "var", "usr/bin", "usr/lib", "usr/local", "usr/sbin"),
    )
)
_RESERVED_BELOW = ("/dev", "/etc", JOB_LINK, "/proc", "/sys")


@dataclass(frozen=True, slots=True)
class GitMount:
    """A repository that the pod clones.

    Args:
        url: Address for git: https, ssh or file.
        ref: Branch, tag, `refs/...` or 40 hexadecimal digits of a commit.
        target: Absolute folder in the pod.
    """

    url: str
    ref: str
    target: str

    @property
    def is_pinned(self) -> bool:
        """Whether the ref is a whole commit."""
        return _COMMIT.fullmatch(self.ref) is not None

    def __str__(self) -> str:
        """Give it as `parse` reads it."""
        return f"git+{self.url}@{self.ref},{self.target}"


def is_git_mount(text: str) -> bool:
    """Tell whether an entry of `mounts` means a repository, so that `parse` should judge it."""
    return text.lstrip().startswith("git+") or _INTERPOLATION.fullmatch(text) is not None


def parse(text: str) -> GitMount:
    """Read `git+URL@REF,/TARGET`, also where the `${auto_mount:...}` around it is not resolved yet.

    Raises:
        ConfigError: Something about it is not allowed.
    """
    inner = _INTERPOLATION.fullmatch(text)
    written = (inner["mount"] if inner else text).strip()
    found = _MOUNT.fullmatch(written)
    if found is None:
        # What stands before the host may be a password, so the text itself is not repeated.
        message = "a repository to mount is written git+URL@REF,/TARGET, which this is not"
        raise ConfigError(message, remedy=f"Write, for example: ${{auto_mount:{EXAMPLE}}}")
    _check_url(found["url"])
    ref = found["ref"]
    if not _REF.fullmatch(ref):
        message = f"the ref {ref!r} of the repository {found['url']} is no branch, tag or commit"
        raise ConfigError(message, remedy="Use letters, digits and . _ / - as git does.")
    return GitMount(found["url"], ref, _target(found["target"].strip()))


def _check_url(url: str) -> None:
    remedy = "Write https://HOST/PATH, ssh://git@HOST/PATH or file:///PATH, without a password and before @REF."
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as failure:
        message = "the address of a repository to mount is not a URL"
        raise ConfigError(message, remedy=remedy) from failure
    shown = f"{parts.scheme}://{parts.hostname or ''}{f':{port}' if port else ''}{parts.path}"
    if parts.password is not None or (parts.username is not None and parts.scheme != "ssh"):
        message = f"the address {shown} of a repository to mount holds a credential, which would be in every job"
        raise ConfigError(message, remedy="Leave it out; git in the pod takes it from a credential helper or a key.")
    if parts.scheme not in {"https", "ssh", "file"} or parts.query or parts.fragment:
        message = f"a repository cannot be mounted from {shown}"
        raise ConfigError(message, remedy=remedy)
    host_is_right = not parts.netloc if parts.scheme == "file" else _HOST.fullmatch(parts.hostname or "") is not None
    user_is_right = parts.username is None or _USER.fullmatch(parts.username) is not None
    if not (host_is_right and user_is_right and _PATH.fullmatch(parts.path)):
        message = f"the address {shown} of a repository to mount is not complete, or has characters that are not taken"
        raise ConfigError(message, remedy=remedy)


def _target(target: str) -> str:
    folder = posixpath.normpath(target)
    if not _TARGET.fullmatch(target) or folder != target.rstrip("/"):
        message = f"a repository cannot be mounted on {target!r}"
        raise ConfigError(message, remedy="Name an absolute folder, such as /opt/Megatron-Bridge.")
    if folder in _RESERVED or folder.startswith(tuple(f"{name}/" for name in _RESERVED_BELOW)):
        message = f"a repository cannot be mounted on {folder}, which the system of the pod needs"
        raise ConfigError(message, remedy=f"Name a folder of its own, such as /opt{folder}.")
    return folder


def pin(mount: GitMount) -> GitMount:
    """Ask the repository which commit a ref is, so that every pod of a job clones the same one.

    Runs `git ls-remote`, which never prompts; a ref that is a commit already needs no git and no network.

    Raises:
        ConfigError: There is no git, the repository cannot be asked, or it has no such ref or two of them.
    """
    if mount.is_pinned:
        return mount
    wanted = (mount.ref,) if mount.ref.startswith("refs/") or mount.ref == "HEAD" else _full_names(mount.ref)
    answer = _ls_remote(mount.url, [*wanted, *(f"{name}^{{}}" for name in wanted)])
    commits = {name: commit for commit, _, name in (line.partition("\t") for line in answer.splitlines())}
    # An annotated tag is an object of its own; the commit stands under its peeled name.
    found = {name: commits.get(f"{name}^{{}}", commits.get(name)) for name in wanted}
    pinned = {commit for commit in found.values() if commit}
    if len(pinned) > 1:
        message = f"'{mount.ref}' is both a branch and a tag of {mount.url}, and they are different commits"
        raise ConfigError(message, remedy=f"Write {' or '.join(name for name in found if found[name])}.")
    if not pinned:
        message = f"the repository {mount.url} has no branch and no tag '{mount.ref}'"
        short = _ABBREVIATED.fullmatch(mount.ref) is not None
        raise ConfigError(message, remedy="Give all 40 digits of the commit." if short else "Correct the ref.")
    return replace(mount, ref=pinned.pop())


def _full_names(ref: str) -> tuple[str, str]:
    return f"refs/heads/{ref}", f"refs/tags/{ref}"


def _ls_remote(url: str, names: list[str]) -> str:
    # `ext::` addresses run commands; none passes `parse`, and a redirect must not bring one either.
    command = ["git", "-c", "protocol.ext.allow=never", "ls-remote", "--", url, *names]
    environment = {"GIT_SSH_COMMAND": "ssh -oBatchMode=yes", **os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LS_REMOTE_SECONDS,
            check=False,
            text=True,
        )
    except FileNotFoundError as failure:
        message = f"git is not installed, and is needed to find the commit of {url}"
        raise ConfigError(message, remedy="Install git, or give the 40 digits of the commit as the ref.") from failure
    except subprocess.TimeoutExpired as failure:
        message = f"the repository {url} did not answer within {_LS_REMOTE_SECONDS} s"
        raise ConfigError(message, remedy="Check the network, or give the 40 digits of the commit.") from failure
    if done.returncode != 0:
        told = done.stderr.strip().splitlines() or ["git said nothing"]
        # Behind it, git gives advice over several lines.
        reason = next((line for line in told if line.startswith(("fatal:", "ERROR:", "error:"))), told[-1])
        message = f"the repository {url} cannot be asked for its commits: {reason}"
        raise ConfigError(message, remedy="Check the address and your access to it: git ls-remote URL.")
    return done.stdout


def job_file() -> tuple[str, bytes]:
    """Give the script that clones in the pod, as a file of the job: its name and its content."""
    return POD_SCRIPT, Path(__file__).with_name(POD_SCRIPT).read_bytes()


def clone_lines(mounts: Iterable[GitMount], home: str) -> list[str]:
    """Give the shell lines that clone repositories in the pod, each of which ends the script when it fails.

    Args:
        mounts: The repositories; the pod refuses one that is not pinned, which only a dry-run shows.
        home: Folder in the pod that keeps clones for later jobs, on a volume.
    """
    words = (("python3", f"{JOB_LINK}/{POD_SCRIPT}", home, mount.url, mount.ref, mount.target) for mount in mounts)
    return [f"{shlex.join(line)} || exit $?" for line in words]
