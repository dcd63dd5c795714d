from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover.select import select, select_folder
from nemo_runspec.errors import PayloadError
from tests.nemo_runspec.data_mover import pods

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return pods.repository(tmp_path / "repository")


def names(script: Path | None, root: Path | None = None, exclude: tuple[str, ...] = ()) -> list[str]:
    return [file.name for file in select(script, root, exclude).files]


ACTIVE = [
    "src/nemo_runspec/__init__.py",
    "src/nemotron/__init__.py",
    "src/nemotron/model.py",
    "src/nemotron/recipes/nano3/sft/config/tiny.yaml",
    "src/nemotron/recipes/nano3/sft/train.py",
    "src/nemotron/recipes/shared.yaml",
]


def test_packages_travel_with_the_active_family_alone(root: Path) -> None:
    assert names(root / pods.SCRIPT, root) == ACTIVE
    assert select(root / pods.SCRIPT, root).script == pods.SCRIPT


def test_the_repository_is_found_from_the_script(root: Path) -> None:
    assert names(root / pods.SCRIPT) == ACTIVE


def test_without_a_recipe_no_family_travels(root: Path) -> None:
    assert names(None, root) == [name for name in ACTIVE if "/nano3/" not in name]


def test_data_caches_hidden_files_and_credentials_stay(root: Path) -> None:
    stay = [
        *("data.bin", "data.idx", "shard.PARQUET", "model.safetensors", "x.pt", "__pycache__/x.py", ".hidden/x.py"),
        *(
            ".env",
            "env.toml",
            "id.pem",
            "id_rsa",
            "credentials.json",
            "team.kubeconfig",
            "node_modules/x.js",
            "nemotron.egg-info/PKG",
            "venv/pyvenv.cfg",
            "venv/lib/x.py",
        ),
        "backup.py~",
    ]
    travel = ["template.jinja", "words.jsonl", "LICENSE", "bin/tool.py", "data/__init__.py"]
    pods.write(root / "src/nemotron", dict.fromkeys((*stay, *travel), ""))
    found = set(names(root / pods.SCRIPT)) - set(ACTIVE)
    assert found == {f"src/nemotron/{name}" for name in travel}


@pytest.mark.parametrize(
    ("pattern", "gone"),
    [
        ("src/nemotron/model.py", "src/nemotron/model.py"),
        ("*/model.py", "src/nemotron/model.py"),
        ("*.yaml", "src/nemotron/recipes/shared.yaml"),
        ("src/nemotron/recipes/nano3/sft/config", "src/nemotron/recipes/nano3/sft/config/tiny.yaml"),
        ("src/nemotron/recipes/nano3/sft/config/", "src/nemotron/recipes/nano3/sft/config/tiny.yaml"),
    ],
)
def test_excluded_globs_stay(root: Path, pattern: str, gone: str) -> None:
    found = names(root / pods.SCRIPT, root, (pattern,))
    assert gone not in found
    assert pods.SCRIPT in found


def test_the_script_itself_cannot_be_excluded(root: Path) -> None:
    with pytest.raises(PayloadError, match=r"train\.py is excluded"):
        select(root / pods.SCRIPT, root, ("src/nemotron/recipes",))


def test_a_script_of_the_repository_outside_src_keeps_its_place(root: Path) -> None:
    pods.write(root, {"recipes/mine/run.py": "", "recipes/mine/helper/x.py": "", "recipes/other/y.py": ""})
    selection = select(root / "recipes/mine/run.py")
    found = [file.name for file in selection.files if not file.name.startswith("src/")]
    assert found == ["recipes/mine/helper/x.py", "recipes/mine/run.py"]
    assert selection.script == "recipes/mine/run.py"


def test_from_the_root_of_a_repository_only_the_files_beside_the_script_travel(root: Path) -> None:
    pods.write(root, {"run.py": "", "helper.py": "", "docs/page.md": "", "env.toml": "client_secret = 'x'\n"})
    found = [file.name for file in select(root / "run.py").files if not file.name.startswith("src/")]
    assert found == ["README.md", "helper.py", "pyproject.toml", "run.py"]


def test_a_script_of_no_repository_travels_with_its_folder_and_what_is_installed(tmp_path: Path) -> None:
    pods.write(tmp_path / "alone", {"run.py": "", "helper.py": "", "data.bin": "", "deep/x.py": ""})
    selection = select(tmp_path / "alone/run.py")
    found = [file.name for file in selection.files]
    assert [name for name in found if name.startswith("script/")] == [
        "script/deep/x.py",
        "script/helper.py",
        "script/run.py",
    ]
    assert selection.script == "script/run.py"
    assert {"src/nemo_runspec/spec.py", "src/nemotron/cli/main.py"} <= set(found)


def test_a_repository_without_our_packages_gets_those_that_are_installed(tmp_path: Path) -> None:
    root = pods.write(tmp_path, {"pyproject.toml": "", "src/theirs/__init__.py": "", "src/theirs/train.py": ""})
    found = names(root / "src/theirs/train.py")
    assert {"src/theirs/train.py", "src/nemo_runspec/spec.py", "src/nemotron/__init__.py"} <= set(found)


def test_beside_a_script_in_a_home_folder_nothing_else_travels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pods.write(tmp_path, {"run.py": "", "letters.txt": "private", "folder/x.py": ""})
    assert [name for name in names(tmp_path / "run.py") if name.startswith("script/")] == ["script/run.py"]


