"""What a job brings to its platform beside its sources: its script, its configuration, and its record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemo_runspec import yaml_text
from nemo_runspec.config.save import train_file
from nemo_runspec.context import MODE_FLAGS, Mode
from nemo_runspec.data_mover import Changes, modified_files, select
from nemo_runspec.env import Origin, SlurmProfile
from nemo_runspec.errors import PayloadError
from nemo_runspec.job_folder import JOB_FILE, TRAIN_JSON, UNFILLED
from nemo_runspec.provenance import git_state
from nemo_runspec.words import join

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from nemo_runspec.data_mover import Selection
    from nemo_runspec.env import Profile
    from nemo_runspec.job import Job
    from nemo_runspec.platforms.workload import JobFiles

# What only says how a job is started does not belong to what it does: a dry-run and a rehearsal send the same record.
_MODE_FLAGS = frozenset({*MODE_FLAGS, "-d"})
# Whether anybody waits for a job says nothing of what it does either.
_ATTACHED = {"--batch": "--run", "-b": "--run", "-r": "--run"}

# What nemo-run puts before an inline script.
_SHEBANG = "#!/usr/bin/bash\n"


@dataclass(frozen=True, slots=True)
class JobTexts:
    """The files of a job's folder in its pods, beside the launch script.

    Args:
        command: The text of the script that runs the recipe.
        texts: The other files, by name.
    """

    command: str
    texts: Mapping[str, str]


def title_of(job: Job) -> str:
    """Give the name that nemo-run and the platform know a job by."""
    return job.spec.name.replace("/", "-")


def job_files(job: Job) -> JobTexts:
    """Give the files that a job sends; secrets are taken out of all of them."""
    ending = UNFILLED if job.deferred else ""
    config = train_file(job.spec.config.format)
    as_json = config == TRAIN_JSON
    texts = {
        f"{JOB_FILE}{ending}": yaml_text.dump(_record(job)),
        f"{config}{ending}": json.dumps(job.train_config, indent=2) if as_json else yaml_text.dump(job.train_config),
    }
    return JobTexts("\n".join(_command_lines(job)) + "\n", texts)


def start_command(job: Job) -> str:
    """Give the command that nemo-run composes for a job's script."""
    return join(["bash", str(job.folder / _script(job))])


def sent_files(job: Job) -> JobFiles:
    """Give the files that a job sends as they lie in its folder, below the names that nemo-run gives them."""
    files = job_files(job)
    texts = {name: (text.encode(), False) for name, text in files.texts.items()}
    return {_script(job): ((_SHEBANG + files.command).encode(), True), **texts}


def _script(job: Job) -> str:
    return f"scripts/{title_of(job)}.sh"


def _record(job: Job) -> dict[str, Any]:
    """Give what a stage reads of its job; nothing in it differs between two submissions of the same."""
    argv = [_ATTACHED.get(word, word) for word in job.request.argv if word not in _MODE_FLAGS]
    program = [Path(argv[0]).name] if argv else []
    git = git_state(job.spec.script_path.parent)
    # Only what travels counts: what a rehearsal itself leaves in a repository is no part of the job.
    changes = changed_sources(job) if git else Changes()
    state = {**git, "dirty": None if changes.unknown else list(changes.modified)} if git else {}
    provenance = {"argv": job.redactor.argv([*program, *argv[1:]]), "git": state}
    artifacts = {"root": job.artifact_root, "inputs": dict(job.inputs)}
    return {"name": job.spec.name, "artifacts": artifacts, "provenance": provenance}


def _command_lines(job: Job) -> Iterator[str]:
    yield "set -e"
    if job.deferred:
        yield f"python -m nemo_runspec.stage.inputs {join([str(job.folder)])}"
    if job.spec.run.workdir is not None:
        yield f"cd {join([job.spec.run.workdir])}"
    # In the shell's place, so that signals and the exit code are the command's own.
    yield f"exec {join(job.command)}"


def effective_profile(job: Job) -> Profile:
    """Give a job's profile with what the script says where the profile says nothing."""
    profile = job.profile
    image = profile.container_image or job.spec.image
    values = {"nodes": job.nodes, "gpus_per_node": job.gpus_per_node, **({"container_image": image} if image else {})}
    if isinstance(profile, SlurmProfile):
        attached = job.request.mode is not Mode.BATCH
        values["partition"] = (profile.run_partition if attached else profile.batch_partition) or profile.partition
        if job.spec.run.launch != "direct":
            values["ntasks_per_node"] = 1  # the launcher, which starts the processes itself
    changed = {key: value for key, value in values.items() if getattr(profile, key) != value}
    return profile.with_overrides(changed, Origin("the script")) if changed else profile


def chosen_sources(job: Job) -> Selection:
    """Give the files that travel with a job, and the links that stay at home."""
    return select(job.spec.script_path, job.profile.repo_root, job.profile.exclude)


def changed_sources(job: Job) -> Changes:
    """Tell what travels with a job and differs from the last commit of the repository that it is in."""
    return modified_files(chosen_sources(job))


def check_sources(job: Job) -> tuple[str, ...]:
    """Give the files that travel with a job and differ from the last commit.

    Raises:
        PayloadError: There are some, or nobody knows, and the command line wants only what is committed.
    """
    changes = changed_sources(job)
    if not job.request.committed_only:
        return changes.modified
    if changes.modified:
        message = f"--committed-only, and what travels is not committed: {', '.join(changes.modified)}"
        raise PayloadError(message, remedy="Commit it, leave it out with the profile's `exclude`, or drop the option.")
    if changes.unknown:
        message = f"--committed-only, and nobody knows whether what travels is committed: {changes.unknown}"
        raise PayloadError(message, remedy="See that git works and that all of it is committed, or drop the option.")
    return ()
