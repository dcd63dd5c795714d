"""`make cluster`: a Slurm and its login node, left running for a developer, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import sysconfig
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tests.clusters.beds import images
from tests.clusters.beds.slurm import ACCOUNT, BedError, SlurmBed
from tests.clusters.beds.sshd import SshBed, SshError

if TYPE_CHECKING:
    from collections.abc import Sequence

_ENV_FILE = """\
# Slurm of `make cluster`; gone when that ends.
[slurm-local]
executor = "slurm"
tunnel = "local"
account = "{account}"
partition = "batch"
run_partition = "interactive"
remote_job_dir = "{local_jobs}"
container_image = "none"
env_vars = {{ PATH = "{local_path}" }}

[slurm-ssh]
executor = "slurm"
tunnel = "ssh"
host = "{host}"
port = {port}
user = "{user}"
identity = "{identity}"
known_hosts = "{known_hosts}"
account = "{account}"
partition = "batch"
run_partition = "interactive"
remote_job_dir = "{ssh_jobs}"
container_image = "none"
# The account sees the system's Python only, and the packages of the environment that started this.
setup_lines = "mkdir -p ~/bin && ln -sf /usr/bin/python3 ~/bin/python && export PATH=~/bin:$PATH"
env_vars = {{ PYTHONPATH = "{packages}" }}
"""

_HELLO = Path(__file__).resolve().parents[3] / "recipes" / "hello" / "train.py"

_USE = """\
Slurm with the nodes {nodes} is up, {accounting} accounting, 8 pretended GPUs on each node, and a login node.

As root, on this machine (profile slurm-local):
  export SLURM_CONF={config} PATH={folder}/bin:$PATH
  sinfo
  cd {folder} && nemotron run {hello} --run slurm-local

Through SSH, as the ordinary user {user} (profile slurm-ssh):
  cd {folder} && nemotron run {hello} --run slurm-ssh
To look around there:
  {ssh}

Images:   {images}
Profiles: {env_file}
Logs:     {folder}/log

Ctrl-C ends all of it.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the beds, say how to use them, and wait for Ctrl-C."""
    parser = argparse.ArgumentParser(prog="python -m tests.clusters.beds", description=__doc__)
    parser.add_argument("--no-accounting", action="store_true", help="a cluster without slurmdbd: sacct knows nothing")
    options = parser.parse_args(arguments)
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # also where the shell had Ctrl-C ignored, as for what runs behind it
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        try:
            slurm = SlurmBed.start(accounting=not options.no_accounting)
            stack.callback(slurm.stop)
            ssh = SshBed.start(slurm.user, slurm.environment)
            stack.callback(ssh.stop)
        except (BedError, SshError) as error:
            sys.stderr.write(f"{error}\nIt takes root, and what scripts/system_packages.sh installs.\n")
            return 1
        published = _publish(slurm)
        env_file = write_env_file(slurm, ssh)
        text = _USE.format(
            nodes=" and ".join(slurm.nodes),
            accounting="with" if slurm.accounting else "without",
            config=slurm.config,
            folder=slurm.folder,
            user=slurm.user,
            ssh=" ".join(ssh.command()),
            images=published,
            env_file=env_file,
            hello=_HELLO,
        )
        sys.stdout.write(text)
        sys.stdout.flush()
        try:
            signal.pause()
        except KeyboardInterrupt:
            sys.stdout.write("\nending ...\n")
    return 0


def write_env_file(slurm: SlurmBed, ssh: SshBed) -> Path:
    """Write env.toml with a profile for each way to the cluster, and give its path."""
    # Root's own folder: the other user's is open to nobody else.
    local_jobs = slurm.folder / "root-jobs"
    local_jobs.mkdir(mode=0o700)
    path = slurm.folder / "env.toml"
    text = _ENV_FILE.format(
        account=ACCOUNT,
        host=ssh.host,
        port=ssh.port,
        user=ssh.user,
        identity=ssh.identity,
        known_hosts=ssh.known_hosts,
        local_jobs=local_jobs,
        ssh_jobs=slurm.work / "jobs",
        local_path=f"{Path(sys.executable).parent}:{slurm.environment['PATH']}",
        packages=sysconfig.get_path("purelib"),
    )
    path.write_text(text, encoding="utf-8")
    return path


def _publish(slurm: SlurmBed) -> str:
    try:
        slurm.publish(images.BUSYBOX, images.archive(images.BUSYBOX))
    except (OSError, RuntimeError) as error:
        return f"none ({error})"
    return f"docker://{images.BUSYBOX} for `enroot import` and --container-image"


if __name__ == "__main__":
    sys.exit(main())
