from __future__ import annotations

import os
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from nemo_runspec import doctor
from nemo_runspec.doctor import State, examine
from nemo_runspec.doctor.findings import Check, ok
from nemo_runspec.doctor.here import version_in
from nemo_runspec.env import DockerProfile, LocalProfile, SlurmProfile, load_env_file
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.connection import shell_of
from nemo_runspec.executors.slurm_request import slurm_connection
from tests.nemo_runspec.git_mounts.repositories import make_repository
from tests.nemo_runspec.platforms.scripted import Reply, scripted_server
from tests.nemo_runspec.platforms.shell.standin import StandIn
from tests.nemo_runspec.prepare.stand_ins import put_on_path
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, RUNAI_TABLE, write_env_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nemo_runspec.doctor import Examination
    from nemo_runspec.env import Profile

SINFO = "#!/bin/bash\nprintf 'batch|up\\ndebug|up\\n'\n"
SACCTMGR = "#!/bin/bash\necho research\n"
SBATCH = """#!/bin/bash
[ "$1" != --version ] || { echo slurm 23.11.4; exit; }
printf '%s\\n' "$@" >>"$STAND_INS/sbatch.log"
[ ! -e "$STAND_INS/hangs" ] || sleep 60
echo "sbatch: Job 7 to start at $(date +%Y-%m-%dT%H:%M:%S) using 2 processors on nodes n1 in partition x" >&2
"""
SRUN = "#!/bin/bash\necho '  --container-image=IMAGE'\n"


@pytest.fixture(autouse=True)
def _desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    programs = {"sinfo": SINFO, "sacctmgr": SACCTMGR, "sbatch": SBATCH, "srun": SRUN}
    return put_on_path(tmp_path / "stand-ins", programs, monkeypatch)


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    folder = tmp_path / "my jobs"
    folder.mkdir(mode=0o700)
    return folder


def examined(profile: Profile, *, online: bool = False, timeout_s: float = 20) -> Examination:
    (found,) = examine({profile.name: lambda: profile}, online=online, timeout_s=timeout_s)
    return found


def texts(found: Examination, check: str) -> list[str]:
    return [f"{one.state.value} {one.text}" for one in found.findings if one.check == check]


def test_a_login_node_where_all_is_well(cluster: Path, jobs: Path) -> None:
    profile = SlurmProfile(
        name="s",
        account="research",
        partition="batch",
        run_partition="debug",
        gpus_per_node=8,
        nodes=2,
        exclusive=True,
        remote_job_dir=str(jobs),
        workspace=str(jobs / "new" / "workspace"),
        container_image="none",
        mounts=("/usr:/usr:ro",),
        additional_parameters={"mail_type": "FAIL"},
    )
    found = examined(profile)
    assert found.is_healthy, found
    assert [one.check for one in found.findings if one.state is not State.OK] == []
    assert "GiB free" in texts(found, "remote_job_dir")[0]
    assert "can be made" in texts(found, "workspace")[0]
    assert [text.rpartition(";")[2] for text in texts(found, "submission")] == [" it would start now"] * 2
    assert "Slurm 23.11.4" in texts(found, "software")[0]
    asked = (cluster / "sbatch.log").read_text(encoding="utf-8").splitlines()
    for option in ("--nodes=2", "--gpus-per-node=8", "--exclusive", "--mail-type=FAIL", "--test-only"):
        assert asked.count(option) == 2
    assert {"--partition=batch", "--partition=debug"} <= set(asked)
    assert list(jobs.iterdir()) == []


def test_a_controller_that_hangs_costs_only_its_own_answers(cluster: Path, jobs: Path) -> None:
    (cluster / "hangs").touch()
    started = time.monotonic()
    found = examined(SlurmProfile(name="s", remote_job_dir=str(jobs)), timeout_s=3)
    assert time.monotonic() - started < 3.5
    assert texts(found, "submission") == [
        "FAIL sbatch --test-only in the default partition was asked and gave no answer in time"
    ]
    assert texts(found, "remote_job_dir")[0].startswith("ok")


def test_a_folder_that_others_may_write_to_is_found(cluster: Path, jobs: Path) -> None:
    del cluster
    jobs.chmod(0o777)
    found = examined(SlurmProfile(name="s", remote_job_dir=str(jobs), container_image="none"))
    assert not found.is_healthy
    assert "written to by others (mode 777)" in texts(found, "remote_job_dir")[0]


