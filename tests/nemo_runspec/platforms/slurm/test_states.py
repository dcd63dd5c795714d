from __future__ import annotations

from dataclasses import replace

import pytest

from nemo_runspec.platforms.slurm.states import NEVER, Answers, Record, Source, is_final, judge
from nemo_runspec.platforms.workload import Cause, JobState, Seen

UNKNOWN_JOB = Source(answered=True)
"""An answer: no such job."""
DOWN = Source(trouble="Unable to contact slurm controller (connect failure)")
DISABLED = Source(trouble="Slurm accounting storage is disabled", exists=False)
LATE = Source(trouble="no answer in time")


def says(state: str, reason: str = "", code: tuple[int, int] | None = None, restarts: int = 0) -> Source:
    return Source(answered=True, record=Record(state, reason, code=code, restarts=restarts))


def controller(source: Source) -> Answers:
    """Let both programs that ask the controller say the same."""
    return Answers(squeue=source, scontrol=source)


RUNNING = controller(says("RUNNING"))
FORGOTTEN = controller(UNKNOWN_JOB)
UNANSWERED = controller(DOWN)

SUCCEEDED, FAILED, CANCELLED, LOST = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.LOST
STOPPING, UNKNOWN, UNREACHABLE = JobState.STOPPING, JobState.UNKNOWN, JobState.UNREACHABLE


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", JobState.QUEUED),
        ("REQUEUED", JobState.QUEUED),
        ("REQUEUE_HOLD", JobState.QUEUED),
        ("RESV_DEL_HOLD", JobState.QUEUED),
        ("SPECIAL_EXIT", JobState.QUEUED),
        ("CONFIGURING", JobState.STARTING),
        ("RUNNING", JobState.RUNNING),
        ("RESIZING", JobState.RUNNING),
        ("SIGNALING", JobState.RUNNING),
        ("STOPPED", JobState.RUNNING),
        ("SUSPENDED", JobState.RUNNING),
        ("COMPLETING", STOPPING),
        ("STAGE_OUT", STOPPING),
        ("A_STATE_OF_NEXT_YEAR", UNKNOWN),
    ],
)
def test_states_of_a_job_that_goes_on(word: str, state: JobState) -> None:
    assert judge(controller(says(word))) == Seen(state, word)
    assert not is_final(word)


@pytest.mark.parametrize(
    ("word", "state", "cause"),
    [
        ("COMPLETED", SUCCEEDED, None),
        ("FAILED", FAILED, None),
        ("TIMEOUT", FAILED, Cause.TIMEOUT),
        ("DEADLINE", FAILED, Cause.TIMEOUT),
        ("OUT_OF_MEMORY", FAILED, Cause.MEMORY),
        ("NODE_FAIL", FAILED, Cause.NODE),
        ("BOOT_FAIL", FAILED, Cause.NODE),
        ("PREEMPTED", FAILED, Cause.PREEMPTED),
        ("LAUNCH_FAILED", FAILED, Cause.LAUNCH),
        ("CANCELLED", CANCELLED, None),
        ("REVOKED", LOST, None),
    ],
)
def test_states_of_a_job_that_is_over(word: str, state: JobState, cause: Cause | None) -> None:
    seen = judge(controller(says(word)))
    assert (seen.state, seen.cause, seen.word) == (state, cause, word)
    assert is_final(word)
    if word == "REVOKED":
        return
    accounted = judge(replace(FORGOTTEN, sacct=says(word)))
    assert (accounted.state, accounted.cause) == (state, cause), "once the controller has forgotten it"


def test_a_waiting_job_says_why_and_until_when() -> None:
    record = Record("PENDING", "Resources", start="2026-11-20T12:34:56")
    seen = judge(Answers(squeue=Source(answered=True, record=record)))
    assert seen == Seen(JobState.QUEUED, "PENDING (Resources), start expected 2026-11-20 12:34 UTC")
    held = judge(controller(says("PENDING", "JobHeldUser")))
    assert held == Seen(JobState.QUEUED, "PENDING (JobHeldUser)")
    assert judge(controller(says("SPECIAL_EXIT", "job_requeued_in_held_state"))).word.endswith("_held_state)")


