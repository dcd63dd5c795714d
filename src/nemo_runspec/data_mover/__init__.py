"""How a job's source and files reach the pod: inside the create call, with no helper and nothing to download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_runspec.data_mover.budget import check_budget
from nemo_runspec.data_mover.changes import Changes, modified_files
from nemo_runspec.data_mover.exit_marker import exit_code_of
from nemo_runspec.data_mover.plan import CODE_DIR, Plan, plan_for
from nemo_runspec.data_mover.pod.variables import EXIT_MARKER, is_transport_variable
from nemo_runspec.data_mover.select import Selection, SourceFile, select
from nemo_runspec.job_folder import JOB_LINK

if TYPE_CHECKING:
    from nemo_runspec.data_mover.packager import SourcePackager

__all__ = [
    "CODE_DIR",
    "EXIT_MARKER",
    "JOB_LINK",
    "Changes",
    "Plan",
    "Selection",
    "SourceFile",
    "SourcePackager",
    "check_budget",
    "exit_code_of",
    "is_transport_variable",
    "modified_files",
    "plan_for",
    "select",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - the signature that PEP 562 gives
    """Import the packager when it is asked for: it needs nemo-run, and the rest does not."""
    if name == "SourcePackager":
        from nemo_runspec.data_mover.packager import SourcePackager  # noqa: PLC0415 - see above

        return SourcePackager
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
