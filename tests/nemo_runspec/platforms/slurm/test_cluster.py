"""Asking for the cluster's name, with stand-ins for Slurm's programs; the real ones are in tests/clusters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import UnreachableError
from nemo_runspec.platforms.shell.local import LocalShell
from nemo_runspec.platforms.slurm.cluster import cluster_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = "Configuration data as of 2026-01-01\nClusterName             = Alpha\nCommunicationParameters = (null)\n"
NO_SOURCE = "scontrol: fatal: Could not establish a configuration source"
SILENT = "slurm_load_ctl_conf error: Unable to contact slurm controller (connect failure)"


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Say what `scontrol show config` prints."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_CONF", raising=False)

    def says(text: str) -> None:
        program = tmp_path / "scontrol"
        program.write_text(f"#!/bin/sh\necho '{text}'\n", encoding="utf-8")
        program.chmod(0o700)

    return says


def test_the_controller_tells_and_where_no_slurm_is_set_up_there_is_none(scontrol: Callable[[str], None]) -> None:
    scontrol(CONFIG)
    assert cluster_name(LocalShell()) == "alpha"
    scontrol(NO_SOURCE)
    assert cluster_name(LocalShell()) == ""


@pytest.mark.parametrize(
    "line", ["ClusterName=Beta", "  clustername = beta # ours", "# ClusterName=no\nCLUSTERNAME=beta\nNodeName=n1"]
)
def test_a_file_that_is_given_tells_while_the_controller_does_not(
    scontrol: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    scontrol(SILENT)
    with pytest.raises(UnreachableError, match=r"does not tell which cluster it is: .*connect failure"):
        cluster_name(LocalShell())
    (tmp_path / "slurm.conf").write_text(f"{line}\n", encoding="utf-8")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    assert cluster_name(LocalShell()) == "beta"
