from __future__ import annotations

from nemo_runspec.platforms.slurm.job import SlurmJob, SlurmTask, sbatch_options
from nemo_runspec.platforms.workload import NAME, job_folder

HOME = "/lustre/me/jobs"


def test_a_job_has_its_folder_below_the_home() -> None:
    assert SlurmJob(home=HOME, tasks=(SlurmTask(),)).folder == f"{HOME}/jobs/{NAME}"
    assert job_folder(f"{HOME}/", "one-abc123") == f"{HOME}/jobs/one-abc123"


def test_a_job_is_as_wide_as_its_widest_task() -> None:
    job = SlurmJob(home=HOME, tasks=(SlurmTask(name="a", nodes=3), SlurmTask(name="b", nodes=1, tasks_per_node=4)))
    assert (job.nodes, job.tasks_per_node) == (3, 4)


def test_files_of_one_task_need_no_name_of_it_and_those_of_several_do() -> None:
    one, other = SlurmTask(name="one"), SlurmTask(name="other")
    assert SlurmJob(home=HOME, tasks=(one,)).label(one) == "task"
    assert SlurmJob(home=HOME, tasks=(one, other)).label(other) == "task-other"


def test_flags_are_the_keys_that_are_set_and_whatever_else_is_asked_for() -> None:
    keys = {"partition": "batch", "account": "research", "gpus_per_node": 8, "qos": None, "exclusive": True}
    options = sbatch_options(keys, {"mail_type": "FAIL", "no_requeue": True, "overcommit": False, "nice": 0})
    assert options == (
        ("account", "research"),
        ("partition", "batch"),
        ("exclusive", True),
        ("gpus-per-node", 8),
        ("mail-type", "FAIL"),
        ("no-requeue", True),
        ("nice", 0),
    )


def test_generic_resources_stand_for_gpus() -> None:
    assert sbatch_options({"gres": "gpu:h100:8", "gpus_per_node": 8}, {}) == (("gres", "gpu:h100:8"),)


def test_no_gpus_are_no_flag_and_no_memory_is_all_of_it() -> None:
    assert sbatch_options({"gpus_per_node": 0, "mem": "0", "exclusive": False}, {}) == (("mem", "0"),)
