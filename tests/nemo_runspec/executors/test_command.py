from __future__ import annotations

import shlex
from types import SimpleNamespace
from typing import Any

import pytest
from nemo_run.core.execution.launcher import FaultTolerance, Launcher, Torchrun
from nemo_run.run.torchx_backend.components.ft_launcher import ft_launcher
from nemo_run.run.torchx_backend.components.torchrun import torchrun
from torchx.specs import AppDef, Role

from nemo_runspec.executors.command import command_text

AWKWARD = ["two words", "it's", "$HOME", "$(id)", "$$${node_rank_var}", "é→", ""]


def executor(launcher: Launcher) -> Any:  # noqa: ANN401 - as much of a nemo-run executor as is asked for
    return SimpleNamespace(
        get_launcher=lambda: launcher,
        get_launcher_prefix=lambda: launcher.get_nsys_prefix(profile_dir="/nemo_run"),
    )


def with_nsys(app: AppDef, launcher: Launcher) -> Role:
    """Do what nemo-run does to a role that is to be profiled."""
    (role,) = app.roles
    role.args = [*launcher.get_nsys_prefix(profile_dir="/nemo_run"), role.entrypoint, *role.args, ""]
    role.entrypoint = "nsys"
    return role


def test_every_argument_reaches_the_program_as_it_is() -> None:
    role = Role(name="r", image="", entrypoint="bash", args=["my script.sh", *AWKWARD])
    assert shlex.split(command_text(role, executor(Launcher()))) == ["bash", "my script.sh", *AWKWARD]
    role = Role(name="r", image="", entrypoint="python3 -u", args=["train.py"])
    assert command_text(role, executor(Launcher())) == "python3 -u train.py"


@pytest.mark.parametrize("nodes", [1, 2])
def test_torchrun_has_the_pods_variables_and_the_users_words(nodes: int) -> None:
    app = torchrun(*AWKWARD, script="my train.py", j=f"{nodes}x4", lepton=True, name="r")
    text = command_text(app.roles[0], executor(Torchrun()))
    assert text.startswith(f"torchrun --nnodes {nodes} --nproc-per-node 4 --node-rank $NODE_RANK ")
    assert " --master-addr $MASTER_ADDR --master-port $MASTER_PORT 'my train.py' " in text
    assert shlex.split(text)[-len(AWKWARD) :] == AWKWARD


def test_the_fault_tolerant_launcher_finds_the_other_pods() -> None:
    app = ft_launcher(*AWKWARD, script="train.py", j="2x4", name="r", rdzv_port=29500)
    text = command_text(app.roles[0], executor(FaultTolerance()))
    assert text.startswith("ft_launcher ")
    assert " --rdzv-endpoint $MASTER_ADDR:29500 " in text
    assert " --node-rank $NODE_RANK " in text
    assert shlex.split(text)[-len(AWKWARD) :] == AWKWARD


@pytest.mark.parametrize("launcher", [Launcher(nsys_profile=True), Torchrun(nsys_profile=True)])
def test_a_profiled_command_is_quoted_once_and_ends_where_it_should(launcher: Launcher) -> None:
    launcher.nsys_extra_args = ["--a=$x y"]
    if isinstance(launcher, Torchrun):
        role = with_nsys(torchrun(*AWKWARD, script="train.py", j="2x4", dgxc=True, name="r"), launcher)
        expected = ["torchrun", "--nnodes", "2", "--nproc-per-node", "4", "train.py", *AWKWARD]
    else:
        plain = Role(name="r", image="", entrypoint="python", args=["train.py", *AWKWARD])
        role = with_nsys(AppDef(name="r", roles=[plain]), launcher)
        expected = ["python", "train.py", *AWKWARD]
    prefix = launcher.get_nsys_prefix(profile_dir="/nemo_run")
    assert shlex.split(command_text(role, executor(launcher))) == ["nsys", *prefix, *expected]
