"""The versions of the packages that decide what a run does."""

from __future__ import annotations

from importlib import metadata

DISTRIBUTION = "nemotron"
OWN_PACKAGES = ("nemo_runspec", "nemotron")
"""What it consists of: these travel with every job, and a pod is to use no other copy of them."""

PACKAGES = (
    DISTRIBUTION,
    "accelerate",
    "datasets",
    "leptonai",
    "megatron-bridge",
    "megatron-core",
    "nemo-rl",
    "nemo_run",
    "numpy",
    "ray",
    "tokenizers",
    "torch",
    "transformer-engine",
    "transformers",
    "trl",
)


def package_versions() -> dict[str, str]:
    """Give the installed versions of `PACKAGES`, without importing them; what is not installed is left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
