"""What becomes of a job that fails, is interrupted, or holds secrets, seen by the one who rehearses it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.clusters.projects import CANARY, CLIENT_CANARY, SECRET_VARIABLE, Project

if TYPE_CHECKING:
    from collections.abc import Iterable

CLOUDS = pytest.mark.parametrize("cloud", ["lepton", "dgxcloud"])
WAIT_S = 60

RAISES = """\
import os, time
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], flush=True)
if os.environ["RANK"] == "1":
    raise RuntimeError("the loss is not a number")
time.sleep(300)
"""
LEAVES_WITH_7 = "print('about to leave', flush=True)\nraise SystemExit(7)"
NAP = "time.sleep(298.6417)"
WAITS = f"""\
import subprocess, sys
nap = subprocess.Popen([sys.executable, "-c", "import time; {NAP}"])
print("it waits", flush=True)
nap.wait()
"""
FINDS_THE_OTHERS = """\
import torch.distributed as dist, torch
dist.init_process_group("gloo")
number = torch.tensor([dist.get_rank() + 1.0])
dist.all_reduce(number)
print(number.item(), "of", dist.get_world_size(), "ranks", flush=True)
dist.destroy_process_group()
"""
LOOKS_AROUND = f"""\
import os
secret = os.environ.pop("{SECRET_VARIABLE}")
print("secret of", len(secret), "characters")
left = [name for name in os.environ if name.startswith(("NEMO_RUNSPEC_SRC", "NEMO_RUNSPEC_JOB_0", "NEMO_RUNSPEC_POD"))]
print("transport left:", left)
import nemo_runspec, nemotron
print("from", nemo_runspec.__file__)
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.make(tmp_path / "project")


@CLOUDS
def test_a_rank_that_raises_fails_the_job_and_its_last_lines_are_shown(project: Project, cloud: str) -> None:
    script = project.script(RAISES, launch="torchrun")
    code, out, err = project.run("run", script, "--run", cloud, "--rehearse")
    assert code == 1, out + err
    assert "rank 0 of 2" in out
    assert re.search(r"job failed: mine/script ended with exit code 1 in mine-script-\w+-(worker-)?1", err)
    assert "    RuntimeError: the loss is not a number" in err


@CLOUDS
def test_the_exit_code_is_the_scripts_own(project: Project, cloud: str) -> None:
    code, out, err = project.run("run", project.script(LEAVES_WITH_7), "--run", cloud, "--rehearse")
    assert code == 7, out + err
    assert "    about to leave" in err


@CLOUDS
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_who_ends_the_command_ends_the_pods_and_leaves_nothing(
    project: Project, cloud: str, how: signal.Signals
) -> None:
    temporary = project.folder / "tmp"
    temporary.mkdir()
    alone = replace(project, environment={"TMPDIR": str(temporary)})
    process = alone.start("run", project.script(WAITS), "--run", cloud, "--rehearse")
    assert process.stdout is not None
    assert any("it waits" in line for line in process.stdout)
    pods = _processes_about(NAP)
    assert pods, "the pod's script runs"
    process.send_signal(how)
    out, err = process.communicate(timeout=WAIT_S)
    for pid in pods:
        _wait_for_the_end_of(pid)
    if how is signal.SIGINT:
        assert process.returncode == 130, out + err
        assert "interrupted: mine/script was stopped" in err
        log = (project.folder / "output" / "rehearsal" / cloud / "requests.jsonl").read_text(encoding="utf-8")
        assert ('"method": "PATCH"' if cloud == "lepton" else "/suspend") in log
        assert list(temporary.iterdir()) == []
        assert [path for path in project.files() if path.suffix == ".lock" or ".tmp." in path.name] == []


@CLOUDS
def test_a_secret_reaches_the_script_and_is_written_nowhere(project: Project, cloud: str) -> None:
    script = project.script(LOOKS_AROUND)
    dry_code, dry_out, dry_err = project.run("run", script, "--run", cloud, "--dry-run", "--json")
    code, out, err = project.run("run", script, "--run", cloud, "--rehearse", "--json")
    assert (dry_code, code) == (0, 0), dry_err + out + err
    assert f"secret of {len(CANARY)} characters" in out
    assert "transport left: []" in out
    assert "from /nemo_run/code/src/nemo_runspec/" in out, "the modules are those that came with the job"
    for canary in (CANARY, CLIENT_CANARY):
        assert canary not in dry_out + dry_err + out + err
        assert _holding(canary.encode(), project.files()) == []


def test_a_rehearsal_needs_no_credential(tmp_path: Path) -> None:
    project = Project.make(tmp_path / "project", {"RUNAI_CLIENT_SECRET": ""})
    code, out, err = project.run("run", project.script("print('fine')"), "--run", "dgxcloud", "--rehearse")
    assert code == 0, out + err


def test_a_repository_is_cloned_in_every_pod_at_its_commit(project: Project) -> None:
    volume = project.folder / "output" / "rehearsal" / "lepton" / "volumes" / "node-nfs:shared"
    work, bare = project.folder / "work", volume / "repos" / "helper.git"
    bare.parent.mkdir(parents=True)
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false", "-C", str(work))
    work.mkdir()
    (work / "said.txt").write_text("what was committed", encoding="utf-8")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one"), ("clone", "-q", "--bare", ".", str(bare))):
        subprocess.run([*git, *words], check=True, capture_output=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    mount = f'"${{auto_mount:git+file:///mnt/shared/repos/helper.git@{commit},/opt/helper}}"'
    env_file = project.folder / "env.toml"
    text = env_file.read_text(encoding="utf-8")
    env_file.write_text(text.replace("mounts = [", f"mounts = [{mount}, ", 1), encoding="utf-8")
    script = project.script("print(open('/opt/helper/said.txt').read())", launch="torchrun")
    code, out, err = project.run("run", script, "--run", "lepton", "--rehearse")
    assert code == 0, out + err
    assert sorted(line for line in out.splitlines() if "what was committed" in line) == [
        "[0] what was committed",
        "[1] what was committed",
    ]


# A user without any right of root's, on a machine whose only network is the loopback interface.
NOBODY_ALONE = ("bwrap", "--unshare-user", "--uid", "1000", "--gid", "1000", "--unshare-net", "--dev-bind", "/", "/")


@CLOUDS
def test_a_rehearsal_needs_neither_root_nor_a_network(project: Project, cloud: str) -> None:
    script = project.script(FINDS_THE_OTHERS, launch="torchrun")
    code, out, err = project.run("run", script, "--run", cloud, "--rehearse", within=NOBODY_ALONE)
    assert code == 0, out + err
    assert "3.0 of 2 ranks" in out


def _holding(text: bytes, files: Iterable[Path]) -> list[Path]:
    return [path for path in files if text in path.read_bytes()]


def _processes_about(text: str) -> list[int]:
    """Give the processes that have a text in their command line, but for this one."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in line:
                found.append(int(folder.name))
    return found


def _wait_for_the_end_of(pid: int) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return

    try:
        assert select.select([descriptor], [], [], WAIT_S)[0], f"process {pid} is still running"
    finally:
        os.close(descriptor)
