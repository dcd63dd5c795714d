"""Compare how much a job's source takes in its environment: gzip and base64 of an unordered tar against ours.

Both carry the same files: what travels with a nano3 stage of this repository. The first is what nemo-run 0.11.1 makes
of a folder (tarfile's `w:gz`, then base64), with the files in an order that has nothing to do with their content.

    python benchmarks/source_size.py
    python benchmarks/source_size.py --script src/nemotron/recipes/nano3/rl/train.py --json
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import sys
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nemo_runspec.data_mover import plan_for, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nemo_runspec.data_mover import Selection

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "src/nemotron/recipes/nano3/sft/train.py"
LIMIT = 0.70


@dataclass(frozen=True)
class Sizes:
    """What one source takes.

    Args:
        files: How many files it has.
        raw_bytes: Their size.
        gzip_bytes: In the environment, as gzip and base64 of an unordered tar.
        our_bytes: In the environment, as this library sends it.
        sha256: Digest of this library's archive before it is compressed.
    """

    files: int
    raw_bytes: int
    gzip_bytes: int
    our_bytes: int
    sha256: str

    @property
    def ratio(self) -> float:
        """Ours as a share of the other."""
        return self.our_bytes / self.gzip_bytes


def gzipped(selection: Selection) -> bytes:
    """Make the archive to compare with.

    Args:
        selection: The files, which are taken in the order of the digests of their names.
    """
    unordered = sorted(selection.files, key=lambda file: hashlib.sha256(file.name.encode()).digest())
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for file in unordered:
            tar.add(file.path, arcname=file.name)
    return base64.b64encode(archive.getvalue())


def measure(script: Path, repo_root: Path | None = None) -> Sizes:
    """Measure both.

    Args:
        script: The script whose source travels.
        repo_root: Its repository; found from the script when not given.
    """
    plan = plan_for(executor_type="lepton", script_path=script, repo_root=repo_root, pod_nemotron_home="/mnt/nemo_run")
    return Sizes(
        files=len(plan.files),
        raw_bytes=plan.raw_bytes,
        gzip_bytes=len(gzipped(select(script, repo_root))),
        our_bytes=plan.encoded_bytes,
        sha256=plan.sha256,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments without the program's name; `sys.argv` when None.

    Returns:
        1 where ours takes more than the limit's share: sizes do not depend on how busy the machine is.
    """
    parser = argparse.ArgumentParser(description="Compare the size of a job's source in its environment.")
    parser.add_argument(
        "--script", type=Path, default=SCRIPT, help="the script whose source travels (default: nano3 sft)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args(argv)
    sizes = measure(arguments.script)
    met = sizes.ratio <= LIMIT
    if arguments.json:
        print(json.dumps({**asdict(sizes), "ratio": sizes.ratio, "limit": LIMIT, "met": met}, indent=2))
    else:
        print(f"{sizes.files} files, {sizes.raw_bytes:,} bytes; archive {sizes.sha256[:16]}")
        print(f"{sizes.gzip_bytes:>12,}  gzip and base64 of an unordered tar")
        print(f"{sizes.our_bytes:>12,}  ours")
        print(f"{sizes.ratio:>12.3f}  ratio; at most {LIMIT:.2f}: {'pass' if met else 'FAIL'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
