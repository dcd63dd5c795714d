"""Argument of the pod's `python3 -c`: puts the pod's modules together and starts the job."""

import base64
import hashlib
import json
import lzma
import os
import signal
import socket
import sys
import types


def load(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - travels as an argument, where each word counts
    """Make the modules that variables hold, and give the last of them; None where it is not what was sent.

    Args:
        value: The digest of the code, `:`, and the code: JSON, a list of name and text, compressed and encoded.
    """
    digest, _, text = value.partition(":")
    try:
        data = base64.b85decode(text.encode().translate(bytes.maketrans(b",./:", b"\x24&<>")))
    except ValueError:
        return None
    if hashlib.sha256(data).hexdigest() != digest:
        return None
    package = types.ModuleType("nemo_runspec_pod")
    package.__path__ = []
    sys.modules[package.__name__] = package
    for name, source in json.loads(lzma.decompress(data)):
        module = types.ModuleType(package.__name__ + "." + name)
        sys.modules[module.__name__] = module
        setattr(package, name, module)
        exec(compile(source, module.__name__, "exec"), module.__dict__)  # noqa: S102 - code of this library, verified
    return module


if __name__ == "__main__":
    # As process 1 it would not hear of a stop before the job's own handlers are there, and the job would begin.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    get = os.environ.get
    entry = load(get("NEMO_RUNSPEC_POD", "") + get("NEMO_RUNSPEC_POD_1", ""))  # type: ignore[no-untyped-call]
    if entry:
        sys.exit(entry.main(sys.argv[1:]))
    host = (get("HOSTNAME") or socket.gethostname()).replace("/", "_")
    sys.exit("payload sha256 mismatch: NEMO_RUNSPEC_POD\n[nemo-runspec] " + host + " exit code 1")
