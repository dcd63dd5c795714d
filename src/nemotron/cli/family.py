"""From a family's table to its commands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.recipe_typer import RecipeMeta, RecipeTyper
from nemo_runspec.spec import config_names, parse
from nemo_runspec.step import Step

if TYPE_CHECKING:
    from nemo_runspec.context import RecipeConfig


@dataclass(frozen=True, slots=True)
class Row:
    """One command of a family.

    Args:
        command: Its words after the family's name; every word but the last is a group.
        recipe: The script, below the family's recipe folder.
        summary: One line for the help.
        arguments: Arguments of the script's own, for an example in the help.
    """

    command: str
    recipe: str
    summary: str
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Family:
    """A model family: its rows in the order in which `pipe` runs them.

    Args:
        name: The command's name, and the folder below `nemotron/recipes`.
        title: The model's name.
        rows: Its commands.
    """

    name: str
    title: str
    rows: tuple[Row, ...]

    def script(self, row: Row) -> Path:
        """Give the path of a row's script, in a checkout or an installed wheel."""
        return Path(str(files("nemotron"))) / "recipes" / self.name / row.recipe

    def app(self) -> RecipeTyper:
        """Make the typer application with one command per row, and `pipe`."""
        root = RecipeTyper(help=f"{self.title}: each stage by itself, or all of them with `pipe`.")
        groups: dict[tuple[str, ...], RecipeTyper] = {(): root}
        for row in self.rows:
            *path, name = row.command.split()
            group = self._group(groups, tuple(path))
            group.add_recipe_command(name, self._run_script, self._meta(row))
        root.add_recipe_command("pipe", self._run_pipeline, self._pipe_meta())
        return root

    def _group(self, groups: dict[tuple[str, ...], RecipeTyper], path: tuple[str, ...]) -> RecipeTyper:
        if path not in groups:
            parent = self._group(groups, path[:-1])
            groups[path] = RecipeTyper(help=f"{' '.join(path).capitalize()} for {self.title}.")
            parent.add_typer(groups[path], name=path[-1])
        return groups[path]

    def _meta(self, row: Row) -> RecipeMeta:
        script = self.script(row)
        command = f"nemotron {self.name} {row.command}"
        more = ["--dry-run", *filter(None, [row.arguments]), "--run my-cluster"]
        examples = (f"{command} -c tiny", *(f"{command} -c tiny {words}" for words in more))
        return RecipeMeta(script, row.summary, partial(_config_dirs, (script,)), examples)

    def _pipe_meta(self) -> RecipeMeta:
        scripts = tuple(map(self.script, self.rows))
        command = f"nemotron {self.name} pipe -c tiny"
        examples = (command, f"{command} --dry-run", f"{command} pretrain.train.steps=50")
        return RecipeMeta(
            scripts[0].parents[1], "Run all stages in order, and report.", partial(_config_dirs, scripts), examples
        )

    def maker(self, artifact: str) -> str | None:
        """Give the command whose configuration publishes an artifact of this name, or None."""
        from nemo_runspec.config.load import load_yaml  # noqa: PLC0415 - help and completion do without

        for row in self.rows:
            folder = parse(self.script(row)).config_dir
            for config in config_names(folder):
                if load_yaml(folder / f"{config}.yaml").get("artifact", {}).get("name") == artifact:
                    return f"nemotron {self.name} {row.command} -c {config}"
        return None

    def _run_script(self, request: RecipeConfig, script: Path) -> None:
        from nemotron.cli.stages.script import run_script  # noqa: PLC0415 - help and completion do without

        run_script(request, script, maker=self.maker)

    def _run_pipeline(self, request: RecipeConfig, _: Path) -> None:
        from nemotron.cli.stages.pipe import run_pipeline  # noqa: PLC0415 - help and completion do without

        run_pipeline(request, self.name, [Step(row.command, self.script(row)) for row in self.rows])


def _config_dirs(scripts: tuple[Path, ...]) -> tuple[Path, ...]:
    return tuple(parse(script).config_dir for script in scripts)
