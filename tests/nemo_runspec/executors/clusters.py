"""Executors of a Slurm cluster and of a Docker engine, for tests of what they make of tasks."""

from __future__ import annotations

from typing import Any

from nemo_run.core.packaging.base import Packager

from nemo_runspec.executors.docker import DockerExecutor
from nemo_runspec.executors.slurm import SlurmExecutor


def slurm(**fields: Any) -> SlurmExecutor:  # noqa: ANN401 - fields of many types
    return SlurmExecutor(**{"job_root": "/lustre/me/jobs", "account": "research", "packager": Packager(), **fields})


def docker(**fields: Any) -> DockerExecutor:  # noqa: ANN401 - fields of many types
    return DockerExecutor(**{"job_root": "/data/jobs", "container_image": "image:1", "packager": Packager(), **fields})
