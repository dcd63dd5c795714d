"""Whole nemo-run experiments on a real Slurm and a real Docker engine: every kind of task, packager and ending."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.clusters.beds import images
from tests.clusters.cluster_projects import NEMO_RUN_HOME, docker_project, remote_home, slurm_project
from tests.clusters.conftest import docker_engine, slurm, sshd
from tests.clusters.projects import CANARY
from tests.contract.cloud_tasks.cloud_report import MARK
from tests.contract.cluster_experiments import LINES
from tests.nemo_runspec.executors.leaks import holding

if TYPE_CHECKING:
    from tests.clusters.projects import Project

pytestmark = pytest.mark.slow

__all__ = ["docker_engine", "slurm", "sshd"]

ROOT = Path(__file__).parents[2]
ONES = ("inline", "words_", "partial", "torchrun", "hybrid")
CHAINS = ("good", "after_good", "bad", "after_bad")


def make_repository(folder: Path) -> None:
    """Make what nemo-run's packagers take, committed and not."""
    script = folder / "repository" / "sub folder" / "in git.sh"
    for path in (script, folder / "repository" / "tools" / "tool.sh"):
        path.parent.mkdir(parents=True)
        path.write_text('echo "REPORT {\\"argv\\": [\\"$1\\"]}"\n', encoding="utf-8")
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", "-C", str(folder / "repository")]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], check=True)
    loose = folder / "repository" / "loose" / "deep" / "data.txt"
    loose.parent.mkdir(parents=True)
    loose.write_text("not in git\n", encoding="utf-8")


@pytest.fixture(scope="module", params=["ssh", "local", "docker"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run every experiment once for each place."""
    folder = tmp_path_factory.mktemp(f"experiments-{request.param}") / "project"
    project: Project
    there: list[Path] = []
    if request.param == "docker":
        engine = request.getfixturevalue("docker_engine")
        project = docker_project(folder, engine, images.PYTHON)
        there = [engine.folder]
    else:
        bed, login = request.getfixturevalue("slurm"), request.getfixturevalue("sshd")
        project = slurm_project(folder, bed, login)
        there = [bed.folder, login.folder, remote_home(bed, project)]
    make_repository(folder)
    driver = replace(project, environment={**project.environment, "PYTHONPATH": str(ROOT)})
    code, out, err = driver.run(request.param, program="tests.contract.cluster_experiments")
    assert code == 0, out[-4000:] + err[-8000:]
    result: dict[str, Any] = json.loads(out.splitlines()[-1])
    open_jobs = []
    if request.param != "docker":
        open_jobs = [job for job in bed.jobs() if job["state"].split()[0] in {"PENDING", "RUNNING", "COMPLETING"}]
    return {**result, "place": request.param, "folders": [folder, *there], "output": out + err, "open": open_jobs}


def reports(outcome: dict[str, Any], title: str) -> list[dict[str, Any]]:
    """Give what a task's processes have said."""
    lines = [line for lines in outcome["jobs"][title]["pods"].values() for line in lines]
    found = [line.partition(MARK)[2] for line in lines if MARK in line]
    assert found, lines
    return [json.loads(text) for text in found]


def test_each_task_ends_as_it_should(outcome: dict[str, Any]) -> None:
    assert outcome["same"]
    states = outcome["states"]
    assert {name: states[name] for name in ONES} == dict.fromkeys(ONES, "SUCCEEDED"), outcome["jobs"]
    (group,) = (name for name in states if name not in (*ONES, *CHAINS))
    assert states[group] == "FAILED"
    assert outcome["open"] == []


def test_arguments_and_variables_arrive_as_they_are(outcome: dict[str, Any]) -> None:
    (words,) = reports(outcome, "words_")
    assert words["argv"] == LINES
    assert words["env"]["OWN"] == "words"
    assert words["cwd"].endswith("/code")
    (inline,) = reports(outcome, "inline")
    assert inline["argv"] == ["\n".join(LINES)]
    (partial,) = reports(outcome, "partial")
    assert (partial["argv"], partial["secret_length"]) == (["a b"], len(CANARY))


def test_torchrun_connects_the_nodes(outcome: dict[str, Any]) -> None:
    processes = reports(outcome, "torchrun")
    assert [seen["argv"] for seen in processes] == [["$HOME x", "3", "2"]] * 2
    assert sorted(seen["env"]["RANK"] for seen in processes) == ["0", "1"]


def test_code_comes_from_nemo_runs_packagers(outcome: dict[str, Any]) -> None:
    assert reports(outcome, "hybrid") == [{"argv": ["from hybrid"]}]
    assert "not in git" in [line for lines in outcome["jobs"]["hybrid"]["pods"].values() for line in lines]


def test_a_group_is_one_job_with_variables_of_each_task(outcome: dict[str, Any]) -> None:
    (title,) = (name for name in outcome["jobs"] if name.startswith("group"))
    lines = [line for lines in outcome["jobs"][title]["pods"].values() for line in lines]
    assert sorted(line for line in lines if line.startswith("OWN")) == ["OWN first", "OWN second"]
    assert "last words" in lines


def test_nemo_runs_own_command_knows_the_tasks(outcome: dict[str, Any]) -> None:
    assert '"OWN": "words"' in outcome["shown"]
    assert "Status: SUCCEEDED" in outcome["told"]
    assert outcome["cancelled"] == {"before": "RUNNING", "after": "CANCELLED"}


def test_a_task_waits_for_another_one(outcome: dict[str, Any]) -> None:
    if outcome["place"] == "docker":
        return  # nothing there waits
    ends = ["SUCCEEDED", "SUCCEEDED", "FAILED", "CANCELLED"]
    assert [outcome["states"][name] for name in CHAINS] == ends, outcome["jobs"]
    assert "never" not in str(outcome["jobs"]["after_bad"]["pods"])
    first, second = (
        float(outcome["jobs"][name]["pods"][pod][0])
        for name in ("good", "after_good")
        for pod in outcome["jobs"][name]["pods"]
        if "batch" not in pod
    )
    assert first < second


def test_no_secret_is_left_anywhere(outcome: dict[str, Any]) -> None:
    assert (outcome["folders"][0] / NEMO_RUN_HOME / "experiments").is_dir()
    assert [path for folder in outcome["folders"] for path in holding(folder, CANARY)] == []
    assert CANARY not in outcome["output"]
