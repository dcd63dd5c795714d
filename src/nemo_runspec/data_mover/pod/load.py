"""Argument of the pod's `python3 -c`: puts the pod's modules together and starts the job."""

import base64
import hashlib
import json
import lzma
import os
import sys
import types


def load(value):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201 - travels as an argument, where each word counts
    """Make the modules that a variable holds, and give the last of them.

    Args:
        value: The digest of the code, `:`, and the code: JSON, a list of name and text, compressed and encoded.
    """
    digest, _, text = value.partition(":")
    data = base64.b85decode(text.encode().translate(bytes.maketrans(b",./:", b"\x24&<>")))
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
    entry = load(os.environ.get("NEMO_RUNSPEC_POD", ""))  # type: ignore[no-untyped-call]
    sys.exit(entry.main(sys.argv[1:]) if entry else "payload sha256 mismatch: NEMO_RUNSPEC_POD")
