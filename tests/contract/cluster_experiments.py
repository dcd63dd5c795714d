"""Runs whole nemo-run experiments on a Slurm or a Docker engine, and prints what came of them as JSON on the last line.

A process of its own: nemo-run reads its surroundings when it is imported.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import nemo_run as run
from nemo_run.config import get_nemorun_home

from nemo_runspec import load_executor
from nemo_runspec.executors.connection import connect
from nemo_runspec.executors.journal import Journal
from tests.clusters.beds.processes import wait_until
from tests.contract.cloud_experiments import AWKWARD, FAILED, TASKS, of_experiment, packaged

if TYPE_CHECKING:
    from collections.abc import Iterator

LINES: Final = [*AWKWARD, "two\nlines"]
RUNNING_S: Final = 60
QUIET: Final = {"enable_goodbye_message": False, "skip_status_at_exit": True}


def place(executor: run.Executor, **changes: Any) -> run.Executor:  # noqa: ANN401 - fields of many types
    """Give a copy with other fields."""
    clone = executor.clone()
    for name, value in {"nodes": 1, "packager": run.Packager(), **changes}.items():
        setattr(clone, name, value)
    return clone


def run_all(executor: run.Executor) -> dict[str, Any]:
    """Run tasks of every kind in one experiment, all at once; one of them is a group of two, and some wait."""
    sys.path.insert(0, str(TASKS))
    report = import_module("cloud_report").report  # the name under which jobs import it
    shipped = run.PatternPackager(include_pattern=str(TASKS / "*.py"), relative_path=str(TASKS))
    script = run.Script(path="cloud_report.py", entrypoint="python", args=LINES, env={"OWN": "words"})
    torch = run.Script(path="cloud_torch.py", entrypoint="python", args=["$HOME x"])
    two = [run.Script(inline=f'echo "OWN $OWN"; {end}', env={"OWN": text}) for text, end in _ENDS.items()]
    with run.Experiment("contract of clusters", **QUIET) as experiment:
        inline = run.Script(inline='python cloud_report.py "$MSG"', env={"MSG": "\n".join(LINES)})
        experiment.add(inline, executor=place(executor, packager=shipped), name="inline")
        experiment.add(script, executor=place(executor, packager=shipped), name="words_")
        partial = run.Partial(report, "a b", secret="TEAM_API_KEY")  # noqa: S106 - a name only
        experiment.add(partial, executor=place(executor, packager=shipped), name="partial")
        two_nodes = place(executor, nodes=2, packager=shipped, launcher="torchrun")
        experiment.add(torch, executor=two_nodes, name="torchrun")
        both, packager = packaged()["hybrid"]
        experiment.add(both, executor=place(executor, packager=packager), name="hybrid")
        if executor.platform == "slurm":
            add_chains(experiment, executor)
        experiment.add(two, executor=place(executor), name="group")
        experiment.run(detach=False, tail_logs=False)
    index = [job.id for job in experiment.jobs].index("words_")
    return {
        "states": states(experiment),
        "shown": of_experiment("logs", experiment._id, str(index)),  # noqa: SLF001 - no other name
        "told": of_experiment("status", experiment._id),  # noqa: SLF001 - as above
    }


_ENDS: Final = {"first": "sleep 300", "second": f"sleep 1; echo last words; exit {FAILED}"}


def states(experiment: run.Experiment) -> dict[str, str]:
    """Give how each task of an experiment stands."""
    return {name: task["status"].name for name, task in experiment.status(return_dict=True).items()}


def start_one(executor: run.Executor) -> str:
    """Start a task that does not end, and give its experiment's identifier."""
    with run.Experiment("to be cancelled", **QUIET) as experiment:
        experiment.add(run.Script(inline="echo it waits; sleep 600"), executor=place(executor), name="sleeper")
        experiment.run(detach=True)
    return str(experiment._id)  # noqa: SLF001 - no other name


def cancel_one(identifier: str) -> dict[str, str]:
    """Cancel a task from another process, and give its state before and afterwards."""
    later = run.Experiment.from_id(identifier)
    wait_until(lambda: states(later)["sleeper"] == "RUNNING", RUNNING_S, "a running task")
    of_experiment("cancel", identifier, "0")
    wait_until(lambda: states(later)["sleeper"] != "RUNNING", RUNNING_S, "the end of the task")
    return {"before": "RUNNING", "after": states(later)["sleeper"]}


def add_chains(experiment: run.Experiment, executor: run.Executor) -> None:
    """Add tasks that wait for others; what waits for one that fails must never run."""
    good = experiment.add(run.Script(inline="sleep 2; date +%s.%N"), executor=place(executor), name="good")
    after = run.Script(inline="date +%s.%N")
    experiment.add(after, executor=place(executor), name="after_good", dependencies=[good])
    bad = experiment.add(run.Script(inline="sleep 2; exit 1"), executor=place(executor), name="bad")
    experiment.add(run.Script(inline="echo never"), executor=place(executor), name="after_bad", dependencies=[bad])


def logs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the title of every job, and what its place has of it."""
    for entry in Journal(get_nemorun_home()).entries():
        client = connect(entry.platform, entry.connection)
        pods = client.pods(entry.submitted)
        texts = {pod.removeprefix(f"{entry.name}-"): list(client.log(entry.submitted, pod)) for pod in pods}
        yield entry.title, {"name": entry.name, "id": entry.id, "pods": texts}


def main(profile: str) -> None:
    """Run everything in the working directory's project, and print the result."""
    executor = load_executor(profile)
    same = executor.clone() == executor
    os.chdir("repository")
    waiting = start_one(executor)
    result = {"same": same, **run_all(executor), "cancelled": cancel_one(waiting), "jobs": dict(logs())}
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main(sys.argv[1])
