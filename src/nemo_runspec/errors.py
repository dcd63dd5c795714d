"""The one error tree: every expected failure carries its exit code and what to do next.

Library code raises these and never exits or prints; the command line turns an error into one message and
an exit status (`nemotron.cli.main`).
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
SIGNAL_BASE = 128


def shell_status(code: int) -> int:
    """Give an exit code as a shell tells it: 128 and the signal's number where `subprocess` has the negative number."""
    return SIGNAL_BASE - code if code < 0 else code


@dataclass(frozen=True, slots=True)
class Location:
    """Where in a file something was found.

    Args:
        path: The file; text where it is a URL, which a path would change.
        line: Line number counted from 1, or None where only the file is known.
    """

    path: Path | str
    line: int | None = None

    def __str__(self) -> str:
        """Give `path:line`, which editors and terminals turn into a link."""
        return f"{self.path}:{self.line}" if self.line is not None else str(self.path)


class NemotronError(Exception):
    """An expected failure.

    Args:
        message: What was wrong, with the offending value.
        where: The file (and line) it stands in, if it stands in a file.
        remedy: What to do next, as one sentence.
    """

    exit_code = EXIT_USAGE
    title = "error"

    def __init__(self, message: str, *, where: Location | None = None, remedy: str | None = None) -> None:
        """Keep the parts apart, so that a caller can show them as it likes."""
        self.message = message
        self.where = where
        self.remedy = remedy
        super().__init__(message)

    def __str__(self) -> str:
        """Give the location, the message and the remedy as one text."""
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.remedy}" if self.remedy else text


class UsageError(NemotronError):
    """The command line asks for something that does not exist or does not fit together."""


class SpecError(NemotronError):
    """A script's `[tool.runspec]` block is missing, unreadable, or says something unknown."""

    title = "runspec error"


class ProfileError(NemotronError):
    """env.toml is unreadable, or a profile in it is unknown, incomplete or mistyped."""

    title = "profile error"


class ConfigError(NemotronError):
    """A recipe configuration is missing, unreadable, or an override does not fit it."""

    title = "configuration error"


class MissingValueError(ConfigError):
    """A configuration leaves a mandatory value (`???`) to the user, who gave none.

    Args:
        key: The entry's dotted key on the command line.
        where: The configuration's file.
    """

    def __init__(self, key: str, *, where: Location | None = None) -> None:
        """Say how to give the value."""
        self.key = key
        message = f"'{key}' has no value, and the recipe needs one"
        super().__init__(message, where=where, remedy=f"Give it on the command line: {key}=VALUE.")


class DataError(NemotronError):
    """Input data is missing, empty, or not in the format that it should have."""

    title = "data error"


class ArtifactError(NemotronError):
    """The artifact store cannot do what was asked."""

    title = "artifact error"


class ArtifactNotFoundError(ArtifactError):
    """No artifact of this name and version is in the store."""


class PayloadError(NemotronError):
    """What should travel with a job cannot: too large, unreadable, or not committed."""

    title = "payload error"


class PlatformError(NemotronError):
    """A cloud platform refused something, or could not be asked.

    Args:
        message: What was asked, of which platform, and its answer.
        status: The HTTP status, or None where there was no answer.
        remedy: What to do next.
    """

    title = "platform error"

    def __init__(self, message: str, *, status: int | None = None, remedy: str | None = None) -> None:
        """Keep the status for those who decide by it."""
        super().__init__(message, remedy=remedy)
        self.status = status


class DeniedError(PlatformError):
    """The platform does not accept the credential (401), or does not permit this with it (403)."""


class RefusedError(PlatformError):
    """The platform does not accept what was asked (any other 4xx)."""


class GoneError(PlatformError):
    """The platform does not know what was asked about (404)."""


class UnreachableError(PlatformError):
    """No usable answer within the deadline: timeouts, resets, 429 or 5xx all the time. It says nothing about a job."""

    exit_code = 1


class NothingSentError(UnreachableError):
    """The platform could not be reached before anything was sent that could become a job."""


class JobFailedError(NemotronError):
    """A job ran and ended with a non-zero status.

    Args:
        message: Which job, and how it ended.
        exit_code: The job's own exit code, which becomes the command's.
        remedy: Where to look.
    """

    title = "job failed"

    def __init__(self, message: str, *, exit_code: int, remedy: str | None = None) -> None:
        """Take over the job's exit code."""
        super().__init__(message, remedy=remedy)
        self.exit_code = exit_code


class InterruptedJobError(JobFailedError):
    """Ctrl-C ended a job; its last checkpoint is kept."""

    title = "interrupted"

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        """End with the shell's status for SIGINT."""
        super().__init__(message, exit_code=EXIT_INTERRUPTED, remedy=remedy)


def nearest(name: str, known: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """Give the known name that `name` most likely means, or None when nothing is close.

    Args:
        name: What was written.
        known: What could have been written.
        likeness: How alike two names must be, from 0 to 1 (difflib's ratio).
    """
    found = difflib.get_close_matches(name, sorted(known), n=1, cutoff=likeness)
    return found[0] if found else None


def guess(name: str, known: Iterable[str], *, what: str) -> str:
    """Give a remedy for an unknown name: the nearest one, or else the list of what is known.

    Args:
        name: What was written.
        known: What could have been written.
        what: The kind of thing, in the plural ("profiles", "keys").
    """
    names = sorted(known)
    close = nearest(name, names)
    if close is not None:
        return f"Did you mean '{close}'?"
    return f"Known {what}: {', '.join(names)}." if names else f"There are no {what}."
