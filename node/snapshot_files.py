"""Snapshots on the disk: data/snapshots/HEIGHT with the stream and, beside it, its manifest. Whole, or not there.

A snapshot is written under another name and gets its own by one rename, after everything in it is synced. Nothing
else depends on these files: what is damaged is refused when it is read, what cannot be written is given up.
"""

import contextlib
import errno
import os
import shutil
from pathlib import Path
from typing import Final

from client.keys import sync_directory
from ledger import snapshot
from ledger.errors import Invalid
from ledger.limits import SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CHUNKS_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

SNAPSHOTS_KEPT: Final = 2
_STREAM: Final = "stream"
_MANIFEST: Final = "manifest"
_UNFINISHED: Final = "unfinished"


class SnapshotFiles:
    """The whole snapshots in one directory (ledger.snapshots.SnapshotArchive)."""

    def __init__(self, directory: Path) -> None:
        """Makes the directory, and clears what was not finished. Raises OSError."""
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(directory / _UNFINISHED, ignore_errors=True)

    def heights(self) -> list[int]:
        """The heights of the whole snapshots, newest first."""
        names = [entry.name for entry in self._directory.iterdir() if entry.is_dir()]
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def manifests(self) -> list[bytes]:
        """The manifests, newest first. One that cannot be read is left out."""
        found = []
        for height in self.heights():
            with contextlib.suppress(OSError):
                found.append((self._directory / str(height) / _MANIFEST).read_bytes())
        return found

    def chunk(self, height: int, index: int) -> bytes:
        """The bytes of a chunk as they are there. Raises Invalid(NOT_FOUND) when the file cannot be read."""
        try:
            with (self._directory / str(height) / _STREAM).open("rb") as stream:
                stream.seek(index * SNAPSHOT_CHUNK_BYTES)
                return stream.read(SNAPSHOT_CHUNK_BYTES)
        except OSError as error:
            raise Invalid(
                f"snapshot {height} cannot be read here: {error.strerror}", Reason.NOT_FOUND
            ) from error

    def begin(self, chain_id: bytes, height: int) -> "SnapshotWriting":
        """A snapshot to write piece by piece. Raises OSError."""
        return SnapshotWriting(self._directory, chain_id, height)

    def drop_old(self) -> None:
        """Keeps the newest SNAPSHOTS_KEPT. Raises OSError."""
        for height in self.heights()[SNAPSHOTS_KEPT:]:
            # First out of the way, so that half of it is never taken for the whole.
            unfinished = self._directory / _UNFINISHED
            shutil.rmtree(unfinished, ignore_errors=True)
            (self._directory / str(height)).rename(unfinished)
            shutil.rmtree(unfinished)
        sync_directory(self._directory)


class SnapshotWriting:
    """One snapshot on its way to the disk. Every method raises OSError; `abandon` leaves nothing behind."""

    def __init__(self, directory: Path, chain_id: bytes, height: int) -> None:
        self._directory = directory
        self._place = directory / _UNFINISHED
        self._chain_id = chain_id
        self._height = height
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir()
        self._stream = (self._place / _STREAM).open("xb")
        self._pending = bytearray()  # less than a chunk
        self._hashes: list[bytes] = []
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._size

    def write(self, piece: bytes) -> None:
        """The next piece of the stream, of any length. Raises OSError also when it gets too long to be loaded."""
        self._pending += piece
        while len(self._pending) >= SNAPSHOT_CHUNK_BYTES:
            self._write_chunk(bytes(self._pending[:SNAPSHOT_CHUNK_BYTES]))
            del self._pending[:SNAPSHOT_CHUNK_BYTES]

    def _write_chunk(self, chunk: bytes) -> None:
        if len(self._hashes) == SNAPSHOT_CHUNKS_MAX:
            raise OSError(
                errno.EFBIG, f"a snapshot of more than {SNAPSHOT_CHUNKS_MAX} chunks is never loaded"
            )
        self._stream.write(chunk)
        self._hashes.append(snapshot.chunk_hash(self._chain_id, chunk))
        self._size += len(chunk)

    def finish(self) -> None:
        """Makes the snapshot whole and durable."""
        if self._pending:
            self._write_chunk(bytes(self._pending))
        with self._stream:
            self._stream.flush()
            os.fsync(self._stream.fileno())
        with (self._place / _MANIFEST).open("xb") as manifest:
            manifest.write(snapshot.encode_manifest(self._chain_id, self._height, self._size, self._hashes))
            manifest.flush()
            os.fsync(manifest.fileno())
        sync_directory(self._place)
        target = self._directory / str(self._height)
        shutil.rmtree(target, ignore_errors=True)
        self._place.rename(target)
        sync_directory(self._directory)
        # Here, and not before, there is a snapshot of this height.

    def abandon(self) -> None:
        """Gives the snapshot up."""
        with contextlib.suppress(OSError):
            self._stream.close()
        shutil.rmtree(self._place, ignore_errors=True)
