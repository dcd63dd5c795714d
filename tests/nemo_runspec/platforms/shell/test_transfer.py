"""How rsync is called, and what its end means."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemo_runspec.errors import PlatformError, RefusedError, UnreachableError
from nemo_runspec.platforms.shell.running import Ended
from nemo_runspec.platforms.shell.transfer import arguments, sent_bytes


def test_a_folder_is_sent_into_a_folder_and_no_word_is_taken_for_an_option() -> None:
    words = arguments(Path("/a b"), "host:/c d/", "/basis")
    assert words[-3:] == ["--", "/a b/", "host:/c d/"]
    assert {"--checksum", "--delete", "-s", "--link-dest=/basis"} <= set(words)


def test_bytes_are_counted() -> None:
    assert sent_bytes(Ended(0, b"x\nTotal bytes sent: 1,234,567\nTotal\n", b""), "there", "/t") == 1_234_567
    assert sent_bytes(Ended(0, b"", b""), "there", "/t") == 0


FAILURES: list[tuple[int, str, type[PlatformError], str]] = [
    (11, 'rsync: [receiver] write failed on "/t/a": No space left on device (28)', RefusedError, "/t on there cannot"),
    (23, 'rsync: mkstemp "/t/.a" failed: Disk quota exceeded (122)', RefusedError, "Disk quota exceeded"),
    (12, "bash: rsync: command not found\nrsync: connection unexpectedly closed", RefusedError, "no rsync on there"),
    (2, "protocol version mismatch -- is your shell clean?", RefusedError, "login shell"),
    (23, 'rsync: [generator] mkdir "/t/a" failed: Permission denied (13)', RefusedError, "Permission denied"),
    (255, "client_loop: send disconnect: Broken pipe\nrsync error: unexplained error", UnreachableError, "code 255"),
    (12, "rsync: connection unexpectedly closed (0 bytes received so far)", UnreachableError, "unexpectedly closed"),
    (75, "", UnreachableError, "another transfer"),
    (-9, "", UnreachableError, "no reason given"),
]


@pytest.mark.parametrize(("code", "said", "error", "words"), FAILURES)
def test_failures_say_what_is_wrong(code: int, said: str, error: type[PlatformError], words: str) -> None:
    with pytest.raises(error, match=words) as failure:
        sent_bytes(Ended(code, b"", said.encode()), "there", "/t")
    assert failure.value.remedy
