from __future__ import annotations

import tomllib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.env import (
    EXECUTORS,
    RESERVED,
    DGXCloudProfile,
    EnvFile,
    SlurmProfile,
    find_env_file,
    list_profiles,
    load_env_file,
    load_env_profile,
    parse_env,
    profile_fields,
)
from nemo_runspec.errors import EXIT_USAGE, Location, ProfileError

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLE = Path(__file__).parents[3] / "env.toml.example"

DGX = """\
[dgx]
executor = "dgxcloud"
base_url = "https://team.example/api/v1"
kube_apiserver_url = "https://kube.example"
{client}
project_name = "p"
pvc_nemo_run_dir = "/mnt/w/nemo_run"
pvcs = [{{ path = "/mnt/w", claimName = "w" }}]
"""


# Each with the line, a part of the message, and a part of the remedy.
NEEDED = 'node_group = "g"\nresource_shape = "s"\n'
WRONG = [
    (
        '[s]\nexecutor = "slurm"\n\npartiton = "x"\n',
        4,
        "'partiton' is not a key of a slurm profile",
        "'partition'",
    ),
    ('[s]\nexecutor = "docker"\naccount = "x"\n', 3, "'account' is not a key of a docker", "a key of slurm"),
    (
        '[s]\nexecutor = "slurm"\nnodes = true\n',
        3,
        "nodes must be an integer of at least 1, not a boolean",
        None,
    ),
    ('[s]\nexecutor = "slurm"\nnodes = "2"\n', 3, "nodes must be an integer", "Leave out the quotes."),
    (
        '[s]\nexecutor = "slurm"\ngpus_per_node = -1\n',
        3,
        "gpus_per_node must be an integer of at least 0",
        None,
    ),
    ('[s]\nexecutor = "slurm"\ntime = 04:00:00\n', 3, "time must be a string, not a time of day", "quotes"),
    ('[s]\nexecutor = "slurm"\ntunnel = "shs"\n', 3, 'tunnel must be "local" or "ssh", not "shs"', "'ssh'"),
    ('[s]\nexecutor = "slurm"\nport = 70000\n', 3, "port must be an integer from 1 to 65535", None),
    ('[s]\nexecutor = "slurm"\nmounts = [\n"/a:/a",\n5,\n]\n', 5, "mounts[1] must be a string", None),
    ('[s]\nexecutor = "slurm"\n[s.env_vars]\nA = 1\n', 4, "env_vars.A must be a string", "quotes"),
    ('[s]\nexecutor = "slurm"\nsecrets = ["a-b"]\n', 3, "secrets[0] must be a variable's name", None),
    ('[s]\nexecutor = "slurm"\nsecrets = "A"\n', 3, "secrets must be a list of variables' names, or", None),
    ('[s]\nexecutor = "slurn"\n', 2, "there is no executor 'slurn'", "'slurm'"),
    ("[s]\nexecutor = 3\n", 2, "there is no executor 3", "Known executors"),
    ("\n[s]\nnodes = 1\n", 2, "profile 's' does not say which executor it is for", 'executor = "slurm"'),
    (f'[l]\nexecutor = "lepton"\n{NEEDED}', 1, "profile 'l': the required key 'nemo_run_dir' is missing", '"/mnt/nfs'),
    ('[s]\nexecutor = "slurm"\nextends = "t"\n', 3, "[s] extends 't', which does not exist", "no profiles"),
    ('[slurm]\nexecutor = "slurm"\n[b]\nextends = "slrum"\n', 4, "extends 'slrum', which does", "'slurm'"),
    ('[wandb]\n[s]\nextends = "wandb"\n', 3, "extends 'wandb', which is a table of settings", None),
    ('[s]\nexecutor = "slurm"\nextends = ["s"]\n', 3, "extends must be the name of one profile", 'extends = "'),
    ('[s]\nexecutor = "slurm"\nextends = "s"\n', 3, "extends goes round in a circle: s -> s", "out"),
    (
        '[s]\nexecutor = "docker"\ncontainer = "x"\ncontainer_image = "y"\n',
        4,
        "are two names of one key",
        "Keep",
    ),
    ('[wandb]\nprojct = "x"\n', 2, "'projct' is not a key of this table", "'project'"),
    ("[wandb]\nproject = 1\n", 2, "project must be a string", "quotes"),
    ('[cache]\ndir = "x"\n', 2, "'dir' is not a key of this table", "There are no keys."),
    ("wandb = 1\n", 1, "'wandb' is not a table", None),
    ("nodes = 2\n", 1, "'nodes' is not a table", "below the [name] of a profile"),
    ('[[s]]\nexecutor = "slurm"\n', 1, "'s' is not a table", "Write [s]."),
    ('["a b"]\nexecutor = "slurm"\n', 1, "'a b' cannot name a profile", "letters"),
    ("[s\n", 1, "not valid TOML", "toml.io"),
    ('[s]\nexecutor = "slurm"\ntime = x\n', 3, "not valid TOML", "quotes"),
    ('[s]\nexecutor = "slurm"\ntunnel = "ssh"\nhost = "h"\n', 3, "needs 'remote_job_dir'", "remote_job_dir = "),
    (f'[l]\nexecutor = "lepton"\nnemo_run_dir = "n"\n{NEEDED}', 3, "nemo_run_dir must be an absolute path", None),
]


