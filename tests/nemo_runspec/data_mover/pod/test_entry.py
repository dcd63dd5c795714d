"""The pod's side as a pod runs it: the plan's command with the plan's environment, in a process of its own."""

from __future__ import annotations

import json
import shlex
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import exit_code_of, plan_for
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return pods.repository(tmp_path / "repository")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "volume" / "home"


@pytest.fixture
def link(tmp_path: Path) -> Path:
    return tmp_path / "nemo_run"


def job_folder(home: Path) -> Path:
    return home / "jobs" / pods.JOB_NAME


def python(text: str) -> str:
    return f"{shlex.quote(sys.executable)} -c {shlex.quote(text)}"


SEES = "import json, os; print(json.dumps([os.getcwd(), dict(os.environ)]))"


def test_a_script_runs_with_the_source_that_was_sent(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home)
    script = str(plan.pod_script).replace("/nemo_run", str(link))
    done = pods.run(plan, [sys.executable, script], pods.variables(plan, link))
    assert done.stdout.decode() == f"52\n[nemo-runspec] {pods.JOB_NAME}-0-0 exit code 0\n"
    assert done.returncode == 0
    assert link.resolve() == job_folder(home)
    tree = home / "_nemotron" / f"src-{plan.sha256[:16]}" / "src"
    assert (link / "code/src").resolve() == job_folder(home) / "code/src"
    assert (link / "code/src/nemotron/model.py").resolve() == tree / "nemotron/model.py"
    assert not (tree / "nemotron/recipes/super3").exists()


def test_user_code_sees_its_job_and_nothing_of_the_transport(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home, value_bytes=40)
    assert len(plan.env) > 10
    more = {"PYTHONPATH": "/elsewhere", "exact": "a  'b' $(HOME) $$ \\n", "NEMO_RUNSPEC_SRC_DIR": "kept"}
    done = pods.run(plan, [sys.executable, "-c", SEES], pods.variables(plan, link, more))
    folder, seen = json.loads(done.stdout.splitlines()[0])
    assert folder == str(job_folder(home) / "code")
    assert [name for name in seen if name in plan.env] == []
    assert seen["exact"] == more["exact"]
    assert seen["NEMO_RUNSPEC_SRC_DIR"] == "kept"
    assert seen["PYTHONPATH"] == f"{link}/code/src:/elsewhere"
    assert seen["NEMO_RUNSPEC_JOB_DIR"] == str(job_folder(home))
    assert (seen["NNODES"], seen["NODE_RANK"], seen["MASTER_ADDR"]) == ("1", "0", "127.0.0.1")
    assert 0 < int(seen["MASTER_PORT"]) < 65536


def test_relative_writes_stay_in_the_job(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home, launch="echo mine > notes.txt\nmkdir -p out && echo x > out/y\n")
    assert pods.run(plan, ["bash", str(link / "launch.sh")], pods.variables(plan, link)).returncode == 0
    assert (job_folder(home) / "code" / "notes.txt").read_text() == "mine\n"
    tree = home / "_nemotron" / f"src-{plan.sha256[:16]}"
    assert [path.name for path in tree.iterdir()] == ["src"]


LEAVES = """
import importlib, pathlib, sys
pathlib.Path("src/nemotron/left.py").write_text("LEFT = 1")
pathlib.Path(sys.argv[1]).with_name("beside.py").write_text("BESIDE = 1")
import nemotron.model, nemotron.left, beside
"""


def test_what_a_job_leaves_in_its_source_gets_into_no_other_job(home: Path, link: Path, tmp_path: Path) -> None:
    repository = pods.write(pods.repository(tmp_path / "repository"), {pods.SCRIPT: LEAVES})
    plan = pods.plan(repository, home)
    script = str(plan.pod_script).replace("/nemo_run", str(link))
    done = pods.run(plan, [sys.executable, script, script], pods.variables(plan, link))
    assert done.returncode == 0, done.stdout
    assert (job_folder(home) / "code/src/nemotron/left.py").is_file()
    tree = home / "_nemotron" / f"src-{plan.sha256[:16]}"
    assert sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file()) == [
        name for name, _ in plan.files
    ]
    link.unlink()
    second = {name: value.replace(pods.JOB_NAME, "job-two") for name, value in pods.variables(plan, link).items()}
    done = pods.run(plan, [sys.executable, "-c", "import nemotron.model, nemotron.left"], second)
    assert b"No module named 'nemotron.left'" in done.stdout
    assert b"is not used" not in done.stdout


