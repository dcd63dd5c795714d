"""What a stage script is given: its arguments, its configuration file, and the launcher's job file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nemo_runspec import yaml_text
from nemo_runspec.errors import ConfigError, Location, UsageError
from nemo_runspec.job_folder import JOB_DIR_VARIABLE, JOB_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

STORE_VARIABLE = "NEMOTRON_ARTIFACTS"


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the launcher says about the job that a stage is part of.

    Args:
        root: The artifact store, a path or fsspec URL.
        folder: The job's folder, or None when the script was started by hand.
        name: The stage's name, or None.
        inputs: The artifacts that the stage reads: its own key to `name:vN`.
        argv: The launcher's command line, empty when there was none.
        git: Commit and state of the source, empty where unknown.
    """

    root: str
    folder: Path | None = None
    name: str | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    git: dict[str, object] = field(default_factory=dict)


def split_arguments(argv: list[str]) -> tuple[Path, list[str]]:
    """Take `--config FILE` (or `--config=FILE`) out of a command line, and give the rest as it was.

    Raises:
        UsageError: There is none.
    """
    for index, argument in enumerate(argv):
        if argument == "--config" and index + 1 < len(argv):
            return Path(argv[index + 1]), argv[:index] + argv[index + 2 :]
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config=")), argv[:index] + argv[index + 1 :]
    message = "a stage script needs --config FILE"
    raise UsageError(message, remedy="Start it with `nemotron`, or give it the train.yaml of an earlier job.")


def load_config(path: Path) -> dict[str, Any]:
    """Read a stage's configuration, of which every value has to be final.

    Raises:
        ConfigError: It is missing, is not a YAML table, or still holds a `${...}`; with file and line.
    """
    config = _load_table(path)
    for key, line in _unresolved(path):
        message = f"'{key}' still holds a ${{...}} that nothing has filled in"
        raise ConfigError(
            message,
            where=Location(path, line),
            remedy="The launcher fills these in: start the stage with `nemotron`, or write the value itself.",
        )
    return config


def artifact_name(config: Mapping[str, Any]) -> str | None:
    """Give `artifact.name` of a configuration, or None where it is not said."""
    artifact = config.get("artifact")
    name = artifact.get("name") if isinstance(artifact, dict) else None
    return name if isinstance(name, str) else None


def whole_number(environment: Mapping[str, str], name: str, default: int) -> int:
    """Read a number that a launcher set.

    Raises:
        UsageError: The variable is set to something else.
    """
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isdecimal():
        message = f"the environment variable {name} is '{text}', which is not a whole number"
        raise UsageError(message, remedy=f"Unset {name}, or let torchrun set it.")
    return int(text)


def load_job(environment: Mapping[str, str]) -> JobFacts:
    """Read what the launcher left: `job.yaml` in the folder that NEMO_RUNSPEC_JOB_DIR names.

    Without that variable the script was started by hand: the store is $NEMOTRON_ARTIFACTS or `output/artifacts` below
    the working directory, and the inputs are unknown.

    Raises:
        ConfigError: The variable is set and the file is missing or has another shape.
    """
    fallback = environment.get(STORE_VARIABLE) or str(Path.cwd() / "output" / "artifacts")
    job_dir = environment.get(JOB_DIR_VARIABLE)
    if not job_dir:
        return JobFacts(root=fallback)
    path = Path(job_dir) / JOB_FILE
    document = _load_table(path)
    artifacts = _table(document, "artifacts", path)
    provenance = _table(document, "provenance", path)
    return JobFacts(
        root=str(artifacts.get("root") or fallback),
        folder=Path(job_dir),
        name=str(document["name"]) if document.get("name") else None,
        inputs={key: str(value) for key, value in _table(artifacts, "inputs", path).items()},
        argv=tuple(str(word) for word in _list(provenance, "argv", path)),
        git=_table(provenance, "git", path),
    )


def _load_table(path: Path) -> dict[str, Any]:
    try:
        document = yaml_text.load(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise ConfigError(message, remedy="Give the train.yaml that the launcher wrote.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        message = f"this is not YAML: {getattr(error, 'problem', None) or error}"
        raise ConfigError(message, where=Location(path, mark.line + 1 if mark else None)) from error
    if not isinstance(document, dict):
        message = "this is not a table of keys and values"
        raise ConfigError(message, where=Location(path))
    return {str(key): value for key, value in document.items()}


def _unresolved(path: Path) -> Iterator[tuple[str, int]]:
    """Find the values that hold `${`, as dotted keys with lines from 1."""
    root = yaml.compose(path.read_text(encoding="utf-8"), yaml_text.Loader)
    todo: list[tuple[str, yaml.Node]] = [("", root)] if root is not None else []
    seen: set[int] = set()
    while todo:
        key, node = todo.pop()
        if id(node) in seen:
            continue  # an alias of what was looked at, or of what holds it
        seen.add(id(node))
        if isinstance(node, yaml.ScalarNode) and "${" in node.value:
            yield key, node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            todo.extend((f"{key}.{name.value}".lstrip("."), value) for name, value in reversed(node.value))
        elif isinstance(node, yaml.SequenceNode):
            todo.extend((f"{key}[{number}]", value) for number, value in reversed(list(enumerate(node.value))))


def _table(values: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = values.get(key) or {}
    if not isinstance(value, dict):
        message = f"'{key}' is not a table"
        raise ConfigError(message, where=Location(path), remedy="It is written by the launcher: start the stage again.")
    return {str(name): item for name, item in value.items()}


def _list(values: Mapping[str, Any], key: str, path: Path) -> list[object]:
    value = values.get(key) or []
    if not isinstance(value, list):
        message = f"'{key}' is not a list"
        raise ConfigError(message, where=Location(path), remedy="It is written by the launcher: start the stage again.")
    return value
