"""What a file system raises, as an error that names the place."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nemo_runspec.errors import ArtifactError, NemotronError

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHECK = "Check the path, its permissions, and the credentials of the store."


@contextmanager
def storage_errors(url: str, doing: str, *, let: type[OSError] | tuple[()] = ()) -> Iterator[None]:
    """Turn what a file system raises into an `ArtifactError` that names the place.

    Args:
        url: The place.
        doing: What was being done there, such as `read` or `write to`.
        let: An error type that the caller handles itself.
    """
    try:
        yield
    except NemotronError:
        raise
    except let:
        raise
    except Exception as error:
        # Drivers of fsspec raise error types of their own (botocore's, aiohttp's) beside OSError, and cannot be
        # imported to be named here.
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        message = f"cannot {doing} {url}: {reason}"
        raise ArtifactError(message, remedy=_CHECK) from error