def test_compiled_files_stay_out_of_what_jobs_share(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home)
    for given, expected in (
        ({}, "1"),
        ({"PYTHONDONTWRITEBYTECODE": ""}, ""),
        ({"PYTHONPYCACHEPREFIX": "/x"}, None),
    ):
        done = pods.run(plan, [sys.executable, "-c", SEES], pods.variables(plan, link, given))
        assert json.loads(done.stdout.splitlines()[0])[1].get("PYTHONDONTWRITEBYTECODE") == expected


def test_files_of_the_job_stand_beside_the_source(repository: Path, home: Path, link: Path) -> None:
    plan = plan_for(
        executor_type="lepton",
        script_path=repository / pods.SCRIPT,
        repo_root=repository,
        pod_nemotron_home=str(home),
        job_files={"code/src/nemotron/model.py": (b"LAYERS = 3\n", False), "code/own.txt": (b"own", False)},
    )
    script = str(plan.pod_script).replace("/nemo_run", str(link))
    done = pods.run(plan, [sys.executable, script], pods.variables(plan, link))
    assert done.stdout.splitlines()[0] == b"3"  # the job's own file is not replaced
    assert (link / "code/own.txt").read_text() == "own"
    assert (link / "code/src/nemo_runspec/__init__.py").resolve().is_relative_to(home / "_nemotron")


def test_the_second_job_finds_the_source_and_files_keep_their_permissions(
    repository: Path, home: Path, link: Path, tmp_path: Path
) -> None:
    plan = pods.plan(repository, home)
    assert pods.run(plan, ["true"], pods.variables(plan, link)).returncode == 0
    tree = home / "_nemotron" / f"src-{plan.sha256[:16]}"
    before = tree.stat().st_ino
    other = {
        name: value.replace(pods.JOB_NAME, "job-other")
        for name, value in pods.variables(plan, tmp_path / "link2").items()
    }
    assert pods.run(plan, ["true"], other).returncode == 0
    assert tree.stat().st_ino == before
    assert (tmp_path / "link2").resolve() == home / "jobs" / "job-other"
    modes = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in (tree, tree / pods.SCRIPT, link / "launch.sh", link.resolve())
    }
    assert list(modes.values()) == [0o755, 0o444, 0o700, 0o700]


@pytest.mark.parametrize("damage", ["missing", "flipped", "not text of the encoding"])
@pytest.mark.parametrize("name", ["NEMO_RUNSPEC_SRC_1", "NEMO_RUNSPEC_JOB_0"])
def test_a_damaged_chunk_starts_nothing(repository: Path, home: Path, link: Path, damage: str, name: str) -> None:
    plan = pods.plan(repository, home, value_bytes=200)
    env = pods.variables(plan, link)
    value = env.pop(name)
    flipped = ("0" if value[7] != "0" else "1").join((value[:7], value[8:]))
    if damage != "missing":
        env[name] = flipped if damage == "flipped" else value[:-1] + " "
    done = pods.run(plan, ["echo", "started"], env)
    assert done.returncode == 1
    assert b"payload sha256 mismatch" in done.stdout
    assert b"started" not in done.stdout
    assert exit_code_of(done.stdout.decode().splitlines()[-1]) == (f"{pods.JOB_NAME}-0-0", 1)
    assert not home.exists()
    assert not link.exists()


