from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import typer
from typer.testing import CliRunner

from nemo_runspec.context import Mode, RecipeConfig
from nemo_runspec.errors import UsageError
from nemo_runspec.recipe_typer import JOB_OPTIONS, RecipeMeta, RecipeTyper, lazy_group, with_job_options
from tests.nemo_runspec.recipes import write_recipe

if TYPE_CHECKING:
    from pathlib import Path

other = RecipeTyper(help="Loaded when it is named.")
other.command("a")(lambda: None)
other.command("b")(lambda: None)


@pytest.fixture
def calls() -> list[RecipeConfig]:
    return []


@pytest.fixture
def app(tmp_path: Path, calls: list[RecipeConfig]) -> RecipeTyper:
    script = write_recipe(tmp_path / "recipe")
    app = RecipeTyper(help="Test.")
    meta = RecipeMeta(script, "Do it.", lambda: (script.parent / "config",))
    app.add_recipe_command("do", lambda request, _: calls.append(request), meta)
    app.add_recipe_command("undo", lambda request, _: calls.append(request), meta)
    return app


@pytest.mark.parametrize(
    "line",
    [
        ["-c", "tiny", "-r", "here", "a.b=1", "--x", "1"],
        ["a.b=1", "--run", "here", "--config", "tiny", "--", "--x", "1"],
        ["a.b=1", "--x", "1", "-c", "tiny", "-r", "here"],
    ],
)
def test_options_overrides_and_script_arguments_may_stand_anywhere(
    app: RecipeTyper, calls: list[RecipeConfig], line: list[str]
) -> None:
    assert CliRunner().invoke(app, ["do", *line]).exit_code == 0
    (request,) = calls
    assert (request.config, request.profile, request.mode) == ("tiny", "here", Mode.RUN)
    assert [str(override) for override in request.overrides] == ["a.b=1"]
    assert request.passthrough == ("--x", "1")


def test_short_forms(app: RecipeTyper, calls: list[RecipeConfig]) -> None:
    assert CliRunner().invoke(app, ["do", "-d", "-b", "here", "--json"]).exit_code == 0
    assert (calls[0].mode, calls[0].dry_run, calls[0].as_json) == (Mode.BATCH, True, True)


def test_errors_reach_the_caller(app: RecipeTyper) -> None:
    assert isinstance(CliRunner().invoke(app, ["do", "tiny"]).exception, UsageError)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_ends_with_the_recipes_panels(app: RecipeTyper, option: str) -> None:
    shown = CliRunner().invoke(app, ["do", option]).output
    for text in ("Do it.", "--config", "-c", "--run", "--batch", "--dry-run", "Configurations", "Overrides"):
        assert text in shown


def test_a_lazy_group_imports_what_is_named() -> None:
    members = {"here": (f"{__name__}:other", "A line."), "gone": ("no.such.module:app", "Another line.")}
    app = typer.Typer(cls=lazy_group(members))
    app.callback()(lambda: None)
    runner = CliRunner()
    shown = runner.invoke(app, ["--help"])
    assert shown.exit_code == 0
    assert "Another line." in shown.output
    assert "Loaded when it is named." in runner.invoke(app, ["here", "--help"]).output
    assert isinstance(runner.invoke(app, ["gone"]).exception, ModuleNotFoundError)
    unknown = runner.invoke(app, ["hre"])
    assert unknown.exit_code == 2
    assert "Did you mean 'here'" in unknown.output


def test_the_options_of_a_job_stand_behind_a_commands_own() -> None:
    seen: list[tuple[str, dict[str, object]]] = []

    @with_job_options
    def command(ctx: typer.Context, name: str, **options: object) -> None:
        """Do it."""
        seen.append((name, options))
        assert ctx.params["rehearse"] is True

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, ["me", "--run", "far", "--rehearse"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert seen[0][0] == "me"
    assert seen[0][1]["run"] == "far"
    assert set(seen[0][1]) == set(JOB_OPTIONS)
