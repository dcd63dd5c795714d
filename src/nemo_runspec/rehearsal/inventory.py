"""What exists on a twin: what the profile names, and nothing else."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from nemo_runspec.env import DGXCloudProfile, LeptonProfile
from nemo_runspec.platforms.storage import NODE_LOCAL

if TYPE_CHECKING:
    from collections.abc import Mapping

NODES: Final = 64
"""Nodes of each node group: more than any rehearsal on one machine has pods."""

MOVER_SHAPE: Final = "cpu.small"
"""Lepton has it everywhere; nemo-run's own data mover asks for it."""

WORKSPACE: Final = "rehearsal"
TOKEN: Final = "LEPTON_WORKSPACE_TOKEN"  # noqa: S105 - the variable's name
DEFAULT_SHAPE: Final = "gpu.8xh100-sxm"
_CLUSTER: Final = uuid.UUID("5f0c2b1e-7f0e-4d7a-9d53-3d8a1c6b9e42")
_FIRST_PROJECT_ID: Final = 1001
_EMPTY: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class LeptonInventory:
    """A Lepton workspace.

    Args:
        workspace_id: Its identifier, a part of every address.
        token: The only one that is accepted.
        node_groups: Name of each dedicated node group -> its number of nodes.
        shapes: Resource shapes.
        volumes: Volumes as mounts name them (`node-nfs:shared`); `node-local` needs no mention.
        secrets: The workspace's secrets with their values.
        image_pull_secrets: Names of the registry secrets.
        reservations: Reservations of nodes.
        keeps_deleted: Whether its archive has a job that was deleted. The platform's documentation does not say;
            without it, such a job is unknown in every `job_query_mode`.
    """

    workspace_id: str = WORKSPACE
    token: str = field(default_factory=secrets.token_urlsafe, repr=False)
    node_groups: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    shapes: frozenset[str] = frozenset({MOVER_SHAPE})
    volumes: frozenset[str] = frozenset()
    secrets: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    image_pull_secrets: frozenset[str] = frozenset()
    reservations: frozenset[str] = frozenset()
    keeps_deleted: bool = True

    @property
    def secret_values(self) -> tuple[str, ...]:
        """What must never be written down."""
        return (self.token, *self.secrets.values())

    def node_group_ids(self) -> dict[str, str]:
        """Give the identifier of each node group, which is not its name, with the name."""
        return {f"ng-{number:03d}": name for number, name in enumerate(sorted(self.node_groups))}

    def node_ids(self, group_id: str) -> tuple[str, ...]:
        """Give the identifiers of a group's nodes.

        Args:
            group_id: The group's identifier; of one that does not exist there are no nodes.
        """
        name = self.node_group_ids().get(group_id)
        return tuple(f"{group_id}-node-{number}" for number in range(self.node_groups[name] if name else 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunaiInventory:
    """A run:ai tenant.

    Args:
        client_id: The application that may ask for tokens.
        client_secret: Its secret.
        projects: Names of the projects, in the order in which they are listed.
        claims: Persistent volume claims that exist in every project.
        secrets: Name of each secret -> its keys with their values.
        cluster_id: The cluster that all projects are on.
        wrong_secret_status: What `POST /token` answers to an application that it does not know. Of the documented
            400, 500 and 503 only the first is about the request; `/api/v2/token` documents 401.
    """

    client_id: str = "rehearsal"
    client_secret: str = field(default_factory=secrets.token_urlsafe, repr=False)
    projects: tuple[str, ...] = ()
    claims: frozenset[str] = frozenset()
    secrets: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: MappingProxyType[str, "Mapping[str, str]"]({}), repr=False
    )
    cluster_id: str = str(_CLUSTER)
    wrong_secret_status: int = HTTPStatus.BAD_REQUEST

    @property
    def secret_values(self) -> tuple[str, ...]:
        """What must never be written down."""
        return (self.client_secret, *(value for keys in self.secrets.values() for value in keys.values()))

    def project_ids(self) -> dict[str, str]:
        """Give the identifier of each project with its name."""
        return {str(number): name for number, name in enumerate(self.projects, start=_FIRST_PROJECT_ID)}


Inventory = LeptonInventory | RunaiInventory


def inventory_for(profile: LeptonProfile | DGXCloudProfile) -> Inventory:
    """Give a platform on which exists what a profile names, and nothing else.

    The credentials are new and random: real ones are worth nothing there, and these are worth nothing elsewhere.
    The platform's own secrets exist under the profile's names, with values that say that this is a rehearsal.

    Args:
        profile: Of the platform that is rehearsed.
    """
    return _lepton(profile) if isinstance(profile, LeptonProfile) else _runai(profile)


def _lepton(profile: LeptonProfile) -> LeptonInventory:
    sources = {str(mount["from"]) for mount in profile.mounts if not isinstance(mount, str) and "from" in mount}
    shapes = {profile.resource_shape or DEFAULT_SHAPE, MOVER_SHAPE, *filter(None, [profile.head_resource_shape])}
    token = secrets.token_urlsafe()
    # A secret that is the workspace's own token has to be worth something in the workspace.
    kept = {name: token if variable == TOKEN else _value(name) for variable, name in profile.secret_references.items()}
    return LeptonInventory(
        token=token,
        node_groups=MappingProxyType({profile.node_group: NODES} if profile.node_group else {}),
        shapes=frozenset(shapes),
        volumes=frozenset(sources - {NODE_LOCAL}),
        secrets=MappingProxyType(kept),
        image_pull_secrets=frozenset(profile.image_pull_secrets),
        reservations=frozenset(filter(None, [profile.node_reservation])),
    )


def _runai(profile: DGXCloudProfile) -> RunaiInventory:
    found: dict[str, dict[str, str]] = {}
    for variable, reference in profile.secret_references.items():
        name, _, key = reference.partition("/")
        found.setdefault(name, {})[key or variable] = _value(reference)
    claims = {str(pvc["claimName"]) for pvc in profile.pvcs if pvc.get("existingPvc") and "claimName" in pvc}
    return RunaiInventory(
        client_id=profile.client_id,
        projects=(profile.project_name,),
        claims=frozenset(claims),
        secrets=MappingProxyType({name: MappingProxyType(keys) for name, keys in found.items()}),
    )


def _value(name: str) -> str:
    return f"rehearsal of the secret {name}"
