"""Docker's client when something goes wrong on a real engine: no job is lost, doubled or told to be what it is not."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.docker.client import DockerClient
from nemo_runspec.platforms.docker.engine import Engine
from nemo_runspec.platforms.http import Patience
from nemo_runspec.platforms.workload import JobState, Submitted
from tests.clusters.beds import images
from tests.clusters.beds.docker import DockerBed
from tests.clusters.beds.processes import wait_until
from tests.clusters.docker_jobs import END_S, ended, names, new_home, output, reachable, shell

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    with new_home() as folder:
        yield folder


@pytest.fixture
def client(docker_bed: DockerBed) -> DockerClient:
    return DockerClient(docker_bed.host, grace_s=1)


def test_a_second_submission_adopts_the_first(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    asked = shell(home, "echo ran >> /nemo_run/runs; echo $NODE_RANK", nodes=2)
    workloads: list[Submitted] = []
    clients = [DockerClient(docker_bed.host) for _ in range(6)]
    threads = [
        threading.Thread(target=lambda one=one: workloads.append(one.submit(asked, "twice-1"))) for one in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert workloads == [Submitted("docker", "job", "twice-1", "twice-1")] * 6
    assert ended(client, workloads[0]).state is JobState.SUCCEEDED
    client.submit(asked, "twice-1")
    assert names(docker_bed) == ["twice-1-0", "twice-1-1"]
    assert (home / "jobs/twice-1/runs").read_text() == "ran\n" * 2


def test_a_name_that_is_taken_is_refused(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    workload = client.submit(shell(home, "echo mine"), "taken-1")
    with pytest.raises(RefusedError, match="the name 'taken-1' is taken"):
        client.submit(shell(home, "echo other"), "taken-1")
    assert output(client, workload) == ["mine"]
    docker_bed.run("create", "--name", "foreign-1-1", images.BUSYBOX, "true")
    with pytest.raises(RefusedError, match="the name 'foreign-1-1' is taken by another container"):
        client.submit(shell(home, "true", nodes=2), "foreign-1")
    assert names(docker_bed) == ["foreign-1-1", "taken-1-0"]
    assert (home / "jobs/taken-1").is_dir()


KILLED = """
import os, signal, sys
from pathlib import Path
from nemo_runspec.platforms.docker import engine
from nemo_runspec.platforms.docker.client import DockerClient
from nemo_runspec.platforms.docker.request import DockerSpec, request

host, home, name, method, number = sys.argv[1:]
left = [int(number)]
real = getattr(engine.Engine, method)

def dying(self, *args, **more):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(self, *args, **more)