@pytest.mark.parametrize("name", ["NEMO_RUNSPEC_POD", "NEMO_RUNSPEC_BOOT"])
def test_without_its_code_or_its_orders_a_pod_starts_nothing(
    repository: Path, home: Path, link: Path, name: str
) -> None:
    plan = pods.plan(repository, home)
    env = pods.variables(plan, link)
    value = env.pop(name)
    middle = len(value) // 2
    flipped = value[:middle] + ("0" if value[middle] != "0" else "1") + value[middle + 1 :]
    texts = [
        value[:-3] + "aaa",
        value[:-5],
        flipped,
        value[:-2] + "\x07 ",
        "{",
        "null",
        "[]",
        '{"check": 1}',
        "[" * 20_000,
    ]
    for damaged in ({}, *({name: text} for text in texts)):
        done = pods.run(plan, ["echo", "started"], env | damaged)
        assert done.returncode == 1
        lines = done.stdout.decode().splitlines()
        assert lines[0].endswith(f"payload sha256 mismatch: {name}")
        assert exit_code_of(lines[1]) == (f"{pods.JOB_NAME}-0-0", 1)
        assert len(lines) == 2
        assert not home.exists()


def test_the_source_is_not_taken_from_a_folder_that_others_may_write(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home)
    script = str(plan.pod_script).replace("/nemo_run", str(link))
    tree = home / "_nemotron" / f"src-{plan.sha256[:16]}"
    trap = pods.write(tree, {"src/nemotron/model.py": "LAYERS = 'stolen'\n"})
    tree.parent.chmod(0o755)
    trap.chmod(0o777)
    done = pods.run(plan, [sys.executable, script], pods.variables(plan, link))
    assert done.returncode == 0
    assert done.stdout.splitlines()[1] == b"52"
    assert b"others may write" in done.stdout.splitlines()[0]
    second = tree.with_name(f"{tree.name}-1")
    assert (link / "code/src/nemotron/model.py").resolve() == second / "src/nemotron/model.py"
    assert (tree / "src/nemotron/model.py").read_text() == "LAYERS = 'stolen'\n"  # left as it was


@pytest.mark.parametrize("change", ["altered", "more", "more folders", "fewer", "permissions"])
def test_the_source_is_not_taken_from_a_tree_that_has_changed(
    repository: Path, home: Path, link: Path, change: str
) -> None:
    plan = pods.plan(repository, home)
    script = str(plan.pod_script).replace("/nemo_run", str(link))
    assert pods.run(plan, ["true"], pods.variables(plan, link)).returncode == 0
    tree = home / "_nemotron" / f"src-{plan.sha256[:16]}"
    if change == "altered":
        (link / "code/src/nemotron/model.py").resolve().chmod(0o644)
        (link / "code/src/nemotron/model.py").write_text("LAYERS = 'changed'\n")
    elif change == "more":
        (tree / "src/yaml.py").write_text("raise SystemExit('changed')\n")
    elif change == "more folders":
        (tree / "src/nemotron/model").mkdir()
    elif change == "fewer":
        (tree / "src/nemotron/recipes/nano3/sft/config/tiny.yaml").unlink()
    else:
        (tree / "src/nemotron").chmod(0o775)
    link.unlink()
    second = {name: value.replace(pods.JOB_NAME, "job-two") for name, value in pods.variables(plan, link).items()}
    done = pods.run(plan, [sys.executable, script], second)
    assert f"{tree} is not used: ".encode() in done.stdout.splitlines()[0]
    assert done.stdout.splitlines()[1] == b"52"
    fresh = tree.with_name(f"{tree.name}-1")
    assert (link / "code/src/nemotron/model.py").resolve() == fresh / "src/nemotron/model.py"
    assert (fresh / "src/nemotron/model.py").read_text() == "LAYERS = 52\n"
    # The first job, started again, leaves the changed tree too.
    link.unlink()
    assert pods.run(plan, ["true"], pods.variables(plan, link)).returncode == 0
    assert (job_folder(home) / "code/src/nemotron/model.py").resolve() == fresh / "src/nemotron/model.py"


