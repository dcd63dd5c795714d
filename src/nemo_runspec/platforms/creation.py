"""Creating something exactly once over a connection that may lose the reply."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from nemo_runspec.errors import DeniedError, GoneError, NothingSentError, PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.abandoning import AbandonedError, refuse_if_abandoned
from nemo_runspec.platforms.http import GarbledError, Patience, Repetition, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from nemo_runspec.platforms.http import Api

_CONFLICT: Final = 409
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
Made = TypeVar("Made")
Result = TypeVar("Result")


def create(
    api: Api,
    path: str,
    body: bytes,
    *,
    name: str,
    read: Callable[[Any], Made | None],
    find: Callable[[], Made | None],
    hide: Iterable[str] = (),
) -> Made:
    """Create something under a name that nobody else uses.

    When a reply is lost it is looked up before it is sent again, and a platform that then says that the name is taken
    has taken it from here. So it is made once, whatever happens to the replies.

    Args:
        api: The platform.
        path: Where to POST.
        body: JSON to send.
        name: The unique name, for messages.
        read: Gives what was made from the platform's answer, or None where the answer does not say.
        find: Looks it up by its name and gives it, or None where the platform does not have it.
        hide: Secrets of the body.

    Raises:
        RefusedError: The platform does not take it; nothing was made.
        DeniedError: The credential does not permit it; nothing was made.
        AbandonedError: The submission was given up, and nothing was made.
        UnreachableError: Whether it was made could not be found out: within the deadline, or because the platform
            says no to a repetition, which tells nothing of the call that it may have received before.
    """
    refuse_if_abandoned()
    repetition = Repetition(api.patience, api.patience.deadline_s)
    received = False  # may the platform have received a call that it has not said no to?
    while True:
        try:
            made = read(api.once("POST", path, body=body, hide=hide))
            if made is not None:
                return made
            failure = TransientError(f"{api.label} does not say what it has made of '{name}'")
        except TransientError as error:
            failure = error
        except (DeniedError, RefusedError, GoneError) as error:
            # A garbled yes is a yes.
            if not received and not isinstance(error, GarbledError):
                raise _refusal(error) from None
            if not isinstance(error, GarbledError) and error.status != _CONFLICT:
                return _lagging(find, name, error, api.patience)
            # A conflict with what was sent before is a yes, too: the list may lag behind.
            found = _found(find, name)
            if found is not None:
                return found
            failure = TransientError(error.message, status=error.status)
        received = received or failure.status != _TOO_MANY
        found = _found_or_given_up(find, name, partial(repetition.wait, failure), received=received)
        if found is not None:
            return found


def before_sending(step: Callable[[], Result]) -> Result:
    """Take a step of a submission that is before the job itself is sent.

    Args:
        step: Asks the platform for something.

    Raises:
        NothingSentError: The platform cannot be reached; there is no job.
        PlatformError: What else the step raises.
    """
    try:
        return step()
    except UnreachableError as error:
        raise NothingSentError(error.message, status=error.status, remedy=error.remedy) from error


def _found_or_given_up(
    find: Callable[[], Made | None], name: str, after: Callable[[], None], *, received: bool
) -> Made | None:
    """Wait and look; who gives up looks once more for what may have been made, to be able to end it."""
    try:
        return _found(find, name, after=after)
    except AbandonedError as given_up:
        if not received:
            raise
        try:
            found = _found(find, name)
        except AbandonedError as error:
            raise _unknown(error, name) from error
        if found is None:
            raise _unknown(given_up, name) from given_up
        return found


def _lagging(find: Callable[[], Made | None], name: str, refusal: PlatformError, patience: Patience) -> Made:
    """Look for what the platform does not take again, as long as its list may lag behind."""
    repetition = Repetition(patience, patience.newborn_s)
    found = _found(find, name)
    while found is None:
        try:
            repetition.wait(TransientError(refusal.message, status=refusal.status))
        except UnreachableError:
            raise _unknown(refusal, name) from refusal
        found = _found(find, name)
    return found


def _refusal(error: PlatformError) -> PlatformError:
    if isinstance(error, GoneError):  # nothing was asked about that could be gone
        return RefusedError(f"{error.message}: something that it needs is not there", status=error.status)
    return error


def _found(find: Callable[[], Made | None], name: str, after: Callable[[], None] = lambda: None) -> Made | None:
    try:
        after()
        return find()
    except UnreachableError as error:
        raise _unknown(error, name) from error
    except DeniedError as error:
        if error.status != _FORBIDDEN:
            raise _unknown(error, name) from error
    except (RefusedError, GoneError):
        # An odd answer, as to who may create and not list: sending again is safe, the name can be used only once.
        return None
    return None


def _unknown(error: PlatformError, name: str) -> UnreachableError:
    """Say what is not known, and how to find out; for who denied the last call, also what to do about that."""
    message = f"it is not known whether the workload '{name}' was created: {error.message}"
    look = (
        f"Look for '{name}' before you submit it again: in the platform's own view, or with status('{name}') of the "
        f"executor, whose cancel('{name}') ends it."
    )
    first = f"{error.remedy} " if isinstance(error, DeniedError) and error.remedy else ""
    return UnreachableError(message, status=error.status, remedy=first + look)
