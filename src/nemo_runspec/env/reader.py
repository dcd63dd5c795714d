"""Finding env.toml, and making profiles from its tables."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nemo_runspec.env.profiles import EXECUTORS
from nemo_runspec.env.reserved import RESERVED, ArtifactsTable, WandbTable
from nemo_runspec.env.tables import Entry, Origin, read_entries, table_fields, wrong_keys
from nemo_runspec.errors import Location, ProfileError, guess
from nemo_runspec.paths import PathKind, absolute, kind_of
from nemo_runspec.toml.source import Problem, TomlSource, parse_toml, raise_problems
from nemo_runspec.toml.values import empty_table, freeze

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nemo_runspec.env.base import Profile

ENV_FILE_NAME = "env.toml"
ENV_FILE_VARIABLE = "NEMOTRON_ENV_FILE"

_PROFILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TABLE_KEYS = ("executor", "extends")


@dataclass(frozen=True, slots=True)
class EnvFile:
    """An env.toml whose reserved tables are checked; a profile is checked when it is asked for.

    Args:
        path: The file, or None where there is none; it then has no profiles.
        profiles: Names of the profiles, in the order of the file. A table without `executor` that other profiles
            extend is a template and none of them.
        tables: Every profile's and template's table as it was read.
        wandb: The `[wandb]` table.
        artifacts: The `[artifacts]` table.
        source: The text with its lines.
    """

    path: Path | None = None
    profiles: tuple[str, ...] = ()
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=empty_table)
    wandb: WandbTable = field(default_factory=lambda: WandbTable(name="wandb"))
    artifacts: ArtifactsTable = field(default_factory=lambda: ArtifactsTable(name="artifacts"))
    source: TomlSource | None = field(default=None, repr=False)

    def profile(self, name: str) -> Profile:
        """Make one profile, with what it inherits.

        Raises:
            ProfileError: There is no such profile, or something is wrong with it; all of its problems at once.
        """
        if self.source is None:
            message = f"there is no profile '{name}', because there is no {ENV_FILE_NAME}"
            remedy = (
                f"Copy env.toml.example to {ENV_FILE_NAME} in the project's folder, "
                f"or name a file in {ENV_FILE_VARIABLE}."
            )
            raise ProfileError(message, remedy=remedy)
        if name in RESERVED:
            message = f"[{name}] holds settings and is not a profile"
            remedy = guess(name, self.profiles, what="profiles")
            raise ProfileError(message, where=self.source.where(name), remedy=remedy)
        if name not in self.tables:
            message = f"there is no profile '{name}'"
            remedy = guess(name, self.profiles, what="profiles")
            raise ProfileError(message, where=Location(self.source.path), remedy=remedy)
        draft = _draft(name, self.tables, self.source)
        raise_problems(draft.all_problems(), ProfileError, summary=f"profile '{name}'")
        return draft.build()

    def problems(self) -> Iterator[Problem]:
        """Yield every problem of every profile; one that is inherited comes once for each heir."""
        if self.source is None:
            return
        for name in self.tables:
            try:
                _lineage(name, self.tables, self.source)
                draft = _draft(name, self.tables, self.source) if name in self.profiles else None
            except ProfileError as failure:
                yield Problem(failure.message, failure.where, failure.remedy)
                continue
            if draft is not None:
                yield from draft.all_problems()


@dataclass(frozen=True, slots=True)
class _Draft:
    """A profile whose keys are gathered: of use when it has no problems."""

    name: str
    profile: type[Profile]
    parents: tuple[str, ...]
    entries: Mapping[str, Entry]
    problems: tuple[Problem, ...]
    source: Location

    def all_problems(self) -> Iterator[Problem]:
        """Yield what is wrong with single keys, and between those that are right."""
        yield from self.problems
        yield from self.build().conflicts(wrong_keys(self.profile, self.entries))

    def build(self) -> Profile:
        # A required key that is missing is a problem, and the others are still to be judged.
        values: dict[str, Any] = dict.fromkeys(info.name for info in table_fields(self.profile) if info.required)
        values |= {name: freeze(entry.value) for name, entry in self.entries.items()}
        origins = freeze({name: entry.origin for name, entry in self.entries.items()})
        return self.profile(name=self.name, source=self.source, parents=self.parents, origins=origins, **values)


def find_env_file(start: Path | None = None) -> Path | None:
    """Find env.toml, from a folder upwards to the one that holds pyproject.toml, that one included.

    The variable NEMOTRON_ENV_FILE names a file instead.

    Args:
        start: Folder to begin in; the working directory without it.

    Raises:
        ProfileError: The variable names what is not a file, or a folder on the way cannot be looked into.
    """
    named = os.environ.get(ENV_FILE_VARIABLE)
    if named:
        path = absolute(named, error=ProfileError)
        kind = kind_of(path, error=ProfileError)
        if kind is not PathKind.FILE:
            what = "a file that does not exist" if kind is PathKind.NOTHING else "what is not a file"
            message = f"{ENV_FILE_VARIABLE} names {what}: {named}"
            raise ProfileError(message, remedy="Correct the variable, or unset it.")
        return path
    folder = absolute(start or ".", error=ProfileError)
    for candidate in (folder, *folder.parents):
        path = candidate / ENV_FILE_NAME
        if kind_of(path, error=ProfileError) is PathKind.FILE:
            return path
        if kind_of(candidate / "pyproject.toml", error=ProfileError) is PathKind.FILE:
            return None
    return None


def load_env_file(path: str | Path | None = None) -> EnvFile:
    """Read an env.toml and check its reserved tables; profiles are checked when they are asked for.

    Args:
        path: The file; without it, the one that `find_env_file` finds, which may be none.

    Raises:
        ProfileError: The file is missing or not TOML, a name is not a profile's, or a reserved table is wrong.
    """
    found = find_env_file() if path is None else absolute(path, error=ProfileError)
    if found is None:
        return EnvFile()
    source = parse_toml(_read_text(found), found, error=ProfileError)
    problems = list(_structure_problems(source))
    reserved = {name: _reserved_table(name, source, problems) for name in RESERVED}
    raise_problems(problems, ProfileError, summary=str(found))
    tables = {name: table for name, table in source.data.items() if name not in RESERVED}
    wandb, artifacts = reserved["wandb"], reserved["artifacts"]
    return EnvFile(
        path=found,
        profiles=tuple(name for name in tables if not _is_template(name, tables)),
        tables=freeze(tables),
        wandb=WandbTable(**wandb),
        artifacts=ArtifactsTable(**artifacts),
        source=source,
    )


def parse_env(path: str | Path | None = None) -> EnvFile:
    """Read an env.toml and check every profile in it.

    Args:
        path: The file; without it, the one that `find_env_file` finds, which may be none.

    Raises:
        ProfileError: Something is wrong; all problems of all profiles at once.
    """
    env = load_env_file(path)
    raise_problems(env.problems(), ProfileError, summary=env.path.name if env.path else ENV_FILE_NAME)
    return env


def load_env_profile(name: str, env_file: str | Path | EnvFile | None = None) -> Profile:
    """Make the profile of one name.

    Args:
        name: The profile.
        env_file: The file, read or not; without it, the one that `find_env_file` finds.

    Raises:
        ProfileError: There is no such profile, or something is wrong with it.
    """
    env = env_file if isinstance(env_file, EnvFile) else load_env_file(env_file)
    return env.profile(name)


def list_profiles(env_file: str | Path | None = None) -> tuple[str, ...]:
    """Give the names of the profiles of an env.toml, in its order.

    Args:
        env_file: The file; without it, the one that `find_env_file` finds, which may be none.
    """
    return load_env_file(env_file).profiles


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        line = path.read_bytes()[: failure.start].count(b"\n") + 1
        message = f"not UTF-8 text: {failure.reason}"
        raise ProfileError(message, where=Location(path, line), remedy="Save the file as UTF-8.") from failure
    except OSError as failure:
        message = f"the file cannot be read: {failure.strerror}"
        raise ProfileError(message, where=Location(path), remedy="Check its name and its permissions.") from failure


def _structure_problems(source: TomlSource) -> Iterator[Problem]:
    for name, table in source.data.items():
        if not isinstance(table, dict):
            remedy = "Put it below the [name] of a profile." if not isinstance(table, list) else f"Write [{name}]."
            yield Problem(f"'{name}' is not a table", source.where(name), remedy)
        elif not _PROFILE_NAME.fullmatch(name):
            yield Problem(f"'{name}' cannot name a profile", source.where(name), "Use letters, digits, '-' and '_'.")


def _reserved_table(name: str, source: TomlSource, problems: list[Problem]) -> dict[str, Any]:
    """Check a reserved table and give the arguments of its class; what is wrong is added to `problems`."""
    table = source.data.get(name, {})
    if not isinstance(table, dict):
        return {"name": name}
    entries = _own_entries(name, table, source)
    found, wrong = read_entries(RESERVED[name], entries, source)
    problems += wrong
    return {
        "name": name,
        "source": source.where(name) if name in source.data else None,
        "origins": freeze({key: entry.origin for key, entry in found.items()}),
        **{key: freeze(entry.value) for key, entry in found.items()},
    }


def _own_entries(name: str, table: Mapping[str, object], source: TomlSource) -> list[Entry]:
    return [Entry(value, Origin(name, source.where(name, key)), key) for key, value in table.items()]


def _is_template(name: str, tables: Mapping[str, Any]) -> bool:
    """Say whether a table only exists to be extended: nothing in its line names an executor."""
    if not any(table.get("extends") == name for table in tables.values()):
        return False
    seen: set[str] = set()
    current: object = name
    while isinstance(current, str) and current in tables and current not in seen:
        if "executor" in tables[current]:
            return False
        seen.add(current)
        current = tables[current].get("extends")
    return True


def _lineage(name: str, tables: Mapping[str, Any], source: TomlSource) -> tuple[str, ...]:
    """Give a profile's name and those that it extends, nearest first.

    Raises:
        ProfileError: A parent does not exist, or is the profile itself.
    """
    line = [name]
    while "extends" in tables[line[-1]]:
        holder, parent = line[-1], tables[line[-1]]["extends"]
        where = source.where(holder, "extends")
        if not isinstance(parent, str):
            message = f"[{holder}] extends must be the name of one profile"
            raise ProfileError(message, where=where, remedy='Write it as: extends = "parent"')
        if parent in line:
            circle = " -> ".join((*line[line.index(parent) :], parent))
            message = f"[{holder}] extends goes round in a circle: {circle}"
            raise ProfileError(message, where=where, remedy="Take one of these lines out.")
        if parent not in tables:
            what = "is a table of settings, not a profile" if parent in RESERVED else "does not exist"
            message = f"[{holder}] extends '{parent}', which {what}"
            remedy = guess(parent, set(tables) - {holder}, what="profiles")
            raise ProfileError(message, where=where, remedy=remedy)
        line.append(parent)
    return tuple(line)


def _executor_of(line: tuple[str, ...], tables: Mapping[str, Any], source: TomlSource) -> type[Profile]:
    """Give the profile type that a line of tables names; the nearest one that names any counts.

    Raises:
        ProfileError: None of them names an executor, or it is unknown.
    """
    holder = next((name for name in line if "executor" in tables[name]), None)
    if holder is None:
        message = f"profile '{line[0]}' does not say which executor it is for"
        remedy = (
            f'Add, for example: executor = "slurm" (or {", ".join(name for name in EXECUTORS if name != "slurm")}).'
        )
        raise ProfileError(message, where=source.where(line[0]), remedy=remedy)
    executor = tables[holder]["executor"]
    if not isinstance(executor, str) or executor not in EXECUTORS:
        message = f"[{holder}] there is no executor {executor!r}"
        remedy = guess(str(executor), EXECUTORS, what="executors")
        raise ProfileError(message, where=source.where(holder, "executor"), remedy=remedy)
    return EXECUTORS[executor]


def _draft(name: str, tables: Mapping[str, Any], source: TomlSource) -> _Draft:
    """Gather a profile's keys from its own table and those that it extends, and check them.

    Raises:
        ProfileError: What it extends or its executor cannot be made out, so that no key can be judged.
    """
    line = _lineage(name, tables, source)
    profile = _executor_of(line, tables, source)
    entries = [
        entry
        for holder in reversed(line)
        for entry in _own_entries(holder, tables[holder], source)
        if entry.written not in _TABLE_KEYS
    ]
    found, problems = read_entries(profile, entries, source)
    for info in table_fields(profile):
        if info.required and info.name not in found:
            message = f"profile '{name}': the required key '{info.name}' is missing"
            problems.append(Problem(message, source.where(name), f"Add, for example: {info.name} = {info.example}"))
    return _Draft(name, profile, line[1:], found, tuple(problems), source.where(name))
