from __future__ import annotations

import subprocess
import sys

from nemo_runspec.data_mover import boot
from nemo_runspec.data_mover.pod import load


def test_the_loader_refuses_code_that_is_not_what_was_sent() -> None:
    for value in ("", "x", boot.pod_code()[:-5] + "00000", boot.pod_code()[:-2], boot.pod_code()[:-3] + "\x07 \udce4"):
        done = subprocess.run(
            [sys.executable, *boot.command_prefix()[1:], "true"],
            env={"NEMO_RUNSPEC_POD": value, "HOSTNAME": "pod-0"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1
        assert done.stderr == b"payload sha256 mismatch: NEMO_RUNSPEC_POD\n[nemo-runspec] pod-0 exit code 1\n"


def test_the_loader_makes_the_modules_without_the_package() -> None:
    text = (
        "import os, sys; sys.argv = ['-c']; "
        "names = {'__name__': 'loader'}; exec(os.environ['LOADER'], names); "
        "entry = names['load'](os.environ['NEMO_RUNSPEC_POD']); "
        "assert entry.main and entry.unpack.stage; assert 'nemo_runspec' not in sys.modules; print(entry.__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", text],
        env={"LOADER": boot.command_prefix()[-1], "NEMO_RUNSPEC_POD": boot.pod_code()},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "nemo_runspec_pod.entry\n"


def test_a_damaged_value_gives_nothing() -> None:
    assert load.load("0" * 64 + ":00000") is None  # type: ignore[no-untyped-call]  # it travels as an argument