def needed(name: str, example: str) -> str:
    return f"Lepton needs '{name}', for example: {name} = \"{example}\""


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    """Give a function that writes an env.toml."""

    def write(text: str) -> Path:
        path = tmp_path / "env.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def failure(path: Path, name: str | None = None) -> ProfileError:
    """Give the error of reading one profile, or of the whole file."""
    read = partial(parse_env, path) if name is None else partial(load_env_profile, name, path)
    with pytest.raises(ProfileError) as caught:
        read()
    assert caught.value.exit_code == EXIT_USAGE
    return caught.value


def line_of(error: ProfileError) -> int | None:
    assert error.where is not None
    return error.where.line


class TestFinding:
    def test_the_nearest_file_upwards_is_taken(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "env.toml").touch()
        assert find_env_file(tmp_path / "a" / "b") == tmp_path / "env.toml"
        (tmp_path / "a" / "env.toml").touch()
        assert find_env_file(tmp_path / "a" / "b") == tmp_path / "a" / "env.toml"

    def test_the_project_folder_itself_is_looked_in_and_nothing_above_it(self, tmp_path: Path) -> None:
        project = tmp_path / "project"
        (project / "src").mkdir(parents=True)
        (project / "pyproject.toml").touch()
        (tmp_path / "env.toml").touch()
        assert find_env_file(project / "src") is None
        (project / "env.toml").touch()
        assert find_env_file(project / "src") == project / "env.toml"

    def test_it_begins_in_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "env.toml").write_text('[here]\nexecutor = "local"\n', encoding="utf-8")
        monkeypatch.chdir(tmp_path)
        assert list_profiles() == ("here",)

    def test_a_folder_of_that_name_is_no_file(self, tmp_path: Path) -> None:
        (tmp_path / "env.toml").mkdir()
        (tmp_path / "pyproject.toml").touch()
        assert find_env_file(tmp_path) is None

    def test_the_variable_names_another_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "env.toml").touch()
        (tmp_path / "mine.toml").touch()
        monkeypatch.setenv("NEMOTRON_ENV_FILE", str(tmp_path / "mine.toml"))
        assert find_env_file(tmp_path) == tmp_path / "mine.toml"

    def test_the_variable_must_name_a_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NEMOTRON_ENV_FILE", str(tmp_path / "gone.toml"))
        with pytest.raises(ProfileError, match="NEMOTRON_ENV_FILE names a file that does not exist"):
            find_env_file()

    def test_an_empty_variable_says_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "pyproject.toml").touch()
        monkeypatch.setenv("NEMOTRON_ENV_FILE", "")
        assert find_env_file(tmp_path) is None

    def test_without_a_file_there_are_no_profiles(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "pyproject.toml").touch()
        monkeypatch.chdir(tmp_path)
        env = parse_env()
        assert (env.path, env.profiles, env.wandb.project, env.artifacts.root) == (None, (), None, None)
        with pytest.raises(ProfileError, match="because there is no env") as caught:
            load_env_profile("slurm")
        assert "env.toml.example" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (".", "NEMOTRON_ENV_FILE names what is not a file: "),
        ("x" * 300, "cannot look at .*: File name too long"),
        ("~no-such-user/env.toml", "begins with the home of a user"),
    ],
)
def test_a_variable_that_names_no_file_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEMOTRON_ENV_FILE", given)
    with pytest.raises(ProfileError, match=says):
        find_env_file()


