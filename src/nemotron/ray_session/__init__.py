"""A Ray to work on: the one that `RAY_ADDRESS` names, or a private one that ends with its user."""

from __future__ import annotations

import logging
import os
import secrets
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from nemo_runspec.errors import ConfigError
from nemotron.ray_session.private import PrivateRayError, private_ray

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def open_ray() -> Iterator[Callable[[], Any]]:
    """Join the Ray that `RAY_ADDRESS` names, or a private one on this machine, and leave it at the end.

    That takes seconds, in which whoever asks for it goes on with what comes before the work. What this process has
    joined already is taken, and left as it is.

    Yields:
        What waits until Ray is there, and gives its module.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConfigError: Ray is asked for, and it could not be reached or started.
    """
    if "ray" not in sys.modules and not os.environ.get("RAY_ADDRESS"):
        # For a private Ray. The library reads both as it is imported, and would keep a token in the home directory.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray  # noqa: PLC0415 takes its time, and not everything needs it

    if ray.is_initialized():
        yield lambda: ray
        return

    def joined() -> Any:  # noqa: ANN401 the module, imported where it is needed
        joining.result()
        return ray

    # A thread of its own also keeps Ray from taking the signals, which are the main thread's.
    with ExitStack() as started, ThreadPoolExecutor(1, thread_name_prefix="ray") as thread:
        joining = thread.submit(_join, ray, started)
        try:
            yield joined
        finally:
            wait([joining])
            if joining.exception() is None:
                ray.shutdown()


def _join(ray: Any, started: ExitStack) -> None:  # noqa: ANN401 as above
    address = os.environ.get("RAY_ADDRESS") or "local"
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        # Never without an address: Ray may join a cluster of somebody else's on this machine then.
        there = started.enter_context(private_ray()) if address == "local" else address
        ray.init(address=there, log_to_driver=False, configure_logging=False)
    except PrivateRayError as error:
        message = f"Ray does not start on this machine: {error}"
        raise ConfigError(message, remedy="Set RAY_ADDRESS to use a cluster that is there.") from error
    # Ray raises plain `Exception` too, as when its head does not answer in time.
    except Exception as error:
        message = f"the Ray cluster at '{address}' cannot be joined: {error}"
        raise ConfigError(message, remedy="Correct RAY_ADDRESS, or unset it to work on this machine.") from error
