"""Rows 11, 13 and 28 of the fault matrix: a client that is killed at any step of its submission, and what comes after.

What counts is the server's own record: never two jobs, and never one that nobody can find.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
from nemo_run import config as nemo_run_config

from nemo_runspec import jobs
from nemo_runspec.executors.fault_points import POINTS, VARIABLE
from tests.clusters.beds import images
from tests.clusters.cluster_projects import docker_project, slurm_project
from tests.clusters.docker_jobs import names
from tests.clusters.places import Place, lepton_place, runai_place
from tests.clusters.projects import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nemo_runspec.executors.journal import Journal

pytestmark = pytest.mark.slow

WAITS = "import time\nprint('it waits', flush=True)\ntime.sleep(600)"
SAYS = "print('it ran', flush=True)"
CLIENTS = 4
WAIT_S = 120


ELSEWHERE = ("lepton", "dgxcloud", "slurm", "docker")


def local_project(folder: Path, homes: Path) -> Project:
    project = Project.make(folder, {"NEMORUN_HOME": str(homes / folder.parent.name)})
    (folder / "env.toml").write_text('[here]\nexecutor = "local"\n', encoding="utf-8")
    return project


@pytest.fixture(scope="module", params=[*ELSEWHERE, "local"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    if request.param == "slurm":
        slurm, sshd = request.getfixturevalue("slurm"), request.getfixturevalue("sshd")
        make = partial(slurm_project, slurm=slurm, sshd=sshd)
        yield Place("ssh", make, lambda: [job["name"] for job in slurm.jobs()], {"PATH": "/nowhere"})
    elif request.param == "docker":
        engine = request.getfixturevalue("docker_engine")
        make = partial(docker_project, docker=engine, image=images.PYTHON)
        yield Place("docker", make, lambda: [name.rpartition("-")[0] for name in names(engine)], {})
        engine.clear()
    elif request.param == "local":
        make = partial(local_project, homes=folder)
        processes = "*/nemo_runspec/local/*/process"  # of jobs that have one, or had one
        yield Place("here", make, lambda: [path.parent.name for path in folder.glob(processes)], {})
    else:
        make_place = {"lepton": lepton_place, "dgxcloud": runai_place}[request.param]
        with make_place(folder) as made:
            yield made


@contextmanager
def unreachable(place: Place, project: Project, request: pytest.FixtureRequest) -> Iterator[Project]:
    """Give a project whose clients cannot reach the place for a while."""
    if place.away:
        yield replace(project, environment={**project.environment, **place.away})
        return
    engine = request.getfixturevalue("docker_engine")
    engine.freeze()
    try:
        yield project
    finally:
        engine.thaw()


@pytest.fixture
def project(place: Place, tmp_path: Path) -> Iterator[Project]:
    made = place.make(tmp_path / "project")
    yield made
    with within(made) as journal:
        ended = [jobs.cancel(job.entry, journal) for job in jobs.list_jobs(journal) if not job.seen.state.is_final]
    assert [job.seen.state for job in ended if not job.seen.state.is_final] == []


@contextmanager
def within(project: Project) -> Iterator[Journal]:
    """Be where a project's commands are, and give the journal that they have."""
    usual = nemo_run_config.get_nemorun_home()
    with mock.patch.dict(os.environ, project.variables):
        nemo_run_config.set_nemorun_home(project.environment["NEMORUN_HOME"])
        try:
            yield jobs.own_journal()
        finally:
            nemo_run_config.set_nemorun_home(usual)


def listed(project: Project) -> list[dict[str, Any]]:
    """List the jobs here and not by a command, which takes seconds to start."""
    with within(project) as journal:
        return [job.as_data() for job in jobs.list_jobs(journal, place_s=60)]


def listed_by_command(project: Project) -> list[dict[str, Any]]:
    code, out, err = project.run("jobs", "list", "--json", "--within", "60")
    assert code == 0, out + err
    told: list[dict[str, Any]] = json.loads(out)["jobs"]
    return told


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
    assert list((Path(project.environment["NEMORUN_HOME"]) / "nemo_runspec" / "jobs" / ".locks").iterdir()) == []


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
    (job,) = listed_by_command(project)
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


@pytest.mark.parametrize("place", ELSEWHERE, indirect=True)
def test_a_place_that_is_gone_is_unreachable_and_nothing_of_it_is_touched(
    place: Place, project: Project, request: pytest.FixtureRequest
) -> None:
    code, out, err = submit(project, place, project.script(WAITS))
    assert code == 0, out + err
    (job,) = listed(project)
    with unreachable(place, project, request) as away:
        code, out, err = away.run("jobs", "status", job["key"], "--json")
        assert (code, json.loads(out)["state"]) == (1, "unreachable"), err
        code, out, err = away.run("jobs", "prune", "--older-than", "0s", "--json")
        assert [one["removed"] for one in json.loads(out)["jobs"]] == [False], err
    assert [one["final"] for one in listed(project)] == [False]
