"""What is known of a submission whose host is not reached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nemo_runspec.errors import NothingSentError, UnreachableError
from nemo_runspec.platforms.shell import Answer
from nemo_runspec.platforms.shell.local import LocalShell
from tests.nemo_runspec.platforms.slurm.queue import Queue
from tests.nemo_runspec.platforms.slurm.test_sources import SMALL
from tests.nemo_runspec.platforms.slurm.test_submission import request, submitted

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("away", ["prepare", "send_tree", "submit"])
def test_a_host_that_is_not_reached_says_whether_anything_was_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, away: str
) -> None:
    queue = Queue(tmp_path / "bin", monkeypatch)
    bash = LocalShell.bash

    def lost(*_: Any, **__: Any) -> int:  # noqa: ANN401 - whatever it is called with
        message = "the connection was lost"
        raise UnreachableError(message)

    def reached(shell: LocalShell, script: Path, *words: str, **more: Any) -> Answer:  # noqa: ANN401 - as above
        return bash(shell, script, *words, **more) if script.stem != away else Answer(lost(), b"", "")

    monkeypatch.setattr(LocalShell, "bash", reached)
    if away == "send_tree":
        monkeypatch.setattr(LocalShell, "send_tree", lost)
    with pytest.raises(UnreachableError, match="the connection was lost") as caught:
        submitted(tmp_path / "home", request(SMALL))
    assert isinstance(caught.value, NothingSentError) is (away != "submit")
    assert queue.jobs() == []
