from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from nemo_runspec.artifacts import ArtifactStore, Manifest, Producer
from nemo_runspec.config.resolvers import Resolution, resolve
from nemo_runspec.errors import ArtifactError, ArtifactNotFoundError, ConfigError, DataError, Location


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    store = ArtifactStore(tmp_path / "store")
    for path in ("/data/a", "/data/b"):
        store.publish(
            Manifest(name="corpus", type="data", path=path, metadata={"tokens": 7}, producer=Producer(name="test"))
        )
    return store


def _resolve(
    store: ArtifactStore, config: dict[str, Any], missing: dict[str, ArtifactNotFoundError] | None = None
) -> tuple[dict[str, Any], Resolution]:
    tree = OmegaConf.create(config)
    assert isinstance(tree, DictConfig)
    resolution = Resolution(store, missing=missing)
    return resolve(tree, resolution, path=Path("config.yaml")), resolution


def test_art_gives_fields_of_the_named_artifact(store: ArtifactStore) -> None:
    config = {
        "run": {"data": "corpus:latest"},
        "path": "${art:data,path}",
        "n": "${art:data,tokens}",
        "p": "${art:data}",
    }
    plain, resolution = _resolve(store, config)
    assert (plain["path"], plain["n"], plain["p"]) == ("/data/b", 7, "/data/b")
    assert resolution.inputs == {"data": "corpus:v2"}


def test_art_takes_a_version(store: ArtifactStore) -> None:
    plain, _ = _resolve(store, {"run": {"data": "corpus:v1"}, "path": "${art:data,path}"})
    assert plain["path"] == "/data/a"


def test_a_missing_artifact_is_told_with_the_nearest_name(store: ArtifactStore) -> None:
    config = {"run": {"data": "corpsu"}, "path": "${art:data,path}"}
    with pytest.raises(ArtifactNotFoundError, match="no artifact 'corpsu'") as error:
        _resolve(store, config)
    assert "Did you mean 'corpus'?" in str(error.value)
    plain, resolution = _resolve(store, config, missing={})
    assert plain["path"] == "<corpsu path>"
    assert list(resolution.missing or ()) == ["corpsu"]


def test_an_unknown_field_names_the_known_ones(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactError, match="tokenz") as error:
        _resolve(store, {"run": {"data": "corpus"}, "n": "${art:data,tokenz}"})
    assert "tokens" in str(error.value)


def test_art_needs_an_entry_of_run(store: ArtifactStore) -> None:
    with pytest.raises(ConfigError, match=r"reads 'run.dta'") as error:
        _resolve(store, {"run": {"data": "corpus"}, "n": "${art:dta,path}"})
    assert "Did you mean 'data'?" in str(error.value)


def test_mul(store: ArtifactStore) -> None:
    plain, _ = _resolve(store, {"a": 3, "b": "${mul:${a},2,0.5}", "c": "${mul:${a},4}"})
    assert (plain["b"], plain["c"]) == (3.0, 12)
    with pytest.raises(ConfigError, match="takes numbers"):
        _resolve(store, {"b": "${mul:2,x}"})


