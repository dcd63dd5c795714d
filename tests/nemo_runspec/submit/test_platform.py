from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.data_mover import EXIT_MARKER
from nemo_runspec.errors import (
    ConfigError,
    DeniedError,
    InterruptedJobError,
    JobFailedError,
    NemotronError,
    RefusedError,
    UnreachableError,
)
from nemo_runspec.job import Job, compile_job
from nemo_runspec.job_folder import LOG_FILE
from nemo_runspec.platforms.abandoning import pause, refuse_if_abandoned
from nemo_runspec.platforms.workload import Cause, JobState, Seen
from nemo_runspec.submit import platform as submitting
from nemo_runspec.submit import watching
from nemo_runspec.submit.platform import execute_on_platform, execute_ray_on_platform
from nemo_runspec.submit.watching import EXIT_CANCELLED
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, write_env_file, write_recipe
from tests.nemo_runspec.submit.platforms import CANCELLED, FAILED, RUNNING, SUCCEEDED, WORKLOAD, FakePlatform

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.platforms.workload import Platform, Submitted

PROFILE = f"[far]\n{LEPTON_TABLE}{IMAGE}"
POD = "sft-ab12cd-0-xyz12"
OTHER = "sft-ab12cd-1-uvw12"
CANARY = "canary-0123456789"


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEAM_API_KEY", CANARY)
    monkeypatch.setattr("nemo_runspec.executors.follow.FIRST_LOOK_S", 0.001)
    write_env_file(tmp_path, PROFILE)
    job = compile_job(write_recipe(tmp_path / "recipe", launch="torchrun"), RecipeConfig(profile="far", mode=Mode.RUN))
    job.job_dir.mkdir(parents=True)
    return job


def _accepts(monkeypatch: pytest.MonkeyPatch, platform: FakePlatform) -> None:
    def submit(_: Job, _after: object) -> tuple[Submitted, Platform]:
        return WORKLOAD, platform

    monkeypatch.setattr(submitting, "_submit", submit)


