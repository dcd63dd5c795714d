"""Pods on this machine: processes under bubblewrap, without root and without a container engine.

Every network (that is, every job) has a holder: a process in a user, network, PID and mount namespace of its own. Its
pods are started inside those namespaces, each in further ones of its own. The holder reads from a pipe whose other end
only this process has. So when this process ends, in whatever way, the holder ends, and with the first process of a PID
namespace the kernel ends everything in it. Nothing depends on which thread started a pod.

A pod's root folder is an empty one in memory. It sees the machine's software and Python environment, read-only and in
their places, and its volumes; nothing of anybody's home, and no network but its job's.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.errors import NemotronError
from nemo_runspec.rehearsal.pod_files import SHIMS, hosts, in_memory, open_files, root_files
from nemo_runspec.rehearsal.pod_process import EndedPod, SandboxedPod, next_json
from nemo_runspec.rehearsal.python_environment import SYSTEM_FOLDERS, PythonEnvironment, this_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nemo_runspec.rehearsal.pod import Pod, PodSpec

_LOOPBACK: Final = "127.0.0.1"
STANDARD_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_NAMESPACES = (
    *("--unshare-user", "--uid", "0", "--gid", "0", "--unshare-pid", "--as-pid-1"),
    *("--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    # Root in the pod is the user out here, and must not take read-only mounts for writable ones.
    *("--cap-drop", "ALL", "--die-with-parent", "--new-session"),
)
_FOLDERS = (
    *("--proc", "/proc", "--dev", "/dev", "--ro-bind-try", "/sys/devices/system", "/sys/devices/system"),
    *("--perms", "1777", "--tmpfs", "/tmp", "--perms", "1777", "--dir", "/var/tmp"),  # noqa: S108 - the pod's own
    *("--dir", "/opt", "--dir", "/run", "--dir", "/root", "--dir", "/mnt", "--dir", "/var/log", "--chdir", "/"),
)
_ETC = (
    "alternatives",
    "ca-certificates",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "os-release",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
)
"""Of /etc what programs need to work. The rest says how this machine is set up, which is no business of a job's."""
_MAKE_SOCKET: Final = """\
import socket, sys
with socket.socket() as made, socket.socket(fileno=int(sys.argv[1])) as to:
    socket.send_fds(to, [b"1"], [made.fileno()])
"""
_REMEDY = (
    "A rehearsal needs bubblewrap 0.5 or newer, nsenter, and user namespaces. On Debian and Ubuntu: "
    "`apt-get install bubblewrap util-linux`; from Ubuntu 24.04 on also "
    "`sysctl kernel.apparmor_restrict_unprivileged_userns=0`. In a Docker container: start it with "
    "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined`."
)


