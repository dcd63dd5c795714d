from __future__ import annotations

import subprocess
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest

from nemo_runspec import yaml_text
from nemo_runspec.context import RecipeConfig, parse_override
from nemo_runspec.errors import PayloadError, ProfileError
from nemo_runspec.executors.request import build_request
from nemo_runspec.job import Job, compile_job
from nemo_runspec.submit.job_files import check_sources, effective_profile, job_files, title_of
from nemo_runspec.submit.requests import cloud_job
from tests.nemo_runspec.recipes import IMAGE, LEPTON_TABLE, write_env_file, write_recipe

PROFILE = f"[far]\n{LEPTON_TABLE}"
READS = "run: {data: some-data, env: {}}\ntrain: {path: '${art:data,path}'}\n"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Whoever works on this library has changes in it.
    monkeypatch.setattr(import_module("nemo_runspec.data_mover.select"), "OWN_PACKAGES", ())


def _job(
    *overrides: str, table: str = IMAGE, launch: str = "torchrun", config: str = READS, argv: tuple[str, ...] = ()
) -> Job:
    here = Path.cwd()
    write_env_file(here, PROFILE + table)
    script = write_recipe(here / "repo" / "mine", launch=launch, config=config)
    parsed = tuple(override for text in overrides if (override := parse_override(text)))
    return compile_job(script, RecipeConfig(profile="far", overrides=parsed, argv=argv))


def test_the_files_of_a_job_that_looks_its_artifacts_up_are_unfilled() -> None:
    files = job_files(_job())
    assert sorted(files.texts) == ["job.yaml.unfilled", "train.yaml.unfilled"]
    record = yaml_text.load(files.texts["job.yaml.unfilled"])
    assert record["artifacts"]["root"] == "/mnt/shared/artifacts"
    assert record["artifacts"]["inputs"] == {"data": "${art:some-data:latest,_reference}"}
    assert files.command.splitlines()[:2] == ["set -e", "python -m nemo_runspec.stage.inputs /nemo_run"]
    assert 'exec python -m nemo_runspec.torchrun --nnodes "$NNODES"' in files.command


def test_a_job_without_artifacts_has_its_files_ready() -> None:
    files = job_files(_job(config="run: {env: {}}\ntrain: {lr: 1.0}\n"))
    assert sorted(files.texts) == ["job.yaml", "train.yaml"]
    assert "stage.inputs" not in files.command


def test_how_a_job_is_started_does_not_change_what_it_is() -> None:
    words = ("/usr/bin/nemotron", "nano3", "sft", "--run", "far")
    plain = _job(argv=words)
    other = replace(plain, request=replace(plain.request, argv=(*words, "--rehearse", "--json", "--committed-only")))
    assert job_files(plain) == job_files(other)
    assert yaml_text.load(job_files(plain).texts["job.yaml.unfilled"])["provenance"]["argv"][0] == "nemotron"


def test_two_compilations_of_a_job_send_the_same_body() -> None:
    first, _ = build_request(cloud_job(_job()))
    second, _ = build_request(cloud_job(_job()))
    assert first.digest == second.digest
    assert first.digest != build_request(cloud_job(_job("run.env.nodes=3")))[0].digest


def test_the_script_says_what_the_profile_leaves_open() -> None:
    job = _job(table="", launch="direct")
    script = job.spec.script_path
    script.write_text(
        script.read_text(encoding="utf-8").replace(
            '# name = "test/hello"', '# name = "test/hello"\n# image = "its:own"'
        ),
        encoding="utf-8",
    )
    job = compile_job(script, job.request)
    profile = effective_profile(job)
    assert (profile.container_image, profile.nodes, profile.gpus_per_node) == ("its:own", 1, 0)
    assert cloud_job(job).image == "its:own"
    assert title_of(job) == "test-hello"


def test_a_job_without_an_image_is_not_built() -> None:
    with pytest.raises(ProfileError, match="names a container image"):
        cloud_job(_job(table=""))