@pytest.mark.parametrize("word", ["PENDING", "CANCELLED"])
def test_a_job_whose_dependency_has_failed_never_runs(word: str) -> None:
    """Slurm leaves it in the queue, or cancels it where the site wants that."""
    seen = judge(controller(says(word, NEVER)))
    assert seen == Seen(FAILED, f"{word} ({NEVER})", cause=Cause.NEVER)


# ---- exit codes


@pytest.mark.parametrize(
    ("answers", "exit_code"),
    [
        (controller(says("FAILED", "NonZeroExitCode", (3, 0))), 3),
        (replace(controller(says("FAILED", code=(1, 0))), exits={0: 7}), 7),
        (controller(says("FAILED", code=(0, 9))), 137),
        (controller(says("FAILED", code=(1, 15))), 143),
        (controller(says("FAILED", code=(0, 0))), None),
        (controller(says("FAILED")), None),
        (replace(controller(says("FAILED", code=(1, 0))), exits={0: 0}), 1),
        (replace(controller(says("FAILED", code=(1, 0))), task_exits=(0, 143, 5, 137)), 5),
        (replace(controller(says("FAILED", code=(1, 0))), task_exits=(0, 143)), 143),
        (replace(controller(says("OUT_OF_MEMORY", code=(0, 125))), exits={0: 137}), 137),
        (controller(says("OUT_OF_MEMORY", code=(0, 125))), None),
        (controller(says("TIMEOUT", code=(0, 15))), None),
        (replace(FORGOTTEN, sacct=says("FAILED", code=(4, 0))), 4),
        (replace(UNANSWERED, sacct=says("FAILED", code=(4, 0))), 4),
        (controller(says("COMPLETED", code=(0, 0))), 0),
        (replace(FORGOTTEN, exits={0: 0}), 0),
        (replace(FORGOTTEN, exits={0: 3}), 3),
    ],
)
def test_the_exit_code_is_the_jobs_own(answers: Answers, exit_code: int | None) -> None:
    assert judge(answers).exit_code == exit_code


def test_a_failure_that_only_the_job_tells_is_one() -> None:
    seen = judge(replace(controller(says("COMPLETED", code=(0, 0))), exits={0: 3}))
    assert seen == Seen(FAILED, "COMPLETED, with exit code 3", exit_code=3)


def test_a_job_that_tells_that_there_was_no_more_memory() -> None:
    """Slurm itself calls only the step so, not the job."""
    for answers in (FORGOTTEN, controller(says("FAILED", code=(1, 0)))):
        starved = replace(answers, exits={0: 137}, starved=frozenset({0}))
        assert (judge(starved).exit_code, judge(starved).cause) == (137, Cause.MEMORY)
        assert judge(replace(starved, exits={0: 137, 1: 2}, attempt=1)).cause is None
    assert judge(replace(FORGOTTEN, exits={0: 0}, starved=frozenset({0}))) == Seen(SUCCEEDED, "exit code 0", 0)


@pytest.mark.parametrize("source", [says("FAILED", code=(0, 53)), says("FAILED", "JobLaunchFailure", (1, 0))])
def test_a_job_that_could_not_be_started(source: Source) -> None:
    assert judge(controller(source)).cause is Cause.LAUNCH
    told = judge(replace(controller(source), exits={0: 2}))
    assert (told.cause, told.exit_code) == (None, 2), "its script has run"


# ---- the exit file and the controller


@pytest.mark.parametrize("word", ["RUNNING", "COMPLETING"])
def test_slurm_says_how_a_job_ends_whose_script_has_ended(word: str) -> None:
    """A time limit ends the script too, and a script that a node ran to its end may be run again on another one."""
    ending = replace(controller(says(word)), exits={0: 0})
    assert judge(ending) == Seen(STOPPING, word)
    assert judge(replace(ending, sacct=says("TIMEOUT"))).state is STOPPING
    assert judge(replace(ending, sacct=says("REQUEUED"))).state is STOPPING


