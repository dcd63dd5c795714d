from __future__ import annotations

from pathlib import Path

import pytest

from nemo_runspec.env import DGXCloudProfile, LeptonProfile, LocalProfile, Origin, explain_refusal
from nemo_runspec.errors import Location, RefusedError

LEPTON = LeptonProfile(
    name="far",
    nemo_run_dir="/mnt/jobs",
    resource_shape="cpu.larg",
    node_group="grop",
    mounts=({"path": "/", "mount_path": "/mnt", "from": "node-nfs:shred"},),
    custom_spec={"privileged": "maybe"},
    origins={
        "resource_shape": Origin("far", Location(Path("env.toml"), 4)),
        "node_group": Origin("command line"),
        "mounts": Origin("base", Location(Path("env.toml"), 9)),
    },
)
RUNAI = DGXCloudProfile(
    name="runai",
    base_url="https://a/api/v1",
    kube_apiserver_url="https://b",
    client_id="i",
    client_secret="${oc.env:S}",  # noqa: S106 - no secret but a reference
    project_name="my-projct",
    pvc_nemo_run_dir="/mnt/w",
    pvcs=({"path": "/mnt/w", "claimName": "w"},),
)


@pytest.mark.parametrize(
    ("message", "keys"),
    [
        ("spec.resource_shape: resource shape 'x' does not exist", 'resource_shape = "cpu.larg" (env.toml:4)'),
        ("the Lepton workspace has no node group 'grop'", 'node_group = "grop" (command line)'),
        ("spec.mounts[0].from: volume 'node-nfs:shred' does not exist", "mounts (env.toml:9)"),
        ("spec.envs[3].value_from.secret_name_ref: secret 'x' does not exist", "secrets"),
        ("spec.image_pull_secrets: secret 'x' does not exist", "image_pull_secrets"),
        ("spec.envs[3].name: the variable 'A' is Lepton's own and cannot be set", "env_vars"),
        ("spec.reservation_config.reservation_id: reservation 'r' does not exist", "node_reservation"),
        ("spec.privileged: must be true or false", "custom_spec"),
        (
            "Invalid: spec.mounts[0].from: volume 'x' does not exist; spec.resource_shape: does not exist",
            'mounts (env.toml:9), resource_shape = "cpu.larg" (env.toml:4)',
        ),
    ],
)
def test_a_refusal_of_lepton_names_the_keys(message: str, keys: str) -> None:
    assert explain_refusal(LEPTON, RefusedError(message)) == f"Correct {keys} in profile 'far'."


@pytest.mark.parametrize(
    ("message", "keys"),
    [
        ("run:ai has no project 'my-projct' for this application", 'project_name = "my-projct"'),
        ("bad request; storage.pvc[0].claimName: volume claim 'w' does not exist", "pvcs"),
        ("environmentVariables[2].secret.name: secret 'x' does not exist", "secrets"),
        ("environmentVariables[2].value: value must be no longer", "env_vars"),
        ("distributedFramework: must be one of", "distributed_framework"),
        ("there is no run:ai API at https://a/api/v1: 404", 'base_url = "https://a/api/v1"'),
    ],
)
def test_a_refusal_of_run_ai_names_the_keys(message: str, keys: str) -> None:
    assert explain_refusal(RUNAI, RefusedError(message)) == f"Correct {keys} in profile 'runai'."


def test_what_no_profile_says_is_not_explained() -> None:
    assert explain_refusal(LEPTON, RefusedError("etcdserver: request is too large")) is None
    assert explain_refusal(LocalProfile.default(), RefusedError("no resource shape")) is None
