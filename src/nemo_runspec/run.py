"""Patches of nemo-run that users of its own classes call; the code is in `nemo_runspec.patches`."""

from nemo_runspec.patches import (
    patch_cloud_data_mover_skip_configs,
    patch_dgxcloud_accept_legacy_kwargs,
    patch_dgxcloud_strip_source_chunks_from_exports,
    patch_nemo_run_ray_template_for_cpu,
    patch_nemo_run_rsync_accept_new_host_keys,
)

__all__ = [
    "patch_cloud_data_mover_skip_configs",
    "patch_dgxcloud_accept_legacy_kwargs",
    "patch_dgxcloud_strip_source_chunks_from_exports",
    "patch_nemo_run_ray_template_for_cpu",
    "patch_nemo_run_rsync_accept_new_host_keys",
]