def test_a_job_that_hangs_in_completing_is_over_once_accounting_says_so() -> None:
    ending = replace(controller(says("COMPLETING")), exits={0: 3}, sacct=says("FAILED", code=(3, 0)))
    assert judge(ending) == Seen(FAILED, "FAILED", exit_code=3)
    assert judge(replace(ending, exits={0: 0}, sacct=says("COMPLETED"))).state is SUCCEEDED


@pytest.mark.parametrize(
    ("word", "state"), [("TIMEOUT", FAILED), ("CANCELLED", CANCELLED), ("PREEMPTED", FAILED), ("NODE_FAIL", FAILED)]
)
def test_a_script_that_ends_in_peace_when_it_is_stopped_has_not_succeeded(word: str, state: JobState) -> None:
    answers = replace(controller(says(word)), exits={0: 0})
    assert judge(answers).state is state
    assert judge(replace(FORGOTTEN, exits={0: 0}, sacct=says(word))).state is state


@pytest.mark.parametrize(
    ("word", "state"),
    [("PENDING", JobState.QUEUED), ("CONFIGURING", JobState.STARTING), ("RUNNING", JobState.RUNNING)],
)
def test_an_earlier_attempts_exit_file_does_not_count(word: str, state: JobState) -> None:
    answers = replace(controller(says(word, restarts=1)), exits={0: 3})
    assert judge(answers) == Seen(state, word, attempt=1)
    assert judge(replace(RUNNING, exits={0: 3}, attempt=1)) == Seen(JobState.RUNNING, "RUNNING", attempt=1)


def test_the_last_attempts_exit_file_counts() -> None:
    assert judge(replace(FORGOTTEN, exits={0: 3, 1: 0}, attempt=1)) == Seen(SUCCEEDED, "exit code 0", 0, attempt=1)
    died = replace(FORGOTTEN, exits={0: 3}, attempt=1, sacct=DISABLED)
    assert (judge(died).state, judge(died).attempt) == (LOST, 1), "the second attempt has not told how it ended"


def test_a_job_that_waits_again_is_queued_even_where_it_is_not_told_how_often() -> None:
    answers = Answers(squeue=says("PENDING", "BeginTime"), scontrol=LATE, exits={0: 3})
    assert judge(answers) == Seen(JobState.QUEUED, "PENDING (BeginTime)")


def test_tasks_of_an_earlier_attempt_do_not_count() -> None:
    answers = replace(controller(says("FAILED", code=(1, 0), restarts=1)), task_exits=(9,))
    assert judge(answers).exit_code == 1


def test_the_later_of_two_answers_counts() -> None:
    answers = Answers(squeue=says("RUNNING"), scontrol=says("FAILED", code=(3, 0)))
    assert judge(answers) == Seen(FAILED, "FAILED", exit_code=3)


def test_either_program_is_enough() -> None:
    assert judge(Answers(squeue=says("RUNNING"), scontrol=LATE)).state is JobState.RUNNING
    assert judge(Answers(squeue=LATE, scontrol=says("RUNNING", restarts=2))) == Seen(
        JobState.RUNNING, "RUNNING", attempt=2
    )


# ---- who does not answer, and who does not know


