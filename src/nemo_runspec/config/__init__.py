"""Recipe configuration: loading, merging, resolving, saving."""

from nemo_runspec.config.load import MergedConfig, build_job_config, find_config, parse_config
from nemo_runspec.config.save import extract_train_config, generate_job_dir, save_configs

__all__ = [
    "MergedConfig",
    "build_job_config",
    "extract_train_config",
    "find_config",
    "generate_job_dir",
    "parse_config",
    "save_configs",
]
