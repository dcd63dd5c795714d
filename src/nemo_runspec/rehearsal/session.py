"""A rehearsal: a twin with sandboxed pods, and this process's environment leading to it and to nothing real."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nemo_runspec.env import DGXCloudProfile, LeptonProfile, Origin
from nemo_runspec.errors import NemotronError, UsageError
from nemo_runspec.rehearsal.inventory import LeptonInventory, RunaiInventory, inventory_for
from nemo_runspec.rehearsal.report import Evidence, evidence_of
from nemo_runspec.rehearsal.sandbox import Sandbox
from nemo_runspec.rehearsal.twin import Twin

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nemo_runspec.rehearsal.faults import Fault
    from nemo_runspec.rehearsal.inventory import Inventory
    from nemo_runspec.rehearsal.pod import PodRunner

CLIENT_SECRET: Final = "NEMO_RUNSPEC_REHEARSAL_CLIENT_SECRET"  # noqa: S105 - the variable's name
HOME: Final = "nemo_run"
"""Folder that nemo-run takes for its home meanwhile."""

_NO_CREDENTIALS: Final = "no_credentials"
_LOOPBACK: Final = "127.0.0.1,localhost"
_FOREIGN: Final = (
    # The real workspace's, in leptonai 0.27 (api/v2/client.py); the first three are set anew for a rehearsed one.
    *("LEPTON_WORKSPACE_ID", "LEPTON_WORKSPACE_TOKEN", "LEPTON_WORKSPACE_URL"),
    *("LEPTON_WORKSPACE_ORIGIN_URL", "LEPTON_CLASSIC", "LEPTON_DEBUG_HEADERS"),
    # They win over every address that a program gives to Ray (ray/dashboard/utils.py).
    *("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"),
)
"""Variables that lead to something real."""

RehearsedProfile = LeptonProfile | DGXCloudProfile


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsal that is going on.

    Args:
        profile: The profile, leading to the twin.
        twin: The platform's twin.
        folder: Keeps the volumes, and the logs of the last rehearsal.
    """

    profile: RehearsedProfile
    twin: Twin
    folder: Path

    def evidence(self) -> Evidence:
        """Sum up what the twin has seen so far."""
        return evidence_of(self.twin.workloads, self.twin.requests)


@contextmanager
def rehearse(
    profile: RehearsedProfile,
    *,
    folder: Path,
    with_master: bool = False,
    faults: Iterable[Fault] = (),
    runner: PodRunner | None = None,
) -> Iterator[Rehearsal]:
    """Have a cloud platform on this machine for a while, on which exists what a profile names.

    Meanwhile this process's environment leads to the twin: no credential of a real platform is found through it, and
    nemo-run keeps its records in the folder. It is put back at the end, and nothing is left running.

    Args:
        profile: A cloud's profile, with its values filled in.
        folder: Its `volumes` are kept from one rehearsal to the next; logs and records are those of the last one.
        with_master: Whether run:ai gives distributed workloads a master besides their workers.
        faults: Disturbances that happen to requests.
        runner: Runs the pods, instead of a sandbox.

    Raises:
        UsageError: `with_master` on a platform that knows no master.
        NemotronError: This machine cannot run pods, another rehearsal is using the folder, or Lepton's SDK has been
            imported earlier where it finds real credentials.
    """
    if with_master and not isinstance(profile, DGXCloudProfile):
        message = f"--with-master is about run:ai, and profile '{profile.name}' is for {profile.executor}"
        raise UsageError(message, remedy="Leave --with-master out.")
    _refuse_credentials_in_memory()
    folder = folder.absolute()
    with _folder_of_one(folder), _runner(runner) as pods:
        inventory = inventory_for(profile)
        for name in (HOME, _NO_CREDENTIALS):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(mode=0o700)
        with (
            Twin(inventory, pods, folder, faults=faults, with_master=with_master) as twin,
            _nemo_run_home(folder / HOME),  # before the environment, which it asks for the usual place
            _environment(_variables(folder, inventory, twin.url)),
        ):
            yield Rehearsal(_led_to(profile, twin), twin, folder)


def _led_to(profile: RehearsedProfile, twin: Twin) -> RehearsedProfile:
    """Give a profile that leads to a twin; Lepton's is found through the environment."""
    if isinstance(profile, LeptonProfile):
        return profile
    places = {
        "base_url": twin.url,
        "kube_apiserver_url": twin.kubernetes_url,
        "client_secret": f"${{oc.env:{CLIENT_SECRET}}}",
    }
    return profile.with_overrides(places, Origin("the rehearsal"))


def _variables(folder: Path, inventory: Inventory, url: str) -> dict[str, str | None]:
    """Give the variables of a rehearsal; None for one that must not be there."""
    empty = folder / _NO_CREDENTIALS
    variables: dict[str, str | None] = dict.fromkeys(_FOREIGN)
    variables |= {
        "LEPTON_CACHE_DIR": str(empty),
        # requests would send a default password of ~/.netrc to the twin, in the place of the token.
        "NETRC": str(empty / "netrc"),
        "NEMORUN_HOME": str(folder / HOME),
    }
    for name in ("NO_PROXY", "no_proxy"):
        variables[name] = ",".join(filter(None, (os.environ.get(name), _LOOPBACK)))
    if isinstance(inventory, LeptonInventory):
        variables["LEPTON_WORKSPACE_ID"] = inventory.workspace_id
        variables["LEPTON_WORKSPACE_TOKEN"] = inventory.token
        variables["LEPTON_WORKSPACE_URL"] = url
    if isinstance(inventory, RunaiInventory):
        variables[CLIENT_SECRET] = inventory.client_secret
    return variables


@contextmanager
def _environment(variables: Mapping[str, str | None]) -> Iterator[None]:
    """Set and remove variables of this process for a while."""
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def _nemo_run_home(home: Path) -> Iterator[None]:
    """Move nemo-run's home for a while. It reads its variable only once, when it is imported, before or meanwhile."""
    usual = os.environ.get("NEMORUN_HOME", str(Path.home() / ".nemo_run"))
    loaded = sys.modules.get("nemo_run.config")
    if loaded is not None:
        usual = loaded.get_nemorun_home()
        loaded.set_nemorun_home(str(home))
    try:
        yield
    finally:
        loaded = sys.modules.get("nemo_run.config")
        if loaded is not None:
            loaded.set_nemorun_home(usual)


def _refuse_credentials_in_memory() -> None:
    """See that Lepton's SDK, which looks for credentials when it is imported, has not found any.

    Raises:
        NemotronError: It has, and would fall back on them.
    """
    loaded = sys.modules.get("leptonai.config")
    record = Path(loaded.CACHE_DIR) / "workspace_info.yaml" if loaded is not None else None
    if record is not None and record.exists():
        message = f"leptonai was imported before the rehearsal, and has read real credentials from {record}"
        raise NemotronError(message, remedy="Begin the rehearsal in a new process, before nemo_run is imported.")


@contextmanager
def _folder_of_one(folder: Path) -> Iterator[None]:
    """Make the folder, and keep every other rehearsal out of it; the kernel ends that with this process.

    Raises:
        NemotronError: Another one is using it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another rehearsal is using {folder}"
            raise NemotronError(message, remedy="Wait for its end, or stop it with Ctrl-C.") from error
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _runner(given: PodRunner | None) -> Iterator[PodRunner]:
    """Give a runner, and see that it is closed also where a twin, which would close it, is never made."""
    runner = given or Sandbox()
    try:
        yield runner
    finally:
        runner.close()
