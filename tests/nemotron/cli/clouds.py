"""A small job of a cloud, for tests of what the command line makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.job import Job, compile_job
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, RUNAI_TABLE, write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

SECRETS = 'secrets = ["TEAM_API_KEY"]\n'
PROFILES = f"""\
[far]
{LEPTON_TABLE}{IMAGE}{SECRETS}
[runai]
{RUNAI_TABLE}{IMAGE}
[here]
executor = "local"
"""
CONFIG = "run: {env: {}}\ntrain: {lr: 1.0}\n"


def write_profiles(folder: Path, text: str = PROFILES) -> None:
    """Write an env.toml with a profile of each cloud, and one of this machine."""
    write_env_file(folder, text)


def cloud_job(
    folder: Path,
    *,
    profile: str = "far",
    mode: Mode = Mode.RUN,
    rehearse: bool = False,
    as_json: bool = False,
    text: str = PROFILES,
) -> Job:
    """Build a job in a folder that is the working directory."""
    write_profiles(folder, text)
    script = write_recipe(folder / "recipe", launch="torchrun", config=CONFIG)
    return compile_job(script, RecipeConfig(profile=profile, mode=mode, rehearse=rehearse, as_json=as_json))
