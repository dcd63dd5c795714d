"""Keep a Ray on this machine until standard input ends; see `private`."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile

from nemo_runspec.ray_node.daemons import adopt_orphans, descendants, end_descendants


def main() -> None:
    """Start it, say where it is, wait, and end it."""
    import ray  # noqa: PLC0415 takes its time, and nothing may import it with the package

    adopt_orphans()
    logging.getLogger("ray").setLevel(logging.ERROR)
    # Not below TMPDIR, which may be long: the paths of Ray's sockets may have 107 characters.
    folder = tempfile.mkdtemp(prefix="nemotron-ray-", dir="/tmp")
    try:
        # "local", as Ray may join a cluster of somebody else's on this machine without an address.
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=folder,
        )
        sys.stdout.write(f"{ray.get_runtime_context().gcs_address}\n")
        sys.stdout.flush()
        daemons = descendants()
        sys.stdin.read()
        # Ray's own way to the end takes more than a second, in which it keeps nothing that anybody wants.
        end_descendants(at_once=daemons)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # At once: at a regular exit, Ray would look for what is gone.
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
