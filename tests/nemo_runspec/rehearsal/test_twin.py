from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from tests.nemo_runspec.rehearsal.plain_pods import (
    LEPTON,
    RUNAI,
    lepton_client,
    lepton_job,
    new_twin,
    runai_client,
    runai_workload,
    until,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.nemo_runspec.rehearsal.plain_pods import PlainRunner


def written_to_a_volume(folder: Path, name: str) -> PlainRunner:
    """Let a twin's pod have a volume, and leave a file of that name in it."""
    mounts = [{"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}]
    twin, runner = new_twin(folder)
    with twin:
        lepton_client(twin).call("POST", "/jobs", lepton_job(name, "true", mounts=mounts))
        until(lambda: bool(runner.pods))
        (runner.pods[0].spec.mounts[0].source / name).touch()
    return runner


def test_volumes_stay_and_logs_are_of_the_last_twin(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    runs = [written_to_a_volume(folder, name) for name in ("one", "two")]
    assert sorted(path.name for path in (folder / "volumes" / "node-nfs:shared").iterdir()) == ["one", "two"]
    assert [path.name for path in (folder / "logs").iterdir()] == ["two"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(runs[1].pods[0].spec.log.stat().st_mode) == 0o600


def test_no_secret_is_in_what_a_twin_writes_or_shows(tmp_path: Path) -> None:
    twin, _ = new_twin(tmp_path, RUNAI)
    with twin:
        variables = [{"name": "A", "value": "canary-of-the-job"}]
        body = runai_workload("secret", "true", environmentVariables=variables)
        client = runai_client(twin)
        client.call("POST", "/workloads/trainings", body)
        until(lambda: twin.workloads[0].finished_s is not None)
        assert twin.workloads[0].body == body
        shown = f"{twin.requests} {twin.workloads}"
    written = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    token = str(client.session.headers["Authorization"]).removeprefix("Bearer ")
    for secret in (*RUNAI.secret_values, "canary-of-the-job", token):
        assert secret not in written
        assert secret not in shown


def test_addresses_are_those_that_clients_are_given(tmp_path: Path) -> None:
    twin, _ = new_twin(tmp_path / "lepton")
    assert twin.start() == twin.url
    assert twin.url.endswith(f"/api/v2/workspaces/{LEPTON.workspace_id}")
    twin.close()
    twin, _ = new_twin(tmp_path / "runai", RUNAI)
    with twin:
        assert twin.url.endswith("/api/v1")
        assert twin.kubernetes_url.endswith("/k8s")
