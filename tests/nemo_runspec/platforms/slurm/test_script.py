from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.slurm.job import PROFILE_FLAGS, SlurmJob, SlurmTask, flag_name
from nemo_runspec.platforms.slurm.request import request
from nemo_runspec.platforms.slurm.script import sbatch_text
from tests.nemo_runspec.platforms.slurm.standins import NAMED, Run, run_job, sbatch_words

HOME = "/lustre/me/jobs"
LAUNCH = {"launch.sh": (b"exit 0\n", False)}
SCRIPT = settings(max_examples=40, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

# What shells, sbatch and pyxis treat in some way of their own comes up often.
CHARACTERS = st.one_of(st.sampled_from("$`'\"\\ ;&|<>(){}[]*?!#%~,:=+-/\n\t\r\x00\x1bé漢\u2028"), st.characters())
TEXTS = st.one_of(
    st.text(CHARACTERS, min_size=1, max_size=30),
    st.sampled_from(
        ["$(touch canary)", "`touch canary`", "'; touch canary; '", '"; touch canary; "', "x\ntouch canary", "a\\"]
    ),
)


def _run(job: SlurmJob, root: Path) -> Run:
    run = run_job(request(job, files=LAUNCH, env={}), root)
    assert list(root.rglob("canary")) == []
    return run


def _options(run: Run) -> dict[str, str]:
    (words,) = run.steps
    return dict(word.removeprefix("--").partition("=")[::2] for word in words if word.startswith("--"))


@SCRIPT
@given(values=st.dictionaries(st.sampled_from(PROFILE_FLAGS), TEXTS, min_size=1), comment=TEXTS)
def test_every_flag_reaches_sbatch_as_it_is_or_is_refused(values: dict[str, str], comment: str) -> None:
    options = tuple((flag_name(key), value) for key, value in (*values.items(), ("comment", comment)))
    try:
        text = sbatch_text(SlurmJob(home=HOME, tasks=(SlurmTask(),), options=options))
    except ProfileError:
        return
    words = sbatch_words(text)
    assert {flag: words[flag] for flag, _ in options} == dict(options)
    assert words["job-name"] == NAMED
    # Nothing but flags is before the first line that bash reads.
    assert all(line.startswith("#") for line in text.partition("\n\n")[0].splitlines())


@SCRIPT
@given(name=TEXTS)
def test_a_home_is_the_same_for_sbatch_bash_and_srun_or_is_refused(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        home = f"{folder}/{name}"
        try:
            run = _run(SlurmJob(home=home, tasks=(SlurmTask(),)), root / "run")
        except ProfileError:
            return
        assert run.code == 0
        log = f"{home.rstrip('/')}/jobs/{NAMED}/logs/task-%t.0.log"
        assert _options(run)["output"].replace("%%", "%") == log
        assert run.told("exit/job.0") == "0"
        assert list(root.rglob("canary")) == []


@SCRIPT
@given(
    mounts=st.lists(st.tuples(TEXTS, TEXTS).map(lambda pair: f"/{pair[0]}:/{pair[1]}"), max_size=3),
    image=TEXTS,
    words=st.lists(TEXTS.map(lambda text: f"--export=ALL,FOO={text}"), max_size=2),
)
def test_mounts_images_and_arguments_reach_srun_as_they_are_or_are_refused(
    mounts: list[str], image: str, words: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        task = SlurmTask(image=image, mounts=tuple(mounts), srun_args=tuple(words))
        job = SlurmJob(home=f"{folder}/home", tasks=(task,))
        try:
            run = _run(job, Path(folder, "run"))
        except ProfileError:
            return
        (called,) = run.steps
        at = called.index("--kill-on-bad-exit=1") + 1
        assert list(called[at : at + len(words)]) == words
        assert _options(run)["container-image"] == image
        assert _options(run)["container-mounts"].split(",") == [f"{folder}/home/jobs/{NAMED}:/nemo_run", *mounts]


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (SlurmJob(home="jobs", tasks=(SlurmTask(),)), "the job folder must be an absolute path"),
        (SlurmJob(home=HOME, tasks=()), "a job needs tasks"),
        (SlurmJob(home=HOME, tasks=(SlurmTask(), SlurmTask())), "each with a name of its own"),
        (SlurmJob(home=HOME, tasks=(SlurmTask(mounts=("/a:/b",)),)), "there is no container_image"),
        (SlurmJob(home=HOME, tasks=(SlurmTask(image="a\nb"),)), "container_image holds a line break"),
        (SlurmJob(home=HOME, tasks=(SlurmTask(name="$x"),)), "a task cannot be called"),
        (SlurmJob(home=HOME, tasks=(SlurmTask(),), setup_lines="a\0"), "setup_lines hold a NUL"),
        (SlurmJob(home=HOME, tasks=(SlurmTask(),), options=(("array", "1-9"),)), "a job is one job"),
    ],
)
def test_what_cannot_be_is_told(job: SlurmJob, told: str) -> None:
    with pytest.raises(ProfileError, match=re.escape(told)):
        sbatch_text(job)


def test_all_that_is_wrong_is_told_at_once() -> None:
    job = SlurmJob(home="jobs", tasks=(SlurmTask(mounts=("a:b",)),), options=(("wrap", "x"),))
    with pytest.raises(ProfileError, match="this job for Slurm has 4 problems"):
        sbatch_text(job)


def test_a_job_is_started_again_unless_its_profile_says_otherwise() -> None:
    tasks = (SlurmTask(),)
    assert "requeue" in sbatch_words(sbatch_text(SlurmJob(home=HOME, tasks=tasks)))
    text = sbatch_text(SlurmJob(home=HOME, tasks=tasks, options=(("no-requeue", True),)))
    assert "requeue" not in sbatch_words(text)


def test_cpus_of_a_task_are_told_to_srun_too() -> None:
    text = sbatch_text(SlurmJob(home=HOME, tasks=(SlurmTask(),), options=(("cpus-per-task", 12),)))
    assert text.count("--cpus-per-task=12") == 2


def test_the_home_folder_of_the_user_is_in_a_container_only_where_it_is_asked_for() -> None:
    asked = SlurmTask(image="x", srun_args=("--container-mount-home",))
    assert "--no-container-mount-home" in sbatch_text(SlurmJob(home=HOME, tasks=(SlurmTask(image="x"),)))
    assert "--no-container-mount-home" not in sbatch_text(SlurmJob(home=HOME, tasks=(asked,)))
