"""Where a job's own files are, as the job sees them: on this machine, or in a pod."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from nemo_runspec.errors import SpecError
from nemo_runspec.job_folder import JOB_LINK
from nemo_runspec.words import Expanded

if TYPE_CHECKING:
    from nemo_runspec.spec import Runspec

POD_JOB_DIR = PurePosixPath(JOB_LINK)
"""The job's folder in a pod."""

CODE_FOLDER = "code"
"""The working directory below it: the sources that came with the job, at their places in the repository."""

DEFAULT_COMMAND = "python {script} --config {config}"

# Set in a pod before the command starts, from whatever the platform tells.
_POD_NODES = (
    "--nnodes",
    Expanded("$NNODES"),
    "--node-rank",
    Expanded("$NODE_RANK"),
    "--master-addr",
    Expanded("$MASTER_ADDR"),
    "--master-port",
    Expanded("$MASTER_PORT"),
)
_ONE_NODE = ("--standalone", "--nnodes", "1")


def ray_node(nodes: int, gpus: int) -> tuple[str, ...]:
    """Give what follows `python` where a node of a job is one of a Ray of the job's own, up to the driver's command.

    Args:
        nodes: Number of nodes.
        gpus: GPUs of each.
    """
    several = {"nodes": "NNODES", "node-rank": "NODE_RANK", "head-addr": "MASTER_ADDR", "port": "MASTER_PORT"}
    # Nobody calls the only node: any port does that is free.
    alone = {"nodes": "1", "node-rank": "0", "head-addr": "localhost", "port": "0"}
    values = {name: Expanded(f"${variable}") for name, variable in several.items()} if nodes > 1 else alone
    told = [word for name, value in values.items() for word in (f"--{name}", value)]
    return ("-m", "nemo_runspec.ray_node", *told, "--gpus", str(gpus), "--")


@dataclass(frozen=True, slots=True)
class Place:
    """What a command has to know of where it runs.

    Args:
        job_dir: The job's folder.
        script: The recipe's script.
        python: The interpreter.
        nodes: Number of nodes.
        expands: Whether variables are filled in here; otherwise it is left to the job.
        relocated: Folder of this machine -> where the job finds what is in it.
        forms_ray: Whether several nodes make a Ray of their own; a platform may have one for them.
    """

    job_dir: PurePosixPath
    script: PurePosixPath
    python: str
    nodes: int = 1
    expands: bool = False
    relocated: tuple[tuple[str, str], ...] = ()
    forms_ray: bool = True

    @classmethod
    def here(cls, job_dir: PurePosixPath, script: PurePosixPath) -> Place:
        """Give the place of a job on this machine."""
        return cls(job_dir, script, sys.executable, expands=True)

    @classmethod
    def away(
        cls, script: str, *, nodes: int, repo_root: PurePosixPath | None, job_dir: PurePosixPath = POD_JOB_DIR
    ) -> Place:
        """Give the place of a job in pods or containers, or on a cluster's nodes.

        Args:
            script: The script's place among the sources that travel.
            nodes: Number of nodes.
            repo_root: Folder of this machine whose sources travel; paths below it are found in the job's copy.
            job_dir: The job's folder, as the job sees it.
        """
        code = job_dir / CODE_FOLDER
        relocated = ((str(repo_root), str(code)),) if repo_root else ()
        return cls(job_dir, code / script, "python", nodes, relocated=relocated)

    def compose(
        self, spec: Runspec, *, config: str, processes: int, gpus: int = 0, template: str | None = None
    ) -> tuple[str, ...]:
        """Compose the command that runs a recipe's script.

        Args:
            spec: The recipe; its `cmd` is a template with `{script}` and `{config}`, and `$NAME` for a variable of the
                environment.
            config: The name of the script's configuration in the job's folder.
            processes: How many processes torchrun starts on each node.
            gpus: GPUs of each node, which Ray gives to its workers.
            template: Replaces the recipe's `cmd`.

        Raises:
            SpecError: `launch = "torchrun"`, or "ray" on several nodes, with a `cmd` that does not start with `python`.
        """
        written = template or spec.run.cmd or DEFAULT_COMMAND
        words = [self._fill(word, config) for word in shlex.split(written)]
        if words[0] in {"python", "python3"}:
            launcher = [self.python]
            if spec.run.launch == "torchrun":
                nodes = _POD_NODES if self.nodes > 1 else _ONE_NODE
                launcher += ["-m", "nemo_runspec.torchrun", *nodes, "--nproc-per-node", str(processes)]
            elif self._spreads_ray(spec):
                # On one node the script starts Ray itself.
                launcher += [*ray_node(self.nodes, gpus), self.python]
            words[:1] = launcher
        elif spec.run.launch == "torchrun" or self._spreads_ray(spec):
            name, where = ("run_command", None) if template else ("cmd", spec.source)
            message = f"{name} = \"{written}\" does not start with 'python', which {spec.run.launch} replaces"
            remedy = f'Write {name} = "{DEFAULT_COMMAND}", or launch = "direct".'
            raise SpecError(message, where=where, remedy=remedy)
        return tuple(words)

    def _spreads_ray(self, spec: Runspec) -> bool:
        return spec.run.launch == "ray" and self.nodes > 1 and self.forms_ray

    def _fill(self, word: str, config: str) -> str:
        # Variables first: what a path holds is not for the shell.
        filled = (os.path.expandvars(word) if self.expands else word).replace("{script}", str(self.script))
        filled = filled.replace("{config}", str(self.job_dir / config))
        return Expanded(filled) if "$" in word and not self.expands else filled

    def relocate(self, value: object) -> object:
        """Give a configuration's value with the paths of what travels as the job sees them."""
        if isinstance(value, dict):
            return {key: self.relocate(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.relocate(item) for item in value]
        if isinstance(value, str):
            for here, there in self.relocated:
                if value == here or value.startswith(f"{here}/"):
                    return there + value[len(here) :]
        return value
