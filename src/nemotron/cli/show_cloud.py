"""What the command line shows of a job on a cloud: what would be sent, and what a rehearsal proved."""

from __future__ import annotations

import json
import re
import sys
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import typer
import yaml

from nemo_runspec.data_mover import is_transport_variable
from nemo_runspec.git_mounts import parse
from nemo_runspec.platforms.limits import LIMITS, environment_sizes
from nemo_runspec.platforms.names import workload_name
from nemo_runspec.platforms.workload import NAME
from nemo_runspec.redaction import REDACTED
from nemo_runspec.submit.job_files import title_of
from nemo_runspec.submit.requests import planned
from nemotron.cli.show_platform import INDENT, LONGEST_LINE, heading, largest, notes, size, sizes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nemo_runspec.data_mover import Changes, Plan, Selection
    from nemo_runspec.env import CloudProfile
    from nemo_runspec.errors import NemotronError
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import Request
    from nemo_runspec.rehearsal.report import Evidence

UNMADE = "000000"
"""Stands for the end of a name that is not made yet."""
VARIABLES = ("envs", "environmentVariables")
"""Where the two platforms have the variables of a request."""

CHUNK = re.compile(r"(?P<stem>\w+_)\d+")
SAME = "the same as the dry-run's: without --rehearse, the platform gets it"
SAME_BUT_REFS = "the same as the dry-run's but for the refs of repositories, which a submission pins to commits"
OTHER = "not the dry-run's"


def submission(job: Job) -> dict[str, Any]:
    """Give what is known of a job's submission before it is sent: sizes, digests and the body, secrets taken out."""
    request, plan = planned(job)
    return {**facts(job, request, plan), "request": {"kind": request.kind, "body": shown_body(request, job)}}


def facts(job: Job, request: Request, plan: Plan) -> dict[str, Any]:
    """Give the numbers that a dry-run and a rehearsal have in common."""
    longest, total = _sizes(job, request)
    return {
        "body_sha256": request.digest,
        "archive_sha256": plan.sha256,
        "raw_bytes": plan.raw_bytes,
        "encoded_bytes": plan.encoded_bytes,
        "largest_value_bytes": longest,
        "environment_bytes": total,
    }


def _sizes(job: Job, request: Request) -> tuple[int, int]:
    """Measure the environment with a name as long as the one that the workload will get."""
    name = workload_name(title_of(job), UNMADE, LIMITS[request.platform])
    return environment_sizes(request.filled({NAME: name}))


def shown_body(request: Request, job: Job) -> Any:  # noqa: ANN401 - any JSON value
    """Give a request's body without secrets, and with the archives' chunks as their sizes."""
    shown = _shortened(request.body, request.secret_variables)
    spec = shown["spec"]
    # The names of a platform's own secrets stand among the variables, and are no secrets: only values are looked at.
    variables = {key: _cleaned(spec[key], job) for key in VARIABLES if key in spec}
    return {**job.redactor.data(shown), "spec": {**job.redactor.data(spec), **variables}}


def _cleaned(value: Any, job: Job) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _cleaned(item, job) for key, item in value.items()}
    if isinstance(value, list):
        return [_cleaned(item, job) for item in value]
    return job.redactor.text(value) if isinstance(value, str) else value


def _shortened(value: Any, secrets: frozenset[str]) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list | tuple):
        return _with_chunks_together([_shortened(item, secrets) for item in value])
    if not hasattr(value, "items"):
        return value
    name, content = value.get("name"), value.get("value")
    if isinstance(name, str) and isinstance(content, str):
        if name in secrets:
            return {**value, "value": REDACTED}
        if is_transport_variable(name):
            return {**value, "value": f"<{len(content):,} characters>"}
    return {key: _shortened(item, secrets) for key, item in value.items()}


def _with_chunks_together(items: list[Any]) -> list[Any]:
    """Give a list of variables with the chunks of one archive as one entry."""
    shown: list[Any] = []
    for stem, group in groupby(items, key=_chunk_of):
        entries = list(group)
        if stem is None or len(entries) == 1:
            shown += entries
        else:
            value = f"<{len(entries)} variables of at most {entries[0]['value'].strip('<>')}>"
            shown.append({"name": f"{stem}0 to {stem}{len(entries) - 1}", "value": value})
    return shown


def _chunk_of(item: Any) -> str | None:  # noqa: ANN401 - any JSON value
    name = item.get("name") if isinstance(item, dict) else None
    found = CHUNK.fullmatch(name) if isinstance(name, str) else None
    return found["stem"] if found and is_transport_variable(found[0]) else None


