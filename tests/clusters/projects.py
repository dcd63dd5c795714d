"""A user's project for whole-command tests of the clouds: env.toml, a home, and ways to run the command in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.nemo_runspec.recipes import LEPTON_TABLE, RUNAI_TABLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECRET_VARIABLE = "TEAM_API_KEY"  # noqa: S105 - the variable's name
CANARY = "canary-3f9a1c77-never-written-anywhere"
CLIENT_CANARY = "canary-8d20be41-client-never-written-anywhere"
LONGEST_S = 400

# What the two profiles have in common.
SHARED = 'workspace = "/mnt/shared/nemotron"\nsecrets = ["TEAM_API_KEY"]\n'
ENV_FILE = f"[lepton]\n{LEPTON_TABLE}{SHARED}\n[dgxcloud]\n{RUNAI_TABLE}nodes = 2\n{SHARED}"

SCRIPT = """\
# /// script
# [tool.runspec]
# schema = "1"
# name = "mine/script"
# image = "my/image:1"
# [tool.runspec.run]
# launch = "{launch}"
# [tool.runspec.config]
# dir = "./config"
# default = "default"
# ///
{body}
"""


@dataclass(frozen=True)
class Project:
    """A folder with an env.toml.

    Args:
        folder: The folder.
        environment: Variables beside the test's own.
    """

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, environment: Mapping[str, str] | None = None) -> Project:
        (folder / "home").mkdir(parents=True)
        (folder / "env.toml").write_text(ENV_FILE, encoding="utf-8")
        return cls(folder, environment or {})

    @property
    def variables(self) -> Mapping[str, str]:
        """What commands in the project have in their environment."""
        own = {"HOME": str(self.folder / "home"), SECRET_VARIABLE: CANARY, "RUNAI_CLIENT_SECRET": CLIENT_CANARY}
        return {**own, **self.environment}

    def script(self, body: str, *, launch: str = "direct") -> str:
        """Write a recipe of the user's own, and give its path."""
        place = self.folder / "mine"
        (place / "config").mkdir(parents=True, exist_ok=True)
        (place / "config" / "default.yaml").write_text("run: {env: {}}\n", encoding="utf-8")
        path = place / "script.py"
        path.write_text(SCRIPT.format(launch=launch, body=body), encoding="utf-8")
        return str(path)

    def start(self, *arguments: str, program: str = "nemotron", within: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start a command in the project, after the words of another one that it runs within."""
        return subprocess.Popen(
            [*within, sys.executable, "-m", program, *arguments],
            cwd=self.folder,
            env={**os.environ, **self.variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, program: str = "nemotron", within: tuple[str, ...] = ()) -> tuple[int, str, str]:
        """Run a command to its end, and give its exit code, output and errors."""
        with self.start(*arguments, program=program, within=within) as process:
            out, err = process.communicate(timeout=LONGEST_S)
        return process.returncode, out, err

    def rehearse(self, *arguments: str) -> dict[str, Any]:
        """Rehearse a job that succeeds, and give the JSON object of the last line."""
        code, out, err = self.run(*arguments, "--rehearse", "--json")
        assert code == 0, out + err
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def files(self) -> list[Path]:
        """Give every file below the folder."""
        return [path for path in self.folder.rglob("*") if path.is_file() and not path.is_symlink()]
