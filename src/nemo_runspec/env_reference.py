"""Writes docs/env-toml.md from the profile types, so that the page cannot say anything that the code does not do.

Use: `python -m nemo_runspec.env_reference` prints the page; `--write PATH` and `--check PATH` do what they say.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.env import EXECUTORS, RESERVED, Profile, profile_fields, table_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_runspec.env import Table, TableField

_HEAD = """\
# env.toml

<!-- Written by `python -m nemo_runspec.env_reference --write docs/env-toml.md`; change the profile types instead. -->

`env.toml` holds your clusters: one table, called a profile, for each. A profile says where a job runs and never what
it trains; a recipe does the opposite. `nemotron nano3 sft --run slurm` takes the profile `[slurm]`.
[env.toml.example](../env.toml.example) is a complete file to copy from.

Pages of their own: [Slurm](slurm.md), [Docker](docker.md), [DGX Cloud Lepton](lepton.md),
[DGX Cloud with run:ai](dgx-cloud.md). [`nemotron kit doctor`](doctor.md) tries a profile out.

```console
$ nemotron env list
$ nemotron env show slurm
$ nemotron env check
```

## Where it is looked for

In the working directory and then upwards, up to the folder that holds `pyproject.toml`. The variable
`NEMOTRON_ENV_FILE` names a file instead. Without a file, and without `--run` or `--batch`, jobs run on this machine.

## Rules

* Every profile says its `executor`: {executors}.
  A profile's name is made of letters, digits, `-` and `_`.
* `extends = "other"` takes over the keys of another profile, which may extend a third. A key that is given again
  replaces the inherited one; lists and tables are replaced as a whole. A table without `executor` that others extend is
  a template: it is checked with the profiles that extend it, and cannot be run itself.
* An unknown key, a value of the wrong type and a missing required key are errors that name the line. So is what Slurm,
  a shell or pyxis would not get as it is written: a line break in a flag, a space in a mount, a flag by which a job
  could not be found again. So is what a cloud would refuse or lose: a reserved mount path, two volumes on one folder, a
  field of `custom_spec` that other keys make, a job folder or workspace on no volume that can be written and stays
  (`ephemeral` ones do not, and `node-local` is not shared by several nodes), a `repo_root` that is not there. So is a
  variable in both `env_vars` and `secrets`, and `NEMO_RUN_DIR` in either: `workspace` sets it. All problems of a
  profile are shown at once.
* Jobs in pods cannot set what each pod finds out for itself: `RANK`, `LOCAL_RANK`, `GROUP_RANK`, `NODE_RANK`, `NNODES`,
  `WORLD_SIZE`, `LOCAL_WORLD_SIZE`, `MASTER_ADDR`, `MASTER_PORT`, `WORKER_ADDRS`, and all that begins with `PET_`,
  `LEPTON_JOB_`, `RUNAI_` or `NEMO_RUNSPEC_`. On Slurm and Docker these are `NODE_RANK`, `NNODES`, `MASTER_ADDR`,
  all that begins with `NEMO_RUNSPEC_` and what bash keeps for itself; on Slurm also `MASTER_PORT` and `SLURM_`.
* Values win over the configuration's `run.env`, and `run.env.nodes=4` on the command line wins over both. `--dry-run`
  says of each value where it came from, for example `slurm (env.toml:12)`.
* Text may hold `${{oc.env:NAME}}`, which is read from your environment when a job or an executor is built.
  `client_secret` is an exception: it is read when the platform asks for it, and stands in no configuration.
* `${{auto_mount:git+URL@REF,/TARGET}}` in `mounts` of a cloud's or a Slurm profile is a git repository. REF (a branch,
  a tag or a commit) becomes one commit when the job is submitted, which is then found on `/TARGET`. URL is `https`,
  `ssh` or `file` and holds no password. On a cloud each pod clones it, with git of its image; on Slurm the login node
  does, once for each commit. Both need access of their own. Submodules are not fetched.
"""


def reference() -> str:
    """Give the whole page as Markdown."""
    parts = [_HEAD.format(executors=", ".join(f"`{name}`" for name in EXECUTORS))]
    common = profile_fields(Profile)
    parts += ["\n## Keys of every profile\n\n", _table(common)]
    for executor, profile in EXECUTORS.items():
        parts.append(f'\n## `executor = "{executor}"`\n\n')
        parts.append(_own_keys(profile, common))
    parts.append("\n## Tables that are no profiles\n")
    for name, table in RESERVED.items():
        parts.append(f"\n### [{name}]\n\n{_first_sentences(table)}\n")
        if fields := table_fields(table):
            parts.append(f"\n{_table(fields)}")
    return "".join(parts)


def _own_keys(profile: type[Profile], common: Sequence[TableField]) -> str:
    own = [field for field in profile_fields(profile) if field not in common]
    own.sort(key=lambda field: not field.required)
    return f"{_first_sentences(profile)} Besides the keys of every profile:\n\n{_table(own)}"


def _first_sentences(table: type[Table]) -> str:
    return (inspect.getdoc(table) or "").partition("\n\n")[0].replace("\n", " ")


def _table(fields: Sequence[TableField]) -> str:
    rows = ["| key | value | meaning | example |", "|---|---|---|---|"]
    for field in fields:
        also = f" (also `{'`, `'.join(field.aliases)}`)" if field.aliases else ""
        required = " **Required.**" if field.required else ""
        value = field.kind.label
        rows.append(f"| `{field.name}`{also} | {value} | {field.help}{required} | `{field.example}` |")
    return "\n".join(rows) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Print, write or check the page.

    Returns:
        1 when `--check` finds another page than the code's, else 0.
    """
    parser = argparse.ArgumentParser(prog="python -m nemo_runspec.env_reference", description=reference.__doc__)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--write", type=Path, metavar="PATH", help="write the page to a file")
    action.add_argument("--check", type=Path, metavar="PATH", help="fail when a file is not this page")
    arguments = parser.parse_args(argv)
    page = reference()
    if arguments.write:
        arguments.write.write_text(page, encoding="utf-8")
    elif not arguments.check:
        sys.stdout.write(page)
    elif not arguments.check.is_file() or arguments.check.read_text(encoding="utf-8") != page:
        command = f"python -m nemo_runspec.env_reference --write {arguments.check}"
        sys.stderr.write(f"{arguments.check} is not what the profile types say; run: {command}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