def _git(*arguments: str, folder: str = "repo") -> None:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *settings, "-C", folder, *arguments], check=True, capture_output=True)  # noqa: S607 - the test's own git, wherever PATH has it


def test_what_is_not_committed_is_named_and_refused_where_that_is_asked() -> None:
    job = _job()
    repo = Path("repo")
    (repo / "src" / "mine").mkdir(parents=True)
    (repo / "src" / "mine" / "__init__.py").touch()
    (repo / "pyproject.toml").touch()
    _git("init", "-q")
    _git("add", ".")
    _git("commit", "-qm", "all")
    assert check_sources(job) == ()
    (repo / "src" / "mine" / "new.py").touch()
    (repo / "output").mkdir()
    (repo / "output" / "x.yaml").touch()
    assert check_sources(job) == ("src/mine/new.py",), "and not what does not travel"
    strict = replace(job, request=replace(job.request, committed_only=True))
    with pytest.raises(PayloadError, match=r"not committed: src/mine/new\.py"):
        check_sources(strict)
    record = yaml_text.load(job_files(job).texts["job.yaml.unfilled"])
    assert record["provenance"]["git"]["dirty"] == ["src/mine/new.py"]


def test_a_script_that_is_in_no_src_is_looked_at_too() -> None:
    job = _job()
    strict = replace(job, request=replace(job.request, committed_only=True))
    with pytest.raises(
        PayloadError, match=r"nobody knows whether .* committed: .*hello\.py and 1 more are in no git repository"
    ):
        check_sources(strict)
    _git("init", "-q")
    _git("add", ".")
    _git("commit", "-qm", "all")
    assert check_sources(job) == ()
    (job.spec.script_path.parent / "helper.py").touch()
    assert check_sources(job) == ("script/helper.py",)
    with pytest.raises(PayloadError, match=r"not committed: .*helper\.py"):
        check_sources(strict)


def _commit_all(folder: str) -> None:
    _git("init", "-q", folder=folder)
    _git("add", ".", folder=folder)
    _git("commit", "-qm", "all", folder=folder)


@pytest.fixture
def strict() -> Job:
    """Give a job that sends only what is committed, of a script beside the repository with the sources."""
    sources = Path("sources/src/mine")
    sources.mkdir(parents=True)
    (sources / "__init__.py").touch()
    (sources.parents[1] / ".gitignore").write_text("*.ignored\n", encoding="utf-8")
    job = _job(table=IMAGE + f'repo_root = "{Path.cwd() / "sources"}"\n')
    _commit_all("repo")
    _commit_all("sources")
    return replace(job, request=replace(job.request, committed_only=True))


def test_a_script_is_looked_at_also_where_the_sources_are_in_another_repository(strict: Job) -> None:
    assert check_sources(strict) == ()
    (strict.spec.script_path.parent / "config" / "default.yaml").write_text("changed: 1\n", encoding="utf-8")
    with pytest.raises(PayloadError, match=r"not committed: script/config/default\.yaml"):
        check_sources(strict)


def test_a_file_that_git_ignores_and_that_travels_is_not_committed(strict: Job) -> None:
    Path("sources/src/mine/new.ignored").touch()
    with pytest.raises(PayloadError, match=r"not committed: src/mine/new\.ignored"):
        check_sources(strict)


def test_where_git_fails_nothing_is_taken_for_committed(strict: Job) -> None:
    Path("sources/.git/index").write_bytes(b"damaged")
    with pytest.raises(PayloadError, match=r"nobody knows whether .* is committed: .*sources: git ls-files: "):
        check_sources(strict)
    careless = replace(strict, request=replace(strict.request, committed_only=False))
    assert check_sources(careless) == ()
    record = yaml_text.load(job_files(careless).texts["job.yaml.unfilled"])
    assert record["provenance"]["git"]["dirty"] is None
