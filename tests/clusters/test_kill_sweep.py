"""Rows 11, 13 and 28 of the fault matrix: a client that is killed at any step of its submission, and what comes after.

What counts is the server's own record: never two jobs, and never one that nobody can find.
"""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.executors.fault_points import POINTS, VARIABLE
from nemo_runspec.rehearsal.inventory import MOVER_SHAPE, LeptonInventory, RunaiInventory
from nemo_runspec.rehearsal.sandbox import Sandbox
from nemo_runspec.rehearsal.twin import Twin
from tests.clusters.beds import images
from tests.clusters.cluster_projects import NEMO_RUN_HOME, docker_project, slurm_project
from tests.clusters.docker_jobs import names
from tests.clusters.projects import Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

pytestmark = pytest.mark.slow

WAITS = "import time\nprint('it waits', flush=True)\ntime.sleep(600)"
SAYS = "print('it ran', flush=True)"
CLIENTS = 4
NOWHERE = "http://127.0.0.1:9/api/v1"
WAIT_S = 120


@dataclass(frozen=True)
class Place:
    """A platform that outlives the clients of a test.

    Args:
        profile: The profile that leads to it.
        make: Makes a project with that profile in a folder.
        jobs: Gives the names of all jobs that the server has.
        away: Variables of a client that cannot reach it; none where that is tested elsewhere.
    """

    profile: str
    make: Callable[[Path], Project]
    jobs: Callable[[], list[str]]
    away: Mapping[str, str]


def cloud_project(folder: Path, environment: Mapping[str, str], places: Mapping[str, str]) -> Project:
    """Make a project whose profiles lead to a twin.

    Args:
        folder: Where.
        environment: Variables of its clients.
        places: Address in env.toml -> the twin's.
    """
    project = Project.make(folder, {**environment, "NEMORUN_HOME": str(folder / NEMO_RUN_HOME)})
    path = folder / "env.toml"
    text = path.read_text(encoding="utf-8")
    for usual, there in places.items():
        text = text.replace(usual, there)
    path.write_text(text, encoding="utf-8")
    return project


@contextmanager
def lepton_place(folder: Path) -> Iterator[Place]:
    shapes, volumes = frozenset({"cpu.large", MOVER_SHAPE}), frozenset({"node-nfs:shared"})
    inventory = LeptonInventory(node_groups={"group": 8}, shapes=shapes, volumes=volumes)
    with Twin(inventory, Sandbox(), folder) as twin:
        variables = {
            "LEPTON_WORKSPACE_ID": inventory.workspace_id,
            "LEPTON_WORKSPACE_TOKEN": inventory.token,
            "LEPTON_WORKSPACE_URL": twin.url,
            "LEPTON_CACHE_DIR": str(folder / "empty"),
        }
        make = partial(cloud_project, environment=variables, places={})
        away = {"LEPTON_WORKSPACE_URL": NOWHERE}
        yield Place("lepton", make, lambda: [seen.name for seen in twin.workloads], away)


@contextmanager
def runai_place(folder: Path) -> Iterator[Place]:
    inventory = RunaiInventory(client_id="nemotron", projects=("my-project",), claims=frozenset({"shared"}))
    with Twin(inventory, Sandbox(), folder) as twin:
        places = {"https://team.example/api/v1": twin.url, "https://kube.example": twin.kubernetes_url}
        variables = {"RUNAI_CLIENT_SECRET": inventory.client_secret}
        make = partial(cloud_project, environment=variables, places=places)
        away = {"RUNAI_CLIENT_SECRET": ""}
        yield Place("dgxcloud", make, lambda: [seen.name for seen in twin.workloads], away)


