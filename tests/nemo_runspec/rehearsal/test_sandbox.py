from __future__ import annotations

import errno
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.rehearsal import sandbox as sandbox_module
from nemo_runspec.rehearsal.pod import PodSpec, VolumeMount
from nemo_runspec.rehearsal.python_environment import PythonEnvironment, this_environment
from nemo_runspec.rehearsal.sandbox import Sandbox
from tests.nemo_runspec.rehearsal.pods import WAIT_S, Pods

if TYPE_CHECKING:
    from collections.abc import Iterator

SRC = Path(sandbox_module.__file__).parents[2]

# One argument or variable, with its name and the byte that ends it, may have 32 pages: MAX_ARG_STRLEN, execve(2).
LONGEST = 32 * os.sysconf("SC_PAGESIZE") - 1


@pytest.fixture
def pods(tmp_path: Path) -> Iterator[Pods]:
    sandbox = Sandbox()
    yield Pods(sandbox, tmp_path)
    sandbox.close()


# What a pod sees.


def test_a_pod_has_a_root_folder_of_its_own_in_which_it_may_write(pods: Pods) -> None:
    command = (
        "id -u && hostname && echo $$ && touch /x && ln -s /mnt/nfs /nemo_run && touch /nemo_run/y /dev/shm/z && pwd"
    )
    assert pods.run("sh", "-c", command) == (0, "0\njob-1\n1\n/\n")
    assert pods.run("sh", "-c", "ls /dev/shm") == (0, "")
    assert [path.name for path in pods.volume.iterdir()] == ["y"]


