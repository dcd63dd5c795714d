from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover import ray_package as module
from nemo_runspec.data_mover.ray_package import DRIVER, ENTRYPOINT, ray_package
from nemo_runspec.errors import PayloadError

if TYPE_CHECKING:
    from pathlib import Path

    from nemo_runspec.data_mover import Plan
    from nemo_runspec.data_mover.ray_package import RayPackage


def packed(folder: Path, text: str = "x = 1\n") -> tuple[RayPackage, Plan]:
    (folder / "src" / "mine").mkdir(parents=True, exist_ok=True)
    (folder / "src" / "mine" / "__init__.py").write_text("", encoding="utf-8")
    script = folder / "src" / "mine" / "train.py"
    script.write_text(text, encoding="utf-8")
    return ray_package(
        script_path=script,
        repo_root=folder,
        exclude=(),
        files={"launch.sh": (b"exec true\n", True), "code/driver.py": (b"x = '/nemo_run'\n", False)},
        orders={"nodes": 2, "run": ["bash", "/nemo_run/launch.sh"]},
        job_dir="/mnt/jobs/x",
    )


def test_source_job_and_driver_are_one_zip(tmp_path: Path) -> None:
    package, plan = packed(tmp_path)
    with zipfile.ZipFile(io.BytesIO(package.data)) as archive:
        names = archive.namelist()
        orders = json.loads(archive.read(".nemo_runspec/orders.json"))
        code = archive.read(DRIVER).decode()
        assert archive.getinfo(".nemo_runspec/launch.sh").external_attr >> 16 == 0o100755
    assert {"src/mine/train.py", ".nemo_runspec/launch.sh", ".nemo_runspec/orders.json", DRIVER} <= set(names)
    assert orders["nodes"] == 2
    assert "driver.py" in names, "what lies beside the source is source too"
    assert ".nemo_runspec/code/driver.py" not in names
    compile(code, DRIVER, "exec")
    assert f"python3 {DRIVER}" == ENTRYPOINT
    assert (plan.sha256, plan.encoded_bytes) == (package.sha256, len(package.data))
    assert plan.pod_src_root == "/mnt/jobs/x/code/src"
    assert plan.pod_script == "/mnt/jobs/x/code/src/mine/train.py"


def test_its_name_is_its_content(tmp_path: Path) -> None:
    first, again, other = packed(tmp_path)[0], packed(tmp_path)[0], packed(tmp_path, "x = 2\n")[0]
    assert first.data == again.data
    assert first.name == again.name == f"_ray_pkg_{first.sha256[:32]}.zip"
    assert first.uri == f"gcs://{first.name}"
    assert other.name != first.name


def test_more_than_ray_takes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_BYTES", 10)
    with pytest.raises(PayloadError, match="a Ray cluster takes 10"):
        packed(tmp_path)