def test_auto_mount_gives_the_entry_of_mounts(store: ArtifactStore) -> None:
    plain, _ = _resolve(
        store,
        {
            "ref": "r0.2.0",
            "mounts": [
                "${auto_mount:git+https://host.example/team/re-po_1.git@${ref},/opt/re.po/}",
                "${auto_mount:git+ssh://git@host.example:22/team/repo@feature/x-1, /opt/b}",
            ],
        },
    )
    assert plain["mounts"] == [
        "git+https://host.example/team/re-po_1.git@r0.2.0,/opt/re.po",
        "git+ssh://git@host.example:22/team/repo@feature/x-1,/opt/b",
    ]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("git+https://h/r@main", "takes a repository and a folder"),
        ("git+https://h/r@main,/a,/b", "takes a repository and a folder"),
        ("git+https://h/r@main,/etc", "cannot be mounted on /etc"),
        ("https://h/r@main,/opt/r", "which this is not"),
    ],
)
def test_auto_mount_refuses(store: ArtifactStore, written: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: 'm'") as caught:
        _resolve(store, {"m": f"${{auto_mount:{written}}}"})
    assert message in str(caught.value)


def _prepared(store: ArtifactStore, folder: Path) -> str:
    """Publish prepared data as the artifact `prompts`, and give its folder."""
    (folder / "manifest.json").write_text(json.dumps({"train": "/d/t.jsonl", "val": ["/d/0", "/d/1"], "test": ""}))
    store.publish(Manifest(name="prompts", type="data", path=str(folder), producer=Producer(name="test")))
    return str(folder)


def test_manifest_gives_the_files_of_a_split(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _prepared(store, tmp_path)
    config = {
        "run": {"data": "prompts"},
        "folder": folder,
        "train": "${manifest:${art:data,path},train}",
        "val": "${manifest:${art:data},val}",
        "file": "${manifest:${art:data,path}/manifest.json,train}",
        "plain": f"${{manifest:{folder}, train}}",
        "entry": "${manifest:${folder},train}",
    }
    plain, resolution = _resolve(store, config)
    assert {key: plain[key] for key in ("train", "file", "plain", "entry")} == dict.fromkeys(
        ("train", "file", "plain", "entry"), "/d/t.jsonl"
    )
    assert plain["val"] == ["/d/0", "/d/1"]
    assert (resolution.inputs, resolution.unfilled) == ({"data": "prompts:v1"}, False)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("${manifest:${art:data,path},valid}", "Did you mean 'val'?"),
        ("${manifest:${art:data,path},test}", "has no split 'test'"),
        ("${manifest:/nowhere,train}", "nemotron nano3 data prep rl"),
        ("${manifest:/nowhere}", "takes a folder and a split"),
        ("${manifest:null,train}", "takes a folder and a split"),
        ("${manifest:a,b,train}", "takes a folder and a split"),
    ],
)
def test_manifest_errors_name_file_and_key(store: ArtifactStore, tmp_path: Path, written: str, said: str) -> None:
    _prepared(store, tmp_path)
    with pytest.raises((ConfigError, DataError)) as caught:
        _resolve(store, {"run": {"data": "prompts"}, "data": {"path": written}})
    assert str(caught.value).startswith("config.yaml: 'data.path': ")
    assert said in str(caught.value)


def test_manifest_of_a_missing_artifact(store: ArtifactStore) -> None:
    config = {"run": {"data": "prompts"}, "train": "${manifest:${art:data,path}/x,train}"}
    with pytest.raises(ArtifactNotFoundError, match="no artifact 'prompts'"):
        _resolve(store, config)
    plain, resolution = _resolve(store, config, missing={})
    assert plain["train"] == "<prompts train>"
    assert list(resolution.missing or ()) == ["prompts"]


def test_an_artifact_whose_manifest_is_gone_is_missing(store: ArtifactStore, tmp_path: Path) -> None:
    """A pipeline that makes it anew has to be planned all the same."""
    folder = Path(_prepared(store, tmp_path))
    (folder / "manifest.json").unlink()
    config = {"run": {"data": "prompts"}, "train": "${manifest:${art:data,path},train}"}
    with pytest.raises(DataError, match=r"manifest\.json does not exist"):
        _resolve(store, config)
    plain, resolution = _resolve(store, config, missing={})
    assert plain["train"] == "<prompts train>"
    assert "manifest.json does not exist" in (resolution.missing or {})["prompts"].message
    with pytest.raises(DataError):
        _resolve(store, {"train": "${manifest:/nowhere,train}"}, missing={})


def _elsewhere(store: ArtifactStore, config: dict[str, Any], *, deferred: bool) -> tuple[dict[str, Any], Resolution]:
    tree = OmegaConf.create(config)
    assert isinstance(tree, DictConfig)
    resolution = Resolution(store, deferred=deferred, elsewhere=True)
    return resolve(tree, resolution, path=Path("config.yaml")), resolution


