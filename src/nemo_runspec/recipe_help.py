"""The panels under a recipe command's help: configurations, profiles, artifacts, overrides, examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from nemo_runspec import yaml_text
from nemo_runspec.env import load_env_file
from nemo_runspec.errors import NemotronError
from nemo_runspec.spec import config_names

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nemo_runspec.env import EnvFile
    from nemo_runspec.recipe_meta import RecipeMeta

OVERRIDES = (
    ("key=value", "set an entry of the configuration, anywhere on the line"),
    ("++key=value", "add an entry that the configuration does not have"),
    ("run.env.KEY=value", "set a key of the profile, such as run.env.nproc_per_node=2"),
    ("--name value, -- ...", "handed on to the script unchanged"),
)


def print_panels(meta: RecipeMeta) -> None:
    """Print the panels of one recipe."""
    console = Console()
    panels = {
        "Configurations (-c)": _configurations(meta),
        "Profiles (--run, --batch)": _profiles(),
        "Overrides": OVERRIDES,
        "Examples": [(example, "") for example in meta.examples],
    }
    for title, rows in panels.items():
        if rows:
            console.print(Panel(_grid(rows), title=title, title_align="left", border_style="dim"))


def _grid(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name, text in rows:
        # As it is: a message may hold what looks like rich's markup.
        table.add_row(Text(name), Text(text))
    return table


def _configurations(meta: RecipeMeta) -> list[tuple[str, str]]:
    folder, *others = meta.config_dirs()
    if others:
        return [(name, "every stage's configuration of this name") for name in meta.configs()]
    return [(name, _artifacts(folder, name)) for name in config_names(folder)]


def _artifacts(folder: Path, name: str) -> str:
    """Tell which artifacts a configuration reads and publishes."""
    try:
        config = yaml_text.load((folder / f"{name}.yaml").read_text(encoding="utf-8-sig"))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return ""
    reads = [value for value in _table(config, "run").values() if isinstance(value, str)]
    parts = [f"reads {', '.join(reads)}"] if reads else []
    artifact = _table(config, "artifact").get("name")
    parts += [f"publishes {artifact}"] if artifact else []
    return "; ".join(parts)


def _table(config: object, key: str) -> dict[str, Any]:
    """Give a section of a file that may hold anything; the help is not where it is judged."""
    section = config.get(key) if isinstance(config, dict) else None
    return section if isinstance(section, dict) else {}


def _profiles() -> list[tuple[str, str]]:
    try:
        file = load_env_file()
    except NemotronError as error:
        return [("env.toml", f"cannot be read: {error.message}")]
    if file.path is None:
        return [("none", "no env.toml here or above; copy env.toml.example")]
    return [(name, _executor(file, name)) for name in file.profiles] or [("none", f"{file.path} has no profiles")]


def _executor(file: EnvFile, name: str) -> str:
    try:
        return file.profile(name).executor
    except NemotronError as error:
        return f"cannot be used: {error.message}"
