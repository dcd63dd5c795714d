from __future__ import annotations

import sys
from pathlib import Path, PurePosixPath

import pytest

from nemo_runspec.context import RecipeConfig, parse_override
from nemo_runspec.env import load_env_profile
from nemo_runspec.errors import ArtifactNotFoundError, NemotronError, ProfileError, SpecError
from nemo_runspec.job import Job, compile_job
from nemo_runspec.place import Place
from nemo_runspec.spec import parse
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, write_env_file, write_recipe


def _request(*overrides: str, profile: str | None = None, passthrough: tuple[str, ...] = ()) -> RecipeConfig:
    parsed = tuple(override for text in overrides if (override := parse_override(text)))
    return RecipeConfig(profile=profile, overrides=parsed, passthrough=passthrough)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_job_is_built_and_nothing_is_written(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe")
    before = sorted(tmp_path.rglob("*"))
    job = compile_job(script, _request("train.lr=0.5"))
    assert sorted(tmp_path.rglob("*")) == before
    assert job.train_config["train"]["lr"] == 0.5
    assert "run" not in job.train_config
    assert job.workspace == f"{tmp_path}/output"
    assert job.artifact_root == f"{tmp_path}/output/artifacts"
    assert job.job_dir.parent == tmp_path / "output" / "jobs"
    assert {variable.name for variable in job.env} == {"NEMO_RUN_DIR", "GREETING", "NEMO_RUNSPEC_JOB_DIR"}


def test_two_jobs_never_share_a_folder(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe")
    assert compile_job(script, _request()).job_dir != compile_job(script, _request()).job_dir


def test_a_direct_script_runs_with_this_python(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe")
    job = compile_job(script, _request(passthrough=("--x", "a b")))
    assert job.command == (sys.executable, str(script), "--config", str(job.job_dir / "train.yaml"), "--x", "a b")


def test_torchrun_starts_the_processes_asked_for(tmp_path: Path) -> None:
    job = compile_job(write_recipe(tmp_path / "recipe", launch="torchrun"), _request("run.env.nproc_per_node=3"))
    assert job.command[1:3] == ("-m", "nemo_runspec.torchrun")
    position = job.command.index("--nproc-per-node")
    assert job.command[position + 1] == "3"


def test_torchrun_needs_a_python_command(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe", launch="torchrun")
    text = script.read_text(encoding="utf-8")
    script.write_text(
        text.replace('# launch = "torchrun"', '# launch = "torchrun"\n# cmd = "bash {script}"'), encoding="utf-8"
    )
    with pytest.raises(SpecError, match="does not start with 'python'"):
        compile_job(script, _request())


def test_a_command_template_is_filled(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "a folder")
    text = script.read_text(encoding="utf-8")
    text = text.replace(
        '# launch = "direct"', '# launch = "direct"\n# cmd = "bash -c \'run it\' {script} --c={config}"'
    )
    script.write_text(text, encoding="utf-8")
    place = Place.here(PurePosixPath("/c d"), PurePosixPath(script))
    command = place.compose(parse(script), config="t.yaml", processes=1)
    assert command == ("bash", "-c", "run it", str(script), "--c=/c d/t.yaml")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("nproc_per_node = 2\ngpus_per_node = 8", 2),
        ("gpus_per_node = 8", 8),
        ("gpus_per_node = 0", 1),
        ("", 1),
    ],
)
def test_processes_per_node(tmp_path: Path, table: str, expected: int) -> None:
    file = write_env_file(tmp_path, f'[here]\nexecutor = "local"\n{table}\n')
    assert load_env_profile("here", file).processes_per_node == expected


def test_a_profile_and_the_command_line_make_the_effective_profile(tmp_path: Path) -> None:
    write_env_file(tmp_path, '[here]\nexecutor = "local"\nnproc_per_node = 4\nworkspace = "/ws"\n')
    script = write_recipe(tmp_path / "recipe")
    assert compile_job(script, _request(profile="here")).workspace == "/ws"
    job = compile_job(script, _request("run.env.nproc_per_node=2", "run.env.workspace=/other", profile="here"))
    assert (job.profile.processes_per_node, job.workspace) == (2, "/other")
    assert job.train_config["output_dir"] == "/other/thing"


def test_keys_of_other_executors_in_a_configuration_do_not_count(tmp_path: Path) -> None:
    script = write_recipe(tmp_path / "recipe", config="run: {env: {nproc_per_node: 2, partition: gpu, nodes: 4}}\n")
    job = compile_job(script, _request())
    assert job.profile.processes_per_node == 2
    with pytest.raises(ProfileError, match="partitoin"):
        compile_job(write_recipe(tmp_path / "other", config="run: {env: {partitoin: gpu}}\n"), _request())


def test_a_missing_artifact_stops_the_job_unless_it_may_be_open(tmp_path: Path) -> None:
    config = "run: {env: {}, data: corpus}\npath: '${art:data,path}'\n"
    script = write_recipe(tmp_path / "recipe", config=config)
    with pytest.raises(ArtifactNotFoundError, match="no artifact 'corpus'"):
        compile_job(script, _request())
    assert list(compile_job(script, _request(), allow_missing=True).missing) == ["corpus"]


def test_a_job_for_several_nodes_does_not_start_on_one_machine(tmp_path: Path) -> None:
    job = compile_job(write_recipe(tmp_path / "recipe", config="run: {env: {nodes: 4}}\n"), _request())
    assert "wants 4 nodes" in job.obstacles[0].message
    assert compile_job(job.spec, _request("run.env.nodes=1")).obstacles == ()


def test_secrets_that_are_not_set_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_env_file(tmp_path, '[here]\nexecutor = "local"\nsecrets = ["A_TOKEN", "B_TOKEN"]\n')
    monkeypatch.setenv("A_TOKEN", "0123456789")
    job = compile_job(write_recipe(tmp_path / "recipe"), _request(profile="here"))
    (obstacle,) = job.obstacles
    assert "takes B_TOKEN from your environment" in obstacle.message
    assert job.redactor.text("0123456789") == "***"


def test_every_error_is_of_the_one_tree(tmp_path: Path) -> None:
    with pytest.raises(NemotronError) as error:
        compile_job(tmp_path / "nope.py", _request())
    assert error.value.exit_code == 2


def test_an_empty_profile_name_is_not_no_profile(tmp_path: Path) -> None:
    with pytest.raises(ProfileError):
        compile_job(write_recipe(tmp_path / "recipe"), _request(profile=""))


def test_a_job_here_needs_a_folder_to_work_in(tmp_path: Path) -> None:
    job = compile_job(write_recipe(tmp_path / "recipe"), _request("run.env.workspace=memory://bucket/x"))
    assert "needs a folder" in job.obstacles[0].message


def test_a_command_may_name_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOLS", "/my tools")
    script = write_recipe(tmp_path / "recipe")
    text = script.read_text(encoding="utf-8")
    text = text.replace('# launch = "direct"', "# launch = \"direct\"\n# cmd = '${TOOLS}/run {script}'")
    script.write_text(text, encoding="utf-8")
    assert compile_job(script, _request()).command[0] == "/my tools/run"


def test_a_store_whose_address_holds_a_password_is_refused(tmp_path: Path) -> None:
    request = _request(f"run.artifacts.root=file://me:canary@{tmp_path}")
    (obstacle,) = compile_job(write_recipe(tmp_path / "recipe"), request).obstacles
    assert "address of the artifact store" in obstacle.message
    assert "canary" not in str(obstacle)


CLOUDS = f"[lepton]\n{LEPTON_TABLE}{IMAGE}"
READS_AN_ARTIFACT = """\
run: {data: some-data, env: {}}
artifact: {name: thing}
train: {path: "${art:data,path}/x", vocab: "${art:data,vocab_size}", here: "${workspace:}/out"}
"""


def _cloud_job(
    folder: Path,
    *overrides: str,
    launch: str = "torchrun",
    config: str = READS_AN_ARTIFACT,
    table: str = "",
    passthrough: tuple[str, ...] = (),
) -> Job:
    write_env_file(folder, CLOUDS + table)
    script = write_recipe(folder / "recipe", launch=launch, config=config)
    return compile_job(script, _request(*overrides, profile="lepton", passthrough=passthrough))


def test_a_job_of_a_cloud_has_the_paths_of_its_pods(tmp_path: Path) -> None:
    job = _cloud_job(tmp_path)
    assert job.in_pods
    assert job.workspace == "/mnt/shared", "the first volume, where the profile says nothing"
    assert job.train_config["train"]["here"] == "/mnt/shared/out"
    assert job.job_dir.is_relative_to(tmp_path), "the record of the job stays with the one who submits"
    assert job.command[-3:] == ("/nemo_run/code/script/hello.py", "--config", "/nemo_run/train.yaml")
    assert "NEMO_RUNSPEC_JOB_DIR" not in {variable.name for variable in job.env}, "the pod knows its own"


def test_artifacts_on_a_clusters_volume_are_left_to_the_job(tmp_path: Path) -> None:
    job = _cloud_job(tmp_path)
    assert job.deferred
    assert job.missing == {}
    assert job.train_config["train"]["path"] == "${art:some-data:latest,path}/x"
    assert job.train_config["train"]["vocab"] == "${art:some-data:latest,vocab_size}"


def test_manifests_on_a_clusters_volume_are_left_to_the_job(tmp_path: Path) -> None:
    plain = "artifact: {name: thing}\nrun: {env: {}}\ntrain: {path: '${manifest:/mnt/shared/prompts,train}'}\n"
    job = _cloud_job(tmp_path, config=plain)
    assert job.deferred
    assert job.train_config["train"]["path"] == "${manifest:/mnt/shared/prompts,train}"
    nested = READS_AN_ARTIFACT.replace("${art:data,path}/x", "${manifest:${art:data,path},val}")
    job = _cloud_job(tmp_path, config=nested)
    assert job.train_config["train"]["path"] == "${manifest:${art:some-data:latest,path},val}"
    assert not _cloud_job(tmp_path, config="artifact: {name: thing}\nrun: {env: {}}\n").deferred


def test_artifacts_in_a_store_that_everybody_reads_are_looked_up_here(tmp_path: Path) -> None:
    url = "memory://somewhere/artifacts"
    with pytest.raises(ArtifactNotFoundError, match="some-data"):
        _cloud_job(tmp_path, f"++run.artifacts.root={url}")


def test_only_what_is_spread_over_nodes_gets_more_than_one(tmp_path: Path) -> None:
    assert _cloud_job(tmp_path).nodes == 2
    assert _cloud_job(tmp_path, launch="direct").nodes == 1
    assert _cloud_job(tmp_path, "run.env.nodes=3", launch="direct").nodes == 3
    assert _cloud_job(tmp_path, launch="ray").nodes == 2


def test_a_recipe_on_ray_without_gpus_is_spread_only_if_asked(tmp_path: Path) -> None:
    write_env_file(tmp_path, CLOUDS)
    script = write_recipe(tmp_path / "recipe", launch="ray", config=READS_AN_ARTIFACT)
    block = "# [tool.runspec.resources]\n# gpus_per_node = 0\n# [tool.runspec.env]"
    script.write_text(script.read_text(encoding="utf-8").replace("# [tool.runspec.env]", block), encoding="utf-8")
    assert compile_job(script, _request(profile="lepton")).nodes == 1
    assert compile_job(script, _request("run.env.nodes=3", profile="lepton")).nodes == 3


@pytest.mark.parametrize(("table", "expected"), [("", (0, "1")), ("nprocs_per_node = 3", (0, "3")), ("# 8", (8, "8"))])
def test_processes_of_a_pod(tmp_path: Path, table: str, expected: tuple[int, str]) -> None:
    known = CLOUDS.replace("gpus_per_node = 0\n", "") if table.startswith("#") else CLOUDS
    write_env_file(tmp_path, known + table)
    script = write_recipe(tmp_path / "recipe", launch="torchrun", config="run: {env: {}}\n")
    text = script.read_text(encoding="utf-8")
    block = "# [tool.runspec.resources]\n# gpus_per_node = 8\n# [tool.runspec.env]"
    script.write_text(text.replace("# [tool.runspec.env]", block), encoding="utf-8")
    job = compile_job(script, _request(profile="lepton"))
    assert (job.gpus_per_node, job.command[job.command.index("--nproc-per-node") + 1]) == expected


def test_a_secret_that_the_platform_holds_is_not_taken_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "from-here")
    job = _cloud_job(tmp_path, table='secrets = { HF_TOKEN = "hf-token", OTHER_TOKEN = "other" }')
    assert "HF_TOKEN" not in {variable.name for variable in job.env}
    assert job.obstacles == ()


def test_a_secret_that_is_expected_here_and_not_set_is_told(tmp_path: Path) -> None:
    job = _cloud_job(tmp_path, table='secrets = ["TEAM_API_KEY"]')
    assert "takes TEAM_API_KEY from your environment" in job.obstacles[0].message


def test_a_secret_does_not_travel_in_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEAM_API_KEY", "canary-0123456789")
    config = "run: {env: {}}\nhub: {where: '${oc.env:TEAM_API_KEY}'}\nfine: 1\n"
    job = _cloud_job(tmp_path, config=config, passthrough=("--token", "canary-0123456789"))
    told = [obstacle.message for obstacle in job.obstacles]
    assert "holds a secret below 'hub'" in told[0]
    assert "the script's arguments hold a secret" in told[1]
    assert "canary" not in "".join(told)


def test_a_cloud_needs_an_image(tmp_path: Path) -> None:
    write_env_file(tmp_path, CLOUDS.replace(IMAGE, ""))
    job = compile_job(write_recipe(tmp_path / "recipe"), _request(profile="lepton"))
    assert "neither hello.py nor profile 'lepton' names a container image" in job.obstacles[0].message


def test_what_an_expression_of_env_toml_gives_keeps_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESULTS", "/elsewhere")
    with pytest.raises(ProfileError, match=r"env\.toml:10: .*workspace is on none of the mounts"):
        _cloud_job(tmp_path, table='workspace = "${oc.env:RESULTS}"\n')
    with pytest.raises(ProfileError) as caught:
        _cloud_job(tmp_path, "run.env.workspace=/elsewhere")
    assert str(caught.value).startswith("profile 'lepton': workspace is on none of the mounts")


def test_what_nobody_overrides_keeps_its_line(tmp_path: Path) -> None:
    origins = _cloud_job(tmp_path, "run.env.nodes=3", config="{run: {env: {}}}").profile.origins
    assert (str(origins["node_group"]), str(origins["nodes"])) == ("lepton (env.toml:5)", "run.env")
