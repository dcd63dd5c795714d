"""The twins of both clouds as places that outlive the commands of a test."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nemo_runspec.rehearsal.inventory import MOVER_SHAPE, LeptonInventory, RunaiInventory
from nemo_runspec.rehearsal.sandbox import Sandbox
from nemo_runspec.rehearsal.twin import Twin
from tests.clusters.cluster_projects import NEMO_RUN_HOME
from tests.clusters.projects import SHARED, Project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

# What else travels is tried elsewhere, and takes a second to compress each time.
ONLY_SCRIPTS = 'exclude = ["src/nemotron", "src/nemo_runspec"]\n'
NOWHERE = "http://127.0.0.1:9/api/v1"


@dataclass(frozen=True)
class Place:
    """A platform that outlives the clients of a test.

    Args:
        profile: The profile that leads to it.
        make: Makes a project with that profile in a folder.
        jobs: Gives the names of all jobs that the server has.
        away: Variables of a client that cannot reach it; none where that takes more than variables.
        twin: The twin, where it is one.
    """

    profile: str
    make: Callable[[Path], Project]
    jobs: Callable[[], list[str]]
    away: Mapping[str, str]
    twin: Twin | None = None


def cloud_project(folder: Path, environment: Mapping[str, str], places: Mapping[str, str]) -> Project:
    """Make a project whose profiles lead to a twin.

    Args:
        folder: Where.
        environment: Variables of its clients.
        places: Address in env.toml -> the twin's.
    """
    project = Project.make(folder, {**environment, "NEMORUN_HOME": str(folder / NEMO_RUN_HOME)})
    path = folder / "env.toml"
    text = path.read_text(encoding="utf-8")
    for usual, there in {**places, SHARED: SHARED + ONLY_SCRIPTS}.items():
        text = text.replace(usual, there)
    path.write_text(text, encoding="utf-8")
    return project


@contextmanager
def lepton_place(folder: Path) -> Iterator[Place]:
    shapes, volumes = frozenset({"cpu.large", MOVER_SHAPE}), frozenset({"node-nfs:shared"})
    inventory = LeptonInventory(node_groups={"group": 8}, shapes=shapes, volumes=volumes)
    with Twin(inventory, Sandbox(), folder) as twin:
        variables = {
            "LEPTON_WORKSPACE_ID": inventory.workspace_id,
            "LEPTON_WORKSPACE_TOKEN": inventory.token,
            "LEPTON_WORKSPACE_URL": twin.url,
            "LEPTON_CACHE_DIR": str(folder / "empty"),
        }
        make = partial(cloud_project, environment=variables, places={})
        away = {"LEPTON_WORKSPACE_URL": NOWHERE}
        yield Place("lepton", make, lambda: [seen.name for seen in twin.workloads], away, twin)


@contextmanager
def runai_place(folder: Path) -> Iterator[Place]:
    inventory = RunaiInventory(client_id="nemotron", projects=("my-project",), claims=frozenset({"shared"}))
    with Twin(inventory, Sandbox(), folder) as twin:
        places = {"https://team.example/api/v1": twin.url, "https://kube.example": twin.kubernetes_url}
        variables = {"RUNAI_CLIENT_SECRET": inventory.client_secret}
        make = partial(cloud_project, environment=variables, places=places)
        away = {"RUNAI_CLIENT_SECRET": ""}
        yield Place("dgxcloud", make, lambda: [seen.name for seen in twin.workloads], away, twin)
