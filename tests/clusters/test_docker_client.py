"""Docker's client on a real engine: what is asked arrives as it is, and what comes back is told as it is."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import RefusedError
from nemo_runspec.platforms.contents import SECRETS_FILE
from nemo_runspec.platforms.docker.client import DockerClient
from nemo_runspec.platforms.docker.engine import LONGEST_LINE_BYTES
from nemo_runspec.platforms.docker.request import DockerSpec, request
from nemo_runspec.platforms.limits import KERNEL_STRING_BYTES
from nemo_runspec.platforms.workload import NAME, Cause, JobState, Tree
from tests.clusters.beds import images
from tests.clusters.beds.processes import wait_until
from tests.clusters.docker_jobs import ended, job, names, new_home, open_to_all, output, shell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.clusters.beds.docker import DockerBed


ROOT = Path(__file__).parents[2]
UID, GID = 4711, 4712
TEXT = "two  words \" ' ` $HOME $(id) \\ \n\t; & | * é \u4e2d"


@pytest.fixture
def home() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


@pytest.fixture
def client(docker_bed: DockerBed) -> DockerClient:
    return DockerClient(docker_bed.host, grace_s=1)


def test_arguments_and_values_arrive_as_they_are(client: DockerClient, home: Path) -> None:
    asked = job(
        home,
        *("python3", "-c", "import os, sys; print(repr((sys.argv[1:], os.environ['Text'])))", TEXT, "", "-x"),
        env={"Text": TEXT},
    )
    workload = client.submit(asked, "words-1")
    assert output(client, workload) == [repr(([TEXT, "", "-x"], TEXT))]
    assert ended(client, workload) == client.look(workload)
    assert client.look(workload).state is JobState.SUCCEEDED
    assert client.look(workload).exit_code == 0


def test_a_value_up_to_the_kernels_limit(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    longest = "x" * (KERNEL_STRING_BYTES - len("BIG="))
    workload = client.submit(shell(home, "echo ${#BIG}; env | wc -c", env={"BIG": longest}), "big-1")
    assert output(client, workload)[0] == str(len(longest))
    with pytest.raises(Exception, match="the variable 'BIG' has 131,068 bytes; Docker takes 131,067"):
        shell(home, "true", env={"BIG": longest + "x"})
    assert names(docker_bed) == ["big-1-0"]


def test_many_values_up_to_the_kernels_limit(client: DockerClient, home: Path) -> None:
    fits = {f"BIG_{number}": "x" * 130_000 for number in range(15)}
    workload = client.submit(shell(home, "env | grep -c BIG_", env=fits), "many-1")
    assert output(client, workload) == ["15"]
    with pytest.raises(Exception, match="the kernel takes"):
        shell(home, "true", env={**fits, "BIG_15": "x" * 130_000})


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_exit_codes(client: DockerClient, home: Path, code: int) -> None:
    workload = client.submit(shell(home, f"exit {code}"), "code-1")
    found = ended(client, workload)
    assert (found.state, found.exit_code) == (JobState.FAILED if code else JobState.SUCCEEDED, code)


def test_out_of_memory_is_told(client: DockerClient, home: Path) -> None:
    asked = shell(home, "python3 -c 'x = bytearray(2**30)'; exit $?")
    asked.body["containers"][0]["config"]["HostConfig"]["Memory"] = 64 * 2**20
    asked.body["containers"][0]["config"]["HostConfig"]["MemorySwap"] = 64 * 2**20
    found = ended(client, client.submit(asked, "memory-1"))
    assert (found.state, found.exit_code, found.cause) == (JobState.FAILED, 137, Cause.MEMORY)


def test_one_of_several_that_fails_is_a_failure(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    script = 'trap "exit 9" TERM; [ $NODE_RANK = 1 ] && exit 5; [ $NODE_RANK = 2 ] && exit 0; sleep 600 & wait'
    workload = client.submit(shell(home, script, nodes=3), "group-1")
    assert client.pods(workload) == ("group-1-0", "group-1-1", "group-1-2")
    found = ended(client, workload)
    assert (found.state, found.exit_code, found.cause) == (JobState.FAILED, 5, None)
    assert found.word == "exited (9), exited (5), exited (0)"
    assert docker_bed.networks() == []


def test_containers_find_each_other_by_name(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    serve = "import socket; s = socket.create_server(('', 5000)); c, _ = s.accept(); print(c.recv(9).decode())"
    ask = (
        "import os, socket, time\n"
        "for _ in range(100):\n"
        "    try: socket.create_connection((os.environ['MASTER_ADDR'], 5000)).sendall(b'hello'); break\n"
        "    except OSError: time.sleep(0.1)\n"
    )
    script = f'[ $NODE_RANK = 0 ] && exec python3 -c "{serve}"; exec python3 -c "{ask}"'
    workload = client.submit(shell(home, script, nodes=2), "net-1")
    assert docker_bed.networks() == ["net-1"]
    assert output(client, workload) == ["hello"]
    assert ended(client, workload).state is JobState.SUCCEEDED
    assert docker_bed.networks() == []


def test_output_belongs_to_the_user(client: DockerClient, home: Path) -> None:
    (home / "data").mkdir(parents=True)
    (home / "data").chmod(0o777)
    mounts = ((str(home / "data"), "/data", False), (str(home / "data"), "/read only", True))
    script = "touch /data/made; touch '/read only/x' 2>&1 | grep -o 'Read-only file system'; cd; pwd; echo $USER"
    asked = shell(home, script, mounts=mounts, user=f"{UID}:{GID}", workdir="/data")
    workload = client.submit(asked, "user-1")
    assert output(client, workload) == ["Read-only file system", "/tmp", "user"]  # noqa: S108 - in the container
    made = (home / "data/made").stat()
    assert (made.st_uid, made.st_gid) == (UID, GID)


CALLER = """
import os, sys, docker, docker.context, docker.utils
from nemo_runspec.platforms.contents import SECRETS_FILE
from nemo_runspec.platforms.docker.client import DockerClient
from nemo_runspec.platforms.docker.request import DockerSpec, request

