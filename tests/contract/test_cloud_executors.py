"""Whole nemo-run experiments on both clouds' twins, with real pods: every kind of task, packager and ending."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.contract.cloud_experiments import AWKWARD, FAILED
from tests.contract.cloud_tasks.cloud_report import MARK
from tests.nemo_runspec.executors.leaks import holding

pytestmark = pytest.mark.slow

DRIVER = Path(__file__).with_name("cloud_experiments.py")
CANARY = "canary-value-of-a-secret"
ENV = """
[lepton]
executor = "lepton"
container_image = "an/image:1"
nemo_run_dir = "/mnt/nfs/nemo run"
node_group = "ng"
resource_shape = "cpu.small"
secrets = ["MY_TOKEN"]
mounts = [{ path = "/", mount_path = "/mnt/nfs", from = "node-nfs:shared" }]

[dgxcloud]
executor = "dgxcloud"
container_image = "an/image:1"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
client_id = "app"
client_secret = "${oc.env:NOWHERE}"
project_name = "p"
secrets = ["MY_TOKEN"]
pvc_nemo_run_dir = "/mnt/nfs/nemo run"
pvcs = [{ path = "/mnt/nfs", claimName = "team", existingPvc = true }]
"""


@pytest.fixture(scope="module", params=["lepton", "dgxcloud", "dgxcloud --with-master"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run every experiment once for each platform's layout."""
    folder = tmp_path_factory.mktemp("cloud")
    (folder / "env.toml").write_text(ENV, encoding="utf-8")
    script = folder / "repository" / "sub folder" / "in git.sh"
    for path in (script, folder / "repository" / "tools" / "tool.sh"):
        path.parent.mkdir(parents=True)
        path.write_text('echo "REPORT {\\"argv\\": [\\"$1\\"]}"\n', encoding="utf-8")
    loose = folder / "repository" / "loose" / "deep" / "data.txt"
    loose.parent.mkdir(parents=True)
    name, *options = request.param.split()
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.com", "-C", str(folder / "repository")]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "m"]):
        subprocess.run([*git, *command], check=True)
    loose.write_text("not in git\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, DRIVER, name, folder, *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=540,
        env={**os.environ, "MY_TOKEN": CANARY},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**result, "platform": name, "folder": folder, "output": done.stdout + done.stderr}


def workload(outcome: dict[str, Any], name: str) -> dict[str, Any]:
    """Give the one workload of a task."""
    (found,) = (item for item in outcome["workloads"] if item["name"].rpartition("-")[0] == name)
    result: dict[str, Any] = found
    return result


def reports(outcome: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """Give what a task's processes have said, pod after pod."""
    lines = [line for pod in workload(outcome, name)["pods"] for line in pod["log"].splitlines()]
    found = [line.partition(MARK)[2] for line in lines if MARK in line]
    assert found, lines
    return [json.loads(text) for text in found]


def test_each_task_is_one_create_call_and_ends_as_it_should(outcome: dict[str, Any]) -> None:
    packaged = ("git", "subpath", "pattern", "hybrid", "source")
    expected = dict.fromkeys(("inline", "words_", "partial", "torchrun", *packaged), "SUCCEEDED")
    assert outcome["states"] == {**expected, "fails": "FAILED"}
    assert outcome["creates"] == len(outcome["states"])
    (pod,) = workload(outcome, "fails")["pods"]
    assert pod["code"] == FAILED
    assert "last words" in pod["log"]


def test_arguments_and_variables_arrive_as_they_are(outcome: dict[str, Any]) -> None:
    (words,) = reports(outcome, "words")
    assert words["argv"] == AWKWARD
    assert (words["env"]["OWN"], words["env"]["http_proxy"]) == ("words", "lower case")
    assert words["env"]["NEMO_RUN_DIR"] == "/mnt/nfs"
    assert words["cwd"].endswith("/code")
    (inline,) = reports(outcome, "inline")
    assert inline["argv"] == ["\n".join(AWKWARD)]
    assert inline["env"]["OWN"] is None
    (partial,) = reports(outcome, "partial")
    assert partial["argv"] == ["a b"]
    for seen in (words, inline, partial):
        assert seen["secret_length"] == len(CANARY)
        assert seen["transport"] == []


def test_torchrun_connects_the_pods(outcome: dict[str, Any]) -> None:
    processes = reports(outcome, "torchrun")
    assert [seen["argv"] for seen in processes] == [["$HOME x", "3", "2"]] * 2
    assert sorted(seen["env"]["RANK"] for seen in processes) == ["0", "1"]
    assert {pod["code"] for pod in workload(outcome, "torchrun")["pods"]} == {0}


def test_code_comes_from_every_packager(outcome: dict[str, Any]) -> None:
    assert reports(outcome, "git") == [{"argv": ["from git"]}]
    assert reports(outcome, "subpath") == [{"argv": ["from subpath"]}]
    assert reports(outcome, "hybrid") == [{"argv": ["from hybrid"]}]
    for name in ("pattern", "hybrid"):
        (pod,) = workload(outcome, name)["pods"]
        assert "not in git" in pod["log"].splitlines()
    logs = [pod["log"] for pod in workload(outcome, "source")["pods"]]
    assert sum("SOURCE /nemo_run/code/src/nemo_runspec/__init__.py" in log for log in logs) == 2


def test_the_log_of_a_finished_task_is_shown_and_ends(outcome: dict[str, Any]) -> None:
    assert '"OWN": "words"' in outcome["shown"]
    assert "exit code 0" in outcome["shown"]


def test_a_running_task_is_stopped(outcome: dict[str, Any]) -> None:
    assert outcome["cancelled"] == {"before": "RUNNING", "after": "CANCELLED"}
    assert None not in outcome["pods_after"]


def test_nemo_runs_own_command_knows_what_ours_has_submitted(outcome: dict[str, Any]) -> None:
    told = outcome["command_line"]
    assert "Status: RUNNING" in told["before"]
    assert "Status: CANCELLED" in told["after"]
    assert "it waits" in told["log"]


def test_no_secret_is_left_anywhere(outcome: dict[str, Any]) -> None:
    assert (outcome["folder"] / "rehearsal" / "nemo_run" / "experiments").is_dir()
    assert holding(outcome["folder"], CANARY) == []
    assert CANARY not in outcome["output"]
