"""Executors of both clouds, for tests of what they have in common."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from nemo_run.core.packaging.base import Packager

from nemo_runspec.executors.dgxcloud import DGXCloudExecutor
from nemo_runspec.executors.lepton import LeptonExecutor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemo_runspec.executors.platforms import FakePlatform

MOUNT = {"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}


def lepton(**fields: Any) -> LeptonExecutor:  # noqa: ANN401 - fields of many types
    given = {"container_image": "an/image:1", "nemo_run_dir": "/mnt/nfs/nemo_run", **fields}
    return LeptonExecutor(resource_shape="cpu.small", node_group="ng", mounts=[MOUNT], **given)


def dgxcloud(**fields: Any) -> DGXCloudExecutor:  # noqa: ANN401 - fields of many types
    given = {"container_image": "an/image:1", "pvc_nemo_run_dir": "/mnt/nfs/nemo_run", **fields}
    return DGXCloudExecutor(
        base_url="https://team.example/api/v1",
        kube_apiserver_url="https://kube.example",
        client_id="app",
        client_secret="${oc.env:RUNAI_SECRET}",  # noqa: S106 - a reference, not a secret
        project_name="p",
        pvcs=[{"path": "/mnt/nfs", "claimName": "team", "existingPvc": True}],
        **given,
    )


@dataclass(kw_only=True)
class FolderPackager(Packager):  # type: ignore[misc]  # nemo-run ships no types
    """Packs a folder; nemo-run's own packager of folders wants a standard input, which pytest does not give."""

    folder: str = ""

    def package(self, path: Path, job_dir: str, name: str) -> str:  # noqa: ARG002 - nemo-run's signature
        archive = f"{job_dir}/{name}.tar.gz"
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(self.folder, ".")
        return archive


BOTH = pytest.mark.parametrize("make", [lepton, dgxcloud])


def launched(platform: FakePlatform, number: int = 0) -> dict[str, Any]:
    """Give the variables of a sent job, and what is in its launch script, as `launch`."""
    name, sent = platform.sent[number]
    spec = sent.filled({})["spec"]
    variables = spec.get("envs", spec.get("environmentVariables"))
    return {"name": name, **{item["name"]: item.get("value") for item in variables}}
