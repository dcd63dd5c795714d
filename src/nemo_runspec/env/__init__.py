"""env.toml: the clusters of a user, as one frozen profile type for each executor.

Only the standard library is used, because completion and every start of the command line may read profiles.
"""

from nemo_runspec.env.base import Profile
from nemo_runspec.env.cloud_profiles import CloudProfile, DGXCloudProfile, LeptonProfile
from nemo_runspec.env.profiles import EXECUTORS, DockerProfile, LocalProfile, SlurmProfile, profile_fields
from nemo_runspec.env.reader import (
    ENV_FILE_NAME,
    ENV_FILE_VARIABLE,
    EnvFile,
    find_env_file,
    list_profiles,
    load_env_file,
    load_env_profile,
    parse_env,
)
from nemo_runspec.env.refusals import explain_refusal
from nemo_runspec.env.reserved import RESERVED, ArtifactsTable, CacheTable, CliTable, WandbTable
from nemo_runspec.env.tables import Origin, Table, TableField, known_keys, table_fields

__all__ = [
    "ENV_FILE_NAME",
    "ENV_FILE_VARIABLE",
    "EXECUTORS",
    "RESERVED",
    "ArtifactsTable",
    "CacheTable",
    "CliTable",
    "CloudProfile",
    "DGXCloudProfile",
    "DockerProfile",
    "EnvFile",
    "LeptonProfile",
    "LocalProfile",
    "Origin",
    "Profile",
    "SlurmProfile",
    "Table",
    "TableField",
    "WandbTable",
    "explain_refusal",
    "find_env_file",
    "known_keys",
    "list_profiles",
    "load_env_file",
    "load_env_profile",
    "parse_env",
    "profile_fields",
    "table_fields",
]
