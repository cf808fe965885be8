"""KeyValue on LevelDB. The only file that knows plyvel.

LevelDB is opened so that it tells the truth: paranoid checks, checksums verified on every read, every batch synced.
After one failed write a LevelDB handle acknowledges writes that it then loses, so any exception ends the handle:
nothing but `close` works afterwards, and the node stops.
"""

import contextlib
import functools
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

import plyvel

from ledger.errors import StoreError
from ledger.kv import Change, LookBetween

# At each opening another size between these: all validators write the same, and with the same size would compact at the
# same moment. One that is slow for a while holds nobody up; all of them hold up the chain.
_WRITE_BUFFER_BYTES: Final = (24 * 1024 * 1024, 40 * 1024 * 1024)
_BLOCK_CACHE_BYTES: Final = 64 * 1024 * 1024
_BLOCK_BYTES: Final = 4_096
# A file that is not open costs its index and filter to read, 40 µs: 4,096 files of 8 MiB are all of 10^8 keys.
_OPEN_FILES_MAX: Final = 4_096
_FILE_BYTES: Final = 8 * 1024 * 1024
_BLOOM_BITS_PER_KEY: Final = 10
# How much nicer than the others LevelDB's thread is. It compacts hundreds of MB in a row, one to two seconds of a core: where
# there is none to spare the writer had a third of its time left meanwhile, and now has two thirds. Not 19: beside
# processes that take all cores a table was then not written when the next was due, and the writer waited 10 s for it.
_NICENESS: Final = 10

_WHAT_TO_DO: Final = (
    "Stop the node and keep the directory as it is. Check the disk and its free space, then start again; should it "
    "fail again, restore a backup or sync anew. Never run LevelDB's repair: it drops what it cannot read."
)

_WHEN_HELD: Final = (
    "Another process holds this directory: stop the node that runs on it, or give this one its own directory."
)

T = TypeVar("T")


class _Health:
    """What the handle and its snapshots share: whether anything ever failed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure: str | None = None
        self.closed = False

    def run(self, what: str, call: Callable[[], T]) -> T:
        """The call's result; the first exception poisons the handle for good."""
        self.check()
        try:
            return call()
        except Exception as error:
            self.failure = f"{what} failed: {type(error).__name__}: {error}"
            held = isinstance(error, plyvel.IOError) and "error: lock " in str(error)
            raise StoreError(f"{self.path}: {self.failure}. {_WHEN_HELD if held else _WHAT_TO_DO}") from error

    def check(self) -> None:
        if self.failure is not None:
            raise StoreError(f"{self.path}: refused, because earlier {self.failure}. {_WHAT_TO_DO}")
        if self.closed:
            raise StoreError(f"{self.path}: the store is closed")


