"""Leave PyTorch out of the processes that submit and follow jobs; whatever computes runs in processes of its own."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def without_torch() -> Iterator[None]:
    """Let imports of PyTorch fail as where it is not installed, unless it has been imported already.

    nemo-run imports it where it finds it (nemo_run/core/serialization/yaml.py, release 0.11.1), only to be able to
    write a dtype: half of the time that a submission takes.
    """
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]  # what makes an import fail
    try:
        yield
    finally:
        del sys.modules["torch"]
