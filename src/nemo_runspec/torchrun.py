"""torchrun that ends with the exit code of the rank that failed: `python -m nemo_runspec.torchrun ARGUMENT ...`.

torchrun itself answers every failure with 1 and a long report, and a signal with a traceback
(https://docs.pytorch.org/docs/stable/elastic/run.html).
"""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import TYPE_CHECKING

from nemo_runspec.errors import EXIT_USAGE, SIGNAL_BASE, shell_status

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Run torchrun.

    Args:
        arguments: torchrun's arguments.

    Returns:
        0, the exit code of the first rank that failed, 128 and the number of the signal that ended it, or 2 without
        PyTorch.
    """
    if importlib.util.find_spec("torch") is None:
        sys.stderr.write("error: torchrun needs PyTorch, which is not installed here\n")
        sys.stderr.write("  Install it; the extra 'tiny' of this package brings it.\n")
        return EXIT_USAGE
    from torch.distributed import run  # noqa: PLC0415 - torch takes seconds to import
    from torch.distributed.elastic.multiprocessing.api import SignalException  # noqa: PLC0415 - as above
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError  # noqa: PLC0415 - as above

    # That the ranks end with the launcher is what was asked for, not a warning. Only this process is quieter for it.
    logging.disable(logging.WARNING)
    try:
        run.main(list(arguments))
    except SignalException as signalled:
        return SIGNAL_BASE + int(signalled.sigval)
    except ChildFailedError as failed:
        # torchrun's own log has told which rank it was.
        return shell_status(failed.get_first_failure()[1].exitcode)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
