from __future__ import annotations

import pytest

from nemo_runspec.errors import DeniedError, GoneError, RefusedError, UnreachableError
from nemo_runspec.platforms.docker.troubles import explained, silent

START = "OCI runtime create failed: container_linux.go:380: starting container process caused: "


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("No such image: a/b:1", "the Docker engine does not have the image 'a/b:1'"),
        (
            'could not select device driver "" with capabilities: [[gpu]]',
            "the Docker engine cannot give GPUs to containers",
        ),
        ("Unknown runtime specified nvidia", "the Docker engine has no runtime 'nvidia'"),
        ("unknown or invalid runtime name: nvidia", "the Docker engine has no runtime 'nvidia'"),
        (f'{START}exec: "bash": executable file not found in $PATH: unknown', "the image has no 'bash'"),
        (f'{START}exec: "/x/y": stat /x/y: no such file or directory: unknown', "the image has no '/x/y'"),
        (f'{START}exec: "docker-init": executable file not found in $PATH', "the Docker engine lacks its docker-init"),
        ("network abc not found", "the Docker engine has no network 'abc'"),
        (
            'invalid mount config for type "bind": bind source path does not exist: /a b/c',
            "the folder to mount does not exist on this machine: /a b/c",
        ),
        ("write /x: no space left on device", "the Docker engine has no space left"),
        (
            f"{START}nvidia-container-cli: device error: 9: unknown device: unknown",
            "the Docker engine cannot give the GPUs that are asked for: device error: 9: unknown device: unknown",
        ),
    ],
)
def test_what_is_known_is_told_with_a_remedy(text: str, message: str) -> None:
    error = explained(500, text, "to start", making=True)
    assert isinstance(error, RefusedError)
    assert (error.message, error.status) == (message, 500)
    assert error.remedy


@pytest.mark.parametrize(
    ("status", "making", "kind"),
    [
        (401, False, DeniedError),
        (403, True, DeniedError),
        (404, False, GoneError),
        (409, True, RefusedError),
        (500, False, UnreachableError),
        (500, True, RefusedError),
        (None, True, UnreachableError),
    ],
)
def test_what_is_not_known_is_told_as_it_is(status: int | None, kind: type[Exception], *, making: bool) -> None:
    error = explained(status, "odd words", "to start", making=making)
    assert type(error) is kind
    assert error.message == "to start: the Docker engine answers: odd words"


@pytest.mark.parametrize(
    ("cause", "kind", "words"),
    [
        (PermissionError(13, "denied"), DeniedError, "not permitted to use the Docker engine at unix:///s"),
        (FileNotFoundError(2, "none"), UnreachableError, "no Docker engine running at unix:///s"),
        (ConnectionRefusedError(111, "no"), UnreachableError, "no Docker engine running at unix:///s"),
        (TimeoutError("slow"), UnreachableError, "does not answer"),
    ],
)
def test_why_an_engine_is_silent(cause: OSError, kind: type[Exception], words: str) -> None:
    hidden = RuntimeError("wrapped", ("aborted", cause))
    hidden.__cause__ = cause
    for error in (cause, hidden):
        found = silent(error, "unix:///s", "to look")
        assert type(found) is kind
        assert words in found.message
