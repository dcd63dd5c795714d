from __future__ import annotations

import pytest

from nemo_runspec.data_mover.pod import rendezvous


def lepton(index: int, total: int) -> dict[str, str]:
    return {
        "LEPTON_JOB_WORKER_INDEX": str(index),
        "LEPTON_JOB_TOTAL_WORKERS": str(total),
        "LEPTON_JOB_WORKER_PREFIX": "worker",
        "LEPTON_SUBDOMAIN": "sft-ab12-job-svc",
    }


def with_master(rank: int, pods: int) -> dict[str, str]:
    return {
        "MASTER_ADDR": "sft-master-0",
        "MASTER_PORT": "23456",
        "RANK": str(rank),
        "WORLD_SIZE": str(pods),
        "PET_MASTER_ADDR": "sft-master-0",
        "PET_MASTER_PORT": "23456",
        "PET_NODE_RANK": str(rank),
        "PET_NNODES": str(pods),
        "PET_NPROC_PER_NODE": "auto",
    }


def workers_only(pods: str) -> dict[str, str]:
    return {
        "PET_RDZV_ENDPOINT": "sft-worker-0:23456",
        "PET_RDZV_BACKEND": "c10d",
        "PET_NNODES": pods,
        "PET_NPROC_PER_NODE": "auto",
    }


def test_lepton_gives_what_its_own_script_exports() -> None:
    found = rendezvous.place(lepton(1, 3), 3, "sft-ab12-1-xyz12")
    assert found.rank == 1
    assert found.variables == {
        "NNODES": "3",
        "NODE_RANK": "1",
        "MASTER_ADDR": "worker-0.sft-ab12-job-svc",
        "MASTER_PORT": "29400",
        "WORKER_ADDRS": "worker-1.sft-ab12-job-svc,worker-2.sft-ab12-job-svc",
    }


def test_a_port_that_the_user_chose_is_kept_on_lepton() -> None:
    assert rendezvous.place({**lepton(0, 2), "MASTER_PORT": "5000"}, 2, "x").variables["MASTER_PORT"] == "5000"


@pytest.mark.parametrize("pods", [2, 3])
def test_with_a_master_the_nodes_are_numbered_from_it_and_one_pod_may_be_too_many(pods: int) -> None:
    first = rendezvous.place(with_master(0, pods), 2, "sft-master-0")
    second = rendezvous.place(with_master(1, pods), 2, "sft-worker-0")
    assert (first.rank, second.rank) == (0, 1)
    assert second.variables == {
        "NNODES": "2",
        "NODE_RANK": "1",
        "MASTER_ADDR": "sft-master-0",
        "MASTER_PORT": "23456",
        "WORLD_SIZE": "2",
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_MASTER_ADDR": "sft-master-0",
        "PET_MASTER_PORT": "23456",
    }
    assert rendezvous.place(with_master(2, 3), 2, "sft-worker-1").rank == 2  # which the job does not need


def test_the_world_size_of_all_gpus_is_not_taken_for_the_number_of_pods() -> None:
    environ = with_master(1, 2) | {"WORLD_SIZE": "16", "PET_NPROC_PER_NODE": "8"}
    assert rendezvous.place(environ, 2, "sft-worker-0").pods == 2


@pytest.mark.parametrize("pods", ["2:2", "2", ""])
def test_workers_without_a_master_are_numbered_by_their_names(pods: str) -> None:
    found = rendezvous.place(workers_only(pods), 2, "sft-worker-1")
    assert found.rank == 1
    assert found.variables == {
        "NNODES": "2",
        "NODE_RANK": "1",
        "MASTER_ADDR": "sft-worker-0",
        "MASTER_PORT": "23456",
        "PET_NNODES": "2",
        "PET_NODE_RANK": "1",
        "PET_MASTER_ADDR": "sft-worker-0",
        "PET_MASTER_PORT": "23456",
        "PET_RDZV_BACKEND": "static",
        "PET_RDZV_ENDPOINT": None,
    }


def test_a_rendezvous_that_somebody_made_elastic_stays_it() -> None:
    found = rendezvous.place(workers_only("1:4"), 2, "sft-worker-1")
    assert sorted(found.variables) == ["MASTER_ADDR", "MASTER_PORT", "NNODES", "NODE_RANK"]