def test_pods_that_start_at_once_agree_on_one_fresh_copy(repository: Path, home: Path, tmp_path: Path) -> None:
    plan = pods.plan(repository, home)
    tree = pods.write(home / "_nemotron" / f"src-{plan.sha256[:16]}", {"src/extra.py": "changed by a job"})
    tree.parent.chmod(0o755)
    started = []
    for number in range(12):
        env = pods.variables(plan, tmp_path / f"link{number}")
        other = {name: value.replace(pods.JOB_NAME, f"job-{number % 3}") for name, value in env.items()}
        command = pods.argv(plan, ["python3", "-c", "import nemotron.model as m; print(m.LAYERS)"])
        started.append(subprocess.Popen(command, env=other, stdout=subprocess.PIPE, text=True))
    outputs = [pod.communicate(timeout=pods.TIMEOUT_S)[0].splitlines() for pod in started]
    assert [lines[-2] for lines in outputs] == ["52"] * len(started)
    assert sorted(path.name for path in tree.parent.iterdir()) == [tree.name, f"{tree.name}-1"]
    assert {(tmp_path / f"link{n}/code/src/nemotron/model.py").resolve() for n in range(12)} == {
        tree.with_name(f"{tree.name}-1") / "src/nemotron/model.py"
    }
    assert list(home.rglob(".tmp.*")) == []


def test_where_every_copy_was_changed_a_job_has_its_own(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home)
    (home / "_nemotron").mkdir(parents=True)
    for number in range(16):
        (home / "_nemotron" / (f"src-{plan.sha256[:16]}" + (f"-{number}" if number else ""))).write_text("in the way")
    done = pods.run(plan, ["true"], pods.variables(plan, link))
    assert done.returncode == 0
    assert b"16 copies of it were changed" in done.stdout
    assert (link / "code/src/nemotron/model.py").resolve() == job_folder(home) / ".source/src/nemotron/model.py"


def test_a_job_folder_that_others_may_write_is_refused(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home)
    job_folder(home).mkdir(parents=True)
    job_folder(home).chmod(0o777)
    done = pods.run(plan, ["echo", "started"], pods.variables(plan, link))
    assert done.returncode == 1
    assert b"others may write" in done.stdout
    assert b"started" not in done.stdout


def test_where_no_link_can_be_made_paths_are_rewritten(repository: Path, home: Path, tmp_path: Path) -> None:
    link = tmp_path / "nemo_run"
    pods.write(link, {"data/kept.txt": "on a volume that is mounted where the link should be"})
    launch = f"cd {link}/code\ncat {link}/data/kept.txt\necho\necho {link}/code\necho /x{link}/code {link}/code-2\n"
    plan = pods.plan(repository, home, launch=launch)
    command = ["bash", "-c", f"bash {link}/launch.sh; echo $CONFIG"]
    more = {"CONFIG": f"{link}/configs:{link}/logs", "TMPDIR": str(tmp_path)}
    done = pods.run(plan, command, pods.variables(plan, link, more))
    folder = job_folder(home)
    assert done.stdout.decode().splitlines()[:-1] == [
        "on a volume that is mounted where the link should be",
        f"{folder}/code",
        f"/x{link}/code {link}/code-2",
        f"{link}/configs:{folder}/logs",
    ]
    assert done.returncode == 0
    assert (folder / "launch.sh").read_text() == launch
    assert list(tmp_path.glob("nemo_run.*")) == []


def test_pods_with_and_without_the_link_share_a_job_in_a_folder_with_a_space(repository: Path, tmp_path: Path) -> None:
    home, link = tmp_path / "a home's $HOME", tmp_path / "nemo_run"
    launch = f"cat {link}/configs/a.txt && cd {link}/code && ls -d src && grep -c . {link}/scripts/b.sh\n"
    plan = plan_for(
        executor_type="dgxcloud",
        repo_root=repository,
        pod_nemotron_home=str(home),
        job_files={
            "launch.sh": (launch.encode(), True),
            "configs/a.txt": (b"a\n", False),
            "scripts/b.sh": (f"{link}\n".encode(), False),
        },
    )
    env = pods.variables(plan, link, {"TMPDIR": str(tmp_path)})
    for can_link in (False, True, False):
        if can_link:
            shutil.rmtree(link)
        else:
            link.unlink(missing_ok=True)
            pods.write(link, {"other.txt": "of a volume that is mounted where the link should be"})
        done = pods.run(plan, ["bash", "-c", f"bash {link}/launch.sh"], env)
        assert done.stdout.decode().splitlines()[:-1] == ["a", "src", "1"]
        assert link.is_symlink() is can_link
        assert list(tmp_path.glob("nemo_run.*")) == []
    assert (job_folder(home) / "launch.sh").read_text() == launch


