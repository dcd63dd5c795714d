from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.config import build_job_config, find_config, parse_config
from nemo_runspec.config.override import plain_tree
from nemo_runspec.context import RecipeConfig, parse_override
from nemo_runspec.env import EnvFile, LocalProfile, Profile, load_env_file
from nemo_runspec.errors import ConfigError
from nemo_runspec.spec import parse
from tests.nemo_runspec.recipes import write_env_file, write_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.config.load import MergedConfig

ENV = """
[wandb]
project = "p"

[artifacts]
root = "/store"

[base]
executor = "local"
env_vars = { A = "1", B = "2" }

[here]
extends = "base"
nproc_per_node = 4
env_vars = { A = "3" }
"""


def _config(tmp_path: Path, config: str | None = None, request: RecipeConfig | None = None) -> MergedConfig:
    script = write_recipe(tmp_path / "recipe", **({"config": config} if config else {}))
    return parse_config(request or RecipeConfig(), parse(script))


def _merged(
    config: MergedConfig, *overrides: str, profile: Profile | None = None, file: EnvFile | None = None
) -> MergedConfig:
    parsed = [parse_override(text) for text in overrides]
    return build_job_config(
        config,
        profile=profile or LocalProfile.default(),
        env_file=file or EnvFile(),
        overrides=[override for override in parsed if override is not None],
    )


def test_a_configuration_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path / "recipe"))
    default = spec.config_dir / "default.yaml"
    assert find_config(spec, None) == find_config(spec, "default") == find_config(spec, str(default)) == default


def test_an_unknown_configuration_names_the_nearest(tmp_path: Path) -> None:
    spec = parse(write_recipe(tmp_path / "recipe"))
    with pytest.raises(ConfigError, match="no configuration 'defualt'") as error:
        find_config(spec, "defualt")
    assert "Did you mean 'default'?" in str(error.value)
    with pytest.raises(ConfigError, match=r"configuration file './no.yaml' does not exist"):
        find_config(spec, "./no.yaml")


def test_broken_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not valid YAML") as error:
        _config(tmp_path, "a: 1\nb: [1, 2\nc: 3\n")
    assert error.value.where is not None
    assert error.value.where.line == 3


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "hello",
        "3",
        "run: 3\n",
        "run: {env: [1]}\n",
        "run: ${nope}",
        "run: {wandb: abc}",
        "run: {artifacts: x}",
    ],
)
def test_a_configuration_is_a_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="mapping"):
        _config(tmp_path, text)


def test_layers_win_in_order_and_tell_their_origin(tmp_path: Path) -> None:
    file = load_env_file(write_env_file(tmp_path, ENV))
    merged = _merged(
        _config(tmp_path), "run.env.nproc_per_node=2", "train.lr=0.5", profile=file.profile("here"), file=file
    )
    tree = plain_tree(merged.tree)
    assert tree["run"]["env"] == {"executor": "local", "nproc_per_node": 2, "env_vars": {"A": "3"}}
    assert tree["run"]["wandb"] == {"project": "p"}
    assert tree["run"]["artifacts"] == {"root": "/store"}
    assert tree["train"]["lr"] == 0.5
    assert merged.origins["run.env.nproc_per_node"] == merged.origins["train.lr"] == "command line"
    assert merged.origins["run.env.env_vars"] == "profile here (env.toml:15)"
    assert merged.origins["run.wandb.project"] == "env.toml [wandb]"
    assert "train.max_steps" not in merged.origins


def test_the_loaded_configuration_is_not_changed(tmp_path: Path) -> None:
    config = _config(tmp_path)
    before = plain_tree(config.tree)
    _merged(config, "train.lr=0.5", "++train.new=1")
    assert plain_tree(config.tree) == before


def test_an_alias_means_the_key_itself(tmp_path: Path) -> None:
    merged = _merged(_config(tmp_path, "run: {env: {nprocs_per_node: 3}}\n"), "run.env.nprocs_per_node=2")
    assert plain_tree(merged.tree)["run"]["env"] == {"nproc_per_node": 2, "executor": "local"}


