"""What travels to a Ray cluster: one zip, which Ray unpacks on each node before the job's first worker starts there.

It is put into the cluster's own store through the dashboard (`PUT /api/packages/gcs/NAME`), and named by its content:
a cluster that has it is not sent it again, and no node needs a volume or a variable to get it.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nemo_runspec.data_mover.archive import Entry, read, tree_of
from nemo_runspec.data_mover.boot import POD_FOLDER, bare
from nemo_runspec.data_mover.budget import check_raw
from nemo_runspec.data_mover.plan import Plan
from nemo_runspec.data_mover.pod.ray_driver import CODE_FOLDER, FILES, ORDERS
from nemo_runspec.data_mover.select import select
from nemo_runspec.errors import PayloadError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from nemo_runspec.platforms.workload import JobFiles

DRIVER: Final = f"{FILES}/driver.py"
ENTRYPOINT: Final = f"python3 {DRIVER}"
"""The command of the Ray job: Ray starts it in the folder that it has unpacked."""

LONGEST_BYTES: Final = 512 * 1024 * 1024
"""Ray's own limit on a package (`RAY_max_grpc_message_size`, Ray 2.49)."""

_CODE: Final = f"{CODE_FOLDER}/"
_TIME: Final = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class RayPackage:
    """A package.

    Args:
        data: The zip.
        sha256: Its address: the digest of what is in it, whatever this machine's version of zlib makes of that.
    """

    data: bytes = field(repr=False)
    sha256: str

    @property
    def name(self) -> str:
        """Its name in the cluster's store, in the form that Ray gives its own."""
        return f"_ray_pkg_{self.sha256[:32]}.zip"

    @property
    def uri(self) -> str:
        """How a runtime environment names it."""
        return f"gcs://{self.name}"


def ray_package(
    *,
    script_path: str | Path | None,
    repo_root: str | Path | None,
    exclude: Sequence[str],
    files: JobFiles,
    orders: Mapping[str, Any],
    job_dir: str,
) -> tuple[RayPackage, Plan]:
    """Give the package of a job, and what travels in it. Reads the source's files.

    Args:
        script_path: The script that the job runs.
        repo_root: As for `select`.
        exclude: Globs of what stays here.
        files: The job's own files, below its folder.
        orders: What `ray_driver` is to do.
        job_dir: The job's folder on each node.

    Raises:
        PayloadError: A file cannot be read, or all together are too large.
    """
    chosen = select(script_path, repo_root, exclude)
    check_raw(chosen.files, files, chosen.script)
    entries = {entry.name: (entry.data, entry.executable) for entry in read(chosen.files)}
    # What lies beside the source is no text of the job's own, whose paths are rewritten on each node.
    beside = {name: content for name, content in files.items() if name.startswith(_CODE)}
    entries |= {name.removeprefix(_CODE): content for name, content in beside.items()}
    own = {name: content for name, content in files.items() if name not in beside}
    own[ORDERS] = (json.dumps(orders, sort_keys=True).encode(), False)
    driver = bare((POD_FOLDER / "ray_driver.py").read_text(encoding="utf-8")).encode()
    packed = {**entries, **{f"{FILES}/{name}": content for name, content in own.items()}, DRIVER: (driver, False)}
    data = _zip(packed)
    if len(data) > LONGEST_BYTES:
        message = f"what travels has {len(data):,} bytes, and a Ray cluster takes {LONGEST_BYTES:,}"
        raise PayloadError(message, remedy="Leave large files out with `exclude`.")
    package = RayPackage(data, tree_of(Entry(name, *content) for name, content in packed.items()).sha256)
    plan = Plan(
        executor_type="lepton",
        env={},
        sha256=package.sha256,
        raw_bytes=sum(len(content) for content, _ in entries.values()),
        archive_bytes=len(data),
        encoded_bytes=len(data),
        files=tuple((name, len(content)) for name, (content, _) in sorted(entries.items())),
        left_out=chosen.left_out,
        pod_src_root=f"{job_dir}/code/src",
        pod_script=f"{job_dir}/code/{chosen.script}" if chosen.script else None,
        job_files=tuple((name, len(content)) for name, (content, _) in sorted(own.items())),
        job_encoded_bytes=0,
    )
    return package, plan


def _zip(files: JobFiles) -> bytes:
    """Pack files, the same for the same files: no times, no owners, a fixed order."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            content, executable = files[name]
            info = zipfile.ZipInfo(name, _TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(info, content)
    return buffer.getvalue()