def show_request(job: Job) -> None:
    """Print what travels with a job, and the one call that would make it."""
    request, plan = planned(job)
    heading("what travels", f"{len(plan.files)} source files, unpacked to {plan.pod_src_root}")
    typer.echo(
        f"{INDENT}source    {size(plan.raw_bytes)}, {size(plan.encoded_bytes)} as sent, sha256 {plan.sha256[:16]}"
    )
    typer.echo(f"{INDENT}largest   {', '.join(f'{path} {size(count)}' for path, count in largest(plan.files, 3))}")
    longest, total = _sizes(job, request)
    typer.echo(f"{INDENT}values    the longest has {longest:,} bytes, the whole environment {total:,}")
    heading("request", f"one call, {request.kind}, sha256 {request.digest[:16]}")
    text = yaml.safe_dump(shown_body(request, job), sort_keys=False, width=LONGEST_LINE, allow_unicode=True)
    for line in text.splitlines():
        typer.echo(f"{INDENT}{line}")


def source(plan: Plan, chosen: Selection, changes: Changes, label: str, *, fits: bool) -> None:
    """Print what `nemotron source ls` tells of a selection.

    Args:
        plan: What travels.
        chosen: What it was chosen from.
        changes: What of it is not committed.
        label: For whom.
        fits: Whether the platform takes it.
    """
    for line in sizes(plan.files):
        typer.echo(line)
    heading("what travels", label)
    typer.echo(f"{INDENT}{len(plan.files)} files, {size(plan.raw_bytes)}")
    typer.echo(
        f"{INDENT}compressed {size(plan.archive_bytes)}, as sent {size(plan.encoded_bytes)}, sha256 {plan.sha256}"
    )
    typer.echo(f"{INDENT}largest: {', '.join(f'{path} {size(count)}' for path, count in largest(plan.files))}")
    platform = LIMITS[plan.executor_type].label
    typer.echo(f"{INDENT}{'fits' if fits else 'does not fit'} into one job on {platform}")
    notes(chosen, changes)


def rehearsing(job: Job, folder: Path) -> None:
    """Tell what the pods of a rehearsal are made of."""
    image = job.profile.container_image or job.spec.image
    typer.secho(
        f"rehearsal of {job.profile.name}: {job.nodes} pod{'s' if job.nodes > 1 else ''} on this machine; "
        f"instead of {image}, which is not pulled, they see this machine's Python environment.\n"
        f"volumes, pod logs and the request log are in {folder}",
        err=True,
    )


def rehearsed(
    job: Job,
    request: Request,
    plan: Plan,
    evidence: Evidence,
    *,
    submit_seconds: float,
    failure: NemotronError | None,
) -> None:
    """Tell what a rehearsal proved, as text or as one JSON object on the last line."""
    exit_code = failure.exit_code if failure else 0
    known = facts(job, request, plan)
    seen = {
        "workloads_created": evidence.workloads_created,
        "api_calls": evidence.api_calls,
        **known,
        "archive_sha256": evidence.archive_sha256,
        "body_sha256": evidence.body_sha256,
        "same_as_dry_run": evidence.body_sha256 == request.digest,
        "largest_value_bytes": evidence.largest_value_bytes,
        "environment_bytes": evidence.environment_bytes,
        "submit_seconds": round(submit_seconds, 3),
        "pods": [dict(pod) for pod in evidence.pods],
        "exit_code": exit_code,
    }
    if job.request.as_json:
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()
    else:
        _print_evidence(seen, _verdict(job, request, evidence))


def _verdict(job: Job, request: Request, evidence: Evidence) -> str:
    if evidence.body_sha256 != request.digest:
        return OTHER
    # Only refs make a dry-run's body another one, and compressing the source anew takes its time.
    unpinned = any(not parse(mount).is_pinned for mount in cast("CloudProfile", job.profile).git_mounts)
    return SAME_BUT_REFS if unpinned else SAME


def _ended(code: int | None) -> str:
    return "still running" if code is None else f"exit code {code}"


def _print_evidence(seen: Mapping[str, Any], verdict: str) -> None:
    if not seen["workloads_created"]:
        heading("rehearsed", f"nothing: no workload was made in {seen['api_calls']} API calls")
        return
    heading("rehearsed", "what the twin of the platform has seen")
    archive = f"sha256 {seen['archive_sha256']}, {size(seen['raw_bytes'])}, {size(seen['encoded_bytes'])} as sent"
    rows = {
        "archive": archive if seen["archive_sha256"] else "none",
        "API calls": f"{seen['api_calls']}, of which {seen['workloads_created']} made a workload",
        "values": f"longest {seen['largest_value_bytes']:,} bytes, all {seen['environment_bytes']:,} bytes",
        "pods": ", ".join(f"{pod['name']} {_ended(pod['exit_code'])}" for pod in seen["pods"]),
        "body": f"sha256 {seen['body_sha256']}, {verdict}",
    }
    for name, text in rows.items():
        typer.echo(f"{INDENT}{name:<11} {text}")
