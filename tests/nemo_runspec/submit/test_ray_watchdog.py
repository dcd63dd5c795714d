from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.env import LeptonProfile, load_env_profile
from nemo_runspec.errors import ProfileError
from nemo_runspec.platforms.lepton_ray import LeptonRayClient
from nemo_runspec.submit.ray_watchdog import WATCHDOG, check_token, watchdog
from tests.nemo_runspec.recipes import LEPTON_TABLE, write_env_file

if TYPE_CHECKING:
    from pathlib import Path


def profile(folder: Path, more: str) -> LeptonProfile:
    write_env_file(folder, f"[far]\n{LEPTON_TABLE}{more}")
    found = load_env_profile("far")
    assert isinstance(found, LeptonProfile)
    return found


def test_the_token_has_to_be_a_secret_of_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    has = profile(tmp_path, 'secrets = { LEPTON_WORKSPACE_TOKEN = "mine" }\n')
    check_token(has.secret_references, "--ttl", "far")
    lacks = profile(tmp_path, 'secrets = ["LEPTON_WORKSPACE_TOKEN"]\n')
    with pytest.raises(ProfileError) as refused:
        check_token(lacks.secret_references, "--ttl", "far", lacks.source)
    assert "env.toml" in str(refused.value)
    assert 'secrets = { LEPTON_WORKSPACE_TOKEN = "SECRET" }' in str(refused.value)


def test_the_job_knows_the_cluster_and_its_time_and_no_token() -> None:
    client = LeptonRayClient("https://lepton.example/api/v2/workspaces/w", "canary-token", "https://o")
    driver = watchdog(client, "team", "ttl-abc123", until_s=1234.4)
    words = shlex.split(driver.entrypoint)
    assert words[:2] == ["python3", "-c"]
    compile(words[2], "watchdog", "exec")
    address = "https://lepton.example/api/v2/workspaces/w/rayclusters/team"
    assert words[3:] == ["--cluster", address, "--origin", "https://o", "--until", "1234"]
    assert driver.metadata == {"role": WATCHDOG, "until": "1234"}
    assert "canary-token" not in driver.entrypoint
