"""The `[tool.runspec]` block with which a recipe script describes itself.

The block is a PEP 723 comment block at the head of the script; `parse` reads it without importing the script.
Only the standard library is used, because every start of the command line may read a block.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nemo_runspec.errors import Location, SpecError, guess
from nemo_runspec.paths import PathKind, absolute, kind_of
from nemo_runspec.toml.kinds import VARIABLE_NAME, Integer, Record, TableOf, Text
from nemo_runspec.toml.source import Problem, TomlSource, key_text, parse_toml, raise_problems
from nemo_runspec.toml.values import empty_table, freeze
from nemo_runspec.words import PLACEHOLDERS, placeholders_in, split_failure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Launch = Literal["torchrun", "ray", "direct"]
ConfigFormat = Literal["omegaconf", "yaml", "json"]

CONFIG_SUFFIXES = (".yaml", ".yml", ".json")
SCHEMA_VERSIONS = ("1",)
LAUNCHES: tuple[Launch, ...] = ("torchrun", "ray", "direct")
CONFIG_FORMATS: tuple[ConfigFormat, ...] = ("omegaconf", "yaml", "json")

_OPENING = "# /// script"
_CLOSING = "# ///"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_EXAMPLE = "\n".join(
    f"    {line}"
    for line in (
        _OPENING,
        "# [tool.runspec]",
        '# schema = "1"',
        '# name = "my/recipe"',
        "# [tool.runspec.run]",
        '# launch = "direct"',
        _CLOSING,
    )
)

BLOCK = Record(
    {
        "schema": Text(noun='the string "1"'),
        "name": Text(pattern=_NAME, noun='a name such as "nano3/sft" (letters, digits, "_", ".", "-", "/")'),
        "image": Text(),
        "setup": Text(),
        "run": Record(
            {
                "launch": Text(choices=LAUNCHES),
                "cmd": Text(),
                "workdir": Text(pattern=re.compile("/.*"), noun="an absolute path"),
            },
            required={"launch": 'launch = "torchrun"'},
        ),
        "config": Record({"dir": Text(), "default": Text(), "format": Text(choices=CONFIG_FORMATS)}),
        "resources": Record({"nodes": Integer(1), "gpus_per_node": Integer(0)}),
        "env": TableOf(Text(may_be_empty=True), "strings", VARIABLE_NAME),
    },
    required={"name": 'name = "nano3/sft"', "run": 'a table [tool.runspec.run] with launch = "torchrun"'},
)


@dataclass(frozen=True, slots=True)
class RunSection:
    """How the script is started.

    Args:
        launch: "torchrun" starts one process for each GPU or process asked for, "ray" starts the script as the
            driver of a Ray cluster, "direct" starts it once.
        cmd: Command that starts the script, with `{script}` and `{config}`; None for the launcher's own.
        workdir: Absolute directory to start it in, on the machine that runs it; None for the launcher's own.
    """

    launch: Launch
    cmd: str | None = None
    workdir: str | None = None


@dataclass(frozen=True, slots=True)
class ConfigSection:
    """Where the script's configurations are.

    Args:
        dir: Absolute directory.
        default: Name of the configuration that is used when none is named, without suffix.
        format: What the script reads.
    """

    dir: Path
    default: str = "default"
    format: ConfigFormat = "omegaconf"


@dataclass(frozen=True, slots=True)
class Resources:
    """What the script needs where a profile does not say otherwise.

    Args:
        nodes: Number of nodes.
        gpus_per_node: GPUs on each node; 0 for none, None for "not said".
    """

    nodes: int = 1
    gpus_per_node: int | None = None


@dataclass(frozen=True, slots=True)
class Runspec:
    """What a script says about itself.

    Args:
        name: The recipe's name, such as "nano3/sft".
        script_path: The script, absolute.
        run: How it is started.
        config: Where its configurations are.
        resources: What it needs.
        env: Environment variables that it needs, read-only.
        image: Container image, or None where the script needs none.
        setup: What the image provides, in words.
        source: The place of the block.
    """

    name: str
    script_path: Path
    run: RunSection
    config: ConfigSection
    source: Location
    resources: Resources = field(default_factory=Resources)
    env: Mapping[str, str] = field(default_factory=empty_table)
    image: str | None = None
    setup: str | None = None

    @property
    def config_dir(self) -> Path:
        """Give the absolute directory of the configurations."""
        return self.config.dir


def parse(path: str | Path) -> Runspec:
    """Read a script's `[tool.runspec]` block.

    Args:
        path: The script.

    Raises:
        SpecError: The file or the block is missing, or the block says something that it may not; with the line.
    """
    script = absolute(path, error=SpecError)
    # Looked at before links are followed: that fails in ways of its own where folders may not be entered.
    kind = kind_of(script, error=SpecError)
    script = script.resolve()
    if kind is not PathKind.FILE:
        raise _no_script(script, kind)
    source = _read_block(script)
    tool = source.data.get("tool")
    block = tool.get("runspec") if isinstance(tool, dict) else None
    if block is None:
        message = "the script block has no [tool.runspec] table"
        raise SpecError(message, where=source.where(), remedy=f"A smallest one is:\n{_EXAMPLE}")
    raise_problems(_problems(block, source), SpecError, summary=f"the runspec of {script.name}")
    return _build(block, source, _config_section(block.get("config", {}), source))


def _problems(block: object, source: TomlSource) -> Iterator[Problem]:
    for wrong in BLOCK.check(block):
        what = key_text(wrong.key) if wrong.key else "[tool.runspec]"
        yield Problem(f"{what} {wrong.message}", source.where("tool", "runspec", *wrong.key), wrong.remedy)
    if not isinstance(block, dict):
        return
    schema = block.get("schema", SCHEMA_VERSIONS[0])
    if isinstance(schema, str) and schema.strip() and schema not in SCHEMA_VERSIONS:
        yield Problem(
            f"unknown schema version {schema!r}",
            source.where("tool", "runspec", "schema"),
            f"This version reads schema {', '.join(SCHEMA_VERSIONS)}; a newer one needs a newer nemotron.",
        )
    run = block.get("run")
    cmd = run.get("cmd") if isinstance(run, dict) else None
    where = source.where("tool", "runspec", "run", "cmd")
    for name in placeholders_in(cmd) if isinstance(cmd, str) else ():
        if name not in PLACEHOLDERS:
            yield Problem(f"run.cmd has an unknown placeholder {{{name}}}", where, _placeholder_remedy(name))
    failure = split_failure(cmd) if isinstance(cmd, str) else None
    if failure is not None:
        yield Problem(f"run.cmd cannot be split into words: {failure}", where, "Close the quote.")


def _placeholder_remedy(name: str) -> str:
    """Give the remedy for a placeholder that a command may not have."""
    return guess(name, PLACEHOLDERS, what="placeholders") + " A variable of the shell is written ${NAME}."


def _config_section(table: Mapping[str, Any], source: TomlSource) -> ConfigSection:
    """Find the configuration directory, which must be there.

    Raises:
        SpecError: It is not.
    """
    written = table.get("dir", "./config")
    where = source.where("tool", "runspec", "config", "dir")
    home = written.startswith("~")
    folder = absolute(written, error=SpecError) if home else source.path.parent / written
    if kind_of(folder, error=SpecError) is not PathKind.FOLDER:
        message = f"the configuration directory {folder.resolve()} does not exist"
        remedy = "Make it, with a default.yaml in it, or let config.dir name another one (relative to the script)."
        raise SpecError(message, where=where, remedy=remedy)
    folder = folder.resolve()
    return ConfigSection(folder, table.get("default", "default"), table.get("format", "omegaconf"))


def _build(block: Mapping[str, Any], source: TomlSource, config: ConfigSection) -> Runspec:
    return Runspec(
        name=block["name"],
        script_path=source.path,
        run=RunSection(**block["run"]),
        config=config,
        source=source.where("tool", "runspec"),
        resources=Resources(**block.get("resources", {})),
        env=freeze(block.get("env", {})),
        image=block.get("image"),
        setup=block.get("setup"),
    )


def _read_block(script: Path) -> TomlSource:
    """Find the one script block of a file and parse it.

    Raises:
        SpecError: The file cannot be read, or has no block, an unfinished one, two, or one that is not TOML.
    """
    lines = _read_lines(script)
    openings = [number for number, line in enumerate(lines, 1) if line.rstrip() == _OPENING]
    if not openings:
        message = "the script has no runspec block"
        raise SpecError(message, where=Location(script, 1), remedy=f"Put one at its head:\n{_EXAMPLE}")
    if len(openings) > 1:
        message = f"a second script block begins here; the first begins on line {openings[0]}"
        raise SpecError(message, where=Location(script, openings[1]), remedy="Make them one block.")
    content: list[str] = []
    first_line = openings[0] + 1
    for number, line in enumerate(lines[openings[0] :], first_line):
        if line.rstrip() == _CLOSING:
            return parse_toml("".join(content), script, error=SpecError, first_line=first_line)
        if line.rstrip() != "#" and not line.startswith("# "):
            message = f"the script block that begins on line {openings[0]} is not closed before this line"
            remedy = f"Begin each of its lines with '# ' and end it with '{_CLOSING}'."
            raise SpecError(message, where=Location(script, number), remedy=remedy)
        content.append(line[2:] + "\n")
    message = f"the script block is not closed: the file ends without a line '{_CLOSING}'"
    raise SpecError(message, where=Location(script, openings[0]), remedy=f"Add the line '{_CLOSING}'.")


def _no_script(path: Path, kind: PathKind) -> SpecError:
    """Say what there is in the place of a script."""
    if kind is not PathKind.NOTHING:
        remedy = "Name the script itself, such as recipes/hello/train.py."
        return SpecError("this is not a file", where=Location(path), remedy=remedy)
    try:
        scripts = [entry.name for entry in path.parent.iterdir() if entry.suffix == ".py"]
    except OSError:
        scripts = []  # there is no such folder either, or it cannot be listed
    remedy = guess(path.name, scripts, what=f"scripts in {path.parent}")
    return SpecError("there is no such script", where=Location(path), remedy=remedy)


def _read_lines(script: Path) -> list[str]:
    """Read a script.

    Raises:
        SpecError: It cannot be read, or is not UTF-8 text.
    """
    where = Location(script)
    try:
        return script.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as failure:
        message = f"not UTF-8 text: {failure.reason} at byte {failure.start}"
        raise SpecError(message, where=where, remedy="Save the script as UTF-8.") from failure
    except OSError as failure:
        message = f"the script cannot be read: {failure.strerror}"
        raise SpecError(message, where=where, remedy="Check its permissions.") from failure


def is_path(config: str) -> bool:
    """Tell whether `-c` names a file, and not one of the recipe's configurations."""
    return "/" in config or config.endswith(CONFIG_SUFFIXES)


def config_names(folder: Path) -> list[str]:
    """List the configurations in a recipe's configuration folder, by name; none where there is no such folder.

    Raises:
        SpecError: The folder cannot be listed.
    """
    try:
        return sorted(path.stem for path in folder.iterdir() if path.suffix in CONFIG_SUFFIXES)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as failure:
        message = f"the configuration directory cannot be listed: {failure.strerror}"
        raise SpecError(message, where=Location(folder), remedy="Check its permissions.") from failure
