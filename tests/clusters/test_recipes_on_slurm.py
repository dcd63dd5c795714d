"""Whole commands on a real Slurm, through a real sshd and without one, on the nodes and in containers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from tests.clusters.beds.processes import wait_until
from tests.clusters.cluster_projects import (
    NASTY,
    REPORTS,
    SMALL,
    TOLD_S,
    WAITS,
    holding,
    interrupted,
    remote_home,
    reports,
    slurm_project,
)
from tests.clusters.projects import CANARY

if TYPE_CHECKING:
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed
    from tests.clusters.projects import Project

pytestmark = pytest.mark.slow

STAGES: Final = ("data prep pretrain", "pretrain", "data prep sft", "sft", "data prep rl", "rl", "eval")
SHORT: Final = (
    *(f"pretrain.{text}" for text in SMALL),
    *("sft.train.steps=2", "sft.train.save_every=2", "sft.train.batch_size=4", "sft.valid_conversations=4"),
    *("rl.train.steps=1", "rl.train.save_every=1", "rl.train.batch_size=8", "rl.train.max_answer_tokens=8"),
    *("eval.text.windows=4", "eval.conversations.count=4", "eval.prompts.count=4", "eval.sampling.max_answer_tokens=8"),
)
TWO_NODES: Final = ("pretrain.run.env.nodes=2", "sft.run.env.nodes=2")
OPEN: Final = ("PENDING", "RUNNING", "COMPLETING", "SUSPENDED", "CONFIGURING")


@pytest.fixture(scope="module")
def project(slurm: SlurmBed, sshd: SshBed, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return slurm_project(tmp_path_factory.mktemp("recipes") / "project", slurm, sshd)


def still_there(slurm: SlurmBed) -> list[str]:
    return [job["name"] for job in slurm.jobs() if job["state"].split()[0] in OPEN]


def number_of(slurm: SlurmBed, key: str) -> str:
    """Give Slurm's number of a job."""
    (number,) = (job["id"] for job in slurm.jobs() if job["name"] == key)
    return number


def key_in(text: str) -> str:
    """Give the unique name of the job that a command speaks of."""
    found = re.search(r"\bmine-script-[a-z0-9]{6}\b", text)
    assert found, text
    return found[0]


@pytest.mark.parametrize("profile", ["ssh", "local", "local-image"])
def test_values_arrive_on_every_node_and_the_exit_code_is_the_jobs_own(
    slurm: SlurmBed, sshd: SshBed, project: Project, profile: str
) -> None:
    script = project.script(REPORTS)
    code, out, err = project.run("run", script, "--run", profile, "run.env.nodes=2")
    assert code == 3, out + err
    told = sorted(reports(out), key=lambda seen: str(seen["NODE_RANK"]))
    assert [(seen["NODE_RANK"], seen["NNODES"]) for seen in told] == [("0", "2"), ("1", "2")], out + err
    assert {(seen["MSG"], seen["length_is"], seen["in_argv"]) for seen in told} == {(NASTY, len(CANARY), 0)}
    key = key_in(err)
    assert f"mine/script ended with exit code 3 as {key}" in err
    assert slurm.wait_for(number_of(slurm, key)) == "FAILED"
    assert slurm.exit_code(number_of(slurm, key)) == "3:0"
    status, out, _ = project.run("jobs", "status", key, "--json")
    assert '"failed"' in out, status
    assert holding(CANARY, [project.folder, remote_home(slurm, project), slurm.folder, sshd.folder]) == []


