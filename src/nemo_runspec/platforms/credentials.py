"""What the platforms let one in with: Lepton's workspace, run:ai's token. None of it is written or shown anywhere."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from nemo_runspec.errors import DeniedError, GoneError, RefusedError
from nemo_runspec.platforms.http import Api, GarbledError, Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RECORD: Final = "workspace_info.yaml"
_GATEWAY: Final = "https://gateway.dgxc-lepton.nvidia.com/api/v2/workspaces"
_LOGIN: Final = "Export LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN, or log in with: lep login."
_HEADER_TEXT: Final = re.compile(r"[!-~]+")
_EARLY_S: Final = 60
"""A token is replaced so long before it expires, as run:ai's own client does."""
_UNKNOWN_LIFE_S: Final = 300
_BAD_REQUEST: Final = 400
_CLUSTER_ACCESS: Final = (
    "the cluster's sign-in: its Kubernetes API has to take run:ai's tokens (https://docs.nvidia.com/run-ai/self-hosted/"
    "documentation/installation-and-configuration/config/cluster-authentication)"
)


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token that one has or has not.

    Args:
        value: The token; an empty text for none.
        origin: Where it comes from, for messages.
    """

    value: str = field(repr=False)
    origin: str

    def token(self) -> str:
        """Give it."""
        return self.value

    def renew(self, token: str) -> bool:  # noqa: ARG002 - part of the protocol; there is only one token
        """Say that there is no other."""
        return False


@dataclass(frozen=True, slots=True)
class LeptonWorkspace:
    """A workspace and what lets one in.

    Args:
        url: Address of its API, without `/` at the end.
        token: Its token.
        origin_url: Value of the `Origin` header, where it needs one.
        token_from: Where the token was found, for messages.
    """

    url: str
    token: str = field(repr=False)
    origin_url: str | None
    token_from: str


def find_lepton_workspace(profile: str, environ: Mapping[str, str] | None = None) -> LeptonWorkspace:
    """Find the workspace as Lepton's own SDK does, without importing it.

    The environment's LEPTON_WORKSPACE_ID (also `ID:TOKEN`), LEPTON_WORKSPACE_TOKEN, LEPTON_WORKSPACE_URL and
    LEPTON_WORKSPACE_ORIGIN_URL come first, then what `lep login` has kept in
    `$LEPTON_CACHE_DIR/workspace_info.yaml` (`~/.cache/lepton` without it); see `leptonai/api/v2/client.py` of
    leptonai 0.27. Both are read now, not when a module is imported.

    Args:
        profile: Name of the profile that asks, for messages.
        environ: Instead of this process's environment.

    Raises:
        DeniedError: Something is missing or unreadable; says what.
    """
    source = os.environ if environ is None else environ
    path = Path(source.get("LEPTON_CACHE_DIR") or Path.home() / ".cache" / "lepton") / _RECORD
    record = _read_record(path)
    identifier = source.get("LEPTON_WORKSPACE_ID") or record.get("current_workspace")
    if not identifier:
        message = (
            f"no Lepton workspace is known for profile '{profile}': neither LEPTON_WORKSPACE_ID nor {path} names one"
        )
        raise DeniedError(message, remedy=_LOGIN)
    identifier, _, token_in_id = str(identifier).strip().partition(":")
    kept = _table(_table(record.get("workspaces")).get(identifier))
    from_environment = token_in_id or source.get("LEPTON_WORKSPACE_TOKEN")
    token = str(from_environment or kept.get("auth_token") or "").strip()
    token_from = "LEPTON_WORKSPACE_TOKEN" if from_environment else f"{path}{_expiry(kept)}"
    if not token:
        message = f"the Lepton workspace '{identifier}' has no token: neither LEPTON_WORKSPACE_TOKEN nor {path} has one"
        raise DeniedError(message, remedy=_LOGIN)
    if not _HEADER_TEXT.fullmatch(token):
        message = f"the token of the Lepton workspace '{identifier}' has characters that no token has ({token_from})"
        raise DeniedError(message, remedy="Copy it again, without spaces and quotes.")
    url = str(source.get("LEPTON_WORKSPACE_URL") or kept.get("url") or f"{_GATEWAY}/{identifier}").strip().rstrip("/")
    origin = source.get("LEPTON_WORKSPACE_ORIGIN_URL") or kept.get("workspace_origin_url")
    return LeptonWorkspace(url, token, str(origin) if origin else url if "dgxc" in url else None, token_from)


def _read_record(path: Path) -> Mapping[str, Any]:
    try:
        return _table(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"{path}, where Lepton's workspaces are kept, cannot be read: {type(error).__name__}"
        raise DeniedError(message, remedy=f"Mend or delete it. {_LOGIN}") from error


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _expiry(kept: Mapping[str, Any]) -> str:
    """Give when a kept token expires or has, as a remark for a message."""
    milliseconds = kept.get("token_expires_at")
    if not isinstance(milliseconds, int | float):
        return ""
    return f", valid until {datetime.fromtimestamp(milliseconds / 1000, UTC):%Y-%m-%d %H:%M} UTC"


class ClientCredentials:
    """run:ai's token for an application: asked for when needed, and kept until shortly before it expires.

    Args:
        base_url: Address of run:ai's API.
        client_id: The application.
        client_secret: Gives its secret; called for each new token, so that the secret is kept nowhere.
        profile: Name of the profile, for messages.
        patience: How long to wait.
    """

    def __init__(
        self, base_url: str, client_id: str, client_secret: Callable[[], str], *, profile: str, patience: Patience
    ) -> None:
        """Ask for nothing yet."""
        self.origin = f"client_id and client_secret of profile '{profile}'"
        self._api = Api(base_url=base_url, label="run:ai", credential=FixedToken("", self.origin), patience=patience)
        self._client_id = client_id
        self._client_secret = client_secret
        self._clock = patience.clock
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def token(self) -> str:
        """Give a token that is valid, a new one where the last is about to expire.

        Raises:
            DeniedError: The application is unknown, or its secret is wrong.
            TransientError: run:ai gave no usable answer.
            RefusedError: There is no run:ai at this address.
        """
        with self._lock:
            if not self._token or self._clock() >= self._renew_at:
                asked = self._clock()
                self._token, life_s = self._ask()
                self._renew_at = asked + life_s - min(_EARLY_S, life_s / 2)
            return self._token

    def renew(self, token: str) -> bool:
        """Forget a token that was refused; another can always be asked for."""
        with self._lock:
            if self._token == token:  # and not another thread's new one
                self._token = ""
        return True

    def _ask(self) -> tuple[str, float]:
        secret = self._client_secret()
        body = {"grantType": "client_credentials", "clientId": self._client_id, "clientSecret": secret}
        try:
            answer = _table(self._api.once("POST", "/token", body=json.dumps(body).encode(), hide=(secret,)))
        except GoneError as error:
            message = f"there is no run:ai API at {self._api.base_url}: {error.message}"
            raise RefusedError(message, status=error.status, remedy="base_url ends with /api/v1.") from error
        except RefusedError as error:
            if error.status != _BAD_REQUEST:
                raise
            raise DeniedError(error.message, status=error.status, remedy=f"Check {self.origin}.") from error
        token = answer.get("accessToken")
        if not isinstance(token, str) or not _HEADER_TEXT.fullmatch(token):
            message = f"run:ai at {self._api.base_url} answers POST /token without an accessToken"
            raise GarbledError(message, remedy="Is base_url that of run:ai's API, with /api/v1 at its end?")
        return token, life_of(token, answer.get("expiresIn"))


def life_of(token: str, expires_in: object = None) -> float:
    """Give how many seconds a token is good for from the moment it is given.

    It is taken from the answer or the token's own times, whichever is shorter, and never from this machine's clock,
    which may be wrong.

    Args:
        token: A JWT, or any other token.
        expires_in: What the answer says, in seconds.
    """
    lives = [float(expires_in)] if isinstance(expires_in, int | float) and expires_in > 0 else []
    parts = token.split(".")
    try:
        claims = _table(json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))))
        lives.append(float(claims["exp"]) - float(claims["iat"]))
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        pass  # not a JWT, or one without these claims
    return min((life for life in lives if life > 0), default=_UNKNOWN_LIFE_S)


@dataclass(frozen=True, slots=True)
class ClusterCredential:
    """run:ai's token, as the cluster's Kubernetes API takes it.

    Args:
        token_of_runai: Gives the token.
        origin: What has to be right, for messages.
    """

    token_of_runai: ClientCredentials
    origin: str = _CLUSTER_ACCESS

    def token(self) -> str:
        """Give run:ai's token."""
        return self.token_of_runai.token()

    def renew(self, token: str) -> bool:
        """Hear that the cluster has refused it."""
        return self.token_of_runai.renew(token)
