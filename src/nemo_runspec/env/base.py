"""What the profiles of every executor have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from nemo_runspec.env.tables import Entry, Origin, Table, key, known_keys, read_entries, wrong_keys
from nemo_runspec.errors import ProfileError, guess
from nemo_runspec.paths import PathKind, absolute, kind_of
from nemo_runspec.toml.kinds import NOT_A_VALUE, VARIABLE_NAME, Either, Integer, ListOf, TableOf, Text
from nemo_runspec.toml.source import Problem, raise_problems
from nemo_runspec.toml.values import freeze

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from nemo_runspec.errors import Location

TEXT = Text()
COMMANDS = ListOf(TEXT, "shell commands")
_VARIABLES = TableOf(Text(may_be_empty=True), "strings", VARIABLE_NAME)
_SECRET_VARIABLE = re.compile(NOT_A_VALUE + VARIABLE_NAME.pattern)
_SECRET_LIST = ListOf(Text(pattern=_SECRET_VARIABLE, noun="a variable's name", confidential=True), "variables' names")
_PLATFORM_SECRET = Text(pattern=re.compile(NOT_A_VALUE + r".+"), noun="a secret's name", confidential=True)
_SECRET_TABLE = TableOf(_PLATFORM_SECRET, "secrets' names", _SECRET_VARIABLE, confidential=True)
_SECRETS = Either((((list, tuple), _SECRET_LIST), ((Mapping,), _SECRET_TABLE)))
# Names in the archive begin with no `/` and have no `..`, so that such a glob would leave out nothing.
_GLOB = Text(
    pattern=re.compile(r"(?!/)(?!(?:.*/)?\.\.(?:/|$)).+"), noun="a glob below the checkout, without a leading / and .."
)

WORKSPACE_VARIABLE = "NEMO_RUN_DIR"
"""Tells a job where its results go: this library sets it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile(Table):
    """What every executor's profile has.

    Args:
        parents: The profiles that it extends, nearest first.
    """

    executor: ClassVar[str]
    shares_files: ClassVar[bool] = False
    """Whether a path means the same to a job as it does here."""
    confidential_keys: ClassVar[frozenset[str]] = frozenset()

    parents: tuple[str, ...] = ()
    container_image: str | None = key(
        TEXT,
        "Container image, instead of the one that the script names; on Slurm also a path to a .sqsh file, or `none`.",
        example='"nvcr.io/nvidia/nemo:25.11.nemotron_3_nano"',
        aliases=("container",),
    )
    nodes: int | None = key(Integer(1), "Number of nodes, instead of the script's.", example="2")
    gpus_per_node: int | None = key(
        Integer(0),
        "GPUs on each node. 0 means none; leaving it out leaves it to the script's `resources`.",
        example="8",
    )
    nprocs_per_node: int | None = key(
        Integer(1),
        "Training processes on each node; without it, one for each GPU.",
        example="8",
        aliases=("nproc_per_node",),
    )
    ntasks_per_node: int | None = key(Integer(1), "Tasks that the platform starts on each node.", example="1")
    env_vars: Mapping[str, str] = key(
        _VARIABLES, "Environment variables of the job, with their values.", example='{ NCCL_DEBUG = "WARN" }'
    )
    secrets: tuple[str, ...] | Mapping[str, str] = key(
        _SECRETS,
        "Secret environment variables: names whose values are taken from the environment of the one who submits, "
        "or a table from name to the platform's own secret. Values never stand in this file.",
        example='["HF_TOKEN", "WANDB_API_KEY"]',
    )
    mounts: tuple[str | Mapping[str, Any], ...] = key(
        ListOf(TEXT, "mounts"),
        "Folders to mount, as `source:target` or `source:target:ro`.",
        example='["/lustre/data:/data:ro"]',
    )
    startup_commands: tuple[str, ...] = key(
        COMMANDS, "Shell commands to run in the job before the script starts.", example='["ulimit -n 65536"]'
    )
    exclude: tuple[str, ...] = key(
        ListOf(_GLOB, "globs"),
        "Files that stay here: globs of paths as `nemotron source ls` prints them, beside what never travels.",
        example='["src/nemo_runspec/rehearsal/*"]',
    )
    repo_root: str | None = key(
        TEXT, "Checkout whose `src/` travels with the job; without it, the installed package's.", example='"~/nemotron"'
    )
    workspace: str | None = key(
        TEXT,
        "Folder for outputs, as the job sees it; configurations call it `${workspace:}`. Without it, `output` here.",
        example='"/lustre/me/nemotron"',
    )

    @classmethod
    def noun(cls) -> str:
        """Name this kind of profile for messages."""
        return f"a {cls.executor} profile"

    @classmethod
    def explain_unknown(cls, name: str) -> str:
        """Give the remedy for a key that this kind of profile does not have; it may be another executor's."""
        from nemo_runspec.env.profiles import EXECUTORS  # noqa: PLC0415 - that module needs this one first

        others = [executor for executor, profile in EXECUTORS.items() if name in known_keys(profile)]
        if others:
            return f"It is a key of {' and '.join(others)} profiles."
        return guess(name, known_keys(cls), what="keys")

    @property
    def secret_names(self) -> tuple[str, ...]:
        """Give the names of the secret variables, however they are delivered."""
        return tuple(self.secrets)

    @property
    def secret_references(self) -> Mapping[str, str]:
        """Give the platform's own secret for each variable, where `secrets` is a table."""
        return self.secrets if isinstance(self.secrets, Mapping) else {}

    @property
    def default_workspace(self) -> tuple[str, str] | None:
        """Where results go without `workspace`, and why there; None for `output` here."""
        return None

    @property
    def processes_per_node(self) -> int:
        """Tell how many processes torchrun starts on a node.

        `nproc_per_node` or `nprocs_per_node` where set, else one process for each of `gpus_per_node`, else one.
        """
        names = ("nproc_per_node", "nprocs_per_node", "gpus_per_node")
        return next((int(value) for name in names if (value := getattr(self, name, None))), 1)

    def as_config(self, *, confidential: bool = False) -> dict[str, Any]:
        """Give the executor and the keys that are set, as plain values, to merge over a configuration's `run.env`.

        Args:
            confidential: Whether to give `confidential_keys` too, which belong in no configuration.
        """
        # Not super(): with slots=True the class that super() remembers is not the one that the decorator returns.
        values = {"executor": self.executor, **Table.as_config(self)}
        return {name: value for name, value in values.items() if confidential or name not in self.confidential_keys}

    def with_overrides(
        self, values: Mapping[str, object], origin: Origin, *, filled: Mapping[str, Origin] | None = None
    ) -> Self:
        """Give this profile with values that win over its own, such as `run.env.nodes=4` of the command line.

        Args:
            values: From key (or alias) to plain value; `executor` may be among them and cannot be another one.
            origin: Where they come from.
            filled: Other origins, for keys whose expressions were only filled in.

        Raises:
            ProfileError: A key is unknown, a value is mistyped, or the values do not fit together.
        """
        where = filled or {}
        entries = (Entry(value, where.get(name, origin), name) for name, value in values.items() if name != "executor")
        found, problems = read_entries(type(self), entries)
        other = values.get("executor", self.executor)
        if other != self.executor:
            message = f"[{origin.label}] profile '{self.name}' is for executor '{self.executor}', not '{other}'"
            problems.append(Problem(message, origin.where, f"Choose a profile whose executor is '{other}'."))
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.init}
        origins = {**self.origins, **{name: entry.origin for name, entry in found.items()}}
        given = {name: freeze(entry.value) for name, entry in found.items()}
        combined = type(self)(**{**own, **given, "origins": freeze(origins)})
        problems += combined.conflicts(wrong_keys(type(self), found) & found.keys())
        raise_problems(problems, ProfileError, summary=f"profile '{self.name}'")
        return combined

    def conflicts(self, wrong: Container[str] = ()) -> Iterator[Problem]:
        """Yield what is wrong between keys, and with what they name on this machine.

        Args:
            wrong: Keys that are wrong by themselves, so that nothing can be concluded from their values.
        """
        yield from self._contradictions()
        if self.repo_root is None or "repo_root" in wrong or "${" in self.repo_root:
            return
        remedy = "Name the folder of the checkout, in which src lies."
        try:
            root = absolute(self.repo_root, error=ProfileError)
            if kind_of(root, error=ProfileError) is not PathKind.FOLDER:
                message = f"profile '{self.name}': repo_root {self.repo_root} is no folder that exists"
                yield Problem(message, self.where("repo_root"), remedy)
            elif kind_of(root / "src", error=ProfileError) is not PathKind.FOLDER:
                message = f"profile '{self.name}': repo_root {self.repo_root} has no folder src"
                yield Problem(message, self.where("repo_root"), remedy)
        except ProfileError as error:
            yield Problem(f"profile '{self.name}': repo_root: {error.message}", self.where("repo_root"), error.remedy)

    def _contradictions(self) -> Iterator[Problem]:
        """Yield variables that two keys give a value; each message has the other place, or the key's own."""
        plain, secret = (_names(getattr(self, name)) for name in ("env_vars", "secrets"))
        other = self._place("secrets")
        for name in plain:
            if name in secret:
                message = f"profile '{self.name}': the variable '{name}' is in env_vars, and in secrets too{other}"
                yield Problem(message, self.where("env_vars"), "Take it out of one of them.")
        for key_name, names in (("env_vars", plain), ("secrets", secret)):
            if WORKSPACE_VARIABLE in names:
                message = (
                    f"profile '{self.name}': {key_name} sets {WORKSPACE_VARIABLE}, "
                    f"which is the profile's workspace{self._place('workspace')}"
                )
                yield Problem(message, self.where(key_name), "Take it out, and set `workspace`.")

    def _place(self, name: str) -> str:
        where = self.where(name) if name in self.origins else None
        return f" ({where})" if where else ""

    def where(self, name: str) -> Location | None:
        """Give the place of a key that is set, or of the profile."""
        origin = self.origins.get(name)
        return origin.where if origin else self.source


def _names(value: object) -> list[str]:
    """Give the names in a list or table; a key that is wrong by itself may hold anything."""
    return [name for name in value if isinstance(name, str)] if isinstance(value, Mapping | tuple | list) else []