def test_the_output_of_all_pods_is_shown_and_kept_without_secrets(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = {POD: ["one", f"token {CANARY}"], OTHER: ["two"]}
    _accepts(monkeypatch, FakePlatform([RUNNING, RUNNING, RUNNING, SUCCEEDED], logs))
    assert execute_on_platform(job) == WORKLOAD
    shown = capsys.readouterr()
    assert "[0] one\n" in shown.out
    assert "[1] two\n" in shown.out
    assert CANARY not in shown.out + shown.err
    assert (job.job_dir / LOG_FILE).read_text(encoding="utf-8") == shown.out
    assert "sft-ab12cd: succeeded (Completed)" in shown.err


@pytest.mark.parametrize(
    ("end", "told", "code", "message"),
    [
        (FAILED, 3, 3, "ended with exit code 3 in sft-ab12cd-0-xyz12, whose last lines were:\n    the reason"),
        (FAILED, 0, 1, "failed, and no pod has told an exit code"),
        (CANCELLED, 143, EXIT_CANCELLED, "was cancelled as sft-ab12cd"),
        (Seen(JobState.LOST), 0, 1, "is lost"),
        (Seen(JobState.FAILED, exit_code=3), 0, 3, "ended with exit code 3 as sft-ab12cd"),
        (Seen(JobState.FAILED, "TIMEOUT", cause=Cause.TIMEOUT), 0, 124, "its time limit has passed (TIMEOUT)"),
        (Seen(JobState.FAILED, cause=Cause.MEMORY, exit_code=1), 0, 137, "it was out of memory"),
        (Seen(JobState.FAILED, cause=Cause.NODE), 0, 75, "a node failed"),
    ],
)
def test_each_end_has_its_message_and_exit_code(
    job: Job, monkeypatch: pytest.MonkeyPatch, end: Seen, told: int, code: int, message: str
) -> None:
    logs = {POD: ["the reason", f"{EXIT_MARKER} {POD} exit code {told}"]}
    _accepts(monkeypatch, FakePlatform([RUNNING, RUNNING, RUNNING, end], logs))
    with pytest.raises(JobFailedError) as caught:
        execute_on_platform(job)
    assert caught.value.exit_code == code
    assert message in caught.value.message
    assert EXIT_MARKER not in caught.value.message


def test_a_submission_that_is_refused_is_told_as_it_is(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(_: Job, _after: object) -> tuple[Submitted, Platform]:
        message = "no such node group"
        raise RefusedError(message, status=400)

    monkeypatch.setattr(submitting, "_submit", submit)
    monkeypatch.setattr(submitting, "explain_refusal", lambda profile, _: f"Correct node_group in {profile.name}.")
    with pytest.raises(RefusedError) as caught:
        execute_on_platform(job)
    assert str(caught.value) == "no such node group\n  Correct node_group in far."


def test_a_detached_job_is_left_when_it_is_accepted(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = FakePlatform([RUNNING])
    _accepts(monkeypatch, platform)
    took: list[float] = []
    assert execute_on_platform(job, detach=True, accepted=lambda _, seconds: took.append(seconds)) == WORKLOAD
    assert platform.looks == 0
    assert len(took) == 1


def test_only_a_script_on_ray_is_run_on_ray(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    _accepts(monkeypatch, FakePlatform([SUCCEEDED]))
    with pytest.raises(ConfigError, match=r'is no job on Ray: its launch is "torchrun"') as refused:
        execute_ray_on_platform(job)
    assert str(job.spec.script_path) in str(refused.value)
    assert 'launch = "ray"' in str(refused.value)
    on_ray = replace(job, spec=replace(job.spec, run=replace(job.spec.run, launch="ray")))
    assert execute_ray_on_platform(on_ray, say=lambda _: None) == WORKLOAD


def test_a_credential_that_expires_for_good_ends_the_watch_and_not_the_job(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "not accepted any more"
    platform = FakePlatform([RUNNING, DeniedError(message, status=401)])
    _accepts(monkeypatch, platform)
    with pytest.raises(UnreachableError, match=f"sft-ab12cd may still run, and is not watched any longer: {message}"):
        execute_on_platform(job)
    assert not platform.cancelled.is_set()


def _interrupted(job: Job, platform: FakePlatform, times: int = 1) -> NemotronError:
    """Send SIGINT to this process as soon as the job is followed; the next ones when it is being stopped."""

    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(times - 1):
            assert platform.cancelled.wait(10)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    with pytest.raises(InterruptedJobError) as caught:
        execute_on_platform(job, accepted=lambda _workload, _seconds: thread.start())
    thread.join()
    return caught.value


def _told_to_cancel(job: Job) -> Job:
    return replace(job, request=replace(job.request, cancel_on_interrupt=True))


def test_ctrl_c_leaves_the_job_running_and_says_how_to_go_on(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = FakePlatform([RUNNING])
    _accepts(monkeypatch, platform)
    error = _interrupted(job, platform)
    assert not platform.cancelled.is_set()
    assert error.exit_code == 130
    assert "goes on as sft-ab12cd, and is not watched any longer" in error.message
    assert error.remedy is not None
    assert "nemotron jobs reattach sft-ab12cd" in error.remedy
    assert "nemotron jobs cancel sft-ab12cd" in error.remedy


def test_ctrl_c_stops_the_workload_and_waits_for_its_end(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = FakePlatform([RUNNING], on_cancel=[Seen(JobState.STOPPING), CANCELLED])
    _accepts(monkeypatch, platform)
    error = _interrupted(_told_to_cancel(job), platform)
    assert platform.cancelled.is_set()
    assert error.exit_code == 130
    assert "was stopped: sft-ab12cd is cancelled" in error.message


def test_a_second_ctrl_c_does_not_wait(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = FakePlatform([RUNNING], on_cancel=[Seen(JobState.STOPPING)])
    _accepts(monkeypatch, platform)
    assert "may still run as sft-ab12cd" in _interrupted(_told_to_cancel(job), platform, times=2).message


def test_a_workload_that_cannot_be_stopped_is_told(
    job: Job, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    platform = FakePlatform([RUNNING], on_cancel=UnreachableError("nobody answers"))
    _accepts(monkeypatch, platform)
    assert "may still run" in _interrupted(_told_to_cancel(job), platform).message
    assert "could not be stopped: nobody answers" in capsys.readouterr().err


def _interrupt_when(started: threading.Event, again: threading.Event | None = None) -> threading.Thread:
    def interrupt() -> None:
        assert started.wait(10)
        os.kill(os.getpid(), signal.SIGINT)
        if again is not None:
            assert again.wait(10)
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    return thread


def test_ctrl_c_gives_a_submission_up_that_waits_for_a_platform(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    waits = threading.Event()

    def submit(_: Job, _after: object) -> tuple[Submitted, Platform]:
        waits.set()
        pause(600)
        refuse_if_abandoned()
        raise AssertionError

    monkeypatch.setattr(submitting, "_submit", submit)
    thread = _interrupt_when(waits)
    with pytest.raises(InterruptedJobError, match="interrupted before anything was submitted"):
        execute_on_platform(job)
    thread.join()


@pytest.mark.parametrize("detach", [False, True])
def test_a_workload_that_was_accepted_meanwhile_is_stopped(
    job: Job, monkeypatch: pytest.MonkeyPatch, *, detach: bool
) -> None:
    platform = FakePlatform([RUNNING], on_cancel=[CANCELLED])
    waits = threading.Event()

    def submit(_: Job, _after: object) -> tuple[Submitted, Platform]:
        waits.set()
        pause(600)
        return WORKLOAD, platform

    monkeypatch.setattr(submitting, "_submit", submit)
    thread = _interrupt_when(waits)
    with pytest.raises(InterruptedJobError, match="was stopped: sft-ab12cd is cancelled"):
        execute_on_platform(job, detach=detach)
    thread.join()
    assert platform.cancelled.is_set()


def test_a_second_ctrl_c_leaves_a_submission_that_hangs(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LEAVE_S", 0.01)
    waits, given_up, end = threading.Event(), threading.Event(), threading.Event()

    def submit(_: Job, _after: object) -> tuple[Submitted, Platform]:
        waits.set()
        pause(600)
        given_up.set()
        assert end.wait(60)
        raise AssertionError

    monkeypatch.setattr(submitting, "_submit", submit)
    thread = _interrupt_when(waits, again=given_up)
    with pytest.raises(InterruptedJobError) as caught:
        execute_on_platform(job)
    end.set()
    thread.join()
    assert "Whether the platform has it is not known" in str(caught.value)
