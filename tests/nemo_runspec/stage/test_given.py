from __future__ import annotations

from pathlib import Path

import pytest

from nemo_runspec.errors import ConfigError, UsageError
from nemo_runspec.stage.given import JobFacts, artifact_name, load_config, load_job, split_arguments, whole_number


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("argv", "rest"),
    [
        (["--config", "train.yaml"], []),
        (["--config=train.yaml"], []),
        (["a", "--config", "train.yaml", "--b", "c=1"], ["a", "--b", "c=1"]),
        (["--config", "train.yaml", "--config", "other"], ["--config", "other"]),
    ],
)
def test_the_configuration_is_taken_out_of_the_command_line(argv: list[str], rest: list[str]) -> None:
    assert split_arguments(argv) == (Path("train.yaml"), rest)


@pytest.mark.parametrize("argv", [[], ["--config"], ["--configs", "x"], ["config=x"]])
def test_a_script_needs_a_configuration(argv: list[str]) -> None:
    with pytest.raises(UsageError, match="needs --config FILE"):
        split_arguments(argv)


def test_values_are_read_as_the_launcher_means_them(tmp_path: Path) -> None:
    text = "lr: 1e-4\nbig: 3E+8\nplain: 0.5\nsteps: 700\nday: 2024-01-02\nid: 1e\nname: v1e4\nquoted: '1e-4'\nempty:\n"
    assert load_config(written(tmp_path / "train.yaml", text)) == {
        "lr": 1e-4,
        "big": 3e8,
        "plain": 0.5,
        "steps": 700,
        "day": "2024-01-02",
        "id": "1e",
        "name": "v1e4",
        "quoted": "1e-4",
        "empty": None,
    }


def test_json_is_read_too(tmp_path: Path) -> None:
    path = written(tmp_path / "train.json", '{"lr": 1e-4, "layers": [1, {"a": true}]}')
    assert load_config(path) == {"lr": 1e-4, "layers": [1, {"a": True}]}


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("a: 1\noutput_dir: ${workspace:}/x\n", "output_dir", 2),
        ("# ${comment}\ndata:\n  - path: '${art:data,path}'\n", "data[0].path", 3),
        ("a: &x [1, $2]\nb: *x\nc: {d: {e: 'x ${y}'}}\nf: ${z}\n", "c.d.e", 3),
        ("a: &x [*x, '${y}']\n", "a[1]", 1),
    ],
)
def test_a_value_that_nothing_filled_in_is_named(tmp_path: Path, text: str, key: str, line: int) -> None:
    path = written(tmp_path / "train.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(f"{path}:{line}: '{key}' still holds")
    assert "nemotron" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: [2\n", r"train\.yaml:3: this is not YAML"),
        ("- a\n", "not a table"),
        ("", "not a table"),
        ("text", "not a table"),
        ("a: !!python/name:os.system\n", r"train\.yaml:1: this is not YAML"),
    ],
)
def test_a_broken_configuration(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(written(tmp_path / "train.yaml", text))


def test_a_configuration_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="this is not YAML"):
        load_config(tmp_path / "train.yaml")


def test_a_missing_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.yaml: No such file"):
        load_config(tmp_path / "gone.yaml")


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"artifact": {"name": "model"}}, "model"),
        ({"artifact": {}}, None),
        ({"artifact": "model"}, None),
        ({"artifact": {"name": 3}}, None),
        ({}, None),
    ],
)
def test_the_name_of_the_artifact(config: dict[str, object], name: str | None) -> None:
    assert artifact_name(config) == name


def test_numbers_of_the_environment() -> None:
    assert whole_number({"RANK": "3"}, "RANK", 0) == 3
    assert whole_number({}, "RANK", 7) == 7
    assert whole_number({"RANK": ""}, "RANK", 7) == 7
    for text in ("-1", "1.0", "one"):
        with pytest.raises(UsageError, match=f"RANK is '{text}'"):
            whole_number({"RANK": text}, "RANK", 0)


def test_a_script_started_by_hand_has_a_store_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_job({}) == JobFacts(root=str(tmp_path / "output" / "artifacts"))
    assert load_job({"NEMOTRON_ARTIFACTS": "s3://bucket"}) == JobFacts(root="s3://bucket")


def test_what_the_launcher_says(tmp_path: Path) -> None:
    written(
        tmp_path / "job.yaml",
        "name: nano3/sft\n"
        "artifacts: {root: 's3://bucket/store', inputs: {data: 'd:v1', model: 'm:v2'}}\n"
        "provenance: {argv: [nemotron, nano3, sft, 1], git: {commit: abc, dirty: [x.py]}, packages: {a: '1'}}\n"
        "something: else\n",
    )
    assert load_job({"NEMO_RUNSPEC_JOB_DIR": str(tmp_path), "NEMOTRON_ARTIFACTS": "unused"}) == JobFacts(
        root="s3://bucket/store",
        folder=tmp_path,
        name="nano3/sft",
        inputs={"data": "d:v1", "model": "m:v2"},
        argv=("nemotron", "nano3", "sft", "1"),
        git={"commit": "abc", "dirty": ["x.py"]},
    )


def test_a_job_file_may_say_little(tmp_path: Path) -> None:
    written(tmp_path / "job.yaml", "provenance: {git: null}\n")
    environment = {"NEMO_RUNSPEC_JOB_DIR": str(tmp_path), "NEMOTRON_ARTIFACTS": "/store"}
    assert load_job(environment) == JobFacts(root="/store", folder=tmp_path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("artifacts: [a]\n", "'artifacts' is not a table"),
        ("artifacts: {inputs: a}\n", "'inputs' is not a table"),
        ("provenance: {argv: nemotron}\n", "'argv' is not a list"),
    ],
)
def test_a_job_file_of_another_shape(tmp_path: Path, text: str, says: str) -> None:
    written(tmp_path / "job.yaml", text)
    with pytest.raises(ConfigError, match=says):
        load_job({"NEMO_RUNSPEC_JOB_DIR": str(tmp_path)})


def test_a_job_folder_without_its_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*job\.yaml"):
        load_job({"NEMO_RUNSPEC_JOB_DIR": str(tmp_path)})
