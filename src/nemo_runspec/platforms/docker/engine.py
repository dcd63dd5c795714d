"""A Docker engine: every call has a deadline, and fails as one of this library's errors."""

from __future__ import annotations

import os
import socket
import struct
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from nemo_runspec.errors import GoneError, ProfileError
from nemo_runspec.platforms.docker.containers import Container
from nemo_runspec.platforms.docker.request import FOLDER_LABEL, NAME_LABEL
from nemo_runspec.platforms.docker.troubles import explained, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from docker import APIClient
    from requests import Response
    from urllib3 import HTTPResponse

_DEFAULT: Final = "unix:///var/run/docker.sock"
_LOCAL: Final = ("unix://", "http+unix://", "tcp://", "http://", "https://")
_SOON_S: Final = 0.5
"""How long a call is waited for that the engine goes on with alone."""
_HEADER: Final = struct.Struct(">4xL")
_PIECE_BYTES: Final = 64 * 1024
LONGEST_LINE_BYTES: Final = 256 * 1024
"""A longer line of a log is given as several."""


def engine_address(environ: Mapping[str, str] = os.environ) -> str:
    """Give the address of the engine that the `docker` command would use.

    Args:
        environ: `DOCKER_HOST` and `DOCKER_CONTEXT` are read.

    Raises:
        ProfileError: It is on another machine, or the context is not there.
    """
    address = environ.get("DOCKER_HOST") or _address_of_context(environ.get("DOCKER_CONTEXT"))
    if not address.startswith(_LOCAL) or not _is_here(address):
        message = f"the Docker engine at {address} is on another machine, where the jobs' folders are not"
        raise ProfileError(message, remedy="Set DOCKER_HOST to one on this machine.")
    return address


def _is_here(address: str) -> bool:
    """Tell whether an address is this machine's: one that can be listened at. A name that nobody knows may be."""
    host = urlsplit(address).hostname
    if "unix://" in address or host is None:
        return True
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return True  # the connection will tell why
    return any(_can_listen(family, place) for family, _, _, _, place in found)


def _can_listen(family: int, place: tuple[Any, ...]) -> bool:
    with suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.bind(place)
        return True
    return False


def _address_of_context(name: str | None) -> str:
    from docker.context import ContextAPI  # noqa: PLC0415 - takes long to import, and is not always needed
    from docker.context.config import get_current_context_name  # noqa: PLC0415 - as above

    name = name or get_current_context_name()
    if name == "default":
        return _DEFAULT
    context = ContextAPI.get_context(name)
    if context is None:
        message = f"there is no Docker context '{name}'"
        raise ProfileError(message, remedy="`docker context ls` lists those that there are.")
    return context.Host or _DEFAULT


