from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemo_runspec.env import DGXCloudProfile, LeptonProfile, Origin, load_env_profile
from nemo_runspec.errors import ProfileError

COMMAND_LINE = Origin("command line")
NFS = {"path": "/", "mount_path": "/mnt/nfs", "from": "node-nfs:shared"}
REPOSITORY = "git+https://github.com/NVIDIA-NeMo/Megatron-Bridge.git@main,/opt/Megatron-Bridge"

DGX = """
[d]
executor = "dgxcloud"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
client_id = "i"
client_secret = "{}"
project_name = "p"
pvc_nemo_run_dir = "/mnt/w/nemo_run"
pvcs = [{{ path = "/mnt/w", claimName = "w" }}]

[heir]
extends = "d"
"""

EnvFile = Callable[[str], Path]


@pytest.fixture
def env_file(tmp_path: Path) -> EnvFile:
    def write(text: str) -> Path:
        path = tmp_path / "env.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def lepton(**values: object) -> LeptonProfile:
    profile = LeptonProfile(
        name="l", nemo_run_dir="/mnt/nfs/nemo_run", mounts=(NFS,), node_group="group", resource_shape="cpu.large"
    )
    return profile.with_overrides(values, COMMAND_LINE)


def dgxcloud(**values: object) -> DGXCloudProfile:
    profile = DGXCloudProfile(
        name="d",
        base_url="https://a/api/v1",
        kube_apiserver_url="https://b",
        client_id="i",
        client_secret="${oc.env:S}",  # noqa: S106 - no secret but a reference
        project_name="p",
        pvc_nemo_run_dir="/mnt/w/nemo_run",
        pvcs=({"path": "/mnt/w/", "claimName": "w"},),
    )
    return profile.with_overrides(values, COMMAND_LINE)


def refusal(make: Callable[..., object], **values: object) -> str:
    with pytest.raises(ProfileError) as caught:
        make(**values)
    return str(caught.value)


def test_preemption_needs_a_priority() -> None:
    assert "can_preempt needs 'queue_priority'" in refusal(lepton, can_preempt=True)
    assert lepton(can_preempt=True, queue_priority="mid-4000").can_preempt is True
    assert lepton(can_be_preempted=False).can_be_preempted is False


@pytest.mark.parametrize(("folder", "right"), [("/mnt/w/x", True), ("/mnt/w", True), ("/mnt/wx", False), ("/x", False)])
@pytest.mark.parametrize("key", ["pvc_nemo_run_dir", "workspace"])
def test_what_has_to_outlive_a_pod_lies_on_a_volume(*, key: str, folder: str, right: bool) -> None:
    if right:
        assert getattr(dgxcloud(**{key: folder}), key) == folder
    else:
        assert f"{key} is on none of the pvcs (/mnt/w)" in refusal(dgxcloud, **{key: folder})


@pytest.mark.parametrize(("make", "key"), [(lepton, "mounts"), (dgxcloud, "pvcs")])
def test_without_volumes_there_is_no_place_for_the_job(make: Callable[..., object], key: str) -> None:
    assert f"is on none of the {key} (there are none)" in refusal(make, **{key: []})


def test_the_innermost_volume_counts_for_writing() -> None:
    outer = {"path": "/mnt", "claimName": "a", "readOnly": True}
    inner: dict[str, object] = {"path": "/mnt/w", "claimName": "b"}
    assert dgxcloud(pvcs=[outer, inner]).pod_workspace == "/mnt/w"
    outer, inner = {**outer, "readOnly": False}, {**inner, "readOnly": True}
    assert "pvc_nemo_run_dir is on a volume that is mounted read-only" in refusal(dgxcloud, pvcs=[inner, outer])
    read_only = {**NFS, "mount_options": {"read_only": True}}
    assert "nemo_run_dir is on a volume that is mounted read-only" in refusal(lepton, mounts=[read_only])


def test_a_workspace_is_absolute_or_an_address() -> None:
    assert "workspace must be an absolute path in the pod" in refusal(lepton, workspace="output")
    assert lepton(workspace="s3://bucket/me").pod_workspace == "s3://bucket/me"


def test_without_a_workspace_results_go_to_the_first_volume() -> None:
    assert lepton().pod_workspace == "/mnt/nfs"
    assert dgxcloud().pod_workspace == "/mnt/w/"
    assert lepton(workspace="/mnt/nfs/me").pod_workspace == "/mnt/nfs/me"
    own, lost = {**NFS, "mount_path": "/mnt/own", "from": "node-local"}, {"path": "/mnt/x", "claimName": "x"}
    assert lepton(mounts=[own, NFS]).pod_workspace == "/mnt/nfs"
    assert dgxcloud(pvcs=[{**lost, "ephemeral": True}, {"path": "/mnt/w", "claimName": "w"}]).pod_workspace == "/mnt/w"
    with pytest.raises(ProfileError, match="no volume that outlives a pod"):
        _ = LeptonProfile(name="l", nemo_run_dir="/n").pod_workspace