@pytest.mark.parametrize(
    ("override", "message", "remedy"),
    [
        ("trian.lr=1", "the configuration has no entry 'trian'", "Did you mean 'train'?"),
        ("train.lrr=1", "'train' has no entry 'lrr'", "++train.lrr=1"),
        ("train.lr.x=1", "'train.lr' is a single value (now 0.001)", "train.lr=VALUE"),
        ("++train.lr.x=1", "'train.lr' is a single value (now 0.001)", "train.lr=VALUE"),
        ("run=null", "'run' is a section", "run.KEY=VALUE"),
        ("run.env=null", "'run.env' is a section", "run.env.KEY=VALUE"),
        ("++run.env=5", "'run.env' is a section", "run.env.KEY=VALUE"),
        ("++run={env: 5}", "'run.env' is a section", "run.env.KEY=VALUE"),
        ("++run.wandb=abc", "'run.wandb' is a section", "run.wandb.KEY=VALUE"),
        ("++run.wandb=null", "'run.wandb' is a section", "run.wandb.KEY=VALUE"),
        ("++run.artifacts=abc", "'run.artifacts' is a section", "run.artifacts.KEY=VALUE"),
        ("++run.artifacts=${nope}", "'run.artifacts' is a section", "run.artifacts.KEY=VALUE"),
        ("run.artifacts.root=${nope}", "'run.artifacts.root': Interpolation key 'nope'", "Correct the ${...}"),
        ("run.env.workspace=${nope:}", "'run.env.workspace': Unsupported interpolation", "Correct the ${...}"),
        ("train.path=${", "the value cannot be read", "plain value"),
        ("train.names.7=x", "'train.names' has no entry '7'", "train.names=[...]"),
        ("train=1", "'train' is a section", "lr, max_steps"),
        ("train.max_steps=many", "is a number (now 5)", "Give a number"),
        ("train.max_steps=true", "is a number (now 5)", "Give a number"),
        ("train.shuffle=1", "is true or false (now True)", "Give true or false"),
        ("train.lr=[", "not valid YAML", "Quote it"),
        ("run.env.nodez=1", "a local profile has no key 'nodez'", "Did you mean 'nodes'?"),
        ("run.env.nodez.a=1", "a local profile has no key 'nodez'", "Did you mean 'nodes'?"),
        ("run.env.nproc_per_node.a=1", "'run.env.nproc_per_node' is a single value", "run.env.nproc_per_node=VALUE"),
        ("run.env.account=x", "a local profile has no key 'account'", "slurm"),
    ],
)
def test_an_override_that_does_not_fit_is_refused(tmp_path: Path, override: str, message: str, remedy: str) -> None:
    with pytest.raises(ConfigError) as error:
        _merged(_config(tmp_path), override)
    assert message in str(error.value)
    assert remedy in str(error.value)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.lr=1e-5", 1e-5),
        ("train.lr=2", 2),
        ("train.lr=null", None),
        ("train.lr=${train.max_steps}", "${train.max_steps}"),
        ("train.path=/a b/c", "/a b/c"),
        ("train.names=[c]", ["c"]),
        ("train.names.1=c", ["a", "c"]),
        ("++train.new.deep={x: 1}", {"deep": {"x": 1}}),
    ],
)
def test_an_override_is_read_as_yaml(tmp_path: Path, override: str, value: object) -> None:
    train = plain_tree(_merged(_config(tmp_path), override).tree)["train"]
    key = override.lstrip("+").split("=")[0].split(".")[1]
    assert train[key] == value


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "run:\n", "run: {env: null}\n", "\ufeffa: 1\n"])
def test_a_configuration_may_leave_everything_out(tmp_path: Path, text: str) -> None:
    config = plain_tree(_config(tmp_path, text or " ").tree)
    assert config["run"] == {"env": {}}


@pytest.mark.parametrize(
    "text", ["a: " + "7" * 5000, "a: 0x" + "7" * 5000, "a: " + "[" * 3000, "a: ${", "a: !!set {b}"]
)
def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        ConfigError, match=r"default\.yaml: (cannot be read|not valid YAML)|default\.yaml:1: not"
    ) as caught:
        _config(tmp_path, text)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("./", "configuration file './' is not a file"),
        ("x" * 300, "cannot look at .*: File name too long"),
        ("~no-such-user/x.yaml", "begins with the home of a user"),
    ],
)
def test_a_configuration_that_cannot_be_found_says_why(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        find_config(parse(write_recipe(tmp_path / "recipe")), name)


def test_an_entry_of_a_profile_s_table_can_be_set(tmp_path: Path) -> None:
    file = load_env_file(write_env_file(tmp_path, ENV))
    merged = _merged(
        _config(tmp_path),
        *("run.env.env_vars.DEBUG=1", "run.env.env_vars.A=x", "run.env.secrets.TOKEN=mine"),
        profile=file.profile("here"),
        file=file,
    )
    env = plain_tree(merged.tree)["run"]["env"]
    assert env["env_vars"] == {"A": "x", "DEBUG": "1"}
    assert env["secrets"] == {"TOKEN": "mine"}
    assert merged.origins["run.env.env_vars.DEBUG"] == "command line"
    assert merged.origins["run.env.env_vars"] == "profile here (env.toml:15)"


def test_the_store_may_lie_in_the_workspace(tmp_path: Path) -> None:
    merged = _merged(_config(tmp_path), "run.env.workspace=/w", "run.artifacts.root=${workspace:}/store")
    assert merged.tree.run.artifacts.root == "/w/store"


def test_a_file_that_may_not_be_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = parse(write_recipe(tmp_path / "recipe"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(tmp_path), "read_text", refuse)
    with pytest.raises(ConfigError, match=r"default\.yaml: cannot be read: Permission denied"):
        parse_config(RecipeConfig(), spec)


def test_each_value_of_env_toml_knows_its_line(tmp_path: Path) -> None:
    text = '[wandb]\nproject = "p"\n[here]\nexecutor = "local"\nworkspace = "${oc.env:NOBODY_SETS_THIS}"\nnodes = 1\n'
    file = load_env_file(write_env_file(tmp_path, text))
    with pytest.raises(ConfigError) as caught:
        _merged(_config(tmp_path), profile=file.profile("here"), file=file)
    assert str(caught.value).startswith(f"{tmp_path}/env.toml:5: 'run.env.workspace'")
    merged = _merged(_config(tmp_path), "run.env.workspace=/x", profile=file.profile("here"), file=file)
    lines = {key: place and place.line for key, place in merged.places.items()}
    assert lines == {"run.wandb.project": 2, "run.env.workspace": None, "run.env.nodes": 6, "run.env.executor": 3}