address, home = sys.argv[1:]
os.setgroups([])
os.setgid(4712)
os.setuid(4711)  # who may not read this checkout
script = ". /nemo_run/secrets.sh; echo $A >/nemo_run/made"
spec = DockerSpec(image="deb-py:1", argv=("bash", "-c", script), user="4711:4712")
client = DockerClient(address)
workload = client.submit(request(spec, home=home, secrets=(("A", "b"),)), "caller-1")
print(*client.log(workload, "caller-1-0"), client.look(workload).exit_code)
"""


def test_a_caller_who_is_not_root_owns_what_the_job_writes(docker_bed: DockerBed) -> None:
    with tempfile.TemporaryDirectory(prefix="docker-caller-") as folder, open_to_all(docker_bed) as address:
        os.chown(folder, UID, GID)
        argv = [sys.executable, "-c", CALLER, address, folder]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.returncode) == ("0\n", 0), done.stderr
        made = Path(folder) / "jobs/caller-1/made"
        assert made.read_text() == "b\n"
        assert {(path.stat().st_uid, path.stat().st_gid) for path in Path(folder).rglob("*")} == {(UID, GID)}


def test_secrets_are_in_one_private_file_until_all_have_them(
    client: DockerClient, home: Path, docker_bed: DockerBed
) -> None:
    value = "canary ' $HOME\n\"x"
    asked = shell(
        home,
        f"until [ -e /nemo_run/go ]; do sleep 0.1; done; . /nemo_run/{SECRETS_FILE}; echo ${{#TOKEN}}",
        secrets=(("TOKEN", value),),
        nodes=2,
    )
    folder = home / "jobs/secret-1"
    workload = client.submit(asked, "secret-1")
    assert (folder / SECRETS_FILE).stat().st_mode & 0o777 == 0o600
    assert "canary" not in docker_bed.run("inspect", "secret-1-0").stdout
    assert "canary" not in str(asked.body)
    (folder / "go").touch()
    wait_until(lambda: not (folder / SECRETS_FILE).exists(), 30, "removal by the job itself")
    assert [output(client, workload, index) for index in (0, 1)] == [[str(len(value))]] * 2
    assert ended(client, workload).state is JobState.SUCCEEDED
    assert not list(folder.glob(f"{SECRETS_FILE}*"))


@pytest.mark.parametrize(
    ("more", "message", "remedy"),
    [
        ({"image": "no/such:1"}, "the Docker engine does not have the image 'no/such:1'", "docker pull no/such:1"),
        ({"image": images.BUSYBOX}, "the image 'busybox:1' has no 'bash'", "Use an image with it"),
        ({"gpus": 1}, "the Docker engine cannot give GPUs to containers", "gpus_per_node = 0"),
        ({"runtime": "nvidia"}, "the Docker engine has no runtime 'nvidia'", "take `runtime` out"),
        ({"network": "nowhere"}, "the Docker engine has no network 'nowhere'", "docker network ls"),
        (
            {"mounts": (("/no/such", "/data", False),)},
            "the folder to mount does not exist on this machine: /no/such",
            "Make it",
        ),
    ],
)
@pytest.mark.parametrize("nodes", [1, 2])
def test_what_the_engine_cannot_do_is_told_in_a_line_and_leaves_nothing(
    client: DockerClient, home: Path, docker_bed: DockerBed, more: dict[str, Any], message: str, remedy: str, nodes: int
) -> None:
    with pytest.raises(RefusedError) as raised:
        client.submit(shell(home, "true", nodes=nodes, secrets=(("TOKEN", "x"),), **more), "refused-1")
    assert raised.value.message == message
    assert raised.value.remedy is not None
    assert remedy in raised.value.remedy
    assert docker_bed.containers() == []
    assert docker_bed.networks() == []
    assert not (home / "jobs/refused-1").exists()
    assert client.find("job", "refused-1") is None


def test_files_secrets_and_source_lie_in_the_job_folder(client: DockerClient, home: Path) -> None:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        member = tarfile.TarInfo("src/made.py")
        member.size, member.mode = 9, 0o644
        tar.addfile(member, io.BytesIO(b"print(42)"))
    asked = request(
        DockerSpec(image=images.PYTHON, argv=("/nemo_run/launch.sh",), user=f"{os.getuid()}:{os.getgid()}"),
        home=str(home),
        files={"launch.sh": (f"#!/bin/bash\necho {NAME}; exec python3 /nemo_run/code/src/made.py".encode(), True)},
        source=Tree(hashlib.sha256(raw.getvalue()).hexdigest(), raw.getvalue()),
    )
    workload = client.submit(asked, "files-1")
    assert output(client, workload) == ["files-1", "42"]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in [home, *home.rglob("*")] if path.name[0] != "."}
    assert modes == {home.name: "0o700", "jobs": "0o700", "files-1": "0o700", "code": "0o700", "src": "0o700",
                     "launch.sh": "0o700", "made.py": "0o600"}  # fmt: skip


def test_a_huge_line_is_given_in_bounded_pieces(client: DockerClient, home: Path) -> None:
    workload = client.submit(shell(home, "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo end"), "huge-1")
    lines = output(client, workload)
    assert lines[-1] == "end"
    assert max(map(len, lines)) <= LONGEST_LINE_BYTES
    assert "".join(lines[:-1]) == "x" * 50_000_000


def test_binary_output_and_error_output(client: DockerClient, home: Path) -> None:
    workload = client.submit(
        shell(home, r"printf 'a\xff\x00b\r\n\x1b[1mbold\n'; echo error >&2; printf last"), "binary-1"
    )
    ended(client, workload)
    lines = output(client, workload)
    assert sorted(lines) == sorted(["a\ufffd\x00b", "\x1b[1mbold", "error", "last"])
    assert output(client, workload) == lines