class Sandbox:
    """Runs pods under bubblewrap. Its methods may be called from several threads.

    Args:
        environment: The Python environment that pods see; without it, this process's own.
        lepton_script: Whether `wget` in a pod gives the script that nemo-run's own Lepton executor downloads; without
            it, and for anything else, pods have no network and are told so.

    Raises:
        NemotronError: This machine lacks bubblewrap or nsenter, or permits no user namespaces.
    """

    def __init__(self, environment: PythonEnvironment | None = None, *, lepton_script: bool = False) -> None:
        """Try once whether pods can be had here, so that it is not found out halfway."""
        self._bwrap, self._nsenter = _program("bwrap"), _program("nsenter")
        self._environment = environment or this_environment()
        self._root_files = root_files(self._environment, lepton_script=lepton_script)
        self._lock = threading.Lock()
        self._networks: dict[str, _Network] = {}
        self._pods: list[SandboxedPod] = []
        _Network(self._bwrap).close()

    def start(self, spec: PodSpec) -> Pod:
        """Start a pod. A command that the kernel refuses is a pod that ends with 126 or 127 and says so in its log.

        Raises:
            NemotronError: This machine has no room for another process.
        """
        network = self._network(spec.network)
        variables = _variables(spec, self._environment)
        # Variables of the loader are the command's alone: bubblewrap itself must not stumble over them.
        loader = {name: value for name, value in variables.items() if name.startswith("LD_")}
        read, write = os.pipe()
        descriptors = [write]
        try:
            options = [*self._options(spec), "--json-status-fd", str(write)]
            for name, value in loader.items():
                options += ["--setenv", name, value]
            options += open_files({**self._root_files, "/etc/hosts": (hosts(spec), 0o644)}, descriptors)
            # Options go through a file, and variables through our own environment, so that the kernel measures command
            # and environment just as it does in a container.
            descriptors.append(in_memory("\0".join([*options, ""]).encode()))
            inside = (self._nsenter, *network.enter, "-n", "-m", self._bwrap, "--args", str(descriptors[-1]), "--")
            with spec.log.open("ab") as log:
                size = log.tell()
                process = subprocess.Popen(
                    (*inside, *spec.argv),
                    env={name: value for name, value in variables.items() if name not in loader},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=descriptors,
                    start_new_session=True,  # Ctrl-C in a terminal is for us to pass on
                    cwd="/",
                )
        except (OSError, ValueError) as error:
            os.close(read)
            return _refused(spec, error)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        pod = SandboxedPod(spec, process, read, (self._nsenter, *network.enter), size)
        with self._lock:
            self._pods.append(pod)
        return pod

    def connection(self, network: str, port: int) -> socket.socket:
        """Connect to a port of the loopback interface that the pods of a network share.

        Raises:
            OSError: Nobody listens there, or the network is gone.
        """
        with _given_away(self._socket(network)) as inside:
            inside.connect((_LOOPBACK, port))
        return inside

    def listener(self, network: str, port: int) -> socket.socket:
        """Listen on a port of that interface.

        Raises:
            OSError: Somebody listens there, or the network is gone.
        """
        with _given_away(self._socket(network)) as inside:
            inside.bind((_LOOPBACK, port))
            inside.listen()
        return inside

    def release(self, network: str) -> None:
        """Forget a network; what still runs in it is ended."""
        with self._lock:
            found = self._networks.pop(network, None)
            pods = [pod for pod in self._pods if pod.spec.network == network]
            self._pods = [pod for pod in self._pods if pod.spec.network != network]
        if found is not None:
            found.close()
        for pod in pods:
            pod.wait()

    def close(self) -> None:
        """End every pod, and leave no process behind."""
        with self._lock:
            names = tuple(self._networks)
        for name in names:
            self.release(name)

    def _socket(self, network: str) -> socket.socket:
        with self._lock:
            found = self._networks.get(network)
        if found is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), network)
        return socket_within((self._nsenter, *found.enter, "-n"))

    def _network(self, name: str) -> _Network:
        with self._lock:
            if name not in self._networks:
                self._networks[name] = _Network(self._bwrap)
            return self._networks[name]

    def _options(self, spec: PodSpec) -> Iterator[str]:
        """Yield what a pod sees, in the order in which it is put together."""
        yield from (*_NAMESPACES, "--hostname", spec.name, "--dir", "/etc", "--dir", "/sys")
        for folder in SYSTEM_FOLDERS:
            if folder.is_symlink():  # /bin, since it became a part of /usr
                yield from ("--symlink", str(folder.readlink()), str(folder))
            else:
                yield from ("--ro-bind-try", str(folder), str(folder))
        for name in (*_ETC, *(path.name for path in Path("/etc").glob("python3*"))):
            yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
        yield from _FOLDERS
        for mount in sorted(spec.mounts, key=lambda mount: mount.target.count("/")):
            yield from ("--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.target)
        # After the volumes: wherever one is mounted, there is a Python.
        for folder in self._environment.folders:
            yield from ("--ro-bind", str(folder), str(folder))
        for folder in self._environment.hidden:
            if any(folder.is_relative_to(other) for other in (*SYSTEM_FOLDERS, *self._environment.folders)):
                yield from ("--tmpfs", str(folder))


class _Network:
    """The namespaces that the pods of a job share, and the process that holds them.

    Args:
        bwrap: The program.

    Raises:
        NemotronError: The machine does not permit them.
    """

    def __init__(self, bwrap: str) -> None:
        """Start the holder, and wait until its namespaces are there."""
        # Bubblewrap needs the /proc of the PID namespace that it runs in, and one that bubblewrap itself has mounted
        # is partly covered, so that no other can be mounted below; hence the holder mounts it.
        script = "mount -t proc proc /proc && echo ready && exec cat > /dev/null"
        read, write = os.pipe()
        namespaces = ("--unshare-user", "--uid", "0", "--gid", "0", "--unshare-net", "--unshare-pid", "--as-pid-1")
        options = ("--cap-add", "CAP_SYS_ADMIN", "--info-fd", str(write), "--dev-bind", "/", "/")
        try:
            self._holder = subprocess.Popen(
                (bwrap, *namespaces, *options, "sh", "-c", script),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(write,),
                start_new_session=True,
                cwd="/",
                env={"PATH": STANDARD_PATH},
            )
        except OSError as error:
            os.close(read)
            message = f"cannot start {bwrap}: {error.strerror}"
            raise NemotronError(message, remedy=_REMEDY) from error
        finally:
            os.close(write)
        with os.fdopen(read, "rb") as info:
            identity = next_json(info)
        said = self._holder.stdout.readline() if self._holder.stdout else b""
        if identity is None or said != b"ready\n":
            self.close()
            words = said.decode(errors="replace").strip() or "bubblewrap gave no reason"
            message = f"this machine does not permit rehearsed pods: {words}"
            raise NemotronError(message, remedy=_REMEDY)
        self.enter = ("-t", str(identity["child-pid"]), "-U", "-p", "--preserve-credentials")

    def close(self) -> None:
        """Let the holder go, and with it everything that runs in its namespaces."""
        with self._holder:  # closes the pipe that it reads from, and waits for its end
            pass


@contextmanager
def _given_away(made: socket.socket) -> Iterator[socket.socket]:
    """Close a socket where what is done with it fails: nobody else has it yet."""
    try:
        yield made
    except BaseException:  # whatever it is, nobody else has the socket
        made.close()
        raise


def socket_within(enter: Sequence[str]) -> socket.socket:
    """Make a TCP socket in another network namespace: it belongs to the one that it was made in.

    Args:
        enter: The command that runs another one there.

    Raises:
        OSError: The namespace is gone.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = (*enter, sys.executable, "-I", "-S", "-c", _MAKE_SOCKET, str(theirs.fileno()))
        made = subprocess.run(command, pass_fds=(theirs.fileno(),), check=False, capture_output=True)
        if made.returncode:
            raise OSError(errno.ENETUNREACH, made.stderr.decode(errors="replace").strip())
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    return socket.socket(fileno=descriptors[0])


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        message = f"a rehearsal needs {name}, which is not installed"
        raise NemotronError(message, remedy=_REMEDY)
    return path


def _variables(spec: PodSpec, environment: PythonEnvironment) -> dict[str, str]:
    """Give a pod's environment: what the image would set, and over it what the platform and the user do."""
    variables = {"HOME": "/root", "HOSTNAME": spec.name, "PATH": STANDARD_PATH}
    if environment.user_base is not None:
        variables["PYTHONUSERBASE"] = str(environment.user_base)
    variables |= dict(spec.env)
    # Wherever the user's image has its programs, here they are where this machine has them.
    return {**variables, "PATH": f"{SHIMS}:{environment.programs}:{variables['PATH']}"}


def _refused(spec: PodSpec, error: OSError | ValueError) -> Pod:
    """Give the pod whose command the kernel refuses.

    Raises:
        NemotronError: It was not the command that was refused.
    """
    if isinstance(error, OSError) and error.errno != errno.E2BIG:
        message = f"cannot start pod {spec.name}: {error.strerror}"
        raise NemotronError(message, remedy="Free processes, open files or memory, and try again.") from error
    reason = os.strerror(errno.E2BIG) if isinstance(error, OSError) else str(error)
    with spec.log.open("ab") as log:
        log.write(f"exec {spec.argv[0]}: {reason.lower()}\n".encode())
    return EndedPod(spec)
