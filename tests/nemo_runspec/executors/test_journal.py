from __future__ import annotations

import json
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from nemo_runspec.errors import NemotronError
from nemo_runspec.executors.journal import Entry, Journal, fingerprint_of, name_in
from nemo_runspec.platforms.workload import JobState, Seen, Submitted


def entry(name: str = "sft-abc123", **changes: str) -> Entry:
    return Entry(
        **{
            "platform": "lepton",
            "kind": "job",
            "name": name,
            "title": "sft",
            "experiment": "exp_1",
            "connection": {"profile": "x"},
            **changes,
        }  # type: ignore[arg-type]  # one mapping of several types
    )


def test_an_entry_is_found_again_as_it_was(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first = entry()
    assert journal.find(first.name) is None
    journal.write(first)
    assert first.submitted == Submitted("lepton", "job", "sft-abc123", "sft-abc123")
    accepted = first.accepted(Submitted("lepton", "job", "id-7", "sft-abc123"))
    journal.write(accepted)
    assert Journal(tmp_path).read("sft-abc123") == accepted
    assert accepted.submitted.id == "id-7"
    assert list(journal.entries()) == [accepted]
    journal.forget("sft-abc123")
    assert journal.find("sft-abc123") is None


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "home")
    journal.write(entry())
    assert stat.S_IMODE(journal.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in journal.folder.iterdir()] == [0o600]


def test_jobs_that_are_submitted_at_once_do_not_lose_each_other(tmp_path: Path) -> None:
    names = [f"job-{number:06}" for number in range(50)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda name: Journal(tmp_path).write(entry(name)), names))
    assert sorted(found.name for found in Journal(tmp_path).entries()) == names


@pytest.mark.parametrize("title", ["sft", "trailing_", "a___b", "mit Leerzeichen/ü", "", "___"])
def test_the_name_is_found_in_the_app_id_whatever_the_title(title: str) -> None:
    app_id = entry(title=title, experiment=f"{title}_17").app_id
    assert name_in(app_id) == "sft-abc123"
    assert "/" not in app_id
    assert app_id.isascii()


def test_a_record_that_cannot_be_read_is_an_error_with_its_path(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(NemotronError, match="no job 'nope' was submitted from here"):
        journal.read("nope")
    assert journal.find("../nope") is None
    journal.write(entry())
    path = journal.folder / "sft-abc123.json"
    path.write_text('{"version": 99}', encoding="utf-8")
    with pytest.raises(NemotronError, match="another version"):
        journal.read("sft-abc123")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(NemotronError, match=r"cannot be read: .*sft-abc123\.json"):
        journal.read("sft-abc123")


UNREADABLE = {
    "no JSON": "{",
    "no text": b"\xff",
    "another version": '{"version": 99}',
    "a list": "[]",
    "nothing": '{"version": 1}',
    "more": json.dumps({"version": 2, **asdict(entry()), "colour": "red"}),
    "a state that is no end": json.dumps({"version": 2, **asdict(entry()), "state": "running"}),
    "no truth": json.dumps({"version": 2, **asdict(entry()), "told": "yes"}),
    "numbers": json.dumps({"version": 2, **asdict(entry()), "created": 7}),
    "no connection": json.dumps({"version": 2, **asdict(entry()), "connection": ["x"]}),
    "another's": json.dumps({"version": 2, **asdict(entry("sft-zzzzzz"))}),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_record_that_cannot_be_read_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | bytes
) -> None:
    journal = Journal(tmp_path)
    journal.write(entry("good-000001"))
    journal.write(entry())
    path = journal.folder / "sft-abc123.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert [found.name for found in journal.entries()] == ["good-000001"]
    (warning,) = caplog.messages
    assert str(path) in warning
    assert journal.unreadable() == (path,)
    with pytest.raises(NemotronError, match=r"the record of the job 'sft-abc123' .*sft-abc123\.json"):
        journal.read("sft-abc123")


def test_files_of_others_are_not_looked_at(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry())
    (journal.folder / "Notes of mine.json").write_text("{", encoding="utf-8")
    (journal.folder / "folder.json").mkdir()
    assert [found.name for found in journal.entries()] == ["sft-abc123"]


def test_a_record_without_what_came_later_is_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry())
    (journal.folder / "old-000001.json").write_text(
        '{"version": 1, "platform": "lepton", "kind": "job", "name": "old-000001"}', encoding="utf-8"
    )
    assert journal.read("old-000001").title == ""


