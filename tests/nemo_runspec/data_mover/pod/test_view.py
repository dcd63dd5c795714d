from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nemo_runspec.data_mover.pod import unpack, view

if TYPE_CHECKING:
    from pathlib import Path


def member(name: str, text: str = "") -> unpack.Member:
    return unpack.Member(name, text.encode(), executable=False)


def test_folders_are_the_jobs_own_and_files_are_links(tmp_path: Path) -> None:
    source, code = tmp_path / "tree-1", tmp_path / "code"
    files = [member("src/a/b.py", "b"), member("src/run.py", "run"), member("mine", "theirs"), member("own/c.py", "c")]
    unpack.stage(files, source, 0o755)
    code.mkdir()
    (code / "mine").mkdir()  # the job brings a folder where the source has a file, and the other way round
    (code / "own").write_text("a file")
    for _ in range(2):
        view.show(files, source, code, "src/run.py", [str(tmp_path)])
    assert (code / "src/a/b.py").is_symlink()
    assert (code / "src/a/b.py").resolve() == source / "src/a/b.py"
    assert not (code / "src/a").is_symlink()
    assert not (code / "src/run.py").is_symlink()  # Python looks for its neighbours where a link leads
    assert (code / "src/run.py").read_text() == "run"
    assert (code / "mine").is_dir()
    assert (code / "own").read_text() == "a file"


def test_only_links_of_an_earlier_start_are_made_anew(tmp_path: Path) -> None:
    trees, code, files = tmp_path / "trees", tmp_path / "code", [member("a", "1"), member("b", "2"), member("c", "3")]
    trees.mkdir()
    code.mkdir()
    for name in ("first", "second"):
        unpack.stage(files, trees / name, 0o755)
    view.show(files, trees / "first", code, "", [str(trees)])
    (code / "b").unlink()
    (code / "b").write_text("the job's own now")
    (code / "c").unlink()
    (code / "c").symlink_to("/dev/null")
    view.show(files, trees / "second", code, "", [str(trees)])
    assert (code / "a").resolve() == trees / "second/a"
    assert (code / "b").read_text() == "the job's own now"
    assert str((code / "c").readlink()) == "/dev/null"
    assert sorted(path.name for path in code.iterdir()) == ["a", "b", "c"]


def test_without_any_place_for_a_path_that_a_shell_takes_the_pod_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = tmp_path / "a job"
    job.mkdir()
    monkeypatch.setattr(view, "TEMPORARY", ())
    monkeypatch.setenv("TMPDIR", str(tmp_path / "missing"))
    with pytest.raises(unpack.PodError, match="mount a volume on /tmp"):
        view.View(tmp_path / "missing/nemo_run", job, [])


def test_a_plain_job_folder_needs_no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = tmp_path / "missing/nemo_run"
    monkeypatch.setattr(view, "TEMPORARY", ())
    monkeypatch.delenv("TMPDIR", raising=False)
    seen = view.View(link, tmp_path, [member("launch.sh", "echo"), member("code/x.sh", f"cat {link}/a")])
    assert seen.folder == tmp_path
    assert seen.rewritten(f"cat {link}/code/x.sh") == f"cat {tmp_path}/code/x.sh"
    # Where no temporary folder may be written, the job's own folder holds the copies.
    copying = view.View(link, tmp_path, [member("launch.sh", f"cat {link}/a")])
    rewritten = copying.rewritten(f"{link}/launch.sh")
    assert rewritten.startswith(f"{tmp_path}/nemo_run.")
    copying.close()
    assert list(tmp_path.iterdir()) == []
