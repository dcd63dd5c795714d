"""Names that users import stay importable."""

from __future__ import annotations

import importlib

import pytest

# Module -> names, for the parts that exist; the others of section 4 join with the code behind them.
PUBLIC: dict[str, tuple[str, ...]] = {
    "nemo_runspec": ("parse", "Runspec", "load_executor", "list_profiles"),
    "nemo_runspec.config": (
        "parse_config",
        "build_job_config",
        "extract_train_config",
        "save_configs",
        "generate_job_dir",
    ),
    "nemo_runspec.env": ("parse_env", "load_env_profile"),
    "nemo_runspec.recipe_config": ("RecipeConfig", "parse_recipe_config"),
    "nemo_runspec.recipe_typer": ("RecipeTyper", "RecipeMeta"),
    "nemo_runspec.execution": (
        "create_executor",
        "create_local_executor",
        "get_executor_type",
        "build_env_vars",
        "create_lepton_executor",
        "create_dgxcloud_executor",
        "create_docker_executor",
        "create_slurm_executor",
        "clone_git_repos_via_tunnel",
        "get_startup_commands",
        "execute_local",
        "execute_cloud",
        "execute_cloud_ray",
    ),
    "nemo_runspec.data_mover": ("SourcePackager", "Plan", "plan_for"),
    "nemo_runspec.run": (
        "patch_cloud_data_mover_skip_configs",
        "patch_dgxcloud_strip_source_chunks_from_exports",
        "patch_dgxcloud_accept_legacy_kwargs",
        "patch_nemo_run_ray_template_for_cpu",
        "patch_nemo_run_rsync_accept_new_host_keys",
    ),
    "nemo_runspec.squash": ("ensure_squashed_image",),
    "nemo_runspec.exceptions": ("ArtifactNotFoundError",),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_name_can_be_imported(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", PUBLIC)
def test_star_import_gives_every_public_name(module: str) -> None:
    imported = importlib.import_module(module)
    assert set(PUBLIC[module]) <= set(getattr(imported, "__all__", vars(imported)))
