"""Runs whole nemo-run experiments against a cloud's twin, and prints what came of them as JSON on the last line.

A process of its own: nemo-run and Lepton's SDK read their surroundings when they are imported.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec.env import load_env_profile
from nemo_runspec.executors import build_executor
from nemo_runspec.executors.journal import Journal
from nemo_runspec.rehearsal.session import Rehearsal, rehearse

if TYPE_CHECKING:
    import nemo_run

TASKS = Path(__file__).parent / "cloud_tasks"
AWKWARD = ["two words", "it's", '"q"', "$HOME", "$(id)", "$(HOME)", "$$", "`id`", "a;b", "é→", ""]
FAILED = 7
SOON_S = 60
NEMO = str(Path(sys.executable).with_name("nemo"))
PLACES = {
    "base_url": "https://team.example/api/v1",
    "kube_apiserver_url": "https://kube.example",
    "client_secret": "${oc.env:NOWHERE}",
}
WAITS = """\
# /// script
# [tool.runspec]
# schema = "1"
# name = "mine/waits"
# image = "my/image:1"
# [tool.runspec.run]
# launch = "direct"
# [tool.runspec.config]
# dir = "./config"
# default = "default"
# ///
import time
print("it waits", flush=True)
time.sleep(600)
"""


def tasks(executor: nemo_run.Executor) -> dict[str, tuple[Any, nemo_run.Executor]]:
    """Give tasks of every kind, each with its executor."""
    import nemo_run as run  # noqa: PLC0415 - after the rehearsal has prepared its surroundings

    sys.path.insert(0, str(TASKS))
    report = import_module("cloud_report").report  # the name under which the pods import it

    def place(nodes: int = 1, **changes: Any) -> nemo_run.Executor:  # noqa: ANN401 - fields of many types
        clone = executor.clone()
        for name, value in {"nodes": nodes, **changes}.items():
            setattr(clone, name, value)
        return clone

    shipped = run.PatternPackager(include_pattern=str(TASKS / "*.py"), relative_path=str(TASKS))
    inline = 'python cloud_report.py "$MSG" && test "$(cat /proc/1/comm)" != bash'
    installed = "python -c 'import nemo_runspec; print(\"SOURCE\", nemo_runspec.__file__)'"
    words = [*AWKWARD]
    return {
        "inline": (run.Script(inline=inline, env={"MSG": "\n".join(AWKWARD)}), place(packager=shipped)),
        "words_": (
            run.Script(path="cloud_report.py", entrypoint="python", args=words, env={"OWN": "words"}),
            place(packager=shipped),
        ),
        "partial": (run.Partial(report, "a b", secret="MY_TOKEN"), place(packager=shipped)),  # noqa: S106 - a name only
        "torchrun": (
            run.Script(path="cloud_torch.py", entrypoint="python", args=["$HOME x"]),
            place(nodes=2, packager=shipped, launcher="torchrun"),
        ),
        **{name: (task, place(packager=packager)) for name, (task, packager) in packaged().items()},
        "source": (run.Script(inline=installed), place(nodes=2)),
        "fails": (run.Script(inline=f"echo last words; exit {FAILED}"), place()),
    }


def packaged() -> dict[str, tuple[Any, Any]]:
    """Give tasks that need what nemo-run's packagers bring, each with its packager."""
    import nemo_run as run  # noqa: PLC0415 - as above

    loose = Path.cwd() / "loose"
    committed = run.GitArchivePackager(include_submodules=False)
    whole = run.PatternPackager(include_pattern=str(loose / "deep"), relative_path=str(loose))
    one = run.PatternPackager(include_pattern=str(loose / "deep" / "data.txt"), relative_path=str(loose / "deep"))
    both = "cat loose/data.txt && bash 'committed/sub folder/in git.sh' 'from hybrid'"
    return {
        "git": (run.Script(path="sub folder/in git.sh", args=["from git"]), committed),
        "subpath": (
            run.Script(path="tool.sh", args=["from subpath"]),
            run.GitArchivePackager(include_submodules=False, subpath="tools"),
        ),
        "pattern": (run.Script(inline="cat deep/data.txt"), whole),
        "hybrid": (
            run.Script(inline=both),
            run.HybridPackager(sub_packagers={"loose": one, "committed": committed}),
        ),
    }