def test_a_detached_job_is_adopted_by_the_same_command_and_ended_by_anybody(slurm: SlurmBed, project: Project) -> None:
    command = ("run", project.script(WAITS), "--batch", "ssh")
    code, out, err = project.run(*command)
    assert code == 0, out + err
    key = key_in(out)
    for word in ("status", "logs", "reattach", "cancel"):
        assert f"nemotron jobs {word} {key}" in out
    code, out, err = project.run(*command)
    assert (code, key_in(out)) == (0, key), out + err
    assert "is not submitted again" in err
    code, out, err = project.run(*command, "--new")
    assert code == 0, out + err
    other = key_in(out)
    assert sorted(still_there(slurm)) == sorted({key, other})
    slurm.wait_for(number_of(slurm, key), "RUNNING")
    slurm.run("scancel", number_of(slurm, key), user="root")
    code, out, err = project.run("jobs", "reattach", key)
    assert code == 143, out + err
    assert "was cancelled as mine-script-" in err
    code, out, err = project.run("jobs", "cancel", other)
    assert code == 0, out + err
    assert slurm.wait_for(number_of(slurm, other)) == "CANCELLED"
    assert still_there(slurm) == []


def test_ctrl_c_leaves_a_job_alone_or_ends_it(slurm: SlurmBed, project: Project) -> None:
    command = ("run", project.script(WAITS), "--run", "ssh")
    with project.start(*command) as process:
        out, err = interrupted(process, "it waits")
    assert process.returncode == 130, out + err
    key = key_in(err)
    assert f"goes on as {key}, and is not watched any longer" in err
    assert f"nemotron jobs reattach {key}" in err
    assert f"nemotron jobs cancel {key}" in err
    number = number_of(slurm, key)
    assert slurm.state(number) == "RUNNING"
    with project.start(*command, "--cancel-on-interrupt") as process:
        out, err = interrupted(process, "it waits")
    assert process.returncode == 130, out + err
    assert f"{key}: the same job was submitted before, and is not submitted again" in err
    assert f"was stopped: {key} is cancelled" in err
    assert slurm.wait_for(number) == "CANCELLED"
    wait_until(lambda: slurm.leftovers() == [], TOLD_S, "end of the job's processes")


def test_a_job_that_somebody_else_cancels_ends_with_143(slurm: SlurmBed, project: Project) -> None:
    with project.start("run", project.script(WAITS), "--run", "local") as process:
        assert process.stdout is not None
        assert any("it waits" in line for line in process.stdout)
        (key,) = still_there(slurm)
        slurm.run("scancel", number_of(slurm, key), user="root")
        _, err = process.communicate(timeout=TOLD_S)
    assert process.returncode == 143, err
    assert "job failed: mine/script was cancelled as mine-script-" in err


@pytest.mark.parametrize(
    "line",
    [
        r'time = "00:10:00\n#SBATCH --output=/tmp/x"',
        r'account = "a\u0000b"',
        'partition = "a\\nb"',
        'additional_parameters = { output = "/tmp/elsewhere" }',
        'srun_args = ["--job-name=x\\ny"]',
        'remote_job_dir = "relative"',
    ],
)
def test_a_profile_that_makes_no_sense_is_refused_before_anything_is_made(
    slurm: SlurmBed, project: Project, line: str
) -> None:
    path = project.folder / "bad.toml"
    text = (project.folder / "env.toml").read_text(encoding="utf-8")
    path.write_text(f'{text}\n[bad]\nextends = "ssh"\n{line}\n', encoding="utf-8")
    before, folders = slurm.jobs(), sorted(slurm.work.iterdir())
    script = project.script("print('no')")
    elsewhere = replace(project, environment={**project.environment, "NEMOTRON_ENV_FILE": str(path)})
    code, out, err = elsewhere.run("run", script, "--run", "bad")
    assert code == 2, out + err
    assert "profile error" in err
    assert (slurm.jobs(), sorted(slurm.work.iterdir())) == (before, folders)


@pytest.fixture(scope="module")
def piped(project: Project) -> tuple[int, str, str]:
    """Run the whole pipeline once, what torchrun starts on two nodes, the other stages on one."""
    return project.run("nano3", "pipe", "-c", "tiny", "--run", "ssh", "run.env.nodes=1", *TWO_NODES, *SHORT)


