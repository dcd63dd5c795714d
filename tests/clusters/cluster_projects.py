"""Projects whose profiles lead to the beds, and the Python that jobs find there."""

from __future__ import annotations

import json
import os
import signal
import sysconfig
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from tests.clusters.projects import SECRET_VARIABLE, Project

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.clusters.beds.docker import DockerBed
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

SITE: Final = sysconfig.get_paths()["purelib"]
"""What is installed for the tests, which jobs use too."""

EMPTY_IMAGE: Final = "empty:1"
"""A container image with nothing in it: its system is this machine's, mounted."""

SYSTEM: Final = ("/usr", "/bin", "/lib", "/lib64", "/etc")

NASTY: Final = 'it\'s "two" $HOME $(id) `id` \\ # ; %j\n\ttab é 漢'
"""What each job has in the variable MSG."""

REPORTS: Final = f"""\
import glob, json, os, time
secret = os.environ["{SECRET_VARIABLE}"]
lines = [open(path, "rb").read() for path in glob.glob("/proc/[0-9]*/cmdline") if os.access(path, os.R_OK)]
seen = {{name: os.environ.get(name) for name in ("MSG", "NODE_RANK", "NNODES", "NEMO_RUN_DIR")}}
told = {{**seen, "length_is": len(secret), "in_argv": sum(secret.encode() in line for line in lines)}}
print("REPORT", json.dumps(told), flush=True)
reported = os.path.join(os.environ["NEMO_RUNSPEC_JOB_DIR"], "reported")
if os.environ["NODE_RANK"] == "0":
    open(reported, "w").close()
    time.sleep(0 if os.environ["NNODES"] == "1" else 300)
deadline = time.monotonic() + 100
while not os.path.exists(reported) and time.monotonic() < deadline:
    time.sleep(0.1)
raise SystemExit(3)
"""
"""A script that says what it has got, and whose last node fails when the first has said it too, and would go on."""

WAITS: Final = "import time\nprint('it waits', flush=True)\ntime.sleep(600)"

SMALL: Final = (
    "train.steps=2",
    "train.save_every=2",
    "train.batch_size=4",
    "train.sequence_length=64",
    "valid_windows=4",
)
"""What makes a pretraining short."""

TOLD_S: Final = 60
NEMO_RUN_HOME: Final = "nemo run"


@dataclass(frozen=True)
class Interpreter:
    """The system's own Python, which every user of this machine may start, with what is installed for the tests.

    Args:
        folder: Has it under the name `python`, which images of recipes have.
        path: The same, before the system's programs.
    """

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Interpreter:
        if not folder.exists():
            folder.mkdir(mode=0o755)
            (folder / "python").symlink_to("/usr/bin/python3")
            torchrun = folder / "torchrun"
            torchrun.write_text('#!/bin/sh\nexec python -m torch.distributed.run "$@"\n', encoding="ascii")
            torchrun.chmod(0o755)
            folder.chmod(0o755)
        return cls(folder)

    @property
    def path(self) -> str:
        return f"{self.folder}:/usr/local/bin:/usr/bin:/bin"

    @property
    def variables(self) -> str:
        """A profile's `env_vars`; one thread each, because two cores have to do for all."""
        threads = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        values = {"PATH": self.path, "PYTHONPATH": SITE, "MSG": NASTY, **threads}
        return "{ " + ", ".join(f"{name} = {json.dumps(value)}" for name, value in values.items()) + " }"


def slurm_project(folder: Path, slurm: SlurmBed, sshd: SshBed) -> Project:
    """Make a project with the profiles `ssh`, of an ordinary user, and `local`, of root; `-image` is in a container.

    Args:
        folder: Where; it is not there yet.
        slurm: The cluster.
        sshd: Its login node.
    """
    python = Interpreter.make(slurm.folder / "python")
    (slurm.images / EMPTY_IMAGE.replace(":", "+")).mkdir(exist_ok=True)
    contained = f"""\
container_image = "{EMPTY_IMAGE}"
mounts = [{", ".join(f'"{path}:{path}:ro"' for path in (*SYSTEM, SITE, python.folder))}]
"""
    # The local client needs Slurm's own programs; one that goes through SSH must not.
    environment = {"SLURM_CONF": slurm.environment["SLURM_CONF"], "PATH": f"{slurm.folder}/bin:{os.environ['PATH']}"}
    project = Project.make(folder, {**environment, "NEMORUN_HOME": str(folder / NEMO_RUN_HOME)})
    shared = f"""\
executor = "slurm"
account = "research"
partition = "batch"
time = "00:10:00"
nodes = 2
gpus_per_node = 0
container_image = "none"
env_vars = {python.variables}
secrets = ["{SECRET_VARIABLE}"]
"""
    text = f"""\
[ssh]
{shared}tunnel = "ssh"
host = "{sshd.host}"
port = {sshd.port}
user = "{sshd.user}"
identity = "{sshd.identity}"
known_hosts = "{sshd.known_hosts}"
remote_job_dir = "{slurm.work}/{folder.parent.name}"

[local]
{shared}tunnel = "local"

[ssh-image]
extends = "ssh"
{contained}
[local-image]
extends = "local"
{contained}"""
    (folder / "env.toml").write_text(text, encoding="utf-8")
    return project


def remote_home(slurm: SlurmBed, project: Project) -> Path:
    """Give the folder for jobs that the profile `ssh` of a project names."""
    return slurm.work / project.folder.parent.name


def docker_project(folder: Path, docker: DockerBed, image: str) -> Project:
    """Make a project with the profile `docker`."""
    project = Project.make(folder, {**docker.environment, "NEMORUN_HOME": str(folder / NEMO_RUN_HOME)})
    python = Interpreter.make(folder.parent / "python")
    text = f"""\
[docker]
executor = "docker"
container_image = "{image}"
gpus_per_node = 0
mounts = ["{SITE}:{SITE}:ro", "{python.folder}:{python.folder}:ro"]
env_vars = {python.variables}
secrets = ["{SECRET_VARIABLE}"]
"""
    (folder / "env.toml").write_text(text, encoding="utf-8")
    return project


def reports(output: str) -> list[dict[str, Any]]:
    """Give what the processes of a job have told."""
    found = (line.partition("REPORT ")[2] for line in output.splitlines())
    return [json.loads(text) for text in found if text]


def interrupted(process: subprocess.Popen[str], line: str) -> tuple[str, str]:
    """Send Ctrl-C to a command as soon as it has printed a text, and give its whole output and errors."""
    assert process.stdout is not None
    shown = []
    for text in process.stdout:
        shown.append(text)
        if line in text:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=TOLD_S)
    return "".join(shown) + out, err


def holding(text: str, folders: Iterable[Path]) -> list[Path]:
    """Give the files below some folders that hold a text."""
    return [path for path in _files(folders) if text.encode() in _content(path)]


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
