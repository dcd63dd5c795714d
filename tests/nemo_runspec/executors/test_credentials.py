from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.env import DGXCloudProfile, Origin, load_env_profile
from nemo_runspec.errors import ProfileError
from nemo_runspec.executors import resolve_profile
from nemo_runspec.executors.credentials import is_reference, read_secret, reference_for, require_reference
from tests.nemo_runspec.recipes import write_env_file

if TYPE_CHECKING:
    from pathlib import Path

TABLE = """
[cloud]
executor = "dgxcloud"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
client_id = "app"
client_secret = "{secret}"
project_name = "p"
pvc_nemo_run_dir = "/mnt/w/nemo_run"
pvcs = [{{ path = "/mnt/w", claimName = "team" }}]
"""


def profile(folder: Path, secret: str) -> DGXCloudProfile:
    loaded = load_env_profile("cloud", write_env_file(folder, TABLE.format(secret=secret)))
    assert isinstance(loaded, DGXCloudProfile)
    return loaded


def test_a_variable_is_read_when_the_secret_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNAI_SECRET", "canary-1")
    assert read_secret("${oc.env:RUNAI_SECRET}") == "canary-1"
    monkeypatch.setenv("RUNAI_SECRET", "canary-2")
    assert read_secret("${oc.env:RUNAI_SECRET}") == "canary-2"
    monkeypatch.delenv("RUNAI_SECRET")
    with pytest.raises(ProfileError, match="RUNAI_SECRET, which is not set"):
        read_secret("${oc.env:RUNAI_SECRET}")


@pytest.mark.parametrize("text", ["canary", "", "${oc.env:A,canary}", "x${oc.env:A}", "${art:data}"])
def test_what_is_no_reference_is_refused_and_not_repeated(text: str) -> None:
    assert not is_reference(text)
    with pytest.raises(ProfileError, match="client_secret") as error:
        require_reference(text)
    assert "canary" not in str(error.value)
    assert "oc.env:RUNAI_CLIENT_SECRET" in str(error.value)


def test_a_secret_in_env_toml_is_read_from_there(tmp_path: Path) -> None:
    reference = reference_for(profile(tmp_path, "canary-literal"))
    assert is_reference(reference)
    assert "canary" not in reference
    assert read_secret(reference) == "canary-literal"
    profile(tmp_path, "canary-new")
    assert read_secret(reference) == "canary-new"


def test_a_variable_that_env_toml_names_is_kept_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reference_for(profile(tmp_path, "${oc.env:RUNAI_SECRET}")) == "${oc.env:RUNAI_SECRET}"
    monkeypatch.setenv("RUNAI_SECRET", "canary-1")
    resolved = resolve_profile(profile(tmp_path, "${oc.env:OTHER,${oc.env:RUNAI_SECRET}}"))
    assert isinstance(resolved, DGXCloudProfile)
    assert read_secret(reference_for(resolved)) == "canary-1"


def test_a_secret_given_in_python_is_looked_for_in_the_environment(tmp_path: Path) -> None:
    given = profile(tmp_path, "x").with_overrides({"client_secret": "canary"}, Origin("load_executor"))
    assert reference_for(given, {"A": "b", "RUNAI": "canary"}) == "${oc.env:RUNAI}"
    with pytest.raises(ProfileError, match="client_secret") as error:
        reference_for(given, {"A": "b"})
    assert "canary" not in str(error.value)


def test_a_profile_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = reference_for(profile(tmp_path, "canary"))
    profile(tmp_path, "${oc.env:UNSET_HERE}")
    monkeypatch.delenv("UNSET_HERE", raising=False)
    with pytest.raises(ProfileError, match=r"'client_secret' cannot be filled in.*UNSET_HERE"):
        read_secret(reference)
    write_env_file(tmp_path, '[cloud]\nexecutor = "local"\n')
    with pytest.raises(ProfileError, match="has no client_secret any more"):
        read_secret(reference)