def test_a_folder_below_one_that_all_may_rename_in_is_found(cluster: Path, jobs: Path) -> None:
    del cluster
    jobs.chmod(0o777)
    found = examined(SlurmProfile(name="s", remote_job_dir=str(jobs / "mine"), container_image="none"))
    assert f"everybody may rename folders in {jobs}" in texts(found, "remote_job_dir")[0]


def test_a_path_that_is_relative_on_a_cluster_is_told(jobs: Path) -> None:
    profile = SlurmProfile(name="s", remote_job_dir=str(jobs), workspace="results")
    assert texts(examined(profile), "login node") == [
        "FAIL workspace results is no path from the root, as the cluster needs it"
    ]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Give a port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_host_that_says_nothing_is_found_within_the_time(jobs: Path, silent_port: int, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o644)
    profile = SlurmProfile(
        name="s",
        tunnel="ssh",
        host="127.0.0.1",
        port=silent_port,
        identity=str(key),
        known_hosts="~/not/there",
        remote_job_dir=str(jobs),
    )
    started = time.monotonic()
    found = examined(profile, timeout_s=2)
    assert time.monotonic() - started < 2.5
    assert [text.split()[0] for text in texts(found, "login node")] == ["FAIL"]
    assert [text.split()[:2] for text in texts(found, "key")] == [["FAIL", "identity"], ["FAIL", "known_hosts"]]


# A call ends with the connection that it uses, as OpenSSH's do.
ENDS_WITH_ITS_CONNECTION = """
for word; do [ "$before" = -S ] && socket=$word; before=$word; done
group=$$
if [ $shared = call ]; then
    (
        while [ -d "${socket%/*}" ] && kill -0 $group; do sleep 0.05; done
        kill -KILL -- -$group
    ) >/dev/null 2>&1 </dev/null &
fi
"""


def test_profiles_of_one_login_node_do_not_end_each_others_connection(
    cluster: Path, jobs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbatch = (cluster / "sbatch").read_text(encoding="utf-8")
    (cluster / "sbatch").write_text(f'{sbatch}[[ "$*" != *slow* ]] || sleep 1\n', encoding="utf-8")
    ssh = StandIn(tmp_path / "bin", monkeypatch)
    ssh.instead(ENDS_WITH_ITS_CONNECTION)
    profiles = {
        name: SlurmProfile(
            name=name, tunnel="ssh", host="login", remote_job_dir=str(jobs), partition="batch", constraint=name
        )
        for name in ("quick", "slow")
    }
    try:
        found = examine({name: partial(profiles.__getitem__, name) for name in profiles}, timeout_s=15)
    finally:
        shell_of(slurm_connection(profiles["slow"])).close()
    assert [[text.split()[0] for text in texts(one, "login node")] for one in found] == [["ok"], ["ok"]]
    assert [text.split()[0] for text in texts(found[1], "submission")] == ["ok"]
    assert ssh.calls().count("master") == 1


def test_repositories_are_asked_only_when_that_is_wanted(cluster: Path, jobs: Path, tmp_path: Path) -> None:
    del cluster
    repository = make_repository(tmp_path / "repo")
    profile = SlurmProfile(
        name="s", remote_job_dir=str(jobs), mounts=(f"git+file://{repository}/.git@main,/opt/r", "git+file:///no@x,/o")
    )
    assert all(text.startswith("ok") for text in texts(examined(profile), "repositories"))
    (told,) = texts(examined(profile, online=True), "repositories")
    assert told.startswith("FAIL the repository file:///no cannot be asked")


def test_what_gives_no_answer_in_time_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def hangs() -> tuple[doctor.Finding, ...]:
        never.wait(30)
        return ()

    checks = (Check("slow", hangs), Check("quick", lambda: (ok("quick", "fine"),)))
    monkeypatch.setattr(doctor, "checks_of", lambda *_, **__: checks)
    found = examined(LocalProfile(name="l"), timeout_s=0.2)
    never.set()
    assert [(one.check, one.state) for one in found.findings] == [("slow", State.FAIL), ("quick", State.OK)]
    assert found.findings[0].text == "gave no answer within 0.2 s"


def test_a_mistake_of_ours_is_not_taken_for_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> tuple[doctor.Finding, ...]:
        raise KeyError

    monkeypatch.setattr(doctor, "checks_of", lambda *_, **__: (Check("broken", fails),))
    with pytest.raises(KeyError):
        examined(LocalProfile(name="l"))


def test_profiles_are_examined_together_and_a_broken_one_is_a_finding(tmp_path: Path) -> None:
    file = load_env_file(write_env_file(tmp_path, '[good]\nexecutor = "local"\n[bad]\nexecutor = "local"\nnodez = 1\n'))
    good, bad = examine({name: partial(file.profile, name) for name in file.profiles})
    assert good.is_healthy
    assert (bad.executor, [one.check for one in bad.findings]) == ("", ["profile"])
    assert "nodez" in bad.findings[0].text


def test_no_secret_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_SECRET", "canary-0123456789")
    found = examined(
        LocalProfile(name="l", secrets=("MY_SECRET",), workspace=str(tmp_path / "canary-0123456789" / "x"))
    )
    assert texts(found, "secrets") == ["ok MY_SECRET set in your environment"]
    assert "canary" not in str(found)


def test_a_secret_that_is_not_set_is_found() -> None:
    found = examined(LocalProfile(name="l", secrets=("NOT_SET_TOKEN",)))
    assert texts(found, "secrets") == ["FAIL NOT_SET_TOKEN is not set in your environment"]


def test_a_workspace_that_is_no_folder_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for workspace, said in ((str(tmp_path / "file"), "is no folder"), ("s3://bucket", "is no folder")):
        assert said in texts(examined(LocalProfile(name="l", workspace=workspace)), "workspace")[0]
    assert texts(examined(LocalProfile(name="l")), "workspace")[0].startswith(f"ok {tmp_path}/output can be made")


@pytest.mark.parametrize(("there", "state"), [(2, "ok 2 of 2"), (1, "FAIL 2 asked for, and this machine has 1")])
def test_gpus_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: int, state: str) -> None:
    listed = "".join(f"echo 'GPU {number}: NVIDIA'\n" for number in range(there))
    put_on_path(tmp_path / "stand-ins", {"nvidia-smi": f"#!/bin/bash\n{listed}"}, monkeypatch)
    assert texts(examined(LocalProfile(name="l", gpus_per_node=2)), "gpus") == [state]
    assert texts(examined(LocalProfile(name="l", gpus_per_node=0)), "gpus") == []