def test_a_link_that_cannot_be_made_at_all(repository: Path, home: Path, tmp_path: Path) -> None:
    link = tmp_path / "missing" / "nemo_run"
    plan = pods.plan(repository, home, launch=f"cat {link}/x || echo {link}/anything '{link}'\n")
    done = pods.run(plan, ["bash", f"{link}/launch.sh"], pods.variables(plan, link, {"TMPDIR": str(tmp_path)}))
    folder = job_folder(home)
    assert done.stdout.decode().splitlines()[1] == f"{folder}/anything {folder}"


def test_an_empty_folder_of_the_image_gives_way_to_the_link(repository: Path, home: Path, link: Path) -> None:
    link.mkdir()
    plan = pods.plan(repository, home, launch="pwd -P\n")
    done = pods.run(plan, ["bash", f"{link}/launch.sh"], pods.variables(plan, link))
    assert done.returncode == 0
    assert link.is_symlink()


def test_a_pod_that_is_started_again_goes_on_in_its_folder(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home, launch="echo once more >> count; exit 3\n")
    for _ in range(2):
        done = pods.run(plan, ["bash", f"{link}/launch.sh"], pods.variables(plan, link))
        assert done.returncode == 3
    assert (job_folder(home) / "code/count").read_text() == "once more\n" * 2
    assert (job_folder(home) / "exit" / f"{pods.JOB_NAME}-0-0").read_text() == "3\n"
    log = (job_folder(home) / "logs" / f"{pods.JOB_NAME}-0-0.log").read_text()
    assert log.count("exit code 3") == 2


def test_several_pods_of_one_job_share_its_folder(repository: Path, home: Path, tmp_path: Path) -> None:
    plan = pods.plan(repository, home, nodes=3, launch='echo "$NODE_RANK of $NNODES"\n')
    started = []
    for index in range(4):  # an installation that adds a master starts one more than the job needs
        link = tmp_path / f"link{index}"
        more = {"RANK": str(index), "WORLD_SIZE": "4", "MASTER_ADDR": "j-master-0", "HOSTNAME": f"j-worker-{index}"}
        env = {**pods.variables(plan, link), **more}
        command = pods.argv(plan, ["bash", f"{link}/launch.sh"])
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True))
    outputs = [pod.communicate(timeout=pods.TIMEOUT_S)[0] for pod in started]
    assert [pod.returncode for pod in started] == [0, 0, 0, 0]
    assert [output.splitlines()[0] for output in outputs[:3]] == ["0 of 3", "1 of 3", "2 of 3"]
    assert outputs[3].splitlines() == [
        "[nemo-runspec] j-worker-3 is not needed: the job has 3 nodes, and this is one more",
        "[nemo-runspec] j-worker-3 exit code 0",
    ]
    assert {path.name for path in (job_folder(home) / "exit").iterdir()} == {f"j-worker-{n}" for n in range(3)}


def test_a_pod_that_cannot_tell_its_rank_says_so(repository: Path, home: Path, link: Path) -> None:
    plan = pods.plan(repository, home, nodes=2)
    done = pods.run(plan, ["echo", "started"], pods.variables(plan, link))
    assert done.returncode == 1
    assert b"cannot tell which of 2 nodes" in done.stdout
    assert b"started" not in done.stdout


def test_without_source_the_job_runs_with_what_the_image_has(home: Path, link: Path) -> None:
    plan = plan_for(executor_type="lepton", source=False, pod_nemotron_home=str(home))
    done = pods.run(plan, ["pwd"], pods.variables(plan, link))
    assert done.stdout.decode().startswith(f"{job_folder(home) / 'code'}\n")
    assert not (home / "_nemotron").exists()
