from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import select
from nemo_runspec.env import load_env_profile, parse_env
from nemo_runspec.errors import ProfileError
from tests.guardrails.checkout import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LEPTON = {
    "executor": '"lepton"',
    "nemo_run_dir": '"/mnt/nfs/nemo_run"',
    "node_group": '"group"',
    "resource_shape": '"cpu.large"',
    "mounts": '[{ path = "/", mount_path = "/mnt/nfs", from = "node-nfs:shared" }]',
}
RUNAI = {
    "executor": '"dgxcloud"',
    "base_url": '"https://team.example/api/v1"',
    "kube_apiserver_url": '"https://kube.example"',
    "client_id": '"nemotron"',
    "client_secret": '"${oc.env:RUNAI_CLIENT_SECRET}"',
    "project_name": '"my-project"',
    "pvc_nemo_run_dir": '"/mnt/w/nemo_run"',
    "pvcs": '[{ path = "/mnt/w", claimName = "w" }]',
}


def problems(folder: Path, table: dict[str, str], **values: str) -> list[str]:
    """Write a profile and give what is wrong with it, without the file's own path."""
    file = folder / "env.toml"
    lines = [f"{key} = {value}" for key, value in {**table, **values}.items() if value]
    file.write_text("\n".join(["[p]", *lines]), encoding="utf-8")
    try:
        load_env_profile("p", file)
    except ProfileError as error:
        return str(error).replace(str(folder), "").splitlines()
    return []


def line_of(table: dict[str, str], key: str) -> int:
    return [*table].index(key) + 2


def test_a_right_profile_has_no_problems(tmp_path: Path) -> None:
    assert problems(tmp_path, LEPTON) == problems(tmp_path, RUNAI) == []


def test_malformed_entries_do_not_hide_what_is_wrong_with_the_others(tmp_path: Path) -> None:
    found = "\n".join(
        problems(
            tmp_path,
            LEPTON,
            env_vars='{ "1A" = "b", RANK = "0", B = 5, LEPTON_WORKSPACE_ID = "x" }',
            secrets='["1BAD", "LEPTON_JOB_NAME"]',
        )
    )
    for part in ("env_vars.1A", "'RANK'", "env_vars.B", "'LEPTON_WORKSPACE_ID'", "secrets[0]", "'LEPTON_JOB_NAME'"):
        assert part in found
    pvcs = '[{ path = "/mnt/x", claimName = "x" }, { claimName = "y" }, { path = "rel", claimName = "z" }]'
    found = "\n".join(problems(tmp_path, RUNAI, pvcs=pvcs))
    assert "pvcs[1].path is missing" in found
    assert "pvcs[2].path must be an absolute path" in found
    assert "pvc_nemo_run_dir is on none of the pvcs (/mnt/x)" in found
    mounts = '[{ path = "/", mount_path = "/mnt/other", from = "bogus" }, 5]'
    found = "\n".join(problems(tmp_path, LEPTON, mounts=mounts))
    assert "mounts[0].from must be" in found
    assert "nemo_run_dir is on none of the mounts (/mnt/other)" in found


def test_nothing_is_concluded_from_a_folder_that_is_not_known_yet(tmp_path: Path) -> None:
    assert problems(tmp_path, RUNAI, pvcs='[{ path = "${oc.env:PLACE}", claimName = "w" }]') == []


def test_what_lepton_needs_and_what_a_job_makes_itself_are_told_with_their_lines(tmp_path: Path) -> None:
    found = problems(
        tmp_path, LEPTON, node_group="", resource_shape="", custom_spec="{ completions = 7, envs = [], log = {} }"
    )
    assert [line.partition(", which a job's")[0] for line in found] == [
        "profile 'p' has 4 problems:",
        "  /env.toml:1: profile 'p': Lepton needs 'resource_shape', for example: resource_shape = \"gpu.8xh100-sxm\"",
        "  /env.toml:1: profile 'p': Lepton needs 'node_group', for example: node_group = \"my-node-group\"",
        *(f"  /env.toml:5: profile 'p': custom_spec must not set {what}" for what in ("'completions'", "'envs'")),
    ]
    found = problems(
        tmp_path, RUNAI, custom_spec='{ compute = { gpuDevicesRequest = 1 }, storage = {}, command = "x" }'
    )
    assert "custom_spec must not set 'command'" in found[1]
    assert "custom_spec must not set 'compute.gpuDevicesRequest'" in found[2]
    assert len(found) == 3


def test_an_empty_key_is_one_problem(tmp_path: Path) -> None:
    (first, *_) = problems(tmp_path, LEPTON, node_group='""')
    assert first == "/env.toml:4: [p] node_group must be a string, but it is empty"


def test_a_command_that_cannot_be_run_is_told_with_its_line(tmp_path: Path) -> None:
    first, second = problems(tmp_path, LEPTON, run_command='"python \'unclosed {script}"')
    assert first == "/env.toml:7: profile 'p': run_command cannot be split into words: No closing quotation"
    assert second.strip() == "Close the quote."
    first, second = problems(tmp_path, LEPTON, run_command='"python {script} {foo} ${HOME}"')
    assert "run_command has an unknown placeholder {foo}" in first
    assert "{script} and {config} are filled in" in second


@pytest.mark.parametrize("key", ["pvc_nemo_run_dir", "workspace"])
def test_what_goes_with_the_job_keeps_nothing(tmp_path: Path, key: str) -> None:
    pvcs = '[{ path = "/mnt/w", claimName = "w" }, { path = "/mnt/w/e", claimName = "e", ephemeral = true }]'
    first, *_ = problems(tmp_path, RUNAI, pvcs=pvcs, **{key: '"/mnt/w/e/x"'})
    assert f"{key} is on an ephemeral volume" in first
    assert problems(tmp_path, RUNAI, pvcs=pvcs) == []


def test_nodes_do_not_share_their_own_disks(tmp_path: Path) -> None:
    mounts = LEPTON["mounts"].replace("node-nfs:shared", "node-local")
    found = problems(tmp_path, LEPTON, mounts=mounts, nodes="2", workspace='"/mnt/nfs/out"')
    assert "nemo_run_dir is on 'node-local', which is another disk on each of the 2 nodes" in found[1]
    assert "workspace is on 'node-local'" in found[2]
    assert problems(tmp_path, LEPTON, mounts=mounts, nodes="1") == problems(tmp_path, LEPTON, nodes="2") == []


def test_the_lines_are_those_of_the_keys(tmp_path: Path) -> None:
    first, *_ = problems(tmp_path, RUNAI, pvc_nemo_run_dir='"/elsewhere"')
    assert first.startswith(f"/env.toml:{line_of(RUNAI, 'pvc_nemo_run_dir')}: ")


def test_a_secrets_value_stands_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "".join(problems(tmp_path, LEPTON, env_vars='{ HF_TOKEN = "hf_0123456789", MODE = "fast" }'))
    assert "env_vars holds the value of HF_TOKEN" in told
    assert 'secrets = ["HF_TOKEN"]' in told
    assert "hf_0123456789" not in told
    monkeypatch.setenv("HF_TOKEN", "hf_0123456789")
    assert problems(tmp_path, LEPTON, env_vars='{ HF_TOKEN = "${oc.env:HF_TOKEN}" }') == []


def test_what_the_example_leaves_out_would_travel_and_its_ray_has_several() -> None:
    example = parse_env(ROOT / "env.toml.example")
    everything = select(None, ROOT).files
    for glob in example.profile("lepton").exclude:
        assert len(select(None, ROOT, (glob,)).files) < len(everything)
    assert example.profile("lepton_rl").nodes == 2