def test_manifest_is_left_to_the_job_where_only_it_sees_the_files(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _prepared(store, tmp_path)
    config = {"run": {"data": "prompts"}, "train": "${manifest:${art:data,path},train}"}
    plain, resolution = _elsewhere(store, config, deferred=True)
    assert plain["train"] == "${manifest:${art:prompts:latest,path},train}"
    assert resolution.unfilled
    plain, resolution = _elsewhere(store, config, deferred=False)
    assert plain["train"] == f"${{manifest:{folder},train}}"
    assert resolution.unfilled
    with pytest.raises(ConfigError, match="Did you mean 'val'"):
        _elsewhere(store, {**config, "train": "${manifest:${art:data,path},vall}"}, deferred=True)
    with pytest.raises(ConfigError, match="holds a brace"):
        _elsewhere(store, {"folder": "/a{b", "train": "${manifest:${folder},train}"}, deferred=True)


def test_manifest_behind_a_url_is_read_from_here(store: ArtifactStore, tmp_path: Path) -> None:
    folder = _prepared(store, tmp_path)
    plain, resolution = _elsewhere(
        store, {"where": f"file://{folder}", "train": "${manifest:${where},train}"}, deferred=False
    )
    assert (plain["train"], resolution.unfilled) == ("/d/t.jsonl", False)


def test_workspace(store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _resolve(store, {"p": "${workspace:}/x"})[0]["p"] == f"{tmp_path}/output/x"
    for value, expected in (("/ws", "/ws"), ("rel", f"{tmp_path}/rel"), ("s3://b/ws", "s3://b/ws")):
        config = {"run": {"env": {"workspace": value}}, "p": "${workspace:}"}
        assert _resolve(store, config)[0]["p"] == expected


def test_a_mandatory_value_says_how_to_give_it(store: ArtifactStore) -> None:
    with pytest.raises(ConfigError, match=r"'data.blend' has no value") as error:
        _resolve(store, {"data": {"blend": "???"}})
    assert "data.blend=VALUE" in str(error.value)


def test_a_broken_interpolation_names_its_key(store: ArtifactStore) -> None:
    with pytest.raises(ConfigError, match=r"'a.b'"):
        _resolve(store, {"a": {"b": "${nowhere}"}})


def test_a_resolver_s_error_names_file_and_key(store: ArtifactStore) -> None:
    with pytest.raises(ConfigError) as caught:
        _resolve(store, {"a": {"b": "${mul:2,x}"}})
    assert str(caught.value).startswith("config.yaml: 'a.b': ${mul:...} takes numbers")
    with pytest.raises(ArtifactNotFoundError) as missing:
        _resolve(store, {"run": {"data": "none"}, "data": {"path": "${art:data}"}})
    assert str(missing.value).startswith("config.yaml: 'data.path': ")


@pytest.mark.parametrize("config", [{"a": "${b}", "b": "${a}"}, {"a": "${a}"}, {"a": {"b": "${a}"}}])
def test_a_circle_of_interpolations_is_told(store: ArtifactStore, config: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        _resolve(store, config)


def test_a_broken_value_of_env_toml_names_its_line(store: ArtifactStore) -> None:
    tree = OmegaConf.create({"run": {"env": {"mounts": [{"from": "${nowhere}"}], "nodes": 2}}})
    assert isinstance(tree, DictConfig)
    line = Location(Path("env.toml"), 7)
    expected: tuple[tuple[dict[str, Location | None], str], ...] = (
        ({"run.env.mounts": line, "run.env.nodes": None}, "env.toml:7: 'run.env.mounts[0].from'"),
        ({"run.env.mounts": None}, "'run.env.mounts[0].from'"),
        ({}, "config.yaml: 'run.env.mounts[0].from'"),
    )
    for places, beginning in expected:
        with pytest.raises(ConfigError) as caught:
            resolve(tree, Resolution(store), path=Path("config.yaml"), places=places)
        assert str(caught.value).startswith(beginning)
    tree.run.env = {"nodes": "${mul:2,x}"}
    with pytest.raises(ConfigError) as caught:
        resolve(tree, Resolution(store), path=Path("config.yaml"), places={"run.env.nodes": line})
    assert str(caught.value).startswith("env.toml:7: 'run.env.nodes': ${mul:...} takes numbers")


def test_a_variable_that_is_not_set_can_be_exported(store: ArtifactStore) -> None:
    with pytest.raises(ConfigError) as caught:
        _resolve(store, {"a": "${oc.env:NOBODY_SETS_THIS}"})
    assert caught.value.remedy is not None
    assert caught.value.remedy.startswith("Export the variable")
