"""Whole commands on a real Docker engine."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from tests.clusters.beds import images
from tests.clusters.beds.processes import wait_until
from tests.clusters.cluster_projects import (
    NASTY,
    REPORTS,
    SMALL,
    TOLD_S,
    WAITS,
    docker_project,
    holding,
    interrupted,
    reports,
)
from tests.clusters.projects import CANARY

if TYPE_CHECKING:
    from tests.clusters.beds.docker import DockerBed
    from tests.clusters.projects import Project

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(docker_engine: DockerBed, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return docker_project(tmp_path_factory.mktemp("recipes") / "project", docker_engine, images.PYTHON)


@pytest.fixture
def project(docker_bed: DockerBed, made: Project) -> Project:
    """Give the project; what the test leaves on the engine is taken away."""
    del docker_bed
    return made


def running(bed: DockerBed) -> list[str]:
    return [found["Name"].removeprefix("/") for found in bed.containers() if found["State"]["Running"]]


def key_in(text: str) -> str:
    """Give the unique name of the job that a command speaks of."""
    found = re.search(r"\bmine-script-[a-z0-9]{6}\b", text)
    assert found, text
    return found[0]


def test_values_arrive_in_every_container_and_the_exit_code_is_the_jobs_own(
    docker_bed: DockerBed, project: Project
) -> None:
    code, out, err = project.run("run", project.script(REPORTS), "--run", "docker", "run.env.nodes=2")
    assert code == 3, out + err
    told = sorted(reports(out), key=lambda seen: str(seen["NODE_RANK"]))
    assert [(seen["NODE_RANK"], seen["NNODES"]) for seen in told] == [("0", "2"), ("1", "2")], out + err
    assert {(seen["MSG"], seen["length_is"], seen["in_argv"]) for seen in told} == {(NASTY, len(CANARY), 0)}
    assert f"mine/script ended with exit code 3 as {key_in(err)}" in err
    assert CANARY not in json.dumps(docker_bed.containers())
    assert holding(CANARY, [project.folder, docker_bed.folder]) == []
    code, out, err = project.run("jobs", "logs", key_in(err))
    assert [seen["MSG"] for seen in reports(out)] == [NASTY] * 2, out + err


def test_a_detached_job_is_adopted_by_the_same_command_and_ended_by_anybody(
    docker_bed: DockerBed, project: Project
) -> None:
    command = ("run", project.script(WAITS), "--batch", "docker")
    code, out, err = project.run(*command)
    assert code == 0, out + err
    key = key_in(out)
    code, out, err = project.run(*command)
    assert (code, key_in(out)) == (0, key), out + err
    assert "is not submitted again" in err
    code, out, err = project.run(*command, "--new")
    assert code == 0, out + err
    other = key_in(out)
    assert len(running(docker_bed)) == 2
    docker_bed.run("stop", "--time", "1", *(name for name in running(docker_bed) if name.startswith(key)))
    code, out, err = project.run("jobs", "reattach", key)
    assert code in {137, 143}, out + err
    code, out, err = project.run("jobs", "cancel", other)
    assert code == 0, out + err
    assert running(docker_bed) == []


def test_ctrl_c_leaves_a_job_alone_or_ends_it(docker_bed: DockerBed, project: Project) -> None:
    command = ("run", project.script(WAITS), "--run", "docker")
    with project.start(*command) as process:
        out, err = interrupted(process, "it waits")
    assert process.returncode == 130, out + err
    key = key_in(err)
    assert f"nemotron jobs reattach {key}" in err
    assert f"nemotron jobs cancel {key}" in err
    assert [name.startswith(key) for name in running(docker_bed)] == [True]
    with project.start(*command, "--cancel-on-interrupt") as process:
        out, err = interrupted(process, "it waits")
    assert process.returncode == 130, out + err
    assert f"{key}: the same job was submitted before, and is not submitted again" in err
    assert f"was stopped: {key} is cancelled" in err
    wait_until(lambda: running(docker_bed) == [], TOLD_S, "end of the container")


def test_sft_of_what_two_containers_have_pretrained(docker_bed: DockerBed, project: Project) -> None:
    two, steps = (*SMALL, "run.env.nodes=2"), ("train.steps=2", "train.batch_size=2")
    for stage, more in (("data prep pretrain", ()), ("pretrain", two), ("data prep sft", ()), ("sft", steps)):
        code, out, err = project.run("nano3", *stage.split(), "-c", "tiny", *more, "--run", "docker")
        assert code == 0, out + err
        assert ("[0] pretrain  step 2/2" in out) == (stage == "pretrain")
    assert "sft  step 2/2" in out
    assert (project.folder / "output" / "artifacts" / "nano3-tiny-sft-model" / "v1" / "manifest.json").is_file()
    assert running(docker_bed) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('mounts = ["$NOT_SET/x:/x"]', "names the variable NOT_SET, which is not set"),
        ('mounts = ["nothing"]', "'nothing' is no mount"),
        ('container_image = "registry.invalid/nothing:1"', "registry.invalid/nothing:1"),
        (f'container_image = "{images.BUSYBOX}"', "bash"),
        ('runtime = "nvidia"', "nvidia"),
        ('env_vars = { LONG = "' + "x" * 140_000 + '" }', "LONG"),
    ],
    ids=["unset", "mount", "image", "bash", "runtime", "long"],
)
def test_what_the_engine_cannot_do_is_told_in_a_line(
    docker_bed: DockerBed, project: Project, line: str, told: str
) -> None:
    path = project.folder / "bad.toml"
    text = (project.folder / "env.toml").read_text(encoding="utf-8")
    path.write_text(f'{text}\n[bad]\nextends = "docker"\n{line}\n', encoding="utf-8")
    elsewhere = replace(project, environment={**project.environment, "NEMOTRON_ENV_FILE": str(path)})
    code, out, err = elsewhere.run("run", project.script("print('no')"), "--run", "bad")
    assert code != 0, out + err
    assert told in err
    assert "Traceback" not in out + err
    assert len(err) < 2000
    assert docker_bed.containers() == []
