from __future__ import annotations

from nemo_runspec.env import DGXCloudProfile, LeptonProfile
from nemo_runspec.rehearsal.inventory import LeptonInventory, RunaiInventory, inventory_for


def test_what_a_lepton_profile_names_exists_and_nothing_else() -> None:
    profile = LeptonProfile(
        name="lepton",
        nemo_run_dir="/mnt/nfs/nemo_run",
        node_group="my-group",
        node_reservation="mine",
        resource_shape="gpu.4xa100",
        mounts=(
            {"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"},
            {"path": "/", "mount_path": "/mnt/disk", "from": "node-local"},
        ),
        image_pull_secrets=("registry",),
        secrets={"HF_TOKEN": "hf"},
    )
    found = inventory_for(profile)
    assert isinstance(found, LeptonInventory)
    assert dict(found.node_groups).keys() == {"my-group"}
    assert found.shapes == {"gpu.4xa100", "cpu.small"}
    assert found.volumes == {"node-nfs:shared"}
    assert dict(found.secrets) == {"hf": "rehearsal of the secret hf"}
    assert found.image_pull_secrets == {"registry"}
    assert found.reservations == {"mine"}
    (group,) = found.node_group_ids()
    assert len(set(found.node_ids(group))) == found.node_groups["my-group"]
    assert found.node_ids("other") == ()


def test_what_a_runai_profile_names_exists_and_nothing_else() -> None:
    profile = DGXCloudProfile(
        name="dgx",
        base_url="https://real.example/api/v1",
        kube_apiserver_url="https://kube.example",
        client_id="me",
        client_secret="real",  # noqa: S106 - it must not come through
        project_name="mine",
        pvc_nemo_run_dir="/mnt/w/nemo_run",
        pvcs=(
            {"path": "/mnt/w", "claimName": "team", "existingPvc": True},
            {"path": "/mnt/n", "claimName": "new"},
        ),
        secrets={"HF_TOKEN": "hf", "WANDB_API_KEY": "wandb/key"},
    )
    found = inventory_for(profile)
    assert isinstance(found, RunaiInventory)
    assert (found.client_id, found.projects) == ("me", ("mine",))
    assert found.claims == {"team"}
    assert {name: set(keys) for name, keys in found.secrets.items()} == {"hf": {"HF_TOKEN"}, "wandb": {"key"}}
    assert "real" not in found.secret_values


def test_credentials_are_new_each_time_and_not_shown() -> None:
    one, other = LeptonInventory(), LeptonInventory()
    assert one.token != other.token
    assert one.token not in repr(one)
    assert RunaiInventory().client_secret != RunaiInventory().client_secret
