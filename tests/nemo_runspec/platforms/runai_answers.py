"""A workload of run:ai, what is asked about it, and what run:ai answers."""

from __future__ import annotations

from nemo_runspec.platforms.runai import RunaiSettings, request
from nemo_runspec.platforms.workload import Submitted, Workload
from tests.nemo_runspec.platforms.scripted import Reply

NAME = "nano3-sft-abc123"
ID = "0b1c"
WORKLOAD = Workload(image="i", nodes=2, argv=("true",), secrets=(("WANDB_API_KEY", "hunter2-canary"),))
SETTINGS = RunaiSettings(project_name="team")
REQUEST = request(WORKLOAD, SETTINGS)
SUBMITTED = Submitted("dgxcloud", "distributed", ID, NAME)
PROJECT = {"id": "33", "name": "team", "clusterId": "c-1"}
PROJECTS = "GET /api/v1/org-unit/projects"
CREATE = "POST /api/v1/workloads/distributed"
LIST = "GET /api/v1/workloads"
ONE = f"/api/v1/workloads/distributed/{ID}"
CREATED = Reply(status=202, body={"workloadId": ID, "name": NAME, "actualPhase": "Creating"})
SECRET = "canary-client-secret"  # noqa: S105 - made up for the test


def phase(name: str) -> Reply:
    return Reply(body={"workloadId": ID, "actualPhase": name})


def token(value: str, expires_in: float = 3600) -> Reply:
    return Reply(body={"accessToken": value, "expiresIn": expires_in})
