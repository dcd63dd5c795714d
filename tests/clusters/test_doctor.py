"""The doctor, asked about profiles that lead to a real Slurm, and about the many ways in which they may not."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.doctor import State, examine
from nemo_runspec.env import DockerProfile
from tests.clusters.beds import images
from tests.clusters.beds.ports import free_port
from tests.clusters.profiles import slurm_profile

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.doctor import Examination
    from nemo_runspec.env import Profile
    from tests.clusters.beds.docker import DockerBed
    from tests.clusters.beds.slurm import SlurmBed
    from tests.clusters.beds.sshd import SshBed

# The promise is 5 s; two busy cores of a test machine get some more.
WITHIN_S = 5.0
SLACK_S = 1.0


def examined(profile: Profile) -> Examination:
    started = time.monotonic()
    (found,) = examine({profile.name: lambda: profile}, timeout_s=WITHIN_S)
    assert time.monotonic() - started < WITHIN_S + SLACK_S
    return found


def failures(found: Examination) -> dict[str, str]:
    return {one.check: one.text for one in found.findings if one.state is State.FAIL}


def test_a_good_profile_is_found_good(slurm: SlurmBed, sshd: SshBed) -> None:
    profile = slurm_profile(
        slurm, sshd, nodes=2, gpus_per_node=8, run_partition="interactive", container_image="none", mounts=("/usr:/u",)
    )
    found = examined(profile)
    assert found.is_healthy, failures(found)
    texts = {one.check: one.text for one in found.findings}
    assert "it would start now" in texts["submission"]
    assert "Slurm 22.05" in texts["software"]
    assert texts["account"] == "research is yours"
    assert texts["clock"] == "agrees with this machine's"
    assert not (slurm.work / "jobs" / ".nemotron-doctor").exists()


def test_without_accounting_a_good_profile_is_good_too(slurm_plain: SlurmBed, sshd: SshBed) -> None:
    # Another cluster's programs: the login node is this machine itself.
    with pytest.MonkeyPatch.context() as patch:
        for name, value in slurm_plain.environment.items():
            patch.setenv(name, value)
        profile = slurm_profile(
            slurm_plain, sshd, tunnel="local", container_image="none", remote_job_dir=str(slurm_plain.folder / "mine")
        )
        found = examined(profile)
    problems = {check: text for check, text in failures(found).items() if check != "remote_job_dir"}
    assert problems == {}
    assert "account" not in {one.check for one in found.findings}


@pytest.mark.parametrize(
    ("changes", "check", "said"),
    [
        ({"partition": "nope"}, "partition", "there is no partition nope"),
        ({"account": "others"}, "account", "you have no account others"),
        ({"gpus_per_node": 9}, "submission", "Requested node configuration is not available"),
        ({"constraint": "best"}, "submission", "Invalid feature specification"),
        ({"container_image": "/not/there.sqsh"}, "image", "/not/there.sqsh is not there"),
        ({"workspace": "/proc/none"}, "workspace", "may not be written to"),
        ({"user": "nobody-such"}, "login node", "does not let us in"),
        ({"host": "no-such-host.invalid"}, "login node", "no-such-host.invalid"),
    ],
)
def test_a_wrong_key_of_a_profile_is_found(
    slurm: SlurmBed, sshd: SshBed, changes: dict[str, Any], check: str, said: str
) -> None:
    found = examined(slurm_profile(slurm, sshd, **changes))
    assert said in failures(found)[check]
    assert all(one.remedy for one in found.findings if one.state is State.FAIL)


def test_a_key_that_opens_nothing_a_host_unknown_and_one_away_are_found(
    slurm: SlurmBed, sshd: SshBed, tmp_path: Path
) -> None:
    (tmp_path / "known_hosts").touch()
    profiles = {
        "stranger": slurm_profile(slurm, sshd, name="stranger", identity=str(sshd.stranger)),
        "unknown": slurm_profile(slurm, sshd, name="unknown", known_hosts=str(tmp_path / "known_hosts")),
        "away": slurm_profile(slurm, sshd, name="away", port=free_port()),
        "good": slurm_profile(slurm, sshd, name="good", container_image="none"),
    }
    started = time.monotonic()
    found = examine({name: (lambda profile=profile: profile) for name, profile in profiles.items()})  # type: ignore[misc]
    assert time.monotonic() - started < WITHIN_S + SLACK_S
    told = {one.profile: failures(one).get("login node", "") for one in found}
    assert "Permission denied" in told["stranger"]
    assert "key" in told["unknown"]
    assert "cannot be reached" in told["away"]
    assert told["good"] == ""
    assert [one.is_healthy for one in found] == [False, False, False, True]


def test_another_host_at_the_same_address_is_found(slurm: SlurmBed, sshd: SshBed) -> None:
    sshd.change_host_key()
    try:
        found = examined(slurm_profile(slurm, sshd))
    finally:
        sshd.restore_host_key()
    assert "key" in failures(found)["login node"]


def test_a_folder_that_others_may_write_to_is_found(slurm: SlurmBed, sshd: SshBed) -> None:
    shared = slurm.work / "shared"
    shared.mkdir()
    shutil.chown(shared, slurm.user)
    shared.chmod(0o777)
    found = examined(slurm_profile(slurm, sshd, remote_job_dir=str(shared)))
    assert "written to by others (mode 777)" in failures(found)["remote_job_dir"]


def test_a_controller_that_is_frozen_is_told_within_the_time(slurm: SlurmBed, sshd: SshBed) -> None:
    slurm.freeze_controller()
    try:
        found = examined(slurm_profile(slurm, sshd, container_image="none"))
    finally:
        slurm.thaw_controller()
    assert set(failures(found)) == {"partition", "submission"}
    assert "gave no answer in time" in failures(found)["submission"]


def test_nothing_is_submitted_and_nothing_stays(slurm: SlurmBed, sshd: SshBed) -> None:
    folder = slurm.work / "examined"
    folder.mkdir(mode=0o700)
    shutil.chown(folder, slurm.user)
    jobs = slurm.jobs()
    assert examined(slurm_profile(slurm, sshd, remote_job_dir=str(folder), container_image="none")).is_healthy
    assert slurm.jobs() == jobs
    assert list(folder.iterdir()) == []


def test_a_docker_engine_is_asked(docker_bed: DockerBed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in docker_bed.environment.items():
        monkeypatch.setenv(name, value)
    good = examined(DockerProfile(name="d", container_image=images.PYTHON, mounts=("/usr:/u",)))
    assert good.is_healthy, failures(good)
    bad = examined(DockerProfile(name="d", container_image="no/such:1", gpus_per_node=1))
    assert "does not have the image" in failures(bad)["image"]
    assert "no runtime for them" in failures(bad)["runtime"]
