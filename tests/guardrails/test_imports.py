"""Imports point one way, so that each part can be read without the ones that are built on it."""

from __future__ import annotations

from tests.guardrails.checkout import SRC, imported_modules, module_name, sources

# The parts of nemo_runspec from the ground up. A part may import itself and what stands in an earlier row, never its
# own row's neighbours: a spec and a profile, through config, become a job; an executor says where; submit goes.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("redaction", "errors", "job_folder", "versions", "without_torch", "words"),
    ("ray_node", "torchrun", "yaml_text"),
    ("toml", "paths", "provenance"),
    ("platforms", "git_mounts"),
    ("spec", "env", "context", "artifacts"),
    ("exceptions", "stage", "env_reference", "place", "obstacles"),
    ("config",),
    ("env_vars",),
    ("data_mover", "rehearsal"),
    ("patches",),
    ("job",),
    ("prepare",),
    ("executors",),
    ("run", "squash", "doctor"),
    ("submit",),
    ("jobs",),
    ("step",),
    ("report",),
    ("pipeline",),
    ("execution", "ray"),
    ("recipe_config", "recipe_meta"),
    ("recipe_help",),
    ("recipe_typer",),
    ("nemo_runspec",),
)

# A stage script runs on a pod, where the launcher's parts have no place.
NARROWER = {"stage": {"errors", "job_folder", "versions", "artifacts", "yaml_text", "redaction"}}

# Within nemotron: the command line may use everything, and nothing else uses the command line.
COMMAND_LINE = ("nemotron.cli", "nemotron.__main__")


def part_of(module: str) -> str:
    """Give "config" for nemo_runspec.config.load, and "nemo_runspec" for the package's own __init__."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def ranks() -> dict[str, int]:
    return {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


def test_every_part_has_its_place_in_the_order() -> None:
    known = ranks()
    parts = {part_of(module_name(source.path)) for source in sources("src/nemo_runspec")}
    assert sorted(parts - set(known)) == [], "give the new part its row in LAYERS"


def test_imports_of_the_toolkit_point_only_leftwards() -> None:
    known = ranks()
    wrong = []
    for source in sources("src/nemo_runspec"):
        importer = part_of(module_name(source.path))
        if importer not in known:
            continue  # the test above asks for its place
        allowed = NARROWER.get(importer, {part for part in known if known[part] < known[importer]}) | {importer}
        for line, name in imported_modules(source):
            part = part_of(name)
            if name.split(".")[0] == "nemo_runspec" and part in known and part not in allowed:
                wrong.append(f"{source.name}:{line}: {importer} imports {part}")
    assert wrong == []


def test_the_toolkit_knows_no_model_family() -> None:
    wrong = [
        f"{source.name}:{line}: {name}"
        for source in sources("src/nemo_runspec")
        for line, name in imported_modules(source)
        if name.split(".")[0] == "nemotron"
    ]
    assert wrong == []


def test_nothing_imports_the_command_line() -> None:
    wrong = [
        f"{source.name}:{line}: {name}"
        for source in sources("src/nemotron")
        for line, name in imported_modules(source)
        if f"{name}.".startswith("nemotron.cli.") and not module_name(source.path).startswith(COMMAND_LINE)
    ]
    assert wrong == []


def test_relative_imports_are_seen() -> None:
    assert module_name(SRC / "nemo_runspec" / "config" / "__init__.py") == "nemo_runspec.config"
    assert part_of("nemo_runspec.config.load") == "config"
    assert part_of("nemo_runspec") == "nemo_runspec"
