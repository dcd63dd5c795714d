from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import ProfileError
from nemo_runspec.executors.parts import parts_of
from nemo_runspec.executors.platform import Task
from tests.nemo_runspec.executors.clusters import docker, slurm

if TYPE_CHECKING:
    from pathlib import Path


def test_what_tasks_share_is_the_jobs_and_what_differs_their_own() -> None:
    tasks = [
        Task("a", "run a", {"OWN": "it's a", "SAME": "1", "ONLY": "x"}),
        Task("b", "run b", {"OWN": "b", "SAME": "1"}),
    ]
    parts = parts_of(slurm(), tasks, sources_secrets=False)
    assert parts.env == {"SAME": "1"}
    assert list(parts.launches) == ["a", "b"]
    first, second = parts.launches.values()
    assert "export OWN='it'\"'\"'s a'\n" in first
    assert "export ONLY=x\n" in first
    assert "export OWN=b\n" in second
    assert "ONLY" not in second
    assert first.endswith("exec run a\n")


def test_one_task_has_all_variables_in_the_job() -> None:
    parts = parts_of(slurm(env_vars={"A": "1"}, workspace="/results"), [Task("a", "true")], sources_secrets=False)
    assert parts.env == {"A": "1", "NEMO_RUN_DIR": "/results"}
    assert "export" not in parts.launches["a"]


def test_startup_commands_run_in_every_task() -> None:
    parts = parts_of(slurm(startup_commands=["echo hi"]), [Task("a", "x"), Task("b", "y")], sources_secrets=False)
    assert all("echo hi" in text for text in parts.launches.values())


@pytest.mark.parametrize("sources", [True, False])
def test_secrets_are_in_neither_scripts_nor_variables(monkeypatch: pytest.MonkeyPatch, sources: bool) -> None:  # noqa: FBT001 - pytest gives it
    monkeypatch.setenv("MY_TOKEN", "canary")
    parts = parts_of(docker(secrets=["MY_TOKEN"]), [Task("a", "true", {"PLAIN": "1"})], sources_secrets=sources)
    assert (dict(parts.secrets), dict(parts.env)) == ({"MY_TOKEN": "canary"}, {"PLAIN": "1"})
    assert ("secrets.sh" in parts.launches["a"]) is sources
    assert "canary" not in parts.launches["a"] + repr(parts)


def test_without_secrets_no_script_reads_their_file() -> None:
    assert "secrets.sh" not in parts_of(docker(), [Task("a", "true")], sources_secrets=True).launches["a"]


def test_one_secret_has_one_value_in_a_job() -> None:
    tasks = [Task("a", "true", {"MY_TOKEN": "canary-1"}), Task("b", "true", {"MY_TOKEN": "canary-2"})]
    with pytest.raises(ProfileError, match="the secret MY_TOKEN of the task 'b' is another one") as error:
        parts_of(docker(), tasks, sources_secrets=True)
    assert "canary" not in str(error.value)
    same = [Task("a", "true", {"MY_TOKEN": "c"}), Task("b", "true", {"MY_TOKEN": "c"})]
    assert dict(parts_of(docker(), same, sources_secrets=True).secrets) == {"MY_TOKEN": "c"}


def test_files_of_all_tasks_lie_in_the_jobs_folder(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    for name in ("a", "b"):
        (tmp_path / "scripts" / f"{name}.sh").write_text(f"echo {name}\n", encoding="utf-8")
    executor = slurm(job_dir=str(tmp_path))
    parts = parts_of(executor, [Task("a", "true"), Task("b", "true")], sources_secrets=False)
    assert {name for name in parts.files if name.startswith("scripts/")} == {"scripts/a.sh", "scripts/b.sh"}