@pytest.mark.parametrize(
    ("answers", "state"),
    [
        # The controller has forgotten it.
        (replace(FORGOTTEN, sacct=DISABLED), LOST),
        (replace(FORGOTTEN, sacct=UNKNOWN_JOB), LOST),
        (replace(FORGOTTEN, sacct=says("RUNNING")), LOST),
        (replace(FORGOTTEN, sacct=says("PENDING")), LOST),
        (replace(FORGOTTEN, sacct=DOWN), UNKNOWN),
        (replace(FORGOTTEN, sacct=LATE), UNKNOWN),
        (FORGOTTEN, UNKNOWN),
        (replace(FORGOTTEN, sacct=DOWN, exits={0: 0}), SUCCEEDED),
        (replace(FORGOTTEN, sacct=DISABLED, exits={0: 3}), FAILED),
        (replace(FORGOTTEN, sacct=says("COMPLETED")), SUCCEEDED),
        (replace(FORGOTTEN, sacct=says("RUNNING"), exits={0: 0}), SUCCEEDED),
        (Answers(squeue=UNKNOWN_JOB, scontrol=LATE, sacct=DISABLED), LOST),
        # The controller does not answer.
        (UNANSWERED, UNREACHABLE),
        (replace(UNANSWERED, sacct=DISABLED), UNREACHABLE),
        (replace(UNANSWERED, sacct=DOWN), UNREACHABLE),
        (replace(UNANSWERED, sacct=UNKNOWN_JOB), UNKNOWN),
        (replace(UNANSWERED, sacct=says("RUNNING")), JobState.RUNNING),
        (replace(UNANSWERED, sacct=says("PENDING")), JobState.QUEUED),
        (replace(UNANSWERED, sacct=says("COMPLETED")), SUCCEEDED),
        (replace(UNANSWERED, sacct=says("CANCELLED")), CANCELLED),
        (replace(UNANSWERED, sacct=says("TIMEOUT"), exits={0: 0}), FAILED),
        (replace(UNANSWERED, sacct=says("RUNNING"), exits={0: 0}), SUCCEEDED),
        (replace(UNANSWERED, exits={0: 0}), SUCCEEDED),
        (replace(UNANSWERED, exits={0: 3}), FAILED),
        (replace(UNANSWERED, exits={0: 3}, attempt=1), UNREACHABLE),
        # It may have been started again, which only the controller knows.
        (replace(UNANSWERED, sacct=says("NODE_FAIL")), UNKNOWN),
        (replace(UNANSWERED, sacct=says("PREEMPTED")), UNKNOWN),
        (replace(UNANSWERED, sacct=says("NODE_FAIL"), exits={0: 0}), UNKNOWN),
        (replace(UNANSWERED, sacct=says("REQUEUED")), JobState.QUEUED),
        (replace(UNANSWERED, sacct=says("REQUEUED"), exits={0: 3}), JobState.QUEUED),
    ],
)
def test_who_cannot_be_seen_has_not_failed(answers: Answers, state: JobState) -> None:
    assert judge(answers).state is state


def test_accounting_counts_attempts_too() -> None:
    seen = judge(replace(FORGOTTEN, exits={0: 3}, sacct=says("COMPLETED", restarts=1)))
    assert seen == Seen(SUCCEEDED, "COMPLETED", exit_code=0, attempt=1)


@pytest.mark.parametrize("squeue", [UNKNOWN_JOB, DOWN, DISABLED, LATE])
@pytest.mark.parametrize("scontrol", [UNKNOWN_JOB, DOWN, DISABLED, LATE])
@pytest.mark.parametrize("sacct", [UNKNOWN_JOB, DOWN, DISABLED, LATE, None])
def test_nobody_who_knows_nothing_makes_a_failure(squeue: Source, scontrol: Source, sacct: Source | None) -> None:
    seen = judge(Answers(squeue=squeue, scontrol=scontrol, sacct=sacct))
    assert seen.state in {LOST, UNKNOWN, UNREACHABLE}
    if seen.state is LOST:
        assert squeue.answered or scontrol.answered
        assert sacct is not None
        assert sacct in (UNKNOWN_JOB, DISABLED)


def test_who_cannot_be_asked_is_told() -> None:
    assert DOWN.trouble in judge(UNANSWERED).word
    assert "accounting does not answer" in judge(replace(FORGOTTEN, sacct=DOWN)).word
    assert judge(controller(Source(answered=True, record=Record("CANCELLED", word="CANCELLED by 7")))).word[-1] == "7"
