"""What a user gets: the package from an index or a checkout, in an environment that holds nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

from tests.guardrails.checkout import ROOT, SRC, files

if TYPE_CHECKING:
    from pathlib import Path

# The first test that runs installs some hundred packages.
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Installed:
    """A virtual environment that holds the wheel and what it requires.

    Args:
        bin: The folder of its programs.
        folder: An empty folder outside the checkout, to run them in.
    """

    bin: Path
    folder: Path

    def run(self, program: str, *arguments: str) -> str:
        """Run one of its programs to its end and give what it printed."""
        variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            cwd=self.folder,
            env=variables | {"PATH": f"{self.bin}{os.pathsep}{variables['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as `pip install .` does, in an isolated build environment."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "-q", "-c", "constraints.txt"]
    subprocess.run([*pip, str(wheel)], cwd=ROOT, check=True)
    (folder / "empty").mkdir()
    return Installed(folder / "venv" / "bin", folder / "empty")


def test_the_wheel_holds_every_file_of_src(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
        metadata = [name for name in archive.namelist() if ".dist-info/" in name]
    assert shipped == {path.relative_to(SRC).as_posix() for path in files() if path.is_relative_to(SRC)}
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)
    assert "nemo_runspec/py.typed" in shipped
    assert "nemotron/recipes/nano3/sft/config/tiny.yaml" in shipped


def test_the_source_distribution_holds_what_make_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = tmp_path.iterdir()
    with tarfile.open(built) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "scripts/install.py", "LICENSE", "README.md", "env.toml.example"}
    assert needed - names == set()
    tracked = {path.relative_to(ROOT).as_posix() for path in files()}
    assert {name for name in names if name not in tracked} == {"PKG-INFO"}


def test_an_installation_without_anything_else_can_import_nemo_run(installed: Installed) -> None:
    code = "import nemo_run, leptonai.api.v1, importlib.metadata as m; print('\\n'.join(m.requires('nemotron')))"
    requirements = [Requirement(line) for line in installed.run("python", "-c", code).splitlines()]
    (lepton,) = [requirement for requirement in requirements if requirement.name == "leptonai"]
    assert not lepton.specifier.contains("0.47.0"), "from 0.47 on nemo-run cannot be imported"
    assert lepton.specifier.contains("0.27.3")


def test_the_command_answers(installed: Installed) -> None:
    assert "nano3" in installed.run("nemotron", "--help")


def test_recipes_and_their_configs_work_outside_a_checkout(installed: Installed) -> None:
    job = json.loads(installed.run("nemotron", "nano3", "sft", "-c", "tiny", "--dry-run", "--json"))
    assert isinstance(job, dict)
    text = json.dumps(job)
    assert "nemotron/recipes/nano3/sft/train.py" in text
    assert str(ROOT / "src") not in text
    assert list(installed.folder.iterdir()) == [], "a dry run leaves nothing behind"
