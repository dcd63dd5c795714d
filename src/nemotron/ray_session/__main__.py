"""Keep a Ray on this machine until standard input ends; see `private`."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile


def main() -> None:
    """Start it, say where it is, wait, and end it."""
    import ray  # noqa: PLC0415 takes its time, and nothing may import it with the package

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
        sys.stdin.read()
        ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
