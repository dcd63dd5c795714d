"""What run:ai refuses in a workload.

Sources: run:ai's public OpenAPI for ranges (https://docs.nvidia.com/run-ai/), the cloud API notes for the caps of
10,000 characters and for names; `runai_fields` for the fields.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Final

from nemo_runspec.rehearsal import runai_fields
from nemo_runspec.rehearsal.platform_rules import RUNAI
from nemo_runspec.rehearsal.rules import Issues, Table

if TYPE_CHECKING:
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from nemo_runspec.rehearsal.inventory import RunaiInventory

KINDS: Final = ("workspaces", "trainings", "distributed")
FRAMEWORKS: Final = frozenset({"PyTorch", "MPI", "TF", "XGBoost", "JAX"})
DEFAULT_RETRIES: Final = 6
"""How often a failed pod is started again where `backoffLimit` does not say it."""

_BODY: Final = frozenset(
    ("name", "useGivenNameAsPrefix", "projectId", "clusterId", "spec", "masterSpec", "masterSpecSameAsWorker")
)
_CLAIM_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")


def workload_issues(
    kind: str, body: Table, inventory: RunaiInventory, claims: AbstractSet[tuple[str, str]]
) -> dict[str, str]:
    """Say everything that the platform has against a workload.

    Args:
        kind: One of `KINDS`.
        body: The create call's body.
        inventory: What exists.
        claims: Project and name of every volume claim that exists.
    """
    issues = Issues()
    issues.unknown(body, _BODY if kind == "distributed" else _BODY - {"masterSpec", "masterSpecSameAsWorker"}, "")
    name = issues.text(body, "name", "name", required=True)
    issues.flag(body, "useGivenNameAsPrefix", "useGivenNameAsPrefix")
    if name:
        issues.extend("name", RUNAI.name_issues(name))
    project = issues.text(body, "projectId", "projectId", required=True)
    if project and project not in inventory.project_ids():
        issues.add("projectId", f"project '{project}' does not exist")
    cluster = issues.text(body, "clusterId", "clusterId", required=True)
    if cluster and cluster != inventory.cluster_id:
        issues.add("clusterId", f"cluster '{cluster}' does not exist")
    spec = issues.table(body, "spec", "spec", required=True)
    issues.unknown(spec, runai_fields.SPEC[kind], "")
    for part, known in runai_fields.PARTS.items():
        issues.unknown(issues.table(spec, part, part), known, part)
    issues.text(spec, "image", "image", required=True)
    for field in ("command", "args"):
        # Without a command the image's own would run, and there is no image in a rehearsal.
        _check_words(issues.text(spec, field, field, required=field == "command"), field, issues)
    compute = issues.table(spec, "compute", "compute")
    issues.whole(compute, "gpuDevicesRequest", "compute.gpuDevicesRequest", least=0)
    issues.flag(compute, "largeShmRequest", "compute.largeShmRequest")
    issues.whole(spec, "backoffLimit", "backoffLimit", least=0)
    _check_variables(issues.rows(spec, "environmentVariables", "environmentVariables"), inventory, issues)
    storage = issues.table(spec, "storage", "storage")
    _check_claims(issues.rows(storage, "pvc", "storage.pvc"), project, inventory, claims, issues)
    if kind == "distributed":
        _check_distributed(spec, issues)
    return issues.found


def _check_words(text: str, field: str, issues: Issues) -> None:
    longest = RUNAI.word_characters
    if longest is not None and len(text) > longest:
        issues.add(field, f"value must be no longer than {longest} characters, and has {len(text)}")
    try:
        shlex.split(text)
    except ValueError as error:
        issues.add(field, f"cannot be split into words: {error}")


def _check_variables(rows: Iterable[Table], inventory: RunaiInventory, issues: Issues) -> None:
    for number, row in enumerate(rows):
        field = f"environmentVariables[{number}]"
        name = issues.text(row, "name", f"{field}.name", required=True)
        if name:
            issues.extend(f"{field}.name", RUNAI.variable_issues(name))
        issues.unknown(row, runai_fields.VARIABLE, field)
        given = [source for source in runai_fields.SOURCES if row.get(source) is not None]
        if len(given) != 1:
            issues.add(field, f"must have exactly one of {', '.join(runai_fields.SOURCES)}")
        elif given == ["value"]:
            _check_value(row["value"], f"{field}.value", issues)
        elif given == ["secret"]:
            _check_secret(issues.table(row, "secret", f"{field}.secret"), f"{field}.secret", inventory, issues)
        else:
            issues.add(f"{field}.{given[0]}", "is nothing that a rehearsal has")


def _check_value(value: object, field: str, issues: Issues) -> None:
    longest = RUNAI.value_characters
    if not isinstance(value, str) or "\0" in value:
        issues.add(field, "must be a text")
    elif longest is not None and len(value) > longest:
        issues.add(field, f"value must be no longer than {longest} characters, and has {len(value)}")


def _check_secret(secret: Table, field: str, inventory: RunaiInventory, issues: Issues) -> None:
    name = issues.text(secret, "name", f"{field}.name", required=True)
    key = issues.text(secret, "key", f"{field}.key", required=True)
    if name and name not in inventory.secrets:
        issues.add(f"{field}.name", f"secret '{name}' does not exist")
    elif name and key and key not in inventory.secrets[name]:
        issues.add(f"{field}.key", f"secret '{name}' has no key '{key}'")


def _check_claims(
    rows: Iterable[Table],
    project: str,
    inventory: RunaiInventory,
    claims: AbstractSet[tuple[str, str]],
    issues: Issues,
) -> None:
    places = []
    for number, row in enumerate(rows):
        field = f"storage.pvc[{number}]"
        issues.unknown(row, runai_fields.CLAIM, field)
        places.append(issues.text(row, "path", f"{field}.path", required=True))
        name = issues.text(row, "claimName", f"{field}.claimName")
        if name and not _CLAIM_NAME.fullmatch(name):
            issues.add(f"{field}.claimName", "must have up to 63 small letters, digits, '-' and '.'")
        for flag in ("readOnly", "ephemeral"):
            issues.flag(row, flag, f"{field}.{flag}")
        must_exist = issues.flag(row, "existingPvc", f"{field}.existingPvc")
        exists = name in inventory.claims or (project, name) in claims
        if must_exist and not (name and exists):
            issues.add(f"{field}.claimName", f"volume claim '{name}' does not exist")
    issues.extend("storage.pvc", RUNAI.mount_issues(filter(None, places)))


def _check_distributed(spec: Table, issues: Issues) -> None:
    framework = issues.text(spec, "distributedFramework", "distributedFramework", required=True)
    if framework and framework not in FRAMEWORKS:
        issues.add("distributedFramework", f"must be one of {', '.join(sorted(FRAMEWORKS))}")
    elif framework and framework != "PyTorch":
        issues.add("distributedFramework", f"'{framework}' is nothing that a rehearsal has; it has PyTorch")
    workers = issues.whole(spec, "numWorkers", "numWorkers", least=1)
    if spec.get("numWorkers") is None:
        issues.add("numWorkers", "must be given")
    least = issues.whole(spec, "minReplicas", "minReplicas", least=1, default=workers)
    most = issues.whole(spec, "maxReplicas", "maxReplicas", least=1, default=workers)
    if most < least:
        issues.add("maxReplicas", f"value must be no less than minReplicas, {least}")