def test_a_pod_sees_neither_a_home_nor_a_checkout_nor_what_runs_here(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    hidden = (SRC, tmp_path, Path.home() / ".bashrc", Path("/etc/shadow"), Path("/run/docker.sock"))
    script = "for path; do test -e $path && echo sees $path; done; ls -d /proc/[0-9]* | wc -l"
    code, said = pods.run("sh", "-c", script, "sh", *map(str, hidden))
    assert code == 0
    assert "sees" not in said
    assert int(said) < 5


def test_a_pod_cannot_write_to_the_machine(pods: Pods) -> None:
    purelib = sysconfig.get_path("purelib")
    code, _ = pods.run("sh", "-c", f"mount -o remount,rw /usr; touch /usr/x {purelib}/x")
    assert code == 1
    assert not Path(purelib, "x").exists()


def test_a_pod_has_this_python_and_what_is_installed_but_not_this_library(pods: Pods) -> None:
    script = (
        "import sys, yaml, importlib.util as u; print(sys.prefix, u.find_spec('nemo_runspec'), u.find_spec('torch'))"
    )
    for name in ("python", "python3"):
        code, said = pods.run(name, "-c", script)
        assert code == 0, said
        assert said.startswith(f"{sys.prefix} None ModuleSpec(name='torch'")


def test_installed_copies_of_what_travels_are_hidden(tmp_path: Path) -> None:
    installation = tmp_path / "python"
    for name in ("nemo_runspec", "yaml"):
        (installation / name).mkdir(parents=True)
        (installation / name / "__init__.py").touch()
    environment = PythonEnvironment(Path("/usr/bin/python3"), (installation,), (installation / "nemo_runspec",))
    sandbox = Sandbox(environment)
    try:
        pods = Pods(sandbox, tmp_path)
        assert pods.run("sh", "-c", f"cd {installation} && find . -type f") == (0, "./yaml/__init__.py\n")
    finally:
        sandbox.close()


def test_packages_of_the_user_are_imported_in_a_pod(tmp_path: Path) -> None:
    base = Path(sys.executable).resolve()  # a virtual environment has no packages of the user
    ask = [str(base), "-c", "import site; print(site.getusersitepackages())"]
    said = subprocess.run(ask, env={"PYTHONUSERBASE": str(tmp_path)}, check=True, capture_output=True, text=True)
    packages = Path(said.stdout.strip())
    packages.mkdir(parents=True)
    (packages / "mine.py").write_text("print('mine')\n", encoding="utf-8")
    folders = (*this_environment().folders, packages)
    sandbox = Sandbox(PythonEnvironment(base, folders, user_base=tmp_path))
    try:
        assert Pods(sandbox, tmp_path).run("python3", "-c", "import mine") == (0, "mine\n")
    finally:
        sandbox.close()


def test_an_environment_without_the_usual_names_gets_them(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "python3.11"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho own "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    sandbox = Sandbox(PythonEnvironment(program, (program.parent,)))
    try:
        assert Pods(sandbox, tmp_path).run("python3", "-c", "a b") == (0, "own -c a b\n")
    finally:
        sandbox.close()


def test_volumes_are_shared_and_a_read_only_one_is_that(pods: Pods, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    spec = pods.spec("sh", "-c", "echo 1 > /mnt/nfs/deep/a; echo 2 > /mnt/nfs/data/b")
    deep = tmp_path / "deep"
    deep.mkdir()
    mounts = (VolumeMount(data, "/mnt/nfs/data", read_only=True), VolumeMount(deep, "/mnt/nfs/deep"), *spec.mounts)
    pod = pods.sandbox.start(PodSpec(spec.name, spec.argv, (), "job", (), mounts, spec.log))
    assert pod.wait(WAIT_S) != 0
    assert "Read-only" in spec.log.read_text(encoding="utf-8")
    assert (deep / "a").read_text(encoding="utf-8") == "1\n"
    assert list(data.iterdir()) == []


def test_a_volume_that_cannot_be_mounted_ends_the_pod_and_says_so(pods: Pods, tmp_path: Path) -> None:
    spec = pods.spec("true")
    missing = PodSpec("pod", ("true",), (), "job", (), (VolumeMount(tmp_path / "nowhere", "/data"),), spec.log)
    assert pods.sandbox.start(missing).wait(WAIT_S) == 126
    assert "nowhere" in spec.log.read_text(encoding="utf-8")


def test_the_environment_is_what_was_given_and_what_an_image_has(pods: Pods) -> None:
    given = (("A", "1"), ("b.c", " x\n$y "), ("A", "2"), ("PATH", "/opt/app/bin:/usr/bin"))
    code, said = pods.run("env", "-0", env=given)
    found = dict(entry.split("=", 1) for entry in said.rstrip("\0").split("\0"))
    path = found.pop("PATH").split(":")
    assert code == 0
    assert found == {"A": "2", "b.c": " x\n$y ", "HOME": "/root", "HOSTNAME": "job-1", "PWD": "/"}
    assert path == ["/.rehearsal", str(Path(sys.executable).parent), "/opt/app/bin", "/usr/bin"]


def test_variables_of_the_loader_are_the_commands_alone(pods: Pods) -> None:
    code, said = pods.run("sh", "-c", "exit 3", env=(("LD_PRELOAD", "/no/such.so"), ("LD_LIBRARY_PATH", "/x")))
    assert code == 3
    assert said.count("/no/such.so") == 1


# Networks.

CALL = "import socket, sys; s = socket.create_connection((sys.argv[1], 29400), 30); print(s.recv(9).decode())"


def test_pods_of_a_job_reach_each_other_by_name_and_nobody_else_does(pods: Pods) -> None:
    lifeline = pods.lifeline()
    serve = f"import os; os.open('/mnt/nfs/{lifeline.name}', os.O_WRONLY);"
    listening = "import socket; s = socket.create_server(('', 29400));"
    server = pods.start("python3", "-c", f"{listening}{serve}s.accept()[0].sendall(b'hello')", name="job-worker-0")
    with lifeline.open("rb") as end:  # opens when the pod listens
        code, said = pods.run("python3", "-c", CALL, "worker-0.job-svc")
        assert (code, said) == (0, "hello\n")
        end.read()
    assert server.wait(WAIT_S) == 0


def test_another_job_has_the_same_ports_for_itself(pods: Pods) -> None:
    lifeline = pods.lifeline()
    serve = (
        f"import os, socket; s = socket.create_server(('', 29400)); os.open('/mnt/nfs/{lifeline.name}', os.O_WRONLY);"
    )
    server = pods.start("python3", "-c", f"{serve}s.accept()", network="one")
    with lifeline.open("rb"):
        other = pods.start("python3", "-c", CALL, "worker-0.job-svc", network="two")
        assert other.wait(WAIT_S) == 1
        assert "Connection refused" in other.spec.log.read_text(encoding="utf-8")
        own = pods.start("python3", "-c", "import socket; socket.create_server(('', 29400))", network="two")
        assert own.wait(WAIT_S) == 0
        server.stop(0)


REDUCE = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
value = torch.ones(1) * (dist.get_rank() + 1)
dist.all_reduce(value)
print("sum", value.item())
dist.destroy_process_group()
"""


LISTENS = """\
import socket
with socket.create_server(("127.0.0.1", 8265)) as server:
    print("listens", flush=True)
    connection = server.accept()[0]
    connection.sendall(b"from the pod")
    with socket.create_connection(("127.0.0.1", 8266)) as back:
        back.sendall(b"to the platform")
    connection.close()
"""


def test_the_platform_reaches_a_port_of_a_job_and_a_job_one_of_the_platform(pods: Pods) -> None:
    sandbox, spec = pods.sandbox, pods.spec("python", "-c", LISTENS)
    with pytest.raises(ConnectionRefusedError):
        sandbox.connection(spec.network, 8265)
    pod = sandbox.start(spec)
    while "listens" not in spec.log.read_text(encoding="utf-8"):
        assert pod.wait(0.05) is None
    with sandbox.listener(spec.network, 8266) as listener, sandbox.connection(spec.network, 8265) as connection:
        connection.settimeout(WAIT_S)
        assert connection.recv(64) == b"from the pod"
        listener.settimeout(WAIT_S)
        with listener.accept()[0] as back:
            assert back.recv(64) == b"to the platform"
    assert pod.wait(WAIT_S) == 0
    with pytest.raises(OSError, match=r"in use|refused"):
        sandbox.connection(spec.network, 8265)


def test_torchrun_meets_across_pods(pods: Pods) -> None:
    (pods.volume / "reduce.py").write_text(REDUCE, encoding="utf-8")
    torchrun = ("torchrun", "--nnodes", "2", "--nproc-per-node", "1", "--master-addr", "worker-0.job-svc")
    more = ("--master-port", "29400", "/mnt/nfs/reduce.py")
    started = [pods.start(*torchrun, "--node-rank", str(rank), *more) for rank in range(2)]
    assert [pod.wait(WAIT_S) for pod in started] == [0, 0]
    assert ["sum 3.0" in pod.spec.log.read_text(encoding="utf-8") for pod in started] == [True, True]


@pytest.mark.parametrize("program", ["wget", "curl"])
def test_there_is_no_network_and_a_pod_is_told(pods: Pods, program: str) -> None:
    code, said = pods.run(program, "https://example.com/x")
    assert (code, said) == (4, f"{program}: a rehearsed pod has no network: https://example.com/x\n")
    script = (
        "import socket\ntry: socket.create_connection(('192.0.2.1', 80))\nexcept OSError as error: print(error.errno)"
    )
    assert pods.run("python3", "-c", script) == (0, f"{errno.ENETUNREACH}\n")


def test_lepton_s_script_is_there_where_it_is_asked_for(tmp_path: Path) -> None:
    sandbox = Sandbox(lepton_script=True)
    try:
        url = "https://raw.githubusercontent.com/leptonai/scripts/main/lepton_env_to_pytorch.sh"
        show = 'echo "$MASTER_ADDR:$MASTER_PORT $NNODES $NODE_RANK $WORKER_ADDRS"'
        script = f"wget -O init.sh {url} && . ./init.sh && {show}; wget -O x https://example.com/y"
        worker = (("LEPTON_JOB_WORKER_PREFIX", "worker"), ("LEPTON_SUBDOMAIN", "j-job-svc"))
        place = (("LEPTON_JOB_TOTAL_WORKERS", "3"), ("LEPTON_JOB_WORKER_INDEX", "2"))
        code, said = Pods(sandbox, tmp_path).run("sh", "-c", script, env=worker + place)
    finally:
        sandbox.close()
    assert code == 4
    assert said.splitlines() == [
        "worker-0.j-job-svc:29400 3 2 worker-1.j-job-svc,worker-2.j-job-svc",
        "wget: a rehearsed pod has no network: -O x https://example.com/y",
    ]


# What the kernel refuses.


def test_a_command_that_is_not_there_or_no_program_ends_the_pod(pods: Pods) -> None:
    code, said = pods.run("no-such-program")
    assert (code, said.splitlines()[-1]) == (127, "exec no-such-program: no such file or directory")
    code, said = pods.run("/etc/hosts")
    assert (code, said.splitlines()[-1]) == (126, "exec /etc/hosts: permission denied")
    assert pods.run("sh", "-c", "echo 'bwrap: execvp sh: x'; exit 1") == (1, "bwrap: execvp sh: x\n")


def test_the_kernel_s_limits_are_real(pods: Pods) -> None:
    refused = (126, "exec true: argument list too long\n")
    assert pods.run("true", "x" * LONGEST)[0] == 0
    assert pods.run("true", "x" * (LONGEST + 1)) == refused
    assert pods.run("true", env=(("A", "x" * (LONGEST - 2)),))[0] == 0
    assert pods.run("true", env=(("A", "x" * (LONGEST - 1)),)) == refused
    assert pods.run("true", env=tuple((f"A{n}", "x" * 100_000) for n in range(100))) == refused
    loader = pods.run("true", env=(("LD_LIBRARY_PATH", "x" * LONGEST),))
    assert (loader[0], loader[1].splitlines()[-1]) == (126, "exec true: argument list too long")


def test_a_byte_that_no_command_can_hold_is_refused(pods: Pods) -> None:
    assert pods.run("echo", "a\0b") == (126, "exec echo: embedded null byte\n")


def test_a_pod_that_never_ran_is_a_pod(pods: Pods) -> None:
    pod = pods.start("true", "x" * (LONGEST + 1))
    pod.stop(0)
    assert (pod.poll(), pod.wait(), pod.spec.name) == (126, 126, "job-1")
