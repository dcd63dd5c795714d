"""Recipes on Ray on this machine: a private Ray that leaves no process and no port, and one whose address is given.

Each command has network and process numbers of its own, so that what it leaves can be told from everything else.
"""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from typing import TYPE_CHECKING, Final

import pytest

from tests.clusters.cluster_projects import reports
from tests.clusters.projects import Project

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

# The first process of the namespace has to outlive what it is to list, so it waits for what lost its parent.
ALONE: Final = """\
ip link set lo up
list() {
    echo "$1 $(ss -Hltn | wc -l) ports, $(ps -e -o comm= | grep -Ecv '^(bash|ps|grep|ss|wc)$') processes"
}
list before
"$@"
code=$?
for _ in $(seq 100); do
    [ "$(list now)" = "now 0 ports, 0 processes" ] && break
    sleep 0.2
done
list after
ps -e -o args= | grep -v '^\\(ps\\|grep\\|bash\\) ' >&2
exit $code
"""
SEALED: Final = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", ALONE, "alone")
WITH_A_CLUSTER: Final = """\
export RAY_AUTH_MODE=disabled
{ray} start --head --port=6399 --node-ip-address=127.0.0.1 --num-cpus=2 --resources='{{"theirs": 1}}' \
    --include-dashboard=false --disable-usage-stats --temp-dir={folder} >/dev/null || exit 99
RAY_ADDRESS=127.0.0.1:6399 "$@"
code=$?
pgrep -c gcs_server | sed 's/^/still there: /'
{ray} stop --force >/dev/null
exit $code
"""
DRIVER: Final = """\
import json, subprocess, sys
import ray
ray.init(log_to_driver=False, configure_logging=False)
@ray.remote(num_cpus=1)
def seen():
    return "of a worker"
ports = len(subprocess.run(["ss", "-Hltn"], capture_output=True, text=True).stdout.splitlines())
told = {"seen": ray.get(seen.remote()), "ports": ports, "theirs": ray.cluster_resources().get("theirs", 0)}
print("REPORT", json.dumps(told), flush=True)
%s
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project.make(tmp_path_factory.mktemp("here") / "project")


@pytest.mark.parametrize(("end", "code"), [("sys.exit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_private_ray_leaves_no_process_and_no_port(project: Project, end: str, code: int) -> None:
    ended, out, err = project.run("run", project.script(DRIVER % end, launch="ray"), within=SEALED)
    assert ended == code, out + err
    (told,) = reports(out)
    assert told["seen"] == "of a worker"
    assert told["ports"] > 0
    assert told["theirs"] == 0
    assert "before 0 ports, 0 processes" in out
    assert "after 0 ports, 0 processes" in out, out + err


def test_a_preparation_on_a_private_ray_leaves_nothing(project: Project, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": f"text {n} " * 9}) for n in range(200)) + "\n")
    (tmp_path / "blend.json").write_text('{"datasets": [{"name": "texts", "path": "texts.jsonl", "weight": 1.0}]}')
    settings = (f"blend={tmp_path}/blend.json", "tokenizer.vocab_size=300", "backend=ray", "workers=2")
    code, out, err = project.run("nano3", "data", "prep", "pretrain", "-c", "tiny", *settings, within=SEALED)
    assert code == 0, out + err
    assert "Ray does the work: 2 tasks at one time, 1 node" in out
    assert "before 0 ports, 0 processes" in out
    assert "after 0 ports, 0 processes" in out, out + err


def test_a_ray_whose_address_is_given_is_joined_and_left_running(project: Project) -> None:
    ray = shlex.join([sys.executable, "-m", "ray.scripts.scripts"])
    # The paths of Ray's sockets may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        within = (*SEALED, "bash", "-c", WITH_A_CLUSTER.format(ray=ray, folder=folder), "cluster")
        code, out, err = project.run("run", project.script(DRIVER % "sys.exit(5)", launch="ray"), within=within)
    assert code == 5, out + err
    assert reports(out)[0]["theirs"] == 1
    assert "still there: 1" in out
