"""What Kubernetes does to the texts of a pod, and what it calls things."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_EXPANDED: Final = re.compile(r"\$+(?=\()|\${2,}")


def escape(value: str) -> str:
    """Give the text that Kubernetes turns into `value`.

    In commands, arguments and variables' values it replaces `$(NAME)` by the variable where there is one, and `$$` by
    `$` (https://github.com/kubernetes/kubernetes/blob/master/third_party/forked/golang/expansion/expand.go). A text
    in which it would change nothing is given as it is.
    """
    return _EXPANDED.sub(lambda found: 2 * found[0], value)


def pod_log_path(namespace: str, pod: str) -> str:
    """Give the path of a pod's log below the cluster's Kubernetes API."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/log"


def pods_path(namespace: str) -> str:
    """Give the path of a namespace's pods below the cluster's Kubernetes API."""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"


def in_pod_order(workload: str, pods: list[str]) -> tuple[str, ...]:
    """Sort the names of a workload's pods by their numbers, a master first.

    Args:
        workload: The name that the pods' names begin with.
        pods: Their names.
    """

    def order(pod: str) -> list[tuple[int, str]]:
        parts = re.split(r"(\d+)", pod.removeprefix(workload))
        return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]

    return tuple(sorted(pods, key=order))
