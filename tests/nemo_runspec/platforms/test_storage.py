from __future__ import annotations

from typing import Any

import pytest

from nemo_runspec.platforms.storage import (
    STORAGE_KEYS,
    is_shared,
    lost_problems,
    outlives_the_pod,
    unshared_problems,
)

BOTH = pytest.mark.parametrize("executor", ["lepton", "dgxcloud"])


def lost(executor: str, place: str, *volumes: dict[str, Any]) -> list[str]:
    """Give the messages for volumes whose folder is called `at` here."""
    keys = STORAGE_KEYS[executor]
    tables = [{keys.folder if key == "at" else key: value for key, value in volume.items()} for volume in volumes]
    return [problem.message for problem in lost_problems("workspace", place, tables, keys)]


@BOTH
def test_a_folder_is_on_a_volume_that_can_be_written_and_stays(executor: str) -> None:
    whole = {"at": "/mnt"}
    assert lost(executor, "/mnt/x", whole) == lost(executor, "/mnt", whole) == []
    assert lost(executor, "mnt", whole) == ["workspace must be an absolute path in the pod, not 'mnt'"]
    key = STORAGE_KEYS[executor].volumes
    assert lost(executor, "/mnt2/x", whole) == [f"workspace is on none of the {key} (/mnt)"]
    assert lost(executor, "/mnt", {"claimName": "no folder"}, {"at": "rel"}, {"at": 5}) == [
        f"workspace is on none of the {key} (there are none)"
    ]


@BOTH
@pytest.mark.parametrize(
    ("what", "says"),
    [
        ({"readOnly": True}, "is on a volume that is mounted read-only"),
        ({"mount_options": {"read_only": True}}, "is on a volume that is mounted read-only"),
        ({"ephemeral": True}, "is on an ephemeral volume, which the platform deletes with the job"),
    ],
)
def test_the_innermost_volume_decides(executor: str, what: dict[str, Any], says: str) -> None:
    outer, inner = {"at": "/mnt"}, {"at": "/mnt//in/", **what}
    assert lost(executor, "/mnt/out", outer, inner) == []
    assert lost(executor, "/mnt/in/x", outer, inner) == lost(executor, "/mnt/in", inner, outer) == [f"workspace {says}"]
    assert not outlives_the_pod(inner)
    assert outlives_the_pod(outer)


def test_nodes_do_not_share_their_own_disks() -> None:
    keys = STORAGE_KEYS["lepton"]
    own, shared = {"mount_path": "/own", "from": "node-local"}, {"mount_path": "/nfs", "from": "node-nfs:a"}
    assert (is_shared(own), is_shared(shared), is_shared({})) == (False, True, True)

    def told(place: str, nodes: int) -> list[str]:
        return [problem.message for problem in unshared_problems("home", place, (own, shared), keys, nodes=nodes)]

    assert told("/own/x", 2) == ["home is on 'node-local', which is another disk on each of the 2 nodes"]
    assert told("/own/x", 1) == told("/nfs/x", 2) == told("/elsewhere", 2) == told("own", 2) == []
