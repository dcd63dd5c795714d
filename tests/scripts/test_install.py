from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import install

LAPTOP = install.Machine(platform="linux", has_nvidia_gpu=False)
GPU_SERVER = install.Machine(platform="linux", has_nvidia_gpu=True)
MAC = install.Machine(platform="darwin", has_nvidia_gpu=False)

NOTHING_OFFERED = "ERROR: No matching distribution found for torch==2.13.0+cpu"


def fake_python(folder: Path, *, torch: str = "", complaint: str = "") -> Path:
    """Make an interpreter that notes pip's arguments, says which torch it has, and fails when it has a complaint."""
    python = folder / "python"
    python.write_text(
        f"""#!/bin/sh
if [ "$1" = -c ]; then
    [ -n "{torch}" ] && echo "{torch}" && exit 0
    exit 1
fi
echo "$@ [constraint: $PIP_CONSTRAINT]" >> {shlex.quote(str(folder / "log"))}
[ -z "{complaint}" ] || {{ echo "{complaint}" >&2; exit 1; }}
"""
    )
    python.chmod(0o755)
    return python


def pip_calls(folder: Path) -> list[str]:
    log = folder / "log"
    return log.read_text().splitlines() if log.exists() else []


@pytest.mark.parametrize(
    ("machine", "explicit", "expected"),
    [
        (LAPTOP, "", "torch==2.13.0+cpu"),
        (GPU_SERVER, "", "torch==2.13.0"),
        (MAC, "", "torch==2.13.0"),
        (LAPTOP, "torch==2.13.0", "torch==2.13.0"),
        (GPU_SERVER, "torch==2.13.0+cpu", "torch==2.13.0+cpu"),
    ],
)
def test_the_build_of_torch_fits_the_machine(machine: install.Machine, explicit: str, expected: str) -> None:
    assert install.torch_requirement("2.13.0", explicit, machine) == expected


@pytest.mark.parametrize("explicit", ["torch==2.12.0", "torch", "torch>=2.13.0", "jax==1.0"])
def test_another_release_of_torch_is_refused(explicit: str) -> None:
    with pytest.raises(install.SetupError, match=r"pins torch 2\.13\.0"):
        install.torch_requirement("2.13.0", explicit, LAPTOP)


def test_an_old_python_is_refused_with_a_way_out() -> None:
    with pytest.raises(install.SetupError, match=r"Python 3\.11 or newer(.|\n)*PYTHON=python3\.12"):
        install.check_python((3, 10))


def test_a_python_without_ensurepip_names_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else object())
    with pytest.raises(install.SetupError, match=r"ensurepip is missing(.|\n)*apt-get install python3-venv"):
        install.check_python()


def test_this_python_is_good_enough() -> None:
    install.check_python()


def test_the_pinned_torch_stands_in_the_constraints() -> None:
    release = install.pinned_torch(install.CONSTRAINTS)
    assert f"torch=={release}\n" in install.CONSTRAINTS.read_text(encoding="utf-8")


def test_constraints_without_torch_are_an_error(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("torchx==0.7.0\n")
    with pytest.raises(install.SetupError, match="pins no torch"):
        install.pinned_torch(constraints)


def test_torch_is_installed_without_its_dependencies(tmp_path: Path) -> None:
    install.install_torch(fake_python(tmp_path), "2.13.0", "", LAPTOP)
    (call,) = pip_calls(tmp_path)
    assert "install --no-deps torch==2.13.0+cpu" in call


@pytest.mark.parametrize("present", ["2.13.0", "2.13.0+cpu"])
def test_a_build_that_is_there_is_kept(tmp_path: Path, present: str) -> None:
    install.install_torch(fake_python(tmp_path, torch=present), "2.13.0", "", LAPTOP)
    assert pip_calls(tmp_path) == []


def test_a_build_that_is_asked_for_replaces_the_one_that_is_there(tmp_path: Path) -> None:
    install.install_torch(fake_python(tmp_path, torch="2.13.0+cpu"), "2.13.0", "torch==2.13.0", LAPTOP)
    assert len(pip_calls(tmp_path)) == 1


def test_no_cpu_build_on_offer_stops_before_gigabytes_arrive(tmp_path: Path) -> None:
    python = fake_python(tmp_path, complaint=NOTHING_OFFERED)
    with pytest.raises(install.SetupError, match=r"extra-index-url(.|\n)*make demo TORCH=torch==2\.13\.0") as caught:
        install.install_torch(python, "2.13.0", "", LAPTOP)
    assert len(pip_calls(tmp_path)) == 1
    assert "://" not in str(caught.value)


def test_another_failure_of_pip_is_not_taken_for_a_missing_build(tmp_path: Path) -> None:
    python = fake_python(tmp_path, complaint="ERROR: No space left on device")
    with pytest.raises(install.SetupError, match="could not install"):
        install.install_torch(python, "2.13.0", "", LAPTOP)


def test_pip_keeps_to_the_constraints_also_for_the_build_backend(tmp_path: Path) -> None:
    install.run_pip(fake_python(tmp_path), "install", ".", environment=install.pinned_environment())
    (call,) = pip_calls(tmp_path)
    assert call.endswith("install . [constraint: constraints.txt]")


def test_a_failing_pip_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(install.SetupError, match="pip failed with status 1"):
        install.run_pip(fake_python(tmp_path, complaint="no"), "install", ".")


def test_a_folder_that_is_no_virtual_environment_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("")
    with pytest.raises(install.SetupError, match="no working virtual environment"):
        install.make_venv(tmp_path)
    assert (tmp_path / "precious").exists()


def test_a_working_environment_is_used_as_it_is() -> None:
    assert install.make_venv(Path(sys.prefix)) == Path(sys.prefix) / "bin" / "python"


def test_nvidia_smi_without_a_gpu_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not install.nvidia_gpu_answers()
    tool = tmp_path / "nvidia-smi"
    for script, expected in (("exit 9", False), ("echo 'GPU 0: NVIDIA H200'", True)):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert install.nvidia_gpu_answers() is expected


def test_a_frozen_environment_becomes_constraints_for_every_platform() -> None:
    frozen = "torch==2.13.0+cpu\nPyYAML==6.0\nnvidia-nccl-cu13==2.1\n-e /src\ntriton==3.7\nabsl-py==2.5\n"
    assert install.portable(frozen) == "absl-py==2.5\nPyYAML==6.0\ntorch==2.13.0\n"


def test_a_wrong_request_ends_with_a_message_and_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = install.main(["--venv", str(tmp_path / "venv"), "--torch", "torch==1.0"])
    assert status == 2
    assert capsys.readouterr().err.startswith("error: TORCH=torch==1.0 does not fit")
    assert not (tmp_path / "venv").exists()


def test_the_script_runs_with_nothing_installed() -> None:
    command = [sys.executable, "-I", "-S", install.__file__, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--lock" in done.stdout
