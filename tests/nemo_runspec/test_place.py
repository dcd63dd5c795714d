from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from nemo_runspec.errors import SpecError
from nemo_runspec.place import Place, ray_node
from nemo_runspec.spec import Runspec, parse
from nemo_runspec.words import join
from tests.nemo_runspec.recipes import write_recipe

SCRIPT = "src/recipes/train.py"


def _spec(folder: Path, *, launch: str = "torchrun", cmd: str | None = None) -> Runspec:
    script = write_recipe(folder, launch=launch)
    if cmd is not None:
        text = script.read_text(encoding="utf-8")
        script.write_text(
            text.replace(f'# launch = "{launch}"', f"# launch = \"{launch}\"\n# cmd = '{cmd}'"), encoding="utf-8"
        )
    return parse(script)


def test_on_this_machine_torchrun_is_this_interpreters_and_stands_alone(tmp_path: Path) -> None:
    place = Place.here(PurePosixPath("/jobs/x"), PurePosixPath("/here/train.py"))
    command = place.compose(_spec(tmp_path), config="train.yaml", processes=4)
    torchrun = "-m nemo_runspec.torchrun --standalone --nnodes 1 --nproc-per-node 4"
    assert join(command) == f"{sys.executable} {torchrun} /here/train.py --config /jobs/x/train.yaml"


def test_in_pods_torchrun_learns_its_place_from_the_platform(tmp_path: Path) -> None:
    place = Place.away(SCRIPT, nodes=2, repo_root=None)
    command = join(place.compose(_spec(tmp_path), config="train.yaml", processes=8))
    assert command == (
        'python -m nemo_runspec.torchrun --nnodes "$NNODES" --node-rank "$NODE_RANK" --master-addr "$MASTER_ADDR"'
        ' --master-port "$MASTER_PORT" --nproc-per-node 8'
        " /nemo_run/code/src/recipes/train.py --config /nemo_run/train.yaml"
    )


def test_each_of_several_nodes_is_one_of_rays(tmp_path: Path) -> None:
    spec = _spec(tmp_path, launch="ray")
    command = join(Place.away(SCRIPT, nodes=2, repo_root=None).compose(spec, config="train.yaml", processes=8, gpus=4))
    assert command == (
        'python -m nemo_runspec.ray_node --nodes "$NNODES" --node-rank "$NODE_RANK" --head-addr "$MASTER_ADDR"'
        ' --port "$MASTER_PORT" --gpus 4 --'
        " python /nemo_run/code/src/recipes/train.py --config /nemo_run/train.yaml"
    )
    theirs = replace(Place.away(SCRIPT, nodes=2, repo_root=None), forms_ray=False)
    assert "nemo_runspec.ray_node" not in theirs.compose(spec, config="train.yaml", processes=8, gpus=4)
    alone = join(Place.away(SCRIPT, nodes=1, repo_root=None).compose(spec, config="train.yaml", processes=8, gpus=4))
    assert alone == "python /nemo_run/code/src/recipes/train.py --config /nemo_run/train.yaml"


def test_one_node_of_ray_meets_nobody() -> None:
    words = join(ray_node(1, 2))
    assert words == ("-m nemo_runspec.ray_node --nodes 1 --node-rank 0 --head-addr localhost --port 0 --gpus 2 --")


def test_a_command_that_ray_cannot_start_is_named(tmp_path: Path) -> None:
    spec = _spec(tmp_path, launch="ray", cmd="bash {script}")
    with pytest.raises(SpecError, match="does not start with 'python', which ray replaces"):
        Place.away(SCRIPT, nodes=2, repo_root=None).compose(spec, config="t.yaml", processes=1)


def test_one_pod_meets_nobody(tmp_path: Path) -> None:
    command = Place.away(SCRIPT, nodes=1, repo_root=None).compose(_spec(tmp_path), config="t.yaml", processes=2)
    assert "--standalone" in command
    assert "--master-addr" not in command


def test_variables_are_filled_in_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPEED", "11")
    spec = _spec(tmp_path, launch="direct", cmd="python {script} --speed=$SPEED --config {config}")
    here = Place.here(PurePosixPath("/jobs"), PurePosixPath("/s.py")).compose(spec, config="t.yaml", processes=1)
    pod = Place.away(SCRIPT, nodes=1, repo_root=None).compose(spec, config="t.yaml", processes=1)
    assert "--speed=11" in here
    assert '"--speed=$SPEED"' in join(pod)


def test_a_profiles_command_replaces_the_scripts(tmp_path: Path) -> None:
    place = Place.away(SCRIPT, nodes=1, repo_root=None)
    spec = _spec(tmp_path, launch="direct", cmd="python {script}")
    command = place.compose(spec, config="t.yaml", processes=1, template="uv run {script} -- {config}")
    assert command == ("uv", "run", f"/nemo_run/code/{SCRIPT}", "--", "/nemo_run/t.yaml")


def test_a_profiles_command_that_torchrun_cannot_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match='run_command = "uv run'):
        Place.away(SCRIPT, nodes=1, repo_root=None).compose(
            _spec(tmp_path), config="t.yaml", processes=1, template="uv run {script}"
        )
    with pytest.raises(SpecError, match='cmd = "uv run') as caught:
        Place.away(SCRIPT, nodes=1, repo_root=None).compose(
            _spec(tmp_path, cmd="uv run {script}"), config="t.yaml", processes=1
        )
    assert caught.value.where is not None


def test_paths_of_what_travels_are_found_in_the_pod() -> None:
    place = Place.away(SCRIPT, nodes=1, repo_root=PurePosixPath("/work_of/me/repo"))
    config = {
        "a": "/work_of/me/repo/src/x.json",
        "b": ["/work_of/me/repo"],
        "c": "/work_of/me/repository/x",
        "d": 3,
        "e": "repo",
    }
    assert place.relocate(config) == {
        "a": "/nemo_run/code/src/x.json",
        "b": ["/nemo_run/code"],
        "c": "/work_of/me/repository/x",
        "d": 3,
        "e": "repo",
    }


def test_on_a_node_the_jobs_folder_is_the_real_one(tmp_path: Path) -> None:
    folder = PurePosixPath("/lustre/me/nemo_runs/jobs/x")
    place = Place.away(SCRIPT, nodes=1, repo_root=PurePosixPath("/here"), job_dir=folder)
    command = place.compose(_spec(tmp_path, launch="direct"), config="t.yaml", processes=1)
    assert command == ("python", f"{folder}/code/{SCRIPT}", "--config", f"{folder}/t.yaml")
    assert place.relocate("/here/src/x.json") == f"{folder}/code/src/x.json"
