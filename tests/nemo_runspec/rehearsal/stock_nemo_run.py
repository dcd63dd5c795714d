"""What nemo-run's own cloud executors ask of a platform, in a process of its own: the SDK reads its environment once.

Arguments: a folder that stands for the volume, and run:ai's address and client secret.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from nemo_run import DGXCloudExecutor, LeptonExecutor


def job_folder(volume: Path) -> tuple[str, str]:
    """Give a job folder as nemo-run fills it, and where it should come out on the volume."""
    source = volume.parent / f"{volume.name}-job"
    source.mkdir()
    (source / "launch_script.sh").write_text('echo "trained on $HOSTNAME with $A"\n', encoding="utf-8")
    return str(source), str(volume / "job")


def on_lepton(volume: Path) -> list[Any]:
    executor = LeptonExecutor(
        container_image="some/image:1",
        nemo_run_dir=str(volume),
        resource_shape="gpu.8xh100-sxm",
        node_group="my-group",
        nodes=2,
        env_vars={"A": "x"},
        mounts=[{"path": "/", "mount_path": str(volume), "from": "node-nfs:shared"}],
        image_pull_secrets=["registry"],
    )
    executor.job_dir, executor.lepton_job_dir = job_folder(volume)
    executor.move_data(poll_interval=0)
    job = executor.create_lepton_job("stock-job").metadata.id_
    while executor.status(job).value not in {"Completed", "Failed"}:
        pass
    state = executor.status(job).value
    executor.cancel(job)
    return [job, state]


def on_runai(volume: Path, url: str, secret: str) -> list[Any]:
    executor = DGXCloudExecutor(
        container_image="some/image:1",
        base_url=url,
        kube_apiserver_url="http://127.0.0.1:1",
        client_id="rehearsal",
        client_secret=secret,
        project_name="two",
        pvc_nemo_run_dir=str(volume),
        nodes=2,
        gpus_per_node=0,
        env_vars={"A": "x"},
        pvcs=[{"path": str(volume), "claimName": "team", "existingPvc": True}],
        custom_spec={"backoffLimit": 0},
    )
    executor.job_dir, executor.pvc_job_dir = job_folder(volume)
    token = executor.get_auth_token()
    project, cluster = executor.get_project_and_cluster_id(token)
    executor.move_data(token, project, cluster, sleep=0.05)
    reply = executor.create_training_job(token, project, cluster, "stock-job")
    workload = reply.json()["workloadId"]
    while (status := executor.status(workload)) is None or status.value not in {"Completed", "Failed"}:
        pass
    return [reply.status_code, project, status.value]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    results = [on_lepton(folder / "lepton"), on_runai(folder / "runai", *sys.argv[2:])]
    print(json.dumps(results))  # noqa: T201 - the test reads it
