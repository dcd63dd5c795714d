from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_runspec.rehearsal.volumes import lepton_mounts, runai_mounts

if TYPE_CHECKING:
    from pathlib import Path


def test_a_claim_is_shared_within_its_project_only(tmp_path: Path) -> None:
    claims: list[dict[str, Any]] = [{"path": "/mnt/x/", "claimName": "team", "readOnly": True}, {"path": "/y"}]
    one = runai_mounts(claims, tmp_path, project="one", workload="a")
    again = runai_mounts(claims, tmp_path, project="one", workload="b")
    other = runai_mounts(claims, tmp_path, project="two", workload="a")
    found = {mount.target: mount for mount in one}
    assert found["/mnt/x"].read_only
    assert found["/mnt/x"].source.is_dir()
    assert {mount.target: mount.source for mount in again}["/mnt/x"] == found["/mnt/x"].source
    assert {mount.target: mount.source for mount in other}["/mnt/x"] != found["/mnt/x"].source
    # Without a name the platform makes a volume for the workload.
    assert {mount.target: mount.source for mount in again}["/y"] != found["/y"].source


def test_no_name_leaves_the_folder(tmp_path: Path) -> None:
    claims = [{"path": "/a", "claimName": "../up"}, {"path": "/b", "claimName": ".."}]
    mounts = [{"path": "/a/./b//c", "mount_path": "/a", "from": "node-nfs:../../x"}]
    found = (
        *runai_mounts(claims, tmp_path / "volumes", project="..", workload="w"),
        *lepton_mounts(mounts, tmp_path / "volumes", job="j", node=0),
    )
    assert len(found) == 3
    for mount in found:
        assert (tmp_path / "volumes") in mount.source.resolve().parents
    assert sorted(path.name for path in tmp_path.iterdir()) == ["volumes"]


def test_the_nodes_own_disk_is_another_one_for_each_pod(tmp_path: Path) -> None:
    mounts = [{"path": "/", "mount_path": "/disk", "from": "node-local"}]
    sources = {lepton_mounts(mounts, tmp_path, job=job, node=node)[0].source for job in ("a", "b") for node in range(2)}
    assert len(sources) == 4


def test_a_mount_on_a_folder_of_another_comes_after_it(tmp_path: Path) -> None:
    claims = [{"path": "/mnt/a/b", "claimName": "inner"}, {"path": "/mnt/a", "claimName": "outer"}]
    found = runai_mounts(claims, tmp_path, project="p", workload="w")
    assert [mount.target for mount in found] == ["/mnt/a", "/mnt/a/b"]