def test_links_inside_travel_as_files_and_others_are_listed(root: Path, tmp_path: Path) -> None:
    pods.write(tmp_path, {"outside/secret.py": "secret"})
    package = root / "src/nemotron"
    (package / "inside.py").symlink_to("model.py")
    (package / "folder").symlink_to("recipes/nano3")
    (package / "away.py").symlink_to(tmp_path / "outside/secret.py")
    (package / "away").symlink_to(tmp_path / "outside")
    (package / "nowhere.py").symlink_to("missing.py")
    (package / "loop").symlink_to(".")
    selection = select(root / pods.SCRIPT, root)
    paths = {file.name: file.path for file in selection.files}
    assert paths["src/nemotron/inside.py"] == package / "model.py"
    assert "src/nemotron/folder/sft/train.py" in paths
    assert selection.left_out == tuple(f"src/nemotron/{name}" for name in ("away", "away.py", "loop", "nowhere.py"))
    assert [name for name, path in paths.items() if path.is_relative_to(tmp_path / "outside")] == []


def test_only_regular_files_travel(root: Path) -> None:
    os.mkfifo(root / "src/nemotron/pipe")
    (root / "src/nemotron/tool.py").write_text("")
    (root / "src/nemotron/tool.py").chmod(0o744)
    executable = {file.name: file.executable for file in select(root / pods.SCRIPT).files}
    assert "src/nemotron/pipe" not in executable
    assert [name for name, it_is in executable.items() if it_is] == ["src/nemotron/tool.py"]


def test_what_cannot_be_chosen_is_an_error(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PayloadError, match="there is no script"):
        select(tmp_path / "missing.py")
    with pytest.raises(PayloadError, match="has no folder src"):
        select(None, tmp_path)
    monkeypatch.setattr(sys.modules[select.__module__], "MAX_FILES", 3)
    with pytest.raises(PayloadError, match="more than 3 files"):
        select(root / pods.SCRIPT)


def test_a_folder_that_cannot_be_read_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PayloadError, match=r"cannot read the folder .*src: Permission denied"):
        select(None, root)


def test_an_installed_copy_is_chosen_as_the_checkout_is(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "lib/site-packages"
    for package in ("nemo_runspec", "nemotron"):
        shutil.copytree(root / "src" / package, installed / package)
    pods.write(installed, {"nemotron-1.dist-info/RECORD": "", "numpy/__init__.py": ""})
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: type("S", (), {"submodule_search_locations": [installed / name]}),
    )
    script = installed / pods.SCRIPT.removeprefix("src/")
    assert names(script) == ACTIVE
    assert select(script).script == pods.SCRIPT


@pytest.mark.parametrize("environment", [".venv", "venv"])
def test_a_project_around_an_environment_is_not_the_repository_of_what_is_installed_there(
    root: Path, tmp_path: Path, environment: str
) -> None:
    project = pods.write(tmp_path / "theirs", {"pyproject.toml": "", "src/theirs/secret_sauce.py": ""})
    installed = project / environment / "lib/python3.11/site-packages"
    shutil.copytree(root / "src/nemotron", installed / "nemotron")
    found = names(installed / "nemotron/recipes/nano3/sft/train.py")
    assert "src/theirs/secret_sauce.py" not in found
    assert "src/theirs/secret_sauce.py" in names(None, project)


def test_what_runs_have_left_beside_a_script_stays_here(tmp_path: Path) -> None:
    for name in ("mine/train.py", "mine/helper/x.py", "mine/output/jobs/log.txt", "mine/helper/output/y.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    names = [file.name for file in select(tmp_path / "mine" / "train.py").files if not file.name.startswith("src/")]
    assert names == ["script/helper/output/y.py", "script/helper/x.py", "script/train.py"]


@pytest.mark.parametrize("mark", ["pyproject.toml", "setup.py", ".git"])
def test_a_project_is_known_by_what_stands_beside_src(tmp_path: Path, mark: str) -> None:
    pods.write(tmp_path, {"src/mylib/__init__.py": "", "jobs/t.py": ""})
    assert "src/mylib/__init__.py" not in names(tmp_path / "jobs/t.py"), "any folder may be called src"
    (tmp_path / mark).touch()
    assert "src/mylib/__init__.py" in names(tmp_path / "jobs/t.py")


def test_globs_that_match_nothing_are_told(tmp_path: Path) -> None:
    pods.write(tmp_path, {"mine/train.py": "", "mine/notes.txt": ""})
    chosen = select(tmp_path / "mine/train.py", exclude=["script/notes.txt", "mine/notes.txt", "docs/*"])
    assert chosen.unmatched == ("mine/notes.txt", "docs/*")
    assert [file.name for file in chosen.files if file.name.startswith("script/")] == ["script/train.py"]


def test_of_a_folder_travels_what_would_of_a_scripts(tmp_path: Path) -> None:
    for name in ("driver.py", "lib/helper.py", "notes/a.txt", ".git/HEAD", "outputs/old.txt", "lib/outputs/new.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "away").symlink_to("/etc")
    found = [file.name for file in select_folder(tmp_path, ("notes/*",))]
    assert found == ["driver.py", "lib/helper.py", "lib/outputs/new.txt"]