def test_gpus_without_a_driver_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "nvidia-smi is not installed" in texts(examined(LocalProfile(name="l", gpus_per_node=1)), "gpus")[0]


@pytest.mark.parametrize(
    ("line", "version"),
    [("git version 2.39.5", "2.39.5"), ("OpenSSH_9.2p1, OpenSSL 3", "OpenSSH_9.2p1"), ("", "of an unknown version")],
)
def test_a_version_is_found_in_a_line(line: str, version: str) -> None:
    assert version_in(line) == version


def test_without_an_engine_docker_fails_and_mounts_are_told_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    profile = DockerProfile(name="d", container_image="x:1", mounts=("/usr:/u", "/not/there:/x", "$NOT_SET_AT_ALL:/y"))
    found = examined(profile)
    assert texts(found, "engine")[0].startswith("FAIL there is no Docker engine running")
    assert [text.split()[0] for text in texts(found, "mounts")] == ["FAIL", "FAIL", "ok"]


def cloud(tmp_path: Path, table: str) -> Profile:
    return load_env_file(write_env_file(tmp_path, f"[far]\n{table}{IMAGE}")).profile("far")


def test_a_cloud_without_credentials_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEPTON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("RUNAI_CLIENT_SECRET", "x")
    assert texts(examined(cloud(tmp_path, LEPTON_TABLE)), "credentials")[0].startswith("FAIL no Lepton workspace")
    assert texts(examined(cloud(tmp_path, RUNAI_TABLE)), "credentials")[0].startswith("ok client_id nemotron")
    monkeypatch.delenv("RUNAI_CLIENT_SECRET")
    with_none = examined(cloud(tmp_path, RUNAI_TABLE))
    assert not with_none.is_healthy
    with pytest.raises(ProfileError):
        cloud(tmp_path, "executor = 'none'\n")


@pytest.mark.parametrize(("status", "state"), [(404, "ok"), (401, "FAIL")])
def test_a_token_is_tried_only_when_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, state: str
) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    with scripted_server() as server:
        for name, value in (("ID", "team"), ("TOKEN", "canary-0123456789"), ("URL", server.url)):
            monkeypatch.setenv(f"LEPTON_WORKSPACE_{name}", value)
        profile = cloud(tmp_path, LEPTON_TABLE)
        assert examined(profile).is_healthy
        assert server.asked == []
        server.script("GET /jobs/nemotron-doctor-000000", *[Reply(status=status, body={"message": "no"})] * 9)
        found = examined(profile, online=True)
    assert [text.split()[0] for text in texts(found, "platform")] == [state]
    assert "canary" not in str(found)
