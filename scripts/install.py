"""Make the project's virtual environment and install the package into it, with exact versions.

Run by `make` with the system's Python and nothing installed, so it needs only the standard library and must
parse on a Python that is too old for the package, to be able to say so.

    python3 scripts/install.py --venv .venv --extras tiny,test
    python3 scripts/install.py --lock           # writes constraints.txt anew
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
MINIMUM_PYTHON = (3, 11)
EVERY_EXTRA = "tiny,fast,remote,test,check"
EXIT_SETUP = 2

# An argument of pip's that pins torch: a release, and perhaps a build of it ("torch==2.13.0+cpu").
TORCH_PIN = re.compile(r"torch==(?P<release>[0-9][0-9.]*)(?P<build>\+[a-z0-9.]+)?")

LOCK_HEADER = """\
# Exact versions of everything that the extras tiny, test and check install, transitive ones and the build
# backend included. Written by `make constraints` from a clean virtual environment; do not edit by hand.
# torch stands here without its build: 2.13.0 also allows 2.13.0+cpu, which scripts/install.py chooses.
"""


class SetupError(Exception):
    """The machine lacks something; the message says what, and what to do about it."""


@dataclass(frozen=True)
class Machine:
    """What the choice of a PyTorch build depends on.

    Args:
        platform: `sys.platform`.
        has_nvidia_gpu: Whether an NVIDIA driver answers.
    """

    platform: str
    has_nvidia_gpu: bool

    @staticmethod
    def here() -> Machine:
        """Describe the machine that runs this."""
        return Machine(platform=sys.platform, has_nvidia_gpu=nvidia_gpu_answers())


def nvidia_gpu_answers() -> bool:
    """Tell whether nvidia-smi is there and lists a GPU; the tool alone is no proof of one."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    listing = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False)
    return listing.returncode == 0 and "GPU" in listing.stdout


def check_python(version: tuple[int, ...] = sys.version_info[:2]) -> None:
    """Refuse a Python that the package does not support, or that cannot make a virtual environment.

    Args:
        version: Major and minor version.

    Raises:
        SetupError: The Python is older than 3.11, or its ensurepip is missing (as on a bare Debian).
    """
    if version < MINIMUM_PYTHON:
        found = ".".join(str(part) for part in version)
        wanted = ".".join(str(part) for part in MINIMUM_PYTHON)
        message = (
            f"Python {wanted} or newer is needed, and {sys.executable} is {found}.\n"
            f"  Install a newer one and name it: make demo PYTHON=python3.12"
        )
        raise SetupError(message)
    missing = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
    if missing:
        message = (
            f"{sys.executable} cannot make a virtual environment: its module {missing[0]} is missing.\n"
            f"  On Debian and Ubuntu: apt-get install python3-venv"
        )
        raise SetupError(message)


def pinned_torch(constraints: Path) -> str:
    """Give the release of torch that the constraints file pins, such as "2.13.0".

    Raises:
        SetupError: The file pins none.
    """
    for line in constraints.read_text(encoding="utf-8").splitlines():
        match = TORCH_PIN.fullmatch(line.strip())
        if match:
            return match["release"]
    message = f"{constraints} pins no torch.\n  Write it anew: make constraints TORCH=torch==2.13.0"
    raise SetupError(message)


def torch_requirement(release: str, explicit: str, machine: Machine) -> str:
    """Choose the build of PyTorch, so that nobody gets several GB of CUDA libraries by accident.

    Args:
        release: The pinned release, such as "2.13.0".
        explicit: What the caller asked for ("torch==2.13.0"), or "" to choose here.
        machine: Where it is to run.

    Returns:
        A requirement for pip. On Linux the default wheel carries CUDA, so that without a GPU it is the CPU build.

    Raises:
        SetupError: `explicit` is not a build of the pinned release.
    """
    if explicit:
        match = TORCH_PIN.fullmatch(explicit)
        if match is None or match["release"] != release:
            message = (
                f"TORCH={explicit} does not fit constraints.txt, which pins torch {release}.\n"
                f"  Name a build of that release (TORCH=torch=={release}), or change the pin: "
                f"make constraints TORCH={explicit}"
            )
            raise SetupError(message)
        return explicit
    if machine.platform == "linux" and not machine.has_nvidia_gpu:
        return f"torch=={release}+cpu"
    return f"torch=={release}"


def pip_command(python: Path, *arguments: str) -> list[str]:
    """Give a command line of pip's that asks nothing."""
    return [str(python), "-m", "pip", "--no-input", "--disable-pip-version-check", *arguments]


def pinned_environment() -> dict[str, str]:
    """Give an environment in which pip keeps to constraints.txt, also for the build backend it fetches.

    The option --constraint does not reach the backend. pip splits these variables at spaces, so they hold a name
    relative to the root, where pip is run. Releases of pip before 25.3 read the first of them, later ones the second.
    """
    return {**os.environ, "PIP_CONSTRAINT": CONSTRAINTS.name, "PIP_BUILD_CONSTRAINT": CONSTRAINTS.name}