@pytest.mark.parametrize("folder", ["/", "/usr", "/usr/local/", "//opt", "/mnt/../etc"])
def test_lepton_keeps_folders_for_itself(folder: str) -> None:
    assert "Lepton keeps it for itself" in refusal(lepton, mounts=[NFS, {**NFS, "mount_path": folder}])


def test_two_volumes_on_one_folder_are_refused() -> None:
    again = {**NFS, "mount_path": "/mnt/nfs/"}
    assert "2 volumes are mounted on '/mnt/nfs'" in refusal(lepton, mounts=[NFS, again])
    here = REPOSITORY.replace("/opt/Megatron-Bridge", "/mnt/nfs")
    assert "2 volumes are mounted on '/mnt/nfs'" in refusal(lepton, mounts=[NFS, here])


@pytest.mark.parametrize("volume", ["shared", "nfs:shared", "node-nfs:"])
def test_a_volume_of_lepton_says_its_type(volume: str) -> None:
    assert "mounts[0].from must be" in refusal(lepton, mounts=[{**NFS, "from": volume}])
    assert lepton(mounts=[{**NFS, "from": "node-local"}])


@pytest.mark.parametrize("claim", ["Team", "team_workspace", "-a", "a" * 64])
def test_a_claim_has_a_name_of_kubernetes(claim: str) -> None:
    assert "pvcs[0].claimName must be" in refusal(dgxcloud, pvcs=[{"path": "/mnt/w", "claimName": claim}])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"env_vars": {"LEPTON_WORKSPACE_ID": "x"}}, "'LEPTON_WORKSPACE_ID' is Lepton's own"),
        ({"secrets": ["LEPTON_JOB_NAME"]}, "'LEPTON_JOB_NAME' is Lepton's own"),
        ({"secrets": {"LEPTON_JOB_NAME": "s"}}, "'LEPTON_JOB_NAME' is Lepton's own"),
        ({"env_vars": {"NEMO_RUNSPEC_JOB_DIR": "x"}}, "'NEMO_RUNSPEC_JOB_DIR' is this library's own"),
        ({"env_vars": {"A": "x" * 140_000}}, "'A' has 140,000 bytes"),
    ],
)
def test_a_variable_that_the_platform_refuses(values: dict[str, object], message: str) -> None:
    assert message in refusal(lepton, **values)


def test_the_longest_value_is_the_platform_s() -> None:
    assert "'A' has 10,001 bytes; run:ai takes 10,000" in refusal(dgxcloud, env_vars={"A": "x" * 10_001})
    assert dgxcloud(env_vars={"A": "x" * 10_000})
    assert lepton(env_vars={"A": "x" * 10_001})


@pytest.mark.parametrize(("reference", "right"), [("hf", True), ("hf/TOKEN_1", True), ("HF", False), ("a/b/c", False)])
def test_a_secret_of_run_ai_is_one_of_kubernetes(*, reference: str, right: bool) -> None:
    if right:
        assert dgxcloud(secrets={"HF_TOKEN": reference}).secret_references == {"HF_TOKEN": reference}
    else:
        assert "secrets.HF_TOKEN is no secret of Kubernetes" in refusal(dgxcloud, secrets={"HF_TOKEN": reference})


@pytest.mark.parametrize(
    ("address", "right"),
    [
        ("https://a/api/v1", True),
        ("http://127.0.0.1:1/x/api/v1/", True),
        ("${oc.env:BASE}", True),
        ("https://a", False),
        ("https://a/api/v1/token", False),
    ],
)
def test_the_address_of_run_ai_ends_with_its_version(*, address: str, right: bool) -> None:
    if right:
        assert dgxcloud(base_url=address).base_url == address
    else:
        assert "https://HOST/api/v1" in refusal(dgxcloud, base_url=address)


@pytest.mark.parametrize("make", [lepton, dgxcloud])
@pytest.mark.parametrize("written", [REPOSITORY, f"${{auto_mount:{REPOSITORY}}}"])
def test_repositories_stand_beside_volumes(make: Callable[..., Any], written: str) -> None:
    volumes = [NFS] if make is lepton else []
    profile = make(mounts=[*volumes, written])
    assert profile.git_mounts == (written,)
    assert [volume[profile.folder_key] for volume in profile.volumes] == ["/mnt/nfs" if volumes else "/mnt/w/"]