def test_a_record_of_the_first_version_is_one_that_its_user_was_told_of(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry())
    names = {"platform": "lepton", "kind": "job", "name": "old-000001", "id": "7"}
    old = {"version": 1, **names, "connection": {"profile": "x"}}
    (journal.folder / "old-000001.json").write_text(json.dumps(old), encoding="utf-8")
    read = journal.read("old-000001")
    assert (read.told, read.profile, read.fingerprint, read.last_state) == (True, "x", "", None)
    changed = journal.change("old-000001", nodes=3)
    assert changed is not None
    assert journal.read("old-000001") == changed


def test_a_change_keeps_what_others_write_meanwhile(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry())
    changes: list[dict[str, Any]] = [{"told": True}, {"nodes": 2}, {"id": "7"}, {"title": "x"}, {"exit_code": 3}]
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda change: Journal(tmp_path).change("sft-abc123", **change), changes * 10))
    read = journal.read("sft-abc123")
    assert (read.told, read.nodes, read.id, read.title, read.exit_code) == (True, 2, "7", "x", 3)
    assert journal.change("nobody-000000", told=True) is None
    assert [path.name for path in journal.folder.iterdir() if path.is_file()] == ["sft-abc123.json"]


def test_an_end_that_was_seen_is_kept_and_what_says_nothing_changes_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry(id="7"))
    name = "sft-abc123"
    journal.saw(name, Seen(JobState.RUNNING))
    assert journal.read(name).last_state is None
    journal.saw(name, Seen(JobState.FAILED, exit_code=3))
    first = journal.read(name)
    assert (first.last_state, first.exit_code) == (JobState.FAILED, 3)
    assert first.ended
    for state in (JobState.FAILED, JobState.LOST, JobState.UNREACHABLE, JobState.UNKNOWN):
        journal.saw(name, Seen(state))
    assert journal.read(name) == first
    journal.saw(name, Seen(JobState.RUNNING, attempt=1))
    assert journal.read(name).last_state is None
    assert journal.saw("nobody-000000", Seen(JobState.FAILED)) is None


def test_only_what_is_the_same_in_the_same_place_has_the_same_fingerprint() -> None:
    same = fingerprint_of("slurm", {"host": "a", "home": "/h"}, "sft", "d")
    assert fingerprint_of("slurm", {"home": "/h", "host": "a"}, "sft", "d") == same
    others = {
        fingerprint_of("docker", {"host": "a", "home": "/h"}, "sft", "d"),
        fingerprint_of("slurm", {"host": "b", "home": "/h"}, "sft", "d"),
        fingerprint_of("slurm", {"host": "a", "home": "/h"}, "dpo", "d"),
        fingerprint_of("slurm", {"host": "a", "home": "/h"}, "sft", "e"),
    }
    assert len(others | {same}) == 5


LOOP = """
import sys
from nemo_runspec.executors.journal import Entry, Journal
journal = Journal(sys.argv[1])
for number in range(150):
    name = f"job-{number % 7:06}"
    journal.write(Entry(platform="lepton", kind="job", name=name, id=sys.argv[2] * 500))
    assert journal.change(name, told=True) is not None
    assert {len(entry.id) for entry in journal.entries()} <= {500}
"""


def test_two_clients_that_write_the_same_records_all_the_time_never_break_one(tmp_path: Path) -> None:
    clients = [
        subprocess.Popen([sys.executable, "-c", LOOP, tmp_path, letter], stderr=subprocess.PIPE) for letter in "ab"
    ]
    errors = [client.communicate(timeout=120)[1] for client in clients]
    assert ([client.returncode for client in clients], errors) == ([0, 0], [b"", b""])
    assert len(list(Journal(tmp_path).entries())) == 7


@pytest.mark.parametrize("damage", ["cut", "unreadable"])
def test_row_26_a_damaged_record_is_told_of_and_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    journal = Journal(tmp_path)
    journal.write(entry("good-000001"))
    journal.write(entry())
    path = journal.folder / "sft-abc123.json"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-10])
    else:
        path.chmod(0o000)
        usual = Path.read_text

        def as_a_user(self: Path, *args: Any, **options: Any) -> str:  # noqa: ANN401 - root may read what nobody may
            if self == path:
                raise PermissionError(13, "Permission denied", str(self))
            return usual(self, *args, **options)

        monkeypatch.setattr(Path, "read_text", as_a_user)
    assert [found.name for found in journal.entries()] == ["good-000001"]
    (warning,) = caplog.messages
    assert str(path) in warning