def test_the_pipeline_runs_as_jobs_that_wait_for_each_other(
    slurm: SlurmBed, project: Project, piped: tuple[int, str, str]
) -> None:
    code, out, err = piped
    assert code == 0, out + err
    report = json.loads((project.folder / "output" / "report.json").read_text(encoding="utf-8"))
    assert [stage["name"] for stage in report["stages"]] == list(STAGES)
    numbers = [int(number) for number in re.findall(r"Slurm job (\d+)", err)]
    assert len(numbers) == len(STAGES)
    assert numbers == sorted(numbers)
    first = out.index("1/7")
    assert all(err.index(f"Slurm job {number}") >= 0 for number in numbers)
    assert first < out.index("7/7")
    assert "[0] pretrain  step 2/2" in out
    assert "[0] sft  step 2/2" in out
    manifest = next(remote_home(slurm, project).rglob("nano3-tiny-evaluation/v1/manifest.json"))
    inputs = json.loads(manifest.read_text(encoding="utf-8"))["inputs"]
    assert inputs["rl"] == "nano3-tiny-rl-model:v1"
    assert still_there(slurm) == []


@pytest.mark.usefixtures("piped")
@pytest.mark.parametrize("profile", ["ssh-image", pytest.param("local-image", marks=pytest.mark.minutes)])
def test_pretraining_on_two_nodes_in_containers(slurm: SlurmBed, project: Project, profile: str) -> None:
    # A seed of its own: a run that is finished already would not train.
    seed = f"train.seed={len(profile)}"
    place = f"run.env.workspace={remote_home(slurm, project)}/workspace"
    code, out, err = project.run("nano3", "pretrain", "-c", "tiny", *SMALL, seed, place, "--run", profile)
    assert code == 0, out + err
    assert "[0] pretrain  step 2/2" in out
    record = slurm.record(number_of(slurm, re.findall(r"nano3-pretrain-[a-z0-9]{6}", err)[0]))
    assert {entry["node"] for entry in record} == {"n1", "n2"}
    assert all("/images/empty-1-" in entry["options"]["container-image"] for entry in record)


@pytest.mark.usefixtures("piped")
def test_rl_works_on_both_nodes_as_on_one(slurm: SlurmBed, project: Project) -> None:
    results = {}
    for nodes, told in (
        (2, "2 generation workers and 2 reward workers on 2 nodes"),
        (1, "2 generation workers and 1 reward worker on 1 node"),
    ):
        output = remote_home(slurm, project) / f"rl-{nodes}"
        small = (*(setting.removeprefix("rl.") for setting in SHORT if setting.startswith("rl.")), "train.steps=2")
        place = (f"run.env.nodes={nodes}", f"output_dir={output}")
        code, out, err = project.run("nano3", "rl", "-c", "tiny", *small, *place, "--run", "ssh", "--new")
        assert code == 0, out + err
        assert told in out
        assert "step 2/2" in out
        (manifest,) = output.glob("*/manifest.json")
        result = json.loads(manifest.read_text(encoding="utf-8"))["result"]
        results[nodes] = {key: result[key] for key in ("curve", "tokens", "first", "last")}
    assert results[1] == results[2]
    wait_until(lambda: slurm.leftovers() == [], 20, "end of the jobs' processes")


def test_a_pipeline_whose_first_stage_fails_leaves_nothing_in_the_queue(slurm: SlurmBed, project: Project) -> None:
    broken = "data_prep_pretrain.blend=/nowhere/blend.json"
    code, out, err = project.run("nano3", "pipe", "-c", "tiny", "--run", "ssh", "run.env.nodes=1", broken, *SHORT)
    told = "/nowhere/blend.json: the data blend cannot be read"
    assert (code, told in out) == (2, True), out + err
    assert f"job failed: nano3/data_prep/pretrain: {told}" in err
    for stage in STAGES[1:]:
        name = "nano3/" + stage.replace("data prep ", "data_prep/")
        assert re.search(rf"^{name} \(nano3-[a-z0-9-]+\) is cancelled$", err, re.MULTILINE), err
    assert still_there(slurm) == []
    report = project.folder / "output" / "report.json"
    assert not report.exists() or "failed" not in report.read_text(encoding="utf-8")