@pytest.fixture(scope="module", params=["lepton", "dgxcloud", "slurm", "docker"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if request.param == "slurm":
        slurm, sshd = request.getfixturevalue("slurm"), request.getfixturevalue("sshd")
        make = partial(slurm_project, slurm=slurm, sshd=sshd)
        yield Place("ssh", make, lambda: [job["name"] for job in slurm.jobs()], {"PATH": "/nowhere"})
    elif request.param == "docker":
        engine = request.getfixturevalue("docker_engine")
        make = partial(docker_project, docker=engine, image=images.PYTHON)
        away = {"DOCKER_HOST": "unix:///nowhere/docker.sock"}
        yield Place("docker", make, lambda: [name.rpartition("-")[0] for name in names(engine)], away)
        engine.clear()
    else:
        make_place = {"lepton": lepton_place, "dgxcloud": runai_place}[request.param]
        with make_place(tmp_path_factory.mktemp("place")) as made:
            yield made


@pytest.fixture
def project(place: Place, tmp_path: Path) -> Iterator[Project]:
    made = place.make(tmp_path / "project")
    yield made
    for job in listed(made):
        if not job["final"]:
            code, out, err = made.run("jobs", "cancel", job["key"])
            assert code == 0, out + err


def listed(project: Project) -> list[dict[str, Any]]:
    code, out, err = project.run("jobs", "list", "--json", "--within", "60")
    assert code == 0, out + err
    jobs: list[dict[str, Any]] = json.loads(out)["jobs"]
    return jobs


def submit(project: Project, place: Place, script: str, *more: str) -> tuple[int, str, str]:
    return project.run("run", script, "--batch", place.profile, *more)


@pytest.mark.parametrize("point", POINTS)
def test_row_11_a_client_killed_at_any_step_and_its_command_again_make_one_job(
    place: Place, project: Project, point: str
) -> None:
    before = place.jobs()
    script = project.script(WAITS)
    dying = replace(project, environment={**project.environment, VARIABLE: point})
    code, out, err = submit(dying, place, script)
    assert code == -signal.SIGKILL, out + err
    made = [name for name in place.jobs() if name not in before]
    assert len(made) == (0 if POINTS.index(point) < POINTS.index("after-call") else 1)
    code, out, err = submit(project, place, script)
    assert code == 0, out + err
    (only,) = (name for name in place.jobs() if name not in before)
    assert only in out
    assert made in ([], [only])
    (job,) = listed(project)
    assert (job["key"], job["confirmed"], job["final"]) == (only, True, False)
    assert list((project.folder / NEMO_RUN_HOME / "nemo_runspec" / "jobs" / ".locks").iterdir()) == []


def test_row_13_the_same_command_many_times_at_once_makes_one_job(place: Place, project: Project) -> None:
    before = place.jobs()
    script = project.script(WAITS)
    clients = [project.start("run", script, "--batch", place.profile) for _ in range(CLIENTS)]
    ends = [(*client.communicate(timeout=WAIT_S), client.returncode) for client in clients]
    assert [code for *_, code in ends] == [0] * CLIENTS, ends
    (only,) = (name for name in place.jobs() if name not in before)
    assert all(only in out for out, *_ in ends)
    code, out, err = submit(project, place, script, "--new")
    assert code == 0, out + err
    assert len(place.jobs()) == len(before) + 2
    assert {job["key"] for job in listed(project)} == {name for name in place.jobs() if name not in before}


def test_a_job_is_found_shown_and_ended_from_another_shell(place: Place, project: Project) -> None:
    code, out, err = submit(project, place, project.script(WAITS))
    assert code == 0, out + err
    (job,) = listed(project)
    key = job["key"]
    with project.start("jobs", "logs", key[: len(key) - 2], "--follow", "--json") as following:
        assert following.stdout is not None
        lines = (json.loads(line)["line"] for line in following.stdout)
        assert any(line == "it waits" for line in lines)
        code, out, err = project.run("jobs", "cancel", f"{place.profile}:{job['id']}", "--json")
        assert code == 0, out + err
        assert json.loads(out)["state"] == "cancelled"
        following.communicate(timeout=WAIT_S)
    code, out, err = project.run("jobs", "cancel", key, "--json")
    assert (code, json.loads(out)["state"]) == (0, "cancelled"), err
    code, out, err = project.run("jobs", "status", key, "--json")
    assert (code, json.loads(out)["state"]) == (0, "cancelled"), err
    code, out, err = project.run("jobs", "prune", "--older-than", "0s", "--json")
    assert [(one["key"], one["removed"]) for one in json.loads(out)["jobs"]] == [(key, True)], err
    assert listed(project) == []


def test_row_28_a_cancellation_that_meets_the_end_tells_how_it_ended(place: Place, project: Project) -> None:
    code, out, err = submit(project, place, project.script(SAYS))
    assert code == 0, out + err
    (job,) = listed(project)
    cancelled, again = (project.start("jobs", "cancel", job["key"], "--json") for _ in range(2))
    states = []
    for client in (cancelled, again):
        out, err = client.communicate(timeout=WAIT_S)
        assert client.returncode == 0, out + err
        states.append(json.loads(out)["state"])
    assert len(set(states)) == 1
    assert states[0] in {"succeeded", "cancelled"}


def test_reattach_shows_the_whole_output_and_ends_with_the_jobs_own_code(place: Place, project: Project) -> None:
    script = project.script("import time\nprint('first', flush=True)\ntime.sleep(3)\nraise SystemExit(3)")
    code, out, err = submit(project, place, script)
    assert code == 0, out + err
    (job,) = listed(project)
    code, out, err = project.run("jobs", "reattach", job["key"])
    assert (code, "first" in out) == (3, True), out + err
    code, out, err = project.run("jobs", "status", job["key"], "--json")
    told = json.loads(out)
    assert (code, told["state"], told["exit_code"]) == (0, "failed", 3), err
    code, out, err = project.run("jobs", "logs", job["key"])
    assert (code, "first" in out) == (0, True), out + err


def test_a_place_that_is_gone_is_unreachable_and_nothing_of_it_is_touched(place: Place, project: Project) -> None:
    code, out, err = submit(project, place, project.script(WAITS))
    assert code == 0, out + err
    (job,) = listed(project)
    away = replace(project, environment={**project.environment, **place.away})
    code, out, err = away.run("jobs", "status", job["key"], "--json")
    assert (code, json.loads(out)["state"]) == (1, "unreachable"), err
    code, out, err = away.run("jobs", "prune", "--older-than", "0s", "--json")
    assert [one["removed"] for one in json.loads(out)["jobs"]] == [False], err
    assert [one["final"] for one in listed(project)] == [False]