def test_without_a_working_directory_there_is_nowhere_to_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEMOTRON_ENV_FILE", raising=False)
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ProfileError, match="working directory"):
        find_env_file()


class TestExample:
    def test_it_is_right(self) -> None:
        env = parse_env(EXAMPLE)
        assert {env.profile(name).executor for name in env.profiles} == set(EXECUTORS)
        assert "slurm-debug" in env.profiles

    def test_it_has_every_reserved_table(self) -> None:
        assert set(RESERVED) <= set(tomllib.loads(EXAMPLE.read_text(encoding="utf-8")))

    def test_it_sets_every_required_key_and_most_others(self) -> None:
        env = parse_env(EXAMPLE)
        for executor, kind in EXECUTORS.items():
            used = {key for name in env.profiles if env.profile(name).executor == executor for key in env.tables[name]}
            required = {info.name for info in profile_fields(kind) if info.required}
            assert required <= used

    def test_it_holds_no_secret(self) -> None:
        profile = parse_env(EXAMPLE).profile("dgxcloud")
        assert isinstance(profile, DGXCloudProfile)
        assert profile.client_secret == "${oc.env:RUNAI_CLIENT_SECRET}"  # noqa: S105 - the name of a variable


class TestProfiles:
    def test_values_keep_their_types(self, env_file: Callable[[str], Path]) -> None:
        text = (
            '[s]\nexecutor = "slurm"\ngpus_per_node = 0\nexclusive = true\nmem = "0"\nmounts = ["/a:/b"]\n'
            'env_vars = { lower_case = "two words $X" }\nadditional_parameters = { nice = 5, hold = true }\n'
        )
        profile = load_env_profile("s", env_file(text))
        assert isinstance(profile, SlurmProfile)
        assert profile.gpus_per_node == 0
        assert profile.nodes is None
        assert profile.exclusive is True
        assert profile.mem == "0"
        assert profile.mounts == ("/a:/b",)
        assert profile.env_vars == {"lower_case": "two words $X"}
        assert dict(profile.additional_parameters) == {"nice": 5, "hold": True}

    def test_a_profile_inherits_through_any_number_of_parents(self, env_file: Callable[[str], Path]) -> None:
        path = env_file(
            '[a]\nexecutor = "slurm"\naccount = "x"\ntime = "1:00"\nmounts = ["/a:/a"]\nenv_vars = { A = "1" }\n'
            '[b]\nextends = "a"\ntime = "2:00"\n'
            '[c-d]\nextends = "b"\nmounts = ["/c:/c"]\nenv_vars = { B = "2" }\n'
        )
        profile = load_env_profile("c-d", path)
        assert profile.parents == ("b", "a")
        assert profile.as_config() == {
            "executor": "slurm",
            "account": "x",
            "time": "2:00",
            "mounts": ["/c:/c"],
            "env_vars": {"B": "2"},
        }
        origins = {key: str(origin) for key, origin in profile.origins.items()}
        assert origins == {
            "account": "a (env.toml:3)",
            "time": "b (env.toml:9)",
            "mounts": "c-d (env.toml:12)",
            "env_vars": "c-d (env.toml:13)",
        }
        assert profile.source == Location(path, 10)

    def test_a_child_may_be_for_another_executor(self, env_file: Callable[[str], Path]) -> None:
        path = env_file('[a]\nexecutor = "local"\nnodes = 1\n[b]\nextends = "a"\nexecutor = "docker"\n')
        assert load_env_profile("b", path).executor == "docker"

    def test_a_table_without_executor_is_a_template(self, env_file: Callable[[str], Path]) -> None:
        path = env_file('[base]\nworkspace = "/w"\n[a]\nextends = "base"\nexecutor = "local"\n')
        env = parse_env(path)
        assert env.profiles == ("a",)
        assert env.profile("a").workspace == "/w"
        error = failure(path, "base")
        assert (line_of(error), error.message) == (1, "profile 'base' does not say which executor it is for")

    def test_an_alias_is_the_key_that_it_means(self, env_file: Callable[[str], Path]) -> None:
        path = env_file(
            '[a]\nexecutor = "docker"\ncontainer_image = "x"\n[b]\nextends = "a"\ncontainer = "y"\nnproc_per_node = 2\n'
        )
        profile = load_env_profile("b", path)
        assert (profile.container_image, profile.nprocs_per_node) == ("y", 2)
        assert set(profile.as_config()) == {"executor", "container_image", "nprocs_per_node"}

    def test_the_old_names_of_the_run_ai_client_still_work(self, env_file: Callable[[str], Path]) -> None:
        profile = load_env_profile("dgx", env_file(DGX.format(client='app_id = "i"\napp_secret = "s"')))
        assert isinstance(profile, DGXCloudProfile)
        assert (profile.client_id, profile.client_secret) == ("i", "s")

    def test_secrets_are_names_or_a_table(self, env_file: Callable[[str], Path]) -> None:
        path = env_file(
            '[a]\nexecutor = "local"\nsecrets = ["HF_TOKEN"]\n[b]\nextends = "a"\nsecrets = { X = "store-x" }\n'
            '[c]\nexecutor = "local"\n'
        )
        env = parse_env(path)
        assert [env.profile(name).secret_names for name in env.profiles] == [("HF_TOKEN",), ("X",), ()]

    def test_reserved_tables_are_read(self, env_file: Callable[[str], Path]) -> None:
        env = load_env_file(env_file('[wandb]\nproject = "p"\nentity = "e"\n[artifacts]\nroot = "s3://b"\n'))
        assert (env.wandb.project, env.wandb.entity, env.artifacts.root) == ("p", "e", "s3://b")
        assert env.wandb.as_config() == {"project": "p", "entity": "e"}
        assert str(env.artifacts.origins["root"]) == "artifacts (env.toml:5)"
        assert env.profiles == ()

    def test_an_env_file_that_was_read_is_not_read_again(self, env_file: Callable[[str], Path]) -> None:
        path = env_file('[a]\nexecutor = "local"\n')
        env: EnvFile = load_env_file(path)
        path.unlink()
        assert load_env_profile("a", env).name == "a"

    def test_a_byte_order_mark_does_no_harm(self, env_file: Callable[[str], Path]) -> None:
        assert list_profiles(env_file('\ufeff[a]\nexecutor = "local"\n')) == ("a",)