def test_workers_whose_operator_says_nothing_else() -> None:
    found = rendezvous.place({}, 2, "a-worker-b-worker-1")
    assert (found.rank, found.variables["MASTER_ADDR"]) == (1, "a-worker-b-worker-0")


def test_a_single_pod_takes_loopback_and_a_free_port() -> None:
    for environ, host in (({}, "sft-0-0"), (lepton(0, 1), "sft-ab12-0-xyz12"), (workers_only("1:1"), "sft-worker-0")):
        found = rendezvous.place(environ, 1, host)
        assert (found.rank, found.variables["MASTER_ADDR"]) == (0, "127.0.0.1")
        assert found.variables["NNODES"] == "1"
        assert int(found.variables["MASTER_PORT"] or 0) > 1023
    assert found.variables["PET_MASTER_ADDR"] == "127.0.0.1"
    assert found.variables["PET_MASTER_PORT"] == found.variables["MASTER_PORT"]


USERS = {
    "RANK": "1",
    "MASTER_ADDR": "elsewhere",
    "WORLD_SIZE": "2",
    "NODE_RANK": "5",
    "PET_NODE_RANK": "1",
    "PET_MASTER_ADDR": "elsewhere",
}
"""What may be in a user's profile, with the names of the platform's own variables."""


@pytest.mark.parametrize("host", ["sft-0-0", "sft-worker-1", "sft-master-0", "anything"])
@pytest.mark.parametrize("environ", [USERS, with_master(1, 2), workers_only("1:1") | USERS, lepton(1, 1) | USERS])
def test_the_pod_of_a_single_node_is_that_node(environ: dict[str, str], host: str) -> None:
    found = rendezvous.place(environ, 1, host)
    assert found.rank == 0
    assert found.variables["NODE_RANK"] == "0"
    assert found.variables.get("PET_NODE_RANK", "0") == "0"
    assert found.variables["MASTER_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_users_variables_do_not_number_the_workers_of_run_ai(rank: int) -> None:
    users = {name: value for name, value in USERS.items() if name != "PET_MASTER_ADDR"} | {"MASTER_PORT": "1"}
    found = rendezvous.place(users | workers_only("2:2"), 2, f"sft-worker-{rank}")
    assert found.rank == rank
    assert found.variables["MASTER_ADDR"] == "sft-worker-0"
    assert found.variables["MASTER_PORT"] == "23456"
    assert found.variables["PET_NODE_RANK"] == str(rank)
    assert rendezvous.place(USERS | workers_only("2:2"), 2, f"sft-worker-{rank}").rank == rank


def test_a_users_variables_do_not_number_the_workers_of_lepton() -> None:
    found = rendezvous.place(USERS | lepton(0, 2), 2, "sft-ab12-0-xyz12")
    assert (found.rank, found.variables["MASTER_ADDR"]) == (0, "worker-0.sft-ab12-job-svc")


def test_with_a_master_the_pods_names_count_before_rank() -> None:
    assert rendezvous.place(with_master(7, 2), 2, "sft-master-0").rank == 0
    found = rendezvous.place(with_master(7, 2), 2, "sft-worker-0")
    assert (found.rank, found.variables["PET_NODE_RANK"]) == (1, "1")


def test_rank_counts_where_the_operator_says_it_twice() -> None:
    assert rendezvous.place(with_master(1, 2), 2, "another-name").rank == 1
    for name in ("PET_NODE_RANK", "PET_MASTER_ADDR"):
        without = {key: value for key, value in with_master(1, 2).items() if key != name}
        for environ in (without, without | ({name: "0"} if name == "PET_NODE_RANK" else {})):
            with pytest.raises(rendezvous.RendezvousError, match="cannot tell"):
                rendezvous.place(environ, 2, "another-name")


@pytest.mark.parametrize(
    ("environ", "host", "says"),
    [
        ({}, "sft-0-0", "cannot tell which of 2 nodes sft-0-0 is"),
        ({"RANK": "1"}, "sft-0-0", "cannot tell"),
        (lepton(0, 1), "sft-0", "the job has 2 nodes and the platform started 1 pods"),
        (with_master(0, 1), "sft-master-0", "started 1 pods"),
        (workers_only("1:1"), "sft-worker-0", "started 1 pods"),
    ],
)
def test_what_cannot_be_told_is_an_error(environ: dict[str, str], host: str, says: str) -> None:
    with pytest.raises(rendezvous.RendezvousError, match=says):
        rendezvous.place(environ, 2, host)
