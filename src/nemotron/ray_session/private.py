"""A Ray of one process's own, kept by a second process, which `__main__` is.

Ray's daemons get every signal that is sent to the group of the process that has started them, as launchers and
platforms do with SIGTERM. They end at it, and abort whoever is joined to them, before a training could write its
checkpoint. So they are started in a session of their own. The keeper of it ends them when its standard input ends,
which it does however its user ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_END_S: Final = 20.0
_LAST_LINES: Final = 5


class PrivateRayError(Exception):
    """No Ray could be started on this machine."""


@contextmanager
def private_ray() -> Iterator[str]:
    """Start a Ray on this machine, and end it with all of its processes.

    Yields:
        Its address.

    Raises:
        PrivateRayError: It does not start.
    """
    command = [sys.executable, "-m", "nemotron.ray_session"]
    # Where Ray was imported before a mode was set, this process joins without a token.
    environment = {"RAY_AUTH_MODE": "disabled", **os.environ}
    with (
        tempfile.TemporaryFile("w+", errors="replace") as errors,
        subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as keeper,
    ):
        assert keeper.stdin is not None  # noqa: S101 a pipe was asked for
        assert keeper.stdout is not None  # noqa: S101 as above
        try:
            address = keeper.stdout.readline().strip()
            if not address:
                errors.seek(0)
                raise PrivateRayError("\n".join(errors.read().splitlines()[-_LAST_LINES:]))
            yield address
        finally:
            keeper.stdin.close()
            try:
                keeper.wait(_END_S)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(keeper.pid, signal.SIGKILL)
