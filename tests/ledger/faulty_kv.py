"""The fault-injecting twin of LevelKV: a disk that fails, forgets, tears and lies, on command.

It keeps what is on the platter apart from what was acknowledged, so that a power cut can be played:

    disk = Disk()
    kv = FaultyKV(disk, fail_write=3, mode=Failure.TORN, torn_rows=5)
    ...                              # the third write raises StoreError; afterwards everything is refused
    FaultyKV(disk.after_power_cut()) # what the next start finds
"""

from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto

from ledger.errors import StoreError
from ledger.kv import Change, MemoryKV


class Failure(Enum):
    """What the write that fails leaves behind."""

    NOTHING = auto()  # none of the batch
    ALL = auto()  # all of it, but the caller is told that it failed
    TORN = auto()  # its first rows only; LevelDB promises that this never happens
    STOP = auto()  # all of it, acknowledged, and the next call finds the process gone


class Disk:
    """What survives the process: every batch, with how far it has come to the platter."""

    def __init__(self, values: dict[bytes, bytes] | None = None) -> None:
        self.values: dict[bytes, bytes] = dict(values or {})
        self.lied: list[list[Change]] = []  # acknowledged, never reached the platter

    def apply(self, changes: Sequence[Change]) -> None:
        for key, value in changes:
            if value is None:
                self.values.pop(key, None)
            else:
                self.values[key] = value

    def after_power_cut(self) -> "Disk":
        return Disk(self.values)


class FaultyKV:
    """KeyValue over a Disk. Without settings it is a plain, honest store."""

    def __init__(
        self,
        disk: Disk,
        *,
        fail_write: int | None = None,  # counted from 1
        mode: Failure = Failure.NOTHING,
        torn_rows: int = 0,
        lie_from_write: int | None = None,  # from this write on, batches are acknowledged but not kept
        flip: Callable[[bytes, bytes], bytes] | None = None,  # (key, value) -> the value as read
    ) -> None:
        self.disk = disk
        self.writes = 0
        self._fail_write = fail_write
        self._mode = mode
        self._torn_rows = torn_rows
        self._lie_from_write = lie_from_write
        self._flip = flip
        self._failed = False
        self._memory = MemoryKV()
        self._memory.write(list(disk.values.items()))

    def _check(self) -> None:
        if self._failed:
            raise StoreError("refused: an earlier call failed")

    def _read(self, key: bytes, value: bytes | None) -> bytes | None:
        return value if value is None or self._flip is None else self._flip(key, value)

    def get(self, key: bytes) -> bytes | None:
        self._check()
        return self._read(key, self._memory.get(key))

    def look(self, key: bytes) -> bytes | None:
        return self.get(key)

    def look_between(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        return list(self.iterate(start, stop))

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check()
        for key, value in self._memory.iterate(start, stop, reverse):
            yield key, self._read(key, value) or b""

    def write(self, changes: Sequence[Change]) -> None:
        self._check()
        self.writes += 1
        if self.writes == self._fail_write:
            self._failed = True
            if self._mode in {Failure.ALL, Failure.STOP}:
                self.disk.apply(changes)
            elif self._mode is Failure.TORN:
                self.disk.apply(changes[: self._torn_rows])
            if self._mode is Failure.STOP:
                return
            raise StoreError("the disk failed")
        self._memory.write(changes)
        if self._lie_from_write is not None and self.writes >= self._lie_from_write:
            self.disk.lied.append(list(changes))
        else:
            self.disk.apply(changes)

    def snapshot(self) -> "FaultySnapshot":
        self._check()
        return FaultySnapshot(self, self._memory.snapshot())

    def close(self) -> None:
        self._memory.close()


class FaultySnapshot:
    def __init__(self, kv: FaultyKV, inner) -> None:
        self._kv = kv
        self._inner = inner
        self.closed = False

    def get(self, key: bytes) -> bytes | None:
        return self._kv._read(key, self._inner.get(key))

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self._inner.iterate(start, stop, reverse):
            yield key, self._kv._read(key, value) or b""

    def looking(self):
        return lambda start, stop: list(self.iterate(start, stop))

    def close(self) -> None:
        self.closed = True
        self._inner.close()
