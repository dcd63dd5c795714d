"""The platforms' own numbers and patterns, as the cloud API notes have them, for the twins alone.

The clients check a job with rules of their own before they send it. Nothing here is taken from those: a rule that is
wrong on one side makes the two disagree, which a test notices.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformRules:
    """What a platform takes.

    Args:
        name: What a workload's name matches.
        name_characters: How long that is at most.
        ending: What it must not end with, or an empty text.
        variable: What a variable's name matches.
        own_variables: Names that only the platform sets.
        own_folders: Folders that nothing may be mounted on.
        value_characters: Longest value of a variable; None where only a pod's kernel has a limit.
        word_characters: Longest `command`, and longest `args`, where each is one text.
    """

    name: re.Pattern[str]
    name_characters: int
    ending: str = ""
    variable: re.Pattern[str]
    own_variables: frozenset[str] = frozenset()
    own_folders: frozenset[str]
    value_characters: int | None = None
    word_characters: int | None = None

    def name_issues(self, name: str) -> Iterator[str]:
        """Yield what is wrong with a workload's name."""
        if len(name) > self.name_characters:
            yield f"'{name}' must have no more than {self.name_characters} characters"
        if not self.name.fullmatch(name):
            yield f"'{name}' must consist of lower case alphanumeric characters or '-', and start with a letter"
        if name.endswith("-") or (self.ending and name.endswith(self.ending)):
            yield f"'{name}' must not end with '-'{f' or {self.ending!r}' if self.ending else ''}"

    def variable_issues(self, name: str) -> Iterator[str]:
        """Yield what is wrong with a variable's name."""
        if not self.variable.fullmatch(name):
            yield f"'{name}' is not the name of an environment variable"
        elif name in self.own_variables:
            yield f"'{name}' is reserved"

    def mount_issues(self, places: Iterable[str]) -> Iterator[str]:
        """Yield what is wrong with the folders that volumes are mounted on."""
        seen = set()
        for place in places:
            path = "/" + "/".join(_parts(place))
            if not place.startswith("/"):
                yield f"mount path '{place}' is not absolute"
            elif path in self.own_folders:
                yield f"mount path '{place}' is reserved"
            elif path in seen:
                yield f"mount path '{place}' is there twice"
            seen.add(path)


def _parts(path: str) -> list[str]:
    """Give the parts of a path, without those that lead nowhere else."""
    found: list[str] = []
    for part in path.split("/"):
        if part == "..":
            found = found[:-1]
        elif part not in {"", "."}:
            found.append(part)
    return found


_LEPTON_FOLDERS: Final = """
    / /bin /boot /dev /etc /lib /lib64 /media /opt /proc /run /sbin /srv /sys
    /usr /usr/bin /usr/lib /usr/local /usr/sbin /var
    /sys/fs/cgroup /sys/kernel/security /proc/sys /proc/bus
"""
# Those of leptonai 0.27 and 0.47 together.
_LEPTON_VARIABLES: Final = """
    WORKSPACE_ID DEPLOYMENT_NAME PHOTON_NAME PHOTON_ID RESOURCE_ACCELERATOR_TYPE WORKSPACE_ORIGIN_URL CLASSIC JOB_NAME
"""

LEPTON: Final = PlatformRules(
    name=re.compile(r"[a-z][a-z0-9-]*"),
    name_characters=36,
    ending="by-lepton",
    variable=re.compile(r"(?![0-9])[A-Za-z0-9._-]+"),
    own_variables=frozenset(f"LEPTON_{name}" for name in _LEPTON_VARIABLES.split()),
    own_folders=frozenset(_LEPTON_FOLDERS.split()),
)
"""leptonai 0.47, api/v2/job_validation.py and spec_utils.py."""

RUNAI: Final = PlatformRules(
    name=re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"),
    name_characters=35,
    variable=re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*"),
    own_folders=frozenset({"/"}),
    value_characters=10_000,
    word_characters=10_000,
)
"""The training operator's DNS-1035, Kubernetes' names of variables, and the caps that nemo-run and Nemotron know."""
