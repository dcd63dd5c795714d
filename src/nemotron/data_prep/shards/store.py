"""The folder of all shards of an output folder: each is there complete, by its content address, or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nemotron.data_prep.checksums import FileRecord
from nemotron.data_prep.shards.lease import is_free, remove_partial_files, take_lease
from nemotron.data_prep.shards.receipt import RECEIPT_FILE, Receipt

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nemotron.data_prep.shards.receipt import Address, Problem

_LEASE = ".lease"
_BUILDING = ".building-"
_DAMAGED = ".damaged-"
# How a folder fails to take a name that is taken, the last where it is a file that has it.
_TAKEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR}


@dataclass(frozen=True, slots=True)
class ShardStore:
    """Where shards are found, made and published.

    Args:
        root: The folder; made when it is needed.
    """

    root: Path

    def folder(self, key: str) -> Path:
        """Give the folder of a shard, whether it is there or not."""
        return self.root / key

    def find(self, key: str) -> Receipt | None:
        """Give a finished shard, its files' sizes and checksums verified; None where it is missing or damaged."""
        folder = self.folder(key)
        try:
            receipt = Receipt.from_json((folder / RECEIPT_FILE).read_text(encoding="utf-8"))
            for name, record in receipt.files.items():
                path = folder / name
                if path.stat().st_size != record.bytes or FileRecord.of(path) != record:
                    return None
        except (OSError, ValueError):
            return None
        return receipt if receipt.key == key else None

    @contextmanager
    def claim(self, address: Address) -> Iterator[Building | None]:
        """Become the writer of a shard, for as long as the body runs.

        Args:
            address: The shard.

        Yields:
            Where to write it, or None while somebody else does.
        """
        key = address.key
        self.root.mkdir(parents=True, exist_ok=True)
        lease = take_lease(self.root / f"{key}{_LEASE}")
        if lease is None:
            yield None
            return
        building = Building(self, address, self.root / f"{_BUILDING}{key}-{secrets.token_hex(4)}")
        try:
            self._clear(key)
            building.folder.mkdir()
            yield building
        finally:
            shutil.rmtree(building.folder, ignore_errors=True)
            lease.release()

    def sweep(self) -> None:
        """Remove what dead processes left behind: half-made folders, and leases whose owner is gone."""
        for path in self.root.glob(f"{_BUILDING}*"):
            if is_free(self.root / f"{_key_of(path.name)}{_LEASE}"):
                shutil.rmtree(path, ignore_errors=True)
        for path in self.root.glob(f"*{_LEASE}"):
            lease = take_lease(path) if is_free(path) else None
            if lease is not None:
                lease.release()
        for path in self.root.glob(f"{_DAMAGED}*"):
            shutil.rmtree(path, ignore_errors=True)
        remove_partial_files(self.root)

    def _clear(self, key: str) -> None:
        for path in self.root.glob(f"{_BUILDING}{key}-*"):
            shutil.rmtree(path, ignore_errors=True)

    def publish(self, building: Building, receipt: Receipt) -> Receipt:
        """Move a written folder to its place; see `Building.publish`."""
        target = self.folder(receipt.key)
        while True:
            try:
                building.folder.rename(target)
            except OSError as error:
                if error.errno not in _TAKEN:
                    raise
                # Something lies there: what another process has published, or what was found damaged.
                earlier = self.find(receipt.key)
                if earlier is not None:
                    return earlier
                self._set_aside(target)
            else:
                return receipt

    def _set_aside(self, target: Path) -> None:
        aside = self.root / f"{_DAMAGED}{target.name}-{secrets.token_hex(4)}"
        target.rename(aside)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Building:
    """A shard that is being written.

    Args:
        store: Where it will be published.
        address: What it is made of.
        folder: A private folder for its files.
    """

    store: ShardStore
    address: Address
    folder: Path

    def publish(
        self, files: Mapping[str, FileRecord], counts: Mapping[str, int], problems: tuple[Problem, ...] = ()
    ) -> Receipt:
        """Give the shard its name; from now on it is there for everyone, complete.

        Args:
            files: What was written into the folder.
            counts: What the shard holds.
            problems: Records that were skipped.

        Returns:
            Its receipt, or that of the same shard if somebody was faster.
        """
        receipt = Receipt(self.address.key, self.address.to_dict(), files, counts, problems)
        for name in files:
            _flush(self.folder / name)
        path = self.folder / RECEIPT_FILE
        path.write_text(receipt.to_json(), encoding="utf-8")
        _flush(path)
        return self.store.publish(self, receipt)


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _key_of(name: str) -> str:
    return name.removeprefix(_BUILDING).rpartition("-")[0]
