"""Names of workloads: legible, valid on the platform, and never the same twice."""

from __future__ import annotations

import re
import secrets
import string
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from nemo_runspec.platforms.limits import Limits

TOKEN_LENGTH: Final = 6
_TOKEN_LETTERS: Final = string.ascii_lowercase + string.digits
_TOKEN: Final = re.compile(rf"[a-z0-9]{{{TOKEN_LENGTH}}}")
_DEFAULT_TITLE: Final = "job"
_LONGEST: Final = 60
"""How long a name is where the platform has no rule: it is read, and a folder's name too."""


def new_token() -> str:
    """Give six random small letters and digits, which make a name unique: 2 billion of them."""
    return "".join(secrets.choice(_TOKEN_LETTERS) for _ in range(TOKEN_LENGTH))


def workload_name(title: str, token: str, limits: Limits | None) -> str:
    """Give a workload's name: what the job is called, as far as the platform takes it, and the token.

    Small letters, digits and `-`, from a letter to no `-`: DNS-1035, which run:ai's training operator asks of the names
    of PyTorch jobs, and Lepton's rule too (leptonai 0.47, api/v2/job_validation.py).

    Args:
        title: What the job is called, in any characters and of any length.
        token: As `new_token` gives it; the name ends with it.
        limits: The platform's rules; None where it takes any such name.

    Raises:
        ValueError: The token is no token; that is a mistake of the caller's.
    """
    if not _TOKEN.fullmatch(token):
        message = f"a token is {TOKEN_LENGTH} small letters and digits, not '{token}'"
        raise ValueError(message)
    words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if not words[:1].isalpha():
        words = f"{_DEFAULT_TITLE}-{words}".rstrip("-")
    longest, refused = (limits.name_length, limits.refused_endings) if limits else (_LONGEST, ())
    head = words[: longest - TOKEN_LENGTH - 1].rstrip("-")
    while f"{head}-{token}".endswith(refused):
        head = head[:-1].rstrip("-") or _DEFAULT_TITLE
    return f"{head}-{token}"
