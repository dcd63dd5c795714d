from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nemo_run as run
import pytest
from nemo_run.config import get_nemorun_home
from nemo_run.run.job import Job
from nemo_run.run.torchx_backend.runner import get_runner
from torchx.specs import AppDef, AppState, Role
from torchx.specs.api import is_terminal

from nemo_runspec.errors import DeniedError
from nemo_runspec.executors import scheduler
from nemo_runspec.executors.journal import Entry, Journal
from nemo_runspec.executors.lepton import LeptonExecutor
from nemo_runspec.executors.scheduler import create_dgxcloud_scheduler, create_lepton_scheduler
from nemo_runspec.platforms.workload import JobState, Seen, Submitted
from tests.nemo_runspec.executors.clouds import lepton
from tests.nemo_runspec.executors.platforms import FakePlatform

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY = Entry(platform="lepton", kind="job", name="sft-abc123", id="id", title="a_", experiment="e_1")
OTHER = Entry(platform="dgxcloud", kind="trainings", name="rl-abc123", id="id", title="rl", experiment="e_1")


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakePlatform]:
    fake = FakePlatform()
    monkeypatch.setattr(scheduler, "connect", lambda *_: fake)
    journal = Journal(get_nemorun_home())
    journal.write(ENTRY)
    journal.write(OTHER)
    yield fake
    journal.forget(ENTRY.name)
    journal.forget(OTHER.name)


@pytest.mark.parametrize("state", JobState)
def test_a_state_is_never_more_than_the_platform_has_said(platform: FakePlatform, state: JobState) -> None:
    platform.states = [state]
    described = create_lepton_scheduler("nemo_run").describe(ENTRY.app_id)
    assert described is not None
    assert is_terminal(described.state) == state.is_final
    assert (described.state is AppState.SUCCEEDED) == (state is JobState.SUCCEEDED)
    assert (described.state is AppState.FAILED) == (state is JobState.FAILED)
    assert described.msg
    assert [role.name for role in described.roles] == ["a_"]


def test_a_job_that_was_not_sent_from_here_is_not_known(platform: FakePlatform) -> None:
    assert create_lepton_scheduler("nemo_run").describe("e___r___nope") is None
    assert platform.looks == 0


def test_a_refused_credential_is_told_at_once_also_where_nemo_run_swallows_the_error(
    platform: FakePlatform, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def denied(workload: Submitted) -> Seen:
        message = f"401 for {workload.name}"
        raise DeniedError(message, status=401, remedy="Log in again.")

    monkeypatch.setattr(platform, "look", denied)
    made = create_lepton_scheduler("nemo_run")
    for _ in range(2):
        with pytest.raises(DeniedError, match="401 for sft-abc123"):
            made.describe(ENTRY.app_id)
    told = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage().splitlines() for record in told] == [["401 for sft-abc123", "  Log in again."]]
    job = Job(
        "a_", run.Script(inline="true"), lepton(), f"nemo_runspec_lepton://nemo_run/{ENTRY.app_id}", launched=True
    )
    caplog.clear()
    assert job.status(get_runner()) is AppState.UNSUBMITTED
    assert "Log in again." in caplog.text


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.STARTING, JobState.RUNNING, JobState.STOPPING])
def test_nemo_run_cancels_a_job_whatever_it_is_doing(platform: FakePlatform, state: JobState) -> None:
    platform.states = [state]
    handle = f"nemo_runspec_lepton://nemo_run/{ENTRY.app_id}"
    runner = get_runner()
    runner.cancel(handle)
    assert platform.cancelled == [ENTRY.submitted]
    status = runner.status(handle)
    assert status is not None
    assert status.state is AppState.CANCELLED
    runner.cancel(handle)
    assert len(platform.cancelled) == 1


def test_log_and_list_are_of_this_schedulers_jobs(platform: FakePlatform) -> None:
    platform.logs = {"sft-abc123-0-x1y2z": ["line"]}
    made = create_lepton_scheduler("nemo_run")
    assert list(made.log_iter(ENTRY.app_id, "a_", 0, should_tail=True)) == ["[0] line\n"]
    assert [listed.app_id for listed in made.list()] == [ENTRY.app_id]
    assert [listed.app_id for listed in create_dgxcloud_scheduler("nemo_run").list()] == [OTHER.app_id]


def test_a_dry_run_shows_the_command_and_no_value() -> None:
    executor = LeptonExecutor(container_image="an/image:1", nemo_run_dir="/mnt/x", nodes=2)
    role = Role(name="r", image="", entrypoint="bash", args=["a b"], env={"MY_TOKEN": "canary"})
    shown: Any = create_lepton_scheduler("nemo_run").submit_dryrun(AppDef(name="r", roles=[role]), executor)
    assert str(shown) == "r: 2 x an/image:1 on lepton\nbash 'a b'\nvariables: MY_TOKEN"
