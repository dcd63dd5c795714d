"""The driver's first steps, without a Ray: tests/clusters/test_ray_on_lepton.py runs all of it on a real one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from nemo_runspec.data_mover.pod import ray_driver
from nemo_runspec.data_mover.pod.ray_driver import inside, main, place, prepare


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "working dir"
    for name, text in {
        "src/mine/train.py": "x = 1\n",
        "top.py": "",
        ".nemo_runspec/launch.sh": "cd /nemo_run/code; bash /nemo_run/scripts/x.sh '/nemo_run' /mnt/nemo_run/jobs\n",
        ".nemo_runspec/scripts/x.sh": "python /nemo_run/code/top.py\n",
        ".nemo_runspec/orders.json": '{"nodes": 1, "prepare": [], "run": ["bash", "/nemo_run/launch.sh"]}',
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def test_the_job_is_put_in_place_with_its_own_paths(package: Path, tmp_path: Path) -> None:
    job = tmp_path / "jobs" / "x"
    place(package, job)
    assert (job / "code" / "src" / "mine" / "train.py").read_text(encoding="utf-8") == "x = 1\n"
    assert not (job / "code" / ".nemo_runspec").exists()
    launch = (job / "launch.sh").read_text(encoding="utf-8")
    assert launch == f"cd {job}/code; bash {job}/scripts/x.sh '{job}' /mnt/nemo_run/jobs\n"
    assert (job / "scripts" / "x.sh").read_text(encoding="utf-8") == f"python {job}/code/top.py\n"
    assert job.stat().st_mode & 0o777 == 0o700


def test_a_second_node_of_a_shared_volume_leaves_what_is_there(package: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    place(package, job)
    before = (job / "code").stat().st_ino
    place(package, job)
    assert (job / "code").stat().st_ino == before
    assert [path.name for path in job.iterdir() if path.name.startswith(".partial")] == []


def test_a_node_that_is_faster_wins(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "job"
    copytree = shutil.copytree

    def slow(*arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of copytree
        copytree(*arguments, **options)
        (job / "code").mkdir(exist_ok=True)  # it copies each folder with itself
        (job / "code" / "first").touch()

    monkeypatch.setattr(shutil, "copytree", slow)
    place(package, job)
    assert [path.name for path in (job / "code").iterdir()] == ["first"]


def test_each_node_runs_what_comes_before_the_job(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(package)
    job = str(tmp_path / "job")
    assert prepare({"prepare": []}, job) == ""
    assert prepare({"prepare": ["bash", "-c", "echo done > /nemo_run/code/marker"]}, job) == ""
    assert (tmp_path / "job" / "code" / "marker").exists()
    told = prepare({"prepare": ["bash", "-c", "echo no pip; exit 3"]}, job)
    assert "ended with exit code 3:\nno pip" in told


def test_a_folder_that_cannot_be_made_is_told(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(package)
    (tmp_path / "file").touch()
    assert "Not a directory" in prepare({}, str(tmp_path / "file" / "job"))


def test_words_lead_to_the_jobs_folder() -> None:
    assert inside(["bash", "/nemo_run/launch.sh", "/mnt/nemo_run/x"], "/j\\1") == [
        "bash",
        "/j\\1/launch.sh",
        "/mnt/nemo_run/x",
    ]


def test_the_driver_becomes_the_job(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tmp_path / "job"
    ran: list[tuple[str, list[str], Path]] = []

    def ready(_orders: dict[str, Any], folder: str) -> list[str]:
        place(package, job)
        assert folder == str(job)
        return []

    monkeypatch.setenv("NEMO_RUNSPEC_JOB_DIR", str(job))
    monkeypatch.setattr(ray_driver, "prepare_nodes", ready)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execvp", lambda program, words: ran.append((program, words, Path.cwd())))
    main(package)
    assert ran == [("bash", ["bash", f"{job}/launch.sh"], job / "code")]


def test_a_node_that_cannot_be_made_ready_ends_the_job(
    package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEMO_RUNSPEC_JOB_DIR", "/nowhere")
    monkeypatch.setattr(ray_driver, "prepare_nodes", lambda *_: ["host-1: no space left"])
    assert main(package) == 1
    assert capsys.readouterr().out == "[nemo-runspec] host-1: no space left\n"
