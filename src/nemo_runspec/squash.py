"""Container images as files on a Slurm cluster; the code is in `nemo_runspec.prepare.squash`."""

from nemo_runspec.prepare.squash import ensure_squashed_image

__all__ = ["ensure_squashed_image"]