def test_mounts_of_a_file_may_be_tables_and_repositories(env_file: EnvFile) -> None:
    path = env_file(
        '[l]\nexecutor = "lepton"\nnemo_run_dir = "/mnt/n"\nnode_group = "g"\nresource_shape = "s"\n'
        'mounts = [{ path = "/", mount_path = "/mnt", from = "node-nfs:x" }, "${auto_mount:git+https://x/r@y,/z}"]\n'
    )
    assert load_env_profile("l", path).as_config()["mounts"][0] == {
        "path": "/",
        "mount_path": "/mnt",
        "from": "node-nfs:x",
    }


def test_a_wrong_repository_and_a_stray_mount_are_told() -> None:
    text = refusal(dgxcloud, mounts=["git+https://h/r@main,/etc", "/data:/data", "${oc.env:MORE}"])
    assert "a repository cannot be mounted on /etc" in text
    assert "'/data:/data' in mounts is neither a volume nor a repository" in text
    assert "MORE" not in text


def test_all_problems_of_a_profile_come_at_once(env_file: EnvFile) -> None:
    path = env_file(
        '[l]\nexecutor = "lepton"\nnodes = 0\nworkspce = "x"\nworkspace = "/elsewhere"\n'
        'env_vars = { LEPTON_WORKSPACE_ID = "x", NEMO_RUNSPEC_X = "y" }\ncan_preempt = true\n'
        'mounts = [{ path = "/", mount_path = "/usr" }, { path = "/", mount_path = "/mnt", from = "shared" }, "a:b"]\n'
    )
    text = refusal(lambda: load_env_profile("l", path))
    assert "has 13 problems" in text
    for part in (
        "nodes must be an integer",
        "Lepton needs 'resource_shape'",
        "Lepton needs 'node_group'",
        "workspace is on none of the mounts",
        "'workspce' is not a key",
        "the required key 'nemo_run_dir' is missing",
        "mounts[0].from is missing",
        "mounts[1].from must be",
        "'/usr' cannot be mounted on",
        "'a:b' in mounts is neither",
        "'LEPTON_WORKSPACE_ID' is Lepton's own",
        "'NEMO_RUNSPEC_X' is this library's own",
        "can_preempt needs 'queue_priority'",
    ):
        assert part in text


@pytest.mark.parametrize("value", ["5", '"x"', "[5]", "[{ path = 5 }]", "[[]]", "{ a = 1 }"])
def test_a_key_of_a_wrong_type_is_one_problem_and_no_failure(env_file: EnvFile, value: str) -> None:
    text = DGX.format("s").replace('[{ path = "/mnt/w", claimName = "w" }]', value)
    assert "pvcs" in refusal(lambda: load_env_profile("d", env_file(text)))


def test_a_secret_in_the_environment_is_referred_to_as_written(env_file: EnvFile) -> None:
    profile = load_env_profile("heir", env_file(DGX.format("${oc.env:S}")))
    assert isinstance(profile, DGXCloudProfile)
    assert profile.client_secret_reference == "${oc.env:S}"  # noqa: S105 - no secret but a reference


def test_a_secret_in_the_file_is_referred_to_by_its_place(env_file: EnvFile) -> None:
    path = env_file(DGX.format("canary"))
    profile = load_env_profile("heir", path)
    assert isinstance(profile, DGXCloudProfile)
    assert profile.client_secret_reference == f"${{env_toml:{path},heir}}"
    assert profile.client_secret == "canary"  # noqa: S105 - no secret


def test_a_secret_from_elsewhere_cannot_be_referred_to() -> None:
    profile = dgxcloud(client_secret="canary")  # noqa: S106 - no secret
    text = refusal(lambda: profile.client_secret_reference)
    assert "canary" not in text
    assert "${oc.env:" in text


def test_the_client_secret_stays_out_of_configurations(env_file: EnvFile) -> None:
    profile = load_env_profile("d", env_file(DGX.format("canary")))
    assert "client_secret" not in profile.as_config()
    assert profile.as_config()["client_id"] == "i"
    assert profile.as_config(confidential=True)["client_secret"] == "canary"  # noqa: S105 - no secret


def test_run_ai_knows_its_frameworks() -> None:
    assert dgxcloud(distributed_framework="MPI").distributed_framework == "MPI"
    assert dgxcloud(distributed_framework="${oc.env:FRAMEWORK}")
    assert "distributed_framework must be one of PyTorch, MPI" in refusal(dgxcloud, distributed_framework="pytorch")