def run_all(rehearsal: Rehearsal, executor: nemo_run.Executor) -> dict[str, Any]:
    """Run the tasks in one experiment, all at once."""
    import nemo_run as run  # noqa: PLC0415 - as above

    experiment_tasks = tasks(executor)
    with run.Experiment("contract of clouds") as experiment:
        for name, (task, place) in experiment_tasks.items():
            experiment.add(task, executor=place, name=name)
        experiment.run(detach=False, tail_logs=False)
    shown = of_experiment("logs", experiment._id, str(list(experiment_tasks).index("words_")))  # noqa: SLF001 - no other name
    return {
        "states": {name: task["status"].name for name, task in experiment.status(return_dict=True).items()},
        "workloads": [seen(workload) for workload in rehearsal.twin.workloads],
        "creates": sum(
            request.method == "POST" and request.status in {201, 202} for request in rehearsal.twin.requests
        ),
        "calls": [f"{request.method} {request.path} {request.status}" for request in rehearsal.twin.requests],
        "shown": shown,
    }


def of_experiment(*words: str) -> str:
    """Give what nemo-run's own command shows, in a process that knows nothing but the journal."""
    command = [NEMO, "experiment", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=SOON_S)
    return done.stdout + done.stderr


def seen(workload: Any) -> dict[str, Any]:  # noqa: ANN401 - the twin's record
    """Give what the twin has of a workload."""
    pods = [{"name": pod.name, "code": pod.exit_code, "log": pod.log.read_text()} for pod in workload.pods]
    return {"name": workload.name, "pods": pods}


def cancel_one(executor: nemo_run.Executor) -> dict[str, Any]:
    """Cancel a running task the way a later process does, and give its state before and afterwards."""
    import nemo_run as run  # noqa: PLC0415 - as above

    with run.Experiment("to be cancelled", skip_status_at_exit=True) as experiment:
        experiment.add(run.Script(inline="sleep 600"), executor=executor, name="sleeper")
        experiment.run(detach=True)
    later = run.Experiment.from_id(experiment._id)  # noqa: SLF001 - no other name
    for _ in range(SOON_S * 10):
        before = later.status(return_dict=True)["sleeper"]["status"].name
        if before == "RUNNING":
            break
        threading.Event().wait(0.1)
    later.cancel("sleeper")
    return {"before": before, "after": later.status(return_dict=True)["sleeper"]["status"].name}


def from_the_command_line(rehearsal: Rehearsal, profile: str, env_file: Path) -> dict[str, str]:
    """Submit with our command, and give what nemo-run's own command tells of the job, each time in another process."""
    from nemo_run.config import get_nemorun_home  # noqa: PLC0415 - as above

    project = env_file.parent / "project"
    (project / "config").mkdir(parents=True)
    (project / "config" / "default.yaml").write_text("run: {env: {}}\n", encoding="utf-8")
    (project / "waits.py").write_text(WAITS, encoding="utf-8")
    text = env_file.read_text(encoding="utf-8")
    given: Any = rehearsal.profile
    for name, value in PLACES.items():
        text = text.replace(value, str(getattr(given, name, "")))
    (project / "env.toml").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "nemotron", "run", "waits.py", "--batch", profile]
    subprocess.run(command, cwd=project, check=True, timeout=SOON_S)
    entry = next(Journal(get_nemorun_home()).entries())
    logs = [NEMO, "experiment", "logs", entry.experiment, "0"]
    with subprocess.Popen(logs, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as reader:
        output: Any = reader.stdout
        line = next((line for line in output if "it waits" in line), "")
        before = of_experiment("status", entry.experiment)
        of_experiment("cancel", entry.experiment, "0")
        reader.communicate(timeout=SOON_S)
    return {"log": line, "before": before, "after": of_experiment("status", entry.experiment)}


def main(profile_name: str, folder: Path, *, with_master: bool) -> None:
    """Rehearse, and print the result."""
    profile: Any = load_env_profile(profile_name, folder / "env.toml")
    os.chdir(folder / "repository")
    with rehearse(profile, folder=folder / "rehearsal", with_master=with_master) as rehearsal:
        executor = build_executor(rehearsal.profile, {"SHARED": "1", "http_proxy": "lower case"})
        result = run_all(rehearsal, executor)
        result["cancelled"] = cancel_one(executor)
        result["command_line"] = from_the_command_line(rehearsal, profile_name, folder / "env.toml")
        result["pods_after"] = [pod["code"] for pod in seen(rehearsal.twin.workloads[-1])["pods"]]
    sys.stdout.write(f"\n{json.dumps(result)}\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), with_master="--with-master" in sys.argv)
