"""Names and characters on which both sides agree."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE_PREFIX = "NEMO_RUNSPEC_SRC_"
"""The source archive, in chunks numbered from 0."""

JOB_PREFIX = "NEMO_RUNSPEC_JOB_"
"""The archive of the job's own files, in chunks numbered from 0."""

BOOT_VARIABLE = "NEMO_RUNSPEC_BOOT"
"""What the pod's side is to do, as JSON."""

POD_VARIABLE = "NEMO_RUNSPEC_POD"
"""The code of the pod's side; `load.py` has the names once more, as it cannot import anything."""

MORE_POD_VARIABLE = "NEMO_RUNSPEC_POD_1"
"""The rest of it, where one value is too short."""

NAME_PLACEHOLDER = "<workload name>"
"""Stands in what the orders' digest is made of for the workload's name, which is chosen when the job is sent."""

UNSAFE_CHARACTERS = b"$&<>"
"""Characters of Python's base 85 that platforms treat in some way of their own."""

SAFE_CHARACTERS = b",./:"
"""What stands for them."""

JOB_DIR_VARIABLE = "NEMO_RUNSPEC_JOB_DIR"
"""Tells the command its job folder, as everywhere in this library."""

EXIT_MARKER = "[nemo-runspec]"
"""What the lines begin with that the pod's side prints itself."""

LOG_FOLDER = "logs"
EXIT_FOLDER = "exit"
CODE_FOLDER = "code"
OWN_SOURCE = ".source"
"""Where the source lies in the job's folder when the place that jobs share cannot be used."""


def orders_digest(orders: Mapping[str, Any]) -> str:
    """Give the digest of what a pod is to do, whatever the workload's name is.

    Args:
        orders: What it is to do, without the digest.
    """
    text = json.dumps(orders, separators=(",", ":"), sort_keys=True).replace(orders["name"], NAME_PLACEHOLDER)
    return hashlib.sha256(text.encode()).hexdigest()


def is_transport_variable(name: str) -> bool:
    """Tell whether a variable only carries the job to the pod, and is gone when the user's code starts.

    `NEMO_RUNSPEC_JOB_DIR`, which tells a script its job folder, is none of them.
    """
    if name in (BOOT_VARIABLE, POD_VARIABLE, MORE_POD_VARIABLE):
        return True
    numbers = [name[len(prefix) :] for prefix in (SOURCE_PREFIX, JOB_PREFIX) if name.startswith(prefix)]
    return any(number.isascii() and number.isdigit() for number in numbers)