setattr(engine.Engine, method, dying)
spec = DockerSpec(image="deb-py:1", nodes=2, argv=("bash", "-c", "echo ran >> /nemo_run/runs"))
DockerClient(host).submit(request(spec, home=home), name)
"""


@pytest.mark.parametrize(
    ("method", "number", "is_accepted"),
    [
        ("create_network", 0, False),
        ("create", 0, False),
        ("create", 1, False),
        ("has_file", 0, True),
        ("start", 0, True),
        ("start", 1, True),
    ],
)
def test_a_client_that_is_killed_leaves_a_whole_job_or_none(
    client: DockerClient, home: Path, docker_bed: DockerBed, method: str, number: int, *, is_accepted: bool
) -> None:
    argv = [sys.executable, "-c", KILLED, docker_bed.host, str(home), "killed-1", method, str(number)]
    assert subprocess.run(argv, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    found = client.find("job", "killed-1")
    assert (found is not None) is is_accepted
    assert (names(docker_bed), docker_bed.networks()) == ([], []) or is_accepted
    again = client.submit(shell(home, "echo ran >> /nemo_run/runs", nodes=2), "killed-1") if found is None else found
    assert ended(client, again).state is JobState.SUCCEEDED
    assert (home / "jobs/killed-1/runs").read_text() == "ran\n" * 2
    assert names(docker_bed) == ["killed-1-0", "killed-1-1"]
    assert docker_bed.networks() == []


def test_what_is_left_of_a_job_is_not_made_again(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    asked = shell(home, "echo ran >> /nemo_run/runs; [ $NODE_RANK = 0 ] || sleep 600", nodes=2)
    workload = client.submit(asked, "left-1")
    wait_until((home / "jobs/left-1/runs").exists, END_S, "run")
    docker_bed.run("rm", "--force", "left-1-0")
    assert client.find("job", "left-1") == workload == client.submit(asked, "left-1")
    assert client.look(workload).state is JobState.RUNNING
    assert names(docker_bed) == ["left-1-1"]


def test_a_job_that_was_cancelled_before_it_was_started_stays_so(client: DockerClient, home: Path) -> None:
    argv = [sys.executable, "-c", KILLED, client.address, str(home), "early-1", "start", "0"]
    assert subprocess.run(argv, cwd=ROOT, timeout=60, check=False).returncode == -signal.SIGKILL
    workload = Submitted("docker", "job", "early-1", "early-1")
    assert client.look(workload).state is JobState.STARTING
    client.cancel(workload)
    assert client.look(workload).state is JobState.CANCELLED
    assert client.find("job", "early-1") == workload
    assert client.submit(shell(home, "echo ran >> /nemo_run/runs", nodes=2), "early-1") == workload
    assert client.look(workload).state is JobState.CANCELLED
    assert not (home / "jobs/early-1/runs").exists()


def test_cancel(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    script = 'echo up; [ $NODE_RANK = 0 ] && trap "" TERM; sleep 600 & wait; wait'
    workload = client.submit(shell(home, script, nodes=2), "cancel-1")
    wait_until(lambda: client.look(workload).state is JobState.RUNNING, END_S, "running job")
    client.cancel(workload)
    assert client.look(workload).state is JobState.CANCELLED
    client.cancel(workload)
    client.cancel(Submitted("docker", "job", "unknown-1", "unknown-1"))
    assert DockerClient(docker_bed.host).look(workload).state is JobState.CANCELLED
    assert output(client, workload, 1) == ["up"]
    assert docker_bed.networks() == []


def test_a_cancel_that_comes_too_late_changes_nothing(client: DockerClient, home: Path) -> None:
    good, bad = (client.submit(shell(home, f"exit {code}"), f"late-{code}") for code in (0, 3))
    for workload in (good, bad):
        ended(client, workload)
        client.cancel(workload)
    assert client.look(good).state is JobState.SUCCEEDED
    assert (client.look(bad).state, client.look(bad).exit_code) == (JobState.FAILED, 3)


def test_remove(client: DockerClient, home: Path, docker_bed: DockerBed) -> None:
    workload = client.submit(shell(home, "sleep 600", nodes=2), "remove-1")
    with pytest.raises(RefusedError, match="is running; only what an ended job has left is removed"):
        client.remove(workload)
    client.cancel(workload)
    client.remove(workload)
    client.remove(workload)
    assert docker_bed.containers() == []
    assert docker_bed.networks() == []
    assert client.look(workload).state is JobState.LOST
    assert client.pods(workload) == ()
    assert client.find("job", "remove-1") is None
    assert not (home / "jobs/remove-1").exists()


def test_the_engine_is_away(home: Path, docker_bed: DockerBed) -> None:
    client = DockerClient(docker_bed.host)
    workload = client.submit(shell(home, "sleep 600"), "away-1")
    docker_bed.stop_daemon()
    try:
        assert client.look(workload).state is JobState.UNREACHABLE
        for ask in (client.pods, client.cancel):
            with pytest.raises(UnreachableError, match="there is no Docker engine running at unix://"):
                ask(workload)
        with pytest.raises(UnreachableError, match="cannot be asked, so that nothing of it is removed"):
            client.remove(workload)
        with pytest.raises(UnreachableError, match="no Docker engine"):
            client.find("job", "away-1")
        with pytest.raises(UnreachableError, match="no Docker engine"):
            client.submit(shell(home, "true"), "away-2")
    finally:
        docker_bed.start_daemon()
    # Without live-restore an engine ends its containers when it ends.
    found = client.look(workload)
    assert (found.state, found.exit_code) == (JobState.FAILED, 143)


def test_an_engine_that_hangs_is_unreachable(home: Path, docker_bed: DockerBed) -> None:
    client = DockerClient(docker_bed.host, patience=Patience(deadline_s=1, look_s=0.5))
    workload = client.submit(shell(home, "sleep 600"), "hang-1")
    docker_bed.freeze()
    try:
        assert client.look(workload).state is JobState.UNREACHABLE
    finally:
        docker_bed.thaw()
    wait_until(lambda: client.look(workload).state is JobState.RUNNING, END_S, "running job")


@pytest.mark.parametrize("method", ["create", "start"])
def test_an_engine_that_is_killed_during_a_submission(
    client: DockerClient, home: Path, docker_bed: DockerBed, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    real = getattr(Engine, method)
    calls: list[str] = []
    back = threading.Thread(target=docker_bed.start_daemon)

    def killing(self: Engine, *arguments: object) -> None:
        calls.append(method)
        if len(calls) == 2:  # one container is there, or runs
            docker_bed.kill()
            back.start()
        real(self, *arguments)

    monkeypatch.setattr(Engine, method, killing)
    workload = client.submit(shell(home, "echo ran >> /nemo_run/runs; sleep 1", nodes=2), f"shaken-{method}")
    back.join(END_S)
    found = ended(client, workload)
    # What ran when the engine was killed has ended with it, and is not run again.
    assert found.state is (JobState.SUCCEEDED if method == "create" else JobState.FAILED)
    assert names(docker_bed) == [f"shaken-{method}-0", f"shaken-{method}-1"]
    assert (home / f"jobs/shaken-{method}/runs").read_text() in (
        {"ran\n" * 2} if method == "create" else {"ran\n", "ran\n" * 2}
    )


@pytest.fixture(scope="module")
def lasting_bed(docker_engine: DockerBed) -> Iterator[DockerBed]:  # noqa: ARG001 - says whether the machine can have one
    """Give an engine whose containers outlive it."""
    with tempfile.TemporaryDirectory(prefix="bed-") as folder:
        bed = DockerBed.start(Path(folder) / "engine", live_restore=True, names=(images.PYTHON,))
        try:
            yield bed
        finally:
            bed.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_log_goes_on_after_the_engine_was_started_again(
    lasting_bed: DockerBed, home: Path, number: signal.Signals
) -> None:
    client = DockerClient(lasting_bed.host)
    count = 'for i in $(seq 300); do echo "line $i"; sleep 0.01; done'
    workload = client.submit(shell(home, count), f"lasting-{number.name.lower()}")
    lines: list[str] = []
    log = client.log(workload, f"{workload.name}-0")
    lines += [next(log) for _ in range(5)]
    lasting_bed.restart(number)
    lines += log
    assert lines == [f"line {number}" for number in range(1, 301)]
    assert client.look(workload).state is JobState.SUCCEEDED


def test_no_permission_for_the_socket(docker_bed: DockerBed) -> None:
    script = (
        "import os, sys, docker, docker.context, docker.utils\n"
        "from nemo_runspec.errors import DeniedError\n"
        "from nemo_runspec.platforms.docker.client import DockerClient\n"
        "os.setgid(4712); os.setuid(4711)  # who may not read this checkout\n"
        "try: DockerClient(sys.argv[1]).find('job', 'x-1')\n"
        "except DeniedError as error: print(error.message)\n"
    )
    with reachable(docker_bed) as link:
        argv = [sys.executable, "-c", script, f"unix://{link}"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == f"you are not permitted to use the Docker engine at unix://{link}\n", done.stderr


def test_requests_after_others_are_refused(client: DockerClient, home: Path) -> None:
    with pytest.raises(PlatformError, match=re.escape("it cannot wait for others")):
        client.submit(dataclasses.replace(shell(home, "true"), after=("x",)), "after-1")
