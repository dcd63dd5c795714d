from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_runspec.rehearsal.runai_pods import Accepted, workload_pods
from nemo_runspec.rehearsal.runai_rules import workload_issues
from tests.nemo_runspec.rehearsal.mutations import mutations
from tests.nemo_runspec.rehearsal.plain_pods import RUNAI, distributed, runai_workload

if TYPE_CHECKING:
    from pathlib import Path


def accepted(kind: str, *, with_master: bool = False, **spec: Any) -> Accepted:  # noqa: ANN401 - any JSON value
    return Accepted(
        id="some-id", name="w", kind=kind, project="one", spec={"command": "run", **spec}, with_master=with_master
    )


def test_the_names_of_pods_in_the_order_of_their_ranks() -> None:
    assert accepted("trainings").pod_names == ["w-0-0"]
    assert accepted("distributed", numWorkers=2).pod_names == ["w-worker-0", "w-worker-1"]
    assert accepted("distributed", numWorkers=1, with_master=True).pod_names == ["w-master-0", "w-worker-0"]


def test_words_are_split_and_only_the_platforms_variables_put_in(tmp_path: Path) -> None:
    args = "-c 'two words' \"$(dirname x)\" ${RUNAI_PROJECT}/$(JOB_NAME) ${HOME} $(A) $$(A) ''"
    variables = [{"name": "A", "value": "$(UNSET)"}, {"name": "S", "secret": {"name": "hf", "key": "token"}}]
    (pod,) = workload_pods(accepted("trainings", args=args, environmentVariables=variables), RUNAI, tmp_path)
    assert pod.argv == ("run", "-c", "two words", "$(dirname x)", "one/w", "${HOME}", "$(UNSET)", "$(A)", "")
    environment = dict(pod.env)
    assert environment["S"] == "canary-of-the-store"
    assert environment["HOSTNAME"] == pod.name == "w-0-0"
    assert pod.network == "some-id"


def test_the_range_of_pods_is_the_workloads(tmp_path: Path) -> None:
    ranged = accepted("distributed", numWorkers=2, minReplicas=1, maxReplicas=4)
    first, second = workload_pods(ranged, RUNAI, tmp_path)
    assert dict(first.env)["PET_NNODES"] == dict(second.env)["PET_NNODES"] == "1:4"


def test_volumes_that_do_not_outlive_the_workload_are_its_own(tmp_path: Path) -> None:
    storage = {"pvc": [{"path": "/a", "claimName": "team", "ephemeral": True}, {"path": "/b", "claimName": "team"}]}
    (pod,) = workload_pods(accepted("trainings", storage=storage), RUNAI, tmp_path)
    sources = {mount.target: mount.source.relative_to(tmp_path / "volumes").as_posix() for mount in pod.mounts}
    assert sources == {"/a": "one/w-0", "/b": "one/team"}


def test_whatever_is_accepted_becomes_pods(tmp_path: Path) -> None:
    body = runai_workload(
        "whole",
        "python3",
        "-c 'print(1)'",
        compute={"gpuDevicesRequest": 0, "largeShmRequest": True},
        environmentVariables=[{"name": "A", "value": "x"}, {"name": "B", "secret": {"name": "hf", "key": "token"}}],
        storage={"pvc": [{"path": "/mnt/team", "claimName": "team", "existingPvc": True}]},
        **distributed(2),
    )
    bodies = [changed for changed in mutations(body) if not workload_issues("distributed", changed, RUNAI, frozenset())]
    assert len(bodies) > 20
    for changed in bodies:
        pods = workload_pods(accepted("distributed", **changed["spec"]), RUNAI, tmp_path / "twin")
        assert len(pods) == 2 or changed["spec"]["numWorkers"] == 1
        assert all(pod.argv for pod in pods)
    assert [path.name for path in tmp_path.iterdir()] == ["twin"]
