"""Names and signs on which both sides agree."""

from __future__ import annotations

SOURCE_PREFIX = "NEMO_RUNSPEC_SRC_"
"""The source archive, in pieces numbered from 0."""

JOB_PREFIX = "NEMO_RUNSPEC_JOB_"
"""The archive of the job's own files, in pieces numbered from 0."""

BOOT_VARIABLE = "NEMO_RUNSPEC_BOOT"
"""What the pod's side is to do, as JSON."""

POD_VARIABLE = "NEMO_RUNSPEC_POD"
"""The code of the pod's side; `load.py` has the name once more, as it cannot import anything."""

UNSAFE_SIGNS = b"$&<>"
"""Signs of Python's base 85 that platforms treat in some way of their own."""

SAFE_SIGNS = b",./:"
"""What stands for them."""

JOB_DIR_VARIABLE = "NEMO_RUNSPEC_JOB_DIR"
"""Tells the command its job folder, as everywhere in this library."""

EXIT_MARKER = "[nemo-runspec]"
"""What the lines begin with that the pod's side prints itself."""

LOG_FOLDER = "logs"
EXIT_FOLDER = "exit"
CODE_FOLDER = "code"


def is_transport_variable(name: str) -> bool:
    """Tell whether a variable only carries the job to the pod, and is gone when the user's code starts.

    `NEMO_RUNSPEC_JOB_DIR`, which tells a script its job folder, is none of them.
    """
    if name in (BOOT_VARIABLE, POD_VARIABLE):
        return True
    numbers = [name[len(prefix) :] for prefix in (SOURCE_PREFIX, JOB_PREFIX) if name.startswith(prefix)]
    return any(number.isascii() and number.isdigit() for number in numbers)