def run_pip(python: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run pip in a virtual environment, its output on the terminal.

    Args:
        python: The virtual environment's interpreter.
        arguments: pip's subcommand and what follows it.
        environment: Its whole environment; this process's when None.

    Raises:
        SetupError: pip failed; its own message stands above.
    """
    done = subprocess.run(pip_command(python, *arguments), cwd=ROOT, env=environment, check=False)
    if done.returncode != 0:
        message = f"pip failed with status {done.returncode} (its message stands above): pip {' '.join(arguments)}"
        raise SetupError(message)


def installed_torch(python: Path) -> str | None:
    """Give the version of torch in a virtual environment, or None; torch itself is not imported."""
    question = "from importlib.metadata import version; print(version('torch'))"
    answer = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else None


def install_torch(python: Path, release: str, explicit: str, machine: Machine) -> None:
    """Install the chosen build of PyTorch, unless a build of the pinned release is there and none was asked for.

    Args:
        python: The virtual environment's interpreter.
        release: The pinned release.
        explicit: The caller's requirement, or "".
        machine: Where it is to run.

    Raises:
        SetupError: pip's configuration offers no such build.
    """
    wanted = torch_requirement(release, explicit, machine)
    present = installed_torch(python)
    if present is not None and not explicit and present.split("+")[0] == release:
        return
    command = pip_command(python, "install", "--no-deps", wanted)
    print(f"Installing {wanted}", flush=True)
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        complaints = []
        for line in process.stderr or ():
            sys.stderr.write(line)
            complaints.append(line)
    if process.returncode == 0:
        return
    if "+cpu" in wanted and "No matching distribution found for torch" in "".join(complaints):
        message = (
            f"pip's configuration offers no {wanted}, and the default build for Linux brings several GB of CUDA "
            f"libraries that this machine has no use for (no NVIDIA GPU answers).\n"
            f"  Either add PyTorch's index of CPU wheels (its address is in PyTorch's installation guide) with\n"
            f"      python3 -m pip config set global.extra-index-url ADDRESS\n"
            f"  and start again, or accept the default build: make demo TORCH=torch=={release}"
        )
        raise SetupError(message)
    message = f"pip could not install {wanted} (its message stands above)."
    raise SetupError(message)


def make_venv(folder: Path) -> Path:
    """Make a virtual environment, unless it is there, and give its interpreter.

    Raises:
        SetupError: The folder holds a broken one, or one without pip.
    """
    python = folder / "bin" / "python"
    if not folder.exists():
        print(f"Making {folder}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    try:
        works = (
            subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
        )
    except OSError:  # no interpreter there, or one that its own Python has left behind
        works = False
    if not works:
        message = f"{folder} is no working virtual environment with pip.\n  Remove it and start again: rm -rf {folder}"
        raise SetupError(message)
    return python


def install(venv: Path, extras: str, torch: str, machine: Machine) -> None:
    """Install the package from this checkout, editable, with the versions of constraints.txt.

    Args:
        venv: Folder of the virtual environment; made when missing.
        extras: Extras of pyproject.toml, comma-separated.
        torch: A requirement that names a build of torch, or "" to choose it for the machine.
        machine: Where it is to run.

    Raises:
        SetupError: Something is missing or pip failed.
    """
    release = pinned_torch(CONSTRAINTS)
    torch_requirement(release, torch, machine)  # a wrong TORCH is refused before anything is made
    python = make_venv(venv)
    if "tiny" in extras.split(","):
        install_torch(python, release, torch, machine)
    constrained = ("install", "--constraint", CONSTRAINTS.name)
    run_pip(python, *constrained, "--editable", f".[{extras}]", environment=pinned_environment())


def lock(torch: str, machine: Machine) -> None:
    """Write constraints.txt from a clean virtual environment with the newest versions that pyproject.toml allows.

    Args:
        torch: A requirement that names the release of torch to pin, or "" to keep the pinned one.
        machine: Where the environment is made.

    Raises:
        SetupError: pip failed, or `torch` is not of the form torch==VERSION.
    """
    match = TORCH_PIN.fullmatch(torch or f"torch=={pinned_torch(CONSTRAINTS)}")
    if match is None:
        message = f"TORCH={torch} does not have the form torch==VERSION."
        raise SetupError(message)
    with tempfile.TemporaryDirectory(prefix="constraints-") as scratch:
        python = make_venv(Path(scratch) / "venv")
        build = match[0] if match["build"] else ""
        install_torch(python, match["release"], build, machine)
        pin = Path(scratch) / "torch.txt"
        pin.write_text(f"torch=={match['release']}\n", encoding="utf-8")
        run_pip(python, "install", "--constraint", str(pin), f".[{EVERY_EXTRA}]", "hatchling")
        command = [str(python), "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude", "nemotron"]
        frozen = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    CONSTRAINTS.write_text(LOCK_HEADER + portable(frozen), encoding="utf-8")
    print(f"Wrote {CONSTRAINTS}")


def portable(frozen: str) -> str:
    """Turn the output of `pip freeze` into constraints for every platform.

    Args:
        frozen: Lines of `name==version`.

    Returns:
        The same, sorted, without local builds ("+cpu") and without the CUDA wheels that only one platform has.
    """
    lines = [line.split("+")[0].strip() for line in frozen.splitlines() if "==" in line]
    kept = [line for line in lines if not line.startswith(("nvidia-", "triton==", "cuda-"))]
    return "\n".join(sorted(kept, key=str.lower)) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run from the command line.

    Args:
        argv: Arguments without the program's name; `sys.argv` when None.

    Returns:
        The exit status: 0, or 2 with a message where the machine lacks something.
    """
    parser = argparse.ArgumentParser(description="Make the virtual environment and install the package into it.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the virtual environment")
    parser.add_argument("--extras", default="tiny", help="comma-separated extras of pyproject.toml")
    parser.add_argument("--torch", default="", help="torch==VERSION[+BUILD]; chosen for this machine when empty")
    parser.add_argument("--lock", action="store_true", help="write constraints.txt anew instead of installing")
    arguments = parser.parse_args(argv)
    try:
        check_python()
        if arguments.lock:
            lock(arguments.torch, Machine.here())
        else:
            install(arguments.venv, arguments.extras, arguments.torch, Machine.here())
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_SETUP
    return 0


if __name__ == "__main__":
    sys.exit(main())