def _iterate(
    health: _Health, source: "plyvel.DB | plyvel.Snapshot", start: bytes, stop: bytes | None, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    iterator = health.run(
        "opening an iterator",
        lambda: source.iterator(
            start=start, stop=stop, include_stop=False, reverse=reverse, verify_checksums=True
        ),
    )
    try:
        while True:
            item: tuple[bytes, bytes] | None = health.run("reading", lambda: next(iterator, None))
            if item is None:
                return
            yield item
    finally:
        iterator.close()


def _between(cursor: "plyvel.RawIterator", start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
    """The keys with start <= key < stop, and their values."""
    found: list[tuple[bytes, bytes]] = []
    cursor.seek(start)
    while cursor.valid() and (key := cursor.key()) < stop:
        found.append((key, cursor.value()))
        cursor.next()
    return found


@functools.cache
def _lower_background() -> None:
    """Makes LevelDB's one thread of this process, below all others: it begins with the first work for it, and inherits the
    niceness of whoever brings that. So that is a thread for nothing else, with a store for nothing else. Where the
    system does not allow it, LevelDB's thread is like every other."""

    def first_work() -> None:
        # What fails here the real store will say, if it matters.
        with contextlib.suppress(OSError, plyvel.Error), tempfile.TemporaryDirectory() as folder:
            thread = threading.get_native_id()
            Path(f"/proc/self/task/{thread}/comm").write_text("LevelDB")  # for the system's tools
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)
            database = plyvel.DB(folder, create_if_missing=True)
            database.compact_range()
            database.close()

    worker = threading.Thread(target=first_work, name="LevelDB")
    worker.start()
    worker.join()


class LevelSnapshot:
    """The keys as they were at one moment."""

    def __init__(self, health: _Health, snapshot: "plyvel.Snapshot") -> None:
        self._health = health
        self._snapshot = snapshot
        self._closed = False

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._health.path}: the snapshot is closed")

    def get(self, key: bytes) -> bytes | None:
        self._check_open()
        found: bytes | None = self._health.run(
            "reading", lambda: self._snapshot.get(key, verify_checksums=True)
        )
        return found

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        self._check_open()
        return _iterate(self._health, self._snapshot, start, stop, reverse)

    def looking(self) -> LookBetween:
        cursor: plyvel.RawIterator | None = (
            None  # made at the first look: most proofs find their pages in memory
        )

        def between(start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
            nonlocal cursor
            if cursor is None:
                cursor = self._snapshot.raw_iterator(verify_checksums=True)
            return _between(cursor, start, stop)

        def look_between(start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
            self._check_open()
            return self._health.run("reading", lambda: between(start, stop))

        return look_between

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._snapshot.close()


class LevelKV:
    """KeyValue in one directory, held by one process."""

    def __init__(self, path: Path) -> None:
        """Opens the directory, making it where there is none. Raises StoreError, also when another holds it."""
        _lower_background()
        self._health = _Health(path)
        self._cursor: plyvel.RawIterator | None = None  # of the thread that writes
        least, most = _WRITE_BUFFER_BYTES
        self._database: plyvel.DB = self._health.run(
            "opening",
            lambda: plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=True,
                # Hashes do not compress, and a checksum of plain blocks is checked faster.
                compression=None,
                write_buffer_size=least + int.from_bytes(os.urandom(4), "big") % (most - least),
                lru_cache_size=_BLOCK_CACHE_BYTES,
                block_size=_BLOCK_BYTES,
                max_open_files=_OPEN_FILES_MAX,
                max_file_size=_FILE_BYTES,
                bloom_filter_bits=_BLOOM_BITS_PER_KEY,
            ),
        )

    def get(self, key: bytes) -> bytes | None:
        found: bytes | None = self._health.run(
            "reading", lambda: self._database.get(key, verify_checksums=True)
        )
        return found

    def look(self, key: bytes) -> bytes | None:
        """By an iterator that is kept until the next write: LevelDB compacts a file after one read by `get`
        for each 16 kB of it that went on to an older file, so that random reads of a large store would rewrite it all the
        time (10^7 parts: 400 µs of CPU per event). It has no such count of what an iterator reads."""
        return self._health.run("reading", lambda: self._look(key))

    def look_between(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        return self._health.run("reading", lambda: _between(self._writers(), start, stop))

    def _writers(self) -> "plyvel.RawIterator":
        """The iterator of the thread that writes."""
        if self._cursor is None:
            self._cursor = self._database.raw_iterator(verify_checksums=True)
        return self._cursor

    def _look(self, key: bytes) -> bytes | None:
        cursor = self._writers()
        cursor.seek(key)
        if not cursor.valid() or cursor.key() != key:
            return None
        found: bytes = cursor.value()
        return found

    def iterate(
        self, start: bytes, stop: bytes | None, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        return _iterate(self._health, self._database, start, stop, reverse)

    def write(self, changes: Sequence[Change]) -> None:
        self._health.run("writing", lambda: self._write(changes))

    def _write(self, changes: Sequence[Change]) -> None:
        if self._cursor is not None:
            self._cursor.close()
            self._cursor = None
        with self._database.write_batch(transaction=True, sync=True) as batch:
            for key, value in changes:
                if value is None:
                    batch.delete(key)
                else:
                    batch.put(key, value)
        # From here on the batch is on the disk, whole.

    def snapshot(self) -> LevelSnapshot:
        return LevelSnapshot(self._health, self._health.run("taking a snapshot", self._database.snapshot))

    def close(self) -> None:
        """Safe with live snapshots and iterators: they are closed first, and then refuse. Not while another
        thread is inside a call."""
        if not self._health.closed:
            self._health.closed = True
            self._database.close()