class TestErrors:
    @pytest.mark.parametrize(("text", "line", "message", "remedy"), WRONG)
    def test_what_is_wrong_is_said_with_its_line(
        self, env_file: Callable[[str], Path], text: str, line: int, message: str, remedy: str | None
    ) -> None:
        error = failure(env_file(text))
        assert message in error.message
        assert line_of(error) == line
        assert (remedy or "") in (error.remedy or "")

    def test_both_names_of_the_run_ai_client(self, env_file: Callable[[str], Path]) -> None:
        error = failure(env_file(DGX.format(client='client_id = "i"\nclient_secret = "s"\napp_id = "j"')), "dgx")
        assert (line_of(error), error.remedy) == (7, "Keep 'client_id'.")
        assert "'client_id' and 'app_id' are two names of one key" in error.message

    def test_every_missing_key_is_named_with_an_example(self, env_file: Callable[[str], Path]) -> None:
        text = str(failure(env_file('[d]\nexecutor = "dgxcloud"\n'), "d"))
        for info in profile_fields(DGXCloudProfile):
            if info.required:
                assert f"profile 'd': the required key '{info.name}' is missing" in text
                assert f"{info.name} = {info.example}" in text

    def test_all_problems_of_a_profile_come_at_once(self, env_file: Callable[[str], Path]) -> None:
        path = env_file(
            '[base]\nworkspce = "x"\n[l]\nextends = "base"\nexecutor = "lepton"\nnodes = 0\ncan_preempt = "yes"\n'
        )
        listed = str(failure(path, "l")).splitlines()
        example = 'Add, for example: nemo_run_dir = "/mnt/nfs/nemo_run"'
        assert listed == [
            "profile 'l' has 6 problems:",
            f"  {path}:2: [base] 'workspce' is not a key of a lepton profile. Did you mean 'workspace'?",
            f"  {path}:3: profile 'l': the required key 'nemo_run_dir' is missing. {example}",
            f"  {path}:3: profile 'l': {needed('resource_shape', 'gpu.8xh100-sxm')}",
            f"  {path}:3: profile 'l': {needed('node_group', 'my-node-group')}",
            f"  {path}:6: [l] nodes must be an integer of at least 1, not 0",
            f"  {path}:7: [l] can_preempt must be true or false, not a string",
        ]

    def test_a_whole_file_names_an_inherited_problem_once(self, env_file: Callable[[str], Path]) -> None:
        path = env_file(
            '[a]\nexecutor = "slurm"\nnodes = 0\n[b]\nextends = "a"\n[c]\nextends = "x"\n[d]\nexecutor = "local"\n'
        )
        listed = str(failure(path)).splitlines()
        assert [line.strip().split(" ")[0] for line in listed[1:]] == [f"{path}:3:", f"{path}:7:"]
        assert load_env_profile("d", path).name == "d"

    def test_a_circle_is_shown(self, env_file: Callable[[str], Path]) -> None:
        path = env_file('[a]\nextends = "b"\n[b]\nextends = "c"\n[c]\nextends = "b"\n')
        error = failure(path, "a")
        assert (line_of(error), error.message) == (6, "[c] extends goes round in a circle: b -> c -> b")
        assert "goes round in a circle" in str(failure(path))

    def test_an_unknown_profile_is_guessed(self, env_file: Callable[[str], Path]) -> None:
        error = failure(env_file('[slurm]\nexecutor = "slurm"\n'), "slrum")
        assert (error.message, error.remedy) == ("there is no profile 'slrum'", "Did you mean 'slurm'?")

    def test_a_reserved_table_is_no_profile(self, env_file: Callable[[str], Path]) -> None:
        error = failure(env_file('[wandb]\nproject = "p"\n[a]\nexecutor = "local"\n'), "wandb")
        assert (error.message, error.remedy) == ("[wandb] holds settings and is not a profile", "Known profiles: a.")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        error = failure(tmp_path / "gone.toml")
        assert "cannot be read" in error.message
        assert error.where == Location(tmp_path / "gone.toml")

    def test_a_file_that_is_not_text(self, tmp_path: Path) -> None:
        path = tmp_path / "env.toml"
        path.write_bytes(b"[a]\n# \xff\n")
        error = failure(path)
        assert (line_of(error), error.message) == (2, "not UTF-8 text: invalid start byte")

    def test_an_error_shows_no_secret(self, env_file: Callable[[str], Path]) -> None:
        text = str(failure(env_file(DGX.format(client='client_id = "i"\nclient_secret = 987654321')), "dgx"))
        assert "client_secret must be a string" in text
        assert "987654321" not in text
