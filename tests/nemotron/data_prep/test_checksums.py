from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from nemotron.data_prep.checksums import FileRecord

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_recorded_with_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytes(range(256)) * 20_000
    path.write_bytes(content)
    assert FileRecord.of(path) == FileRecord(len(content), xxhash.xxh64_hexdigest(content))
