"""`nemotron kit doctor`: whether a profile's jobs would run, found out in parallel and within a few seconds.

Nothing is submitted, and nothing stays behind, neither here nor on a cluster.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nemo_runspec.doctor.clouds import checks as checks_of_cloud
from nemo_runspec.doctor.docker import checks as checks_of_docker
from nemo_runspec.doctor.findings import Check, Finding, State, fail, failed
from nemo_runspec.doctor.here import checks as common_checks
from nemo_runspec.doctor.here import checks_of_this_machine
from nemo_runspec.doctor.slurm import checks as checks_of_slurm
from nemo_runspec.env import CloudProfile, DockerProfile, SlurmProfile
from nemo_runspec.env_vars import job_redactor
from nemo_runspec.errors import NemotronError
from nemo_runspec.executors import resolve_profile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from nemo_runspec.env import Profile

__all__ = ["TIMEOUT_S", "Examination", "Finding", "State", "examine"]

TIMEOUT_S: Final = 5.0
"""How long all of it may take, unless told otherwise."""

_PROFILE: Final = "profile"


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out about a profile.

    Args:
        profile: Its name.
        executor: Its executor; an empty text where the profile cannot be read.
        findings: In the order in which a job meets them.
    """

    profile: str
    executor: str
    findings: tuple[Finding, ...]

    @property
    def is_healthy(self) -> bool:
        """Whether nothing has failed."""
        return all(finding.state is not State.FAIL for finding in self.findings)


def checks_of(profile: Profile, *, online: bool, timeout_s: float) -> tuple[Check, ...]:
    """Give the questions that a profile raises."""
    common = common_checks(profile)
    if isinstance(profile, SlurmProfile):
        return (*common, *checks_of_slurm(profile, online=online, timeout_s=timeout_s))
    if isinstance(profile, DockerProfile):
        return (*common, *checks_of_docker(profile, timeout_s=timeout_s))
    if isinstance(profile, CloudProfile):
        return (*common, *checks_of_cloud(profile, online=online, timeout_s=timeout_s))
    return (*common, *checks_of_this_machine(profile))


def examine(
    profiles: Mapping[str, Callable[[], Profile]], *, online: bool = False, timeout_s: float = TIMEOUT_S
) -> tuple[Examination, ...]:
    """Examine profiles, all at once.

    Args:
        profiles: Name -> what reads the profile; an error that it raises is a finding.
        online: Whether to ask what is outside, too: a cloud's API, the repositories that jobs mount.
        timeout_s: How long all of it may take, in seconds. What gave no answer by then is found to have failed.
    """
    deadline = time.monotonic() + timeout_s
    read: dict[str, Profile] = {}
    broken: dict[str, Finding] = {}
    for name, read_profile in profiles.items():
        try:
            read[name] = resolve_profile(read_profile())
        except NemotronError as error:
            broken[name] = failed(_PROFILE, error)
    checks = {name: checks_of(profile, online=online, timeout_s=timeout_s) for name, profile in read.items()}
    found = _ask_all([(name, check) for name in checks for check in checks[name]], deadline, timeout_s)
    return tuple(
        _examination(name, read[name], [finding for asked, finding in found if asked == name])
        if name in read
        else Examination(name, "", (broken[name],))
        for name in profiles
    )


def _examination(name: str, profile: Profile, findings: Sequence[Finding]) -> Examination:
    redactor = job_redactor(profile)
    shown = (
        Finding(one.check, one.state, redactor.text(one.text), one.remedy and redactor.text(one.remedy))
        for one in findings
    )
    return Examination(name, profile.executor, tuple(shown))


_Answer = tuple[int, tuple[Finding, ...] | Exception]


def _ask_all(asked: list[tuple[str, Check]], deadline: float, timeout_s: float) -> list[tuple[str, Finding]]:
    """Ask each question in a thread of its own, which nobody waits for behind the deadline."""
    answers: queue.SimpleQueue[_Answer] = queue.SimpleQueue()
    for index, (_, check) in enumerate(asked):
        threading.Thread(target=_ask, args=(index, check, answers), name=f"doctor-{check.name}", daemon=True).start()
    given: dict[int, tuple[Finding, ...]] = {}
    while len(given) < len(asked) and (left := deadline - time.monotonic()) > 0:
        try:
            index, answer = answers.get(timeout=left)
        except queue.Empty:
            break
        if isinstance(answer, Exception):
            raise answer
        given[index] = answer
    silent = f"gave no answer within {timeout_s:g} s"
    return [
        (name, finding)
        for index, (name, check) in enumerate(asked)
        for finding in given.get(index, (fail(check.name, silent, "Try again, with a longer --timeout."),))
    ]


def _ask(index: int, check: Check, answers: queue.SimpleQueue[_Answer]) -> None:
    try:
        answers.put((index, tuple(check.ask())))
    except NemotronError as error:
        answers.put((index, (failed(check.name, error),)))
    except Exception as error:  # noqa: BLE001 - a mistake of ours must not end with its thread, unseen
        answers.put((index, error))
