"""What goes wrong with workers, whoever starts them."""

from __future__ import annotations

from nemo_runspec.errors import NemotronError


class WorkerDiedError(NemotronError):
    """A worker process was ended from outside; what it has finished is kept."""

    exit_code = 1
    title = "worker died"
