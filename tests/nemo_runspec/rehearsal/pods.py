"""Pods for tests of the sandbox."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nemo_runspec.rehearsal.pod import PodSpec, VolumeMount

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.rehearsal.pod import Pod
    from nemo_runspec.rehearsal.sandbox import Sandbox

WAIT_S = 60


class Pods:
    """Starts pods in a folder whose `volume` they all see as /mnt/nfs."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self.volume = folder / "volume"
        self.volume.mkdir()
        self.started = 0

    def spec(self, *argv: str, env: tuple[tuple[str, str], ...] = (), network: str = "job", name: str = "") -> PodSpec:
        self.started += 1
        name = name or f"job-{self.started}"
        mounts = (VolumeMount(self.volume, "/mnt/nfs"),)
        log = self.folder / f"{self.started}-{name}.log"
        return PodSpec(name, argv, env, network, ("worker-0.job-svc", "worker-1.job-svc"), mounts, log)

    def start(self, *argv: str, network: str = "job", name: str = "") -> Pod:
        return self.sandbox.start(self.spec(*argv, network=network, name=name))

    def run(self, *argv: str, env: tuple[tuple[str, str], ...] = ()) -> tuple[int | None, str]:
        """Run a pod to its end and give its exit code and output."""
        pod = self.sandbox.start(self.spec(*argv, env=env))
        code = pod.wait(WAIT_S)
        return code, pod.spec.log.read_text(encoding="utf-8")

    def lifeline(self) -> Path:
        """Make a pipe in the volume: whoever reads from it sees its end when the last pod that holds it is gone."""
        path = self.volume / "lifeline"
        os.mkfifo(path)
        return path
