"""Ordered keys and values on a disk, as the ledger needs them; and the twin that lives in memory."""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ledger.errors import StoreError

# (key, value); None deletes.
Change = tuple[bytes, bytes | None]
# The few keys with start <= key < stop, and their values, in byte order.
LookBetween = Callable[[bytes, bytes], list[tuple[bytes, bytes]]]


class Snapshot(Protocol):
    """A view of all keys as they were at one moment, until it is closed."""

    def get(self, key: bytes) -> bytes | None: ...

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]: ...

    def looking(self) -> LookBetween:
        """As `KeyValue.look_between`, for one thread and as long as what this returns is kept: many looks by one iterator."""

    def close(self) -> None: ...


class KeyValue(Protocol):
    """A store of ordered keys of at least one byte (LevelDB's own iterators do not find an empty one backwards). Every
    method raises StoreError, after which the store refuses everything."""

    def get(self, key: bytes) -> bytes | None:
        """The value, or None."""

    def look(self, key: bytes) -> bytes | None:
        """As `get`, only for the thread that writes: for many reads of random keys between two writes."""

    def look_between(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        """The few keys with start <= key < stop and their values, in byte order; only for the thread that writes, as `look`."""

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values with start <= key < stop (None: to the end) as of the call or the first step, in byte order."""

    def write(self, changes: Sequence[Change]) -> None:
        """All changes, in order, in one atomic batch that is on the disk when the call returns."""

    def snapshot(self) -> Snapshot:
        """A view of this moment. The caller closes it: an open one keeps old files on the disk."""

    def close(self) -> None:
        """Releases the store and its snapshots and iterators. Closing again does nothing."""


class _MemorySnapshot:
    """The dictionary and its sorted keys as they were; the store copies both before its next write."""

    def __init__(self, values: dict[bytes, bytes], keys: list[bytes]) -> None:
        self._values: dict[bytes, bytes] | None = values
        self._keys = keys

    def get(self, key: bytes) -> bytes | None:
        return self._open().get(key)

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        values = self._open()
        first = bisect_left(self._keys, start)
        last = len(self._keys) if stop is None else bisect_left(self._keys, stop)
        chosen = self._keys[first:last]
        if reverse:
            chosen.reverse()
        return ((key, values[key]) for key in chosen)

    def looking(self) -> LookBetween:
        return lambda start, stop: list(self.iterate(start, stop))

    def close(self) -> None:
        self._values = None
        self._keys = []

    def _open(self) -> dict[bytes, bytes]:
        if self._values is None:
            raise StoreError("the snapshot is closed")
        return self._values


class MemoryKV:
    """KeyValue in memory, for tests and simulation. The first write after a snapshot copies, so keep it small."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []
        self._shared = False
        self._closed = False

    def get(self, key: bytes) -> bytes | None:
        self._check_open()
        return self._values.get(key)

    def look(self, key: bytes) -> bytes | None:
        return self.get(key)

    def look_between(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        self._check_open()
        first, last = bisect_left(self._keys, start), bisect_left(self._keys, stop)
        return [(key, self._values[key]) for key in self._keys[first:last]]

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return self.snapshot().iterate(start, stop, reverse)

    def write(self, changes: Sequence[Change]) -> None:
        self._check_open()
        if self._shared:
            self._values, self._keys, self._shared = dict(self._values), list(self._keys), False
        for key, value in changes:
            if value is not None:
                if key not in self._values:
                    insort(self._keys, key)
                self._values[key] = value
            elif self._values.pop(key, None) is not None:
                del self._keys[bisect_left(self._keys, key)]

    def snapshot(self) -> _MemorySnapshot:
        self._check_open()
        self._shared = True
        return _MemorySnapshot(self._values, self._keys)

    def close(self) -> None:
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed")