class Engine:
    """One engine. Its methods raise the errors of `nemo_runspec.errors.PlatformError`'s tree.

    Args:
        address: Where it is.
        work_s: Deadline of calls that make or remove something, in seconds.
        look_s: Deadline of calls that ask, in seconds.
    """

    def __init__(self, address: str, *, work_s: float = 60, look_s: float = 10) -> None:
        """Ask nothing yet."""
        self.address = address
        self._work_s = work_s
        self._look_s = look_s
        self._version = "auto"

    def _client(self, seconds: float) -> APIClient:
        """Give the SDK's client with a deadline; the first asks which version of the API the engine speaks."""
        from docker import APIClient  # noqa: PLC0415 - takes long to import
        from docker.utils import kwargs_from_env  # noqa: PLC0415 - as above

        self._knock(seconds)
        tls = kwargs_from_env().get("tls", False) if self.address.startswith(("tcp://", "https://")) else False
        client = APIClient(self.address, version=self._version, timeout=seconds, tls=tls)
        client.trust_env = False  # no proxy and no .netrc between this machine and itself
        self._version = client.api_version
        return client

    def _knock(self, seconds: float) -> None:
        """Connect once without the SDK, which lets go of a socket that leads nowhere without closing it."""
        if self.address.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as knocking:
                knocking.settimeout(seconds)
                knocking.connect(self.address.removeprefix("unix://"))

    @contextmanager
    def _asking(self, asked: str, *, making: bool = False) -> Iterator[APIClient]:
        """Give the client for some calls, and turn its errors into ours."""
        import requests  # noqa: PLC0415 - comes with the SDK, which takes long to import
        import urllib3  # noqa: PLC0415 - as above
        from docker.errors import APIError, DockerException  # noqa: PLC0415 - as above

        try:
            # One for each call: a lost reply is then never the fault of a connection that had been idle for too long.
            with closing(self._client(self._work_s if making else self._look_s)) as client:
                yield client
        except APIError as error:
            raise explained(error.status_code, str(error.explanation or error), asked, making=making) from error
        except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise silent(error, self.address, asked) from error

    def image(self, name: str) -> Mapping[str, Any]:
        """Give what the engine says about an image; `RefusedError` where it does not have it."""
        with self._asking(f"the image '{name}'") as client:
            found: Mapping[str, Any] = client.inspect_image(name)
            return found

    def about(self) -> Mapping[str, Any]:
        """Give what the engine says about itself, as `docker info` does."""
        with self._asking("the engine's own description") as client:
            found: Mapping[str, Any] = client.info()
            return found

    def is_rootless(self) -> bool:
        """Tell whether root in its containers is the user that runs it."""
        return any("name=rootless" in option for option in self.about().get("SecurityOptions") or ())

    def containers(self, name: str) -> list[Container]:
        """Give the containers of a job, in order.

        Args:
            name: The job's name.
        """
        with self._asking(f"the containers of '{name}'") as client:
            listed = client.containers(all=True, filters={"label": f"{NAME_LABEL}={name}"})
        found = (self.container(one["Id"]) for one in listed)
        return sorted((one for one in found if one is not None), key=lambda one: one.index)

    def container(self, name: str) -> Container | None:
        """Give one container, or None where there is none of the name.

        Args:
            name: Its name or identifier.
        """
        try:
            with self._asking(f"the container '{name}'") as client:
                return Container.of(client.inspect_container(name))
        except GoneError:
            return None

    def create(self, name: str, config: Mapping[str, Any]) -> None:
        """Create a container; `RefusedError` with the status 409 where the name is taken."""
        with self._asking(f"to create the container '{name}'", making=True) as client:
            client.create_container_from_config(dict(config), name)

    def start(self, container: Container) -> None:
        """Start a container."""
        with self._asking(f"to start the container '{container.name}'", making=True) as client:
            client.start(container.id)

    def has_file(self, container: Container, path: str) -> bool:
        """Tell whether there is a file in a container, which need not run."""
        try:
            with self._asking(f"for {path} in the image") as client:
                url = _url(client, container, "archive")
                _checked(client.head(url, params={"path": path}, timeout=client.timeout))
        except GoneError:
            return False
        return True

    def stop_soon(self, container: Container, grace_s: float) -> None:
        """Have a container stopped: SIGTERM, and SIGKILL later. The engine does it alone, and is not waited for.

        Args:
            container: The container; one that has ended, or is gone, is fine.
            grace_s: How long after SIGTERM.
        """
        import requests  # noqa: PLC0415 - comes with the SDK, which takes long to import

        asked = f"to stop the container '{container.name}'"
        with suppress(GoneError), self._asking(asked) as client, suppress(requests.ReadTimeout):
            url = _url(client, container, "stop")
            _checked(client.post(url, params={"t": int(grace_s)}, timeout=(client.timeout, _SOON_S)))

    def remove(self, container: Container, *, force: bool = False) -> None:
        """Remove a container with its log; one that is gone is fine.

        Args:
            container: The container.
            force: Whether it is ended where it runs; without it, that is a `RefusedError`.
        """
        with suppress(GoneError), self._asking(f"to remove the container '{container.name}'", making=True) as client:
            client.remove_container(container.id, v=True, force=force)

    def create_network(self, spec: Mapping[str, Any]) -> None:
        """Create a network, unless the engine has it."""
        name = spec["Name"]
        if self.networks(name):
            return
        with self._asking(f"to create the network '{name}'", making=True) as client:
            client.create_network(name, driver=spec["Driver"], labels=spec["Labels"], check_duplicate=True)

    def networks(self, name: str) -> dict[str, str]:
        """Give the identifiers of the networks that were made for a job, each with the job's folder.

        Args:
            name: The job's name.
        """
        with self._asking(f"the networks of '{name}'") as client:
            found = client.networks(filters={"label": f"{NAME_LABEL}={name}"})
            return {one["Id"]: one["Labels"].get(FOLDER_LABEL, "") for one in found}

    def remove_network(self, identifier: str) -> None:
        """Remove a network; one that is gone is fine."""
        with suppress(GoneError), self._asking("to remove a network", making=True) as client:
            client.remove_network(identifier)

    @contextmanager
    def log(self, name: str, quiet_s: float) -> Iterator[Iterator[bytes]]:
        """Open a container's log at its beginning; it goes on until the container ends.

        Args:
            name: The container's name.
            quiet_s: How long the log may be silent, in seconds; it is over then, with an `UnreachableError`.
        """
        asked = f"for the log of '{name}'"
        with self._asking(asked) as client:
            url = f"{client.base_url}/v{client.api_version}/containers/{name}/logs"
            query = {"follow": 1, "stdout": 1, "stderr": 1}
            with _checked(client.get(url, params=query, stream=True, timeout=(client.timeout, quiet_s))) as response:
                yield in_bounds(_payloads(response.raw))


def _url(client: APIClient, container: Container, what: str) -> str:
    return f"{client.base_url}/v{client.api_version}/containers/{container.id}/{what}"


def _checked(response: Response) -> Response:
    from docker.errors import create_api_error_from_http_exception  # noqa: PLC0415 - takes long to import
    from requests import HTTPError  # noqa: PLC0415 - as above

    try:
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)
    return response


def _payloads(raw: HTTPResponse) -> Iterator[bytes]:
    """Give what a container writes, out of the frames in which an engine tells output from error output.

    A frame is eight bytes, the last four of which are its length, and so many bytes.
    """
    while len(header := raw.read(_HEADER.size)) == _HEADER.size:
        (left,) = _HEADER.unpack(header)
        while left and (piece := raw.read(min(left, _PIECE_BYTES))):
            left -= len(piece)
            yield piece


def in_bounds(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Give a log with an end after every `LONGEST_LINE_BYTES` of a line, so that one without an end fits into memory.

    Args:
        pieces: The log. Where it is cut does not depend on where its pieces are.
    """
    length = 0
    for piece in pieces:
        if length + len(piece) <= LONGEST_LINE_BYTES:
            end = piece.rfind(b"\n")
            length = length + len(piece) if end < 0 else len(piece) - end - 1
            yield piece
            continue
        for part in _lines(piece):
            line = part
            while length + len(line.rstrip(b"\n")) > LONGEST_LINE_BYTES:
                room = LONGEST_LINE_BYTES - length
                yield line[:room] + b"\n"
                line, length = line[room:], 0
            yield line
            length = 0 if line.endswith(b"\n") else length + len(line)


def _lines(piece: bytes) -> Iterator[bytes]:
    """Split at line feeds alone, unlike `bytes.splitlines`."""
    *whole, last = piece.split(b"\n")
    yield from (line + b"\n" for line in whole)
    if last:
        yield last
