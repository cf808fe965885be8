"""A store whose disk fails on command: the batch is lost, or is on the disk although its caller never hears so."""

from collections.abc import Iterator, Sequence
from typing import Literal

from ledger.errors import StoreError
from ledger.kv import Change, MemoryKV, Snapshot

Outcome = Literal["lost", "durable"]


class FaultyKV:
    """KeyValue over MemoryKV. After the failure every call raises StoreError, until `reopen` starts again with
    what is on the disk."""

    def __init__(self, disk: MemoryKV | None = None) -> None:
        self.disk = MemoryKV() if disk is None else disk
        self.writes = 0
        self._fails_at: tuple[int, Outcome] | None = None
        self._failed = False

    def fail_at(self, write: int, outcome: Outcome) -> None:
        """The write with this number (counted from 0 since the store was opened) fails."""
        self._fails_at = write, outcome

    def reopen(self) -> "FaultyKV":
        return FaultyKV(self.disk)

    def get(self, key: bytes) -> bytes | None:
        self._check()
        return self.disk.get(key)

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check()
        return self.disk.iterate(start, stop, reverse)

    def write(self, changes: Sequence[Change]) -> None:
        self._check()
        number, self.writes = self.writes, self.writes + 1
        if self._fails_at is not None and self._fails_at[0] == number:
            self._failed = True
            if self._fails_at[1] == "durable":
                self.disk.write(changes)
            raise StoreError(f"write {number} failed, as it was told to")
        self.disk.write(changes)

    def snapshot(self) -> Snapshot:
        self._check()
        return self.disk.snapshot()

    def close(self) -> None:
        self._failed = True

    def _check(self) -> None:
        if self._failed:
            raise StoreError("the store failed earlier or is closed")
