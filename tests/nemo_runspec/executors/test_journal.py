from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from nemo_runspec.errors import NemotronError
from nemo_runspec.executors.journal import Entry, Journal, name_in
from nemo_runspec.platforms.workload import Submitted

if TYPE_CHECKING:
    from pathlib import Path


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
    "more": json.dumps({"version": 1, **asdict(entry()), "colour": "red"}),
    "numbers": json.dumps({"version": 1, **asdict(entry()), "created": 7}),
    "no connection": json.dumps({"version": 1, **asdict(entry()), "connection": ["x"]}),
    "another's": json.dumps({"version": 1, **asdict(entry("sft-zzzzzz"))}),
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
