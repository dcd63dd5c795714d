"""Writes the recorded scripts anew: `python -m tests.golden.record`. Read what has changed before you commit it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.platforms.slurm.job import SlurmJob, SlurmTask, sbatch_options
from nemo_runspec.platforms.slurm.script import sbatch_text

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER: Final = Path(__file__).parent / "slurm"
_HOME: Final = "/lustre/me/jobs"
_IMAGE: Final = "/lustre/me/jobs/images/nemo.sqsh"

JOBS: Final[Mapping[str, SlurmJob]] = {
    "plain": SlurmJob(home=_HOME, tasks=(SlurmTask(),), options=(("account", "research"), ("time", "00:10:00"))),
    "container": SlurmJob(
        home=_HOME,
        tasks=(
            SlurmTask(
                nodes=2,
                image=_IMAGE,
                mounts=("/lustre/data:/data:ro", "/lustre/me/jobs/clones/bridge-0123abc:/opt/Megatron-Bridge"),
                srun_args=("--mpi=pmix",),
            ),
        ),
        options=sbatch_options(
            {
                "account": "research",
                "partition": "batch",
                "time": "04:00:00",
                "exclusive": True,
                "gpus_per_node": 8,
                "mem": "0",
                "cpus_per_task": 16,
            },
            {"mail_type": "FAIL", "comment": "the user's own"},
        ),
        setup_lines="module load cuda\nexport NCCL_DEBUG=WARN\n",
    ),
    "group": SlurmJob(
        home=_HOME,
        tasks=(
            SlurmTask(name="trainer", launch="launch-trainer.sh", nodes=2, tasks_per_node=4, image=_IMAGE),
            SlurmTask(name="judge", launch="launch-judge.sh"),
        ),
        options=(("no-requeue", True), ("gpus-per-node", 4)),
    ),
    "odd-paths": SlurmJob(
        home='/lustre/my team/100%/nemo_run/it\'s "$HOME"',
        tasks=(SlurmTask(tasks_per_node=2, srun_args=("--export=ALL,FOO=b a r",)),),
        options=(("comment", 'a "b" \\ $(c) # d'), ("exclusive", "user")),
    ),
}
"""Name of the file without `.sbatch` -> the job."""
_SECRET: Final = ("group", "odd-paths")


def text_of(name: str) -> str:
    """Give the script of one of the jobs."""
    return sbatch_text(JOBS[name], has_secrets=name in _SECRET)


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name in JOBS:
        (FOLDER / f"{name}.sbatch").write_text(text_of(name), encoding="utf-8")
