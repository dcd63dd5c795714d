"""What is wrong with a cloud job whoever has made it: a profile's jobs are checked when env.toml is read as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nemo_runspec.platforms.lepton import LeptonSettings
from nemo_runspec.platforms.limits import on_a_mount
from nemo_runspec.toml.source import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from nemo_runspec.platforms.runai import RunaiSettings


def text_problems(variables: Iterable[tuple[Any, Any]]) -> Iterator[Problem]:
    """Yield the variables that no pod can get, because they are no text; a value itself is not told.

    Args:
        variables: Name and value of each.
    """
    for name, value in variables:
        if not isinstance(name, str):
            yield Problem(f"the name of the variable {name!r} is of type {type(name).__name__}, and must be text")
        elif not isinstance(value, str):
            message = f"the variable '{name}' is of type {type(value).__name__}, and must be text"
            yield Problem(message, remedy='Write its value as text, such as "1".')
        elif not (is_encodable(name) and is_encodable(value)):
            shown = name.encode(errors="backslashreplace").decode()
            message = f"the variable '{shown}' holds bytes that are no UTF-8, which a request cannot carry"
            yield Problem(message, remedy="Give it as UTF-8, or encode it, for example as base64.")


def is_encodable(text: str) -> bool:
    """Tell whether a text can be sent: Python keeps bytes that are no text as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def storage_problems(home: str, settings: LeptonSettings | RunaiSettings) -> Iterator[Problem]:
    """Yield what is wrong with the place of the folder that keeps jobs and has to outlive a pod.

    Args:
        home: The folder, as in `CloudJob`.
        settings: Where volumes are mounted.
    """
    if isinstance(settings, LeptonSettings):
        name, key, folder_key, volumes = "nemo_run_dir", "mounts", "mount_path", settings.mounts
    else:
        name, key, folder_key, volumes = "pvc_nemo_run_dir", "pvcs", "path", settings.pvcs
    if not home.startswith("/"):
        yield Problem(f"{name} must be an absolute path in the pod, not '{home}'")
        return
    # A volume without a folder is told by the platform's own checks.
    known = [volume for volume in volumes if volume.get(folder_key)]
    holding = [volume for volume in known if on_a_mount(home, [str(volume[folder_key])])]
    if not holding:
        places = ", ".join(str(volume[folder_key]).rstrip("/") for volume in known)
        message = f"{name} is on none of the {key} ({places or 'there are none'})"
        yield Problem(message, remedy=f"Choose a folder below the {folder_key} of one of them.")
    elif _is_read_only(max(holding, key=lambda volume: len(str(volume[folder_key])))):
        message = f"{name} is on a volume that is mounted read-only"
        yield Problem(message, remedy="Choose a folder on one that can be written.")


def _is_read_only(volume: Mapping[str, Any]) -> bool:
    options = volume.get("mount_options") or {}
    return bool(volume.get("readOnly") or options.get("read_only"))
