"""The signing record on disk: what this validator has signed and on what grounds, durable before it is sent.

File = marker (8 random bytes) ‖ frame*, frame = marker ‖ u32 length ‖ sha256(payload)[:8] ‖ payload, where the
payload holds the records of one append, each behind its u32 length; integers big-endian. A frame is fsynced
before the next is written, so after a crash only the last frame can be torn: it was never acknowledged, so no
vote that rests on it was sent, and it is cut off (kept aside as .torn-N). A bad frame with a good one behind
it is damage, not a tear: votes may be missing, and the key must not vote again. The marker is random per file
so that no bytes of a block pass for a frame.

The file lives beside the validator's key, never in the data directory, and is never part of a backup.
"""

import hashlib
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from ledger.errors import StoreError
from proto.chiptrace.v1.consensus_pb2 import JournalRecord

MARKER_BYTES: Final = 8
FRAME_BYTES_MAX: Final = 67_108_864
ROTATE_BYTES: Final = 8_388_608
_HEAD: Final = struct.Struct(f">{MARKER_BYTES}sI8s")
_LENGTH: Final = struct.Struct(">I")


class JournalFile:
    """The journal of one validator key. Any failure is final: the handle refuses everything afterwards."""

    def __init__(self, path: Path, marker: bytes, frames: Sequence[bytes], torn: Path | None) -> None:
        self.path = path
        self.torn = torn  # where a torn tail was put aside at opening
        self._marker = marker
        self._frames = frames
        self._bytes = path.stat().st_size
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._failure = ""

    @classmethod
    def create(cls, path: Path) -> "JournalFile":
        """Start the signing record of a new key. Raises StoreError when there is one already."""
        if path.exists():
            raise StoreError(f"signing record {path} exists already; a key has one signing record, for ever")
        marker = secrets.token_bytes(MARKER_BYTES)
        _replace(path, marker)
        return cls(path, marker, [], None)

    @classmethod
    def open(cls, path: Path) -> "JournalFile":
        """Open an existing record and cut a torn tail off. Raises StoreError when it is damaged."""
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StoreError(f"signing record {path} cannot be read: {error.strerror}") from error
        marker = data[:MARKER_BYTES]
        if len(marker) < MARKER_BYTES:
            raise StoreError(f"signing record {path} is damaged at its start; make a new validator key")
        frames, good = _frames(data, marker)
        torn = None
        if good < len(data):
            if _frame_behind(data, good, marker):
                raise StoreError(
                    f"signing record {path} is damaged at byte {good} (not a torn end): votes may be missing; "
                    "this key must not vote again, make a new validator key"
                )
            torn = _set_aside(path, data[good:])
            _cut(path, good)
        return cls(path, marker, frames, torn)

    def records(self) -> Iterator[JournalRecord]:
        """The records found at opening, oldest first. Raises StoreError when one cannot be read."""
        for payload in self._frames:
            yield from _records(payload, self.path)

    def append(self, records: Sequence[JournalRecord]) -> None:
        """Append these records; they are on disk when it returns: one write, one fsync. Raises StoreError."""
        self._check()
        try:
            frame = _frame(self._marker, records)
            written = os.write(self._handle, frame)
            if written != len(frame):
                raise OSError(f"only {written} of {len(frame)} bytes could be written (disk full?)")
            os.fsync(self._handle)
        except OSError as error:
            self._fail(error)
        self._bytes += len(frame)

    def rotate(self, records: Sequence[JournalRecord]) -> None:
        """Begin anew with these records. Only once every height recorded before is stored elsewhere, synced.

        The new file is complete and durable before it takes the old one's place. Raises StoreError.
        """
        self._check()
        marker = secrets.token_bytes(MARKER_BYTES)
        try:
            data = marker + (_frame(marker, records) if records else b"")
            _replace(self.path, data)
            fresh = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            self._fail(error)
        os.close(self._handle)
        self._handle = fresh
        self._marker = marker
        self._bytes = len(data)

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self._bytes

    def close(self) -> None:
        """Close the file; nothing needs flushing."""
        if not self._failure:
            self._failure = "it is closed"
            os.close(self._handle)

    def _check(self) -> None:
        if self._failure:
            raise StoreError(f"signing record {self.path} takes nothing any more: {self._failure}")

    def _fail(self, error: OSError) -> None:
        self._failure = str(error)
        raise StoreError(
            f"signing record {self.path} cannot be written: {error}; the node must stop"
        ) from error


def _frame(marker: bytes, records: Sequence[JournalRecord]) -> bytes:
    bodies = [record.SerializeToString(deterministic=True) for record in records]
    payload = b"".join(part for body in bodies for part in (_LENGTH.pack(len(body)), body))
    if len(payload) > FRAME_BYTES_MAX:
        raise OSError(f"{len(payload)} bytes in one append, at most {FRAME_BYTES_MAX} are allowed")
    return _HEAD.pack(marker, len(payload), hashlib.sha256(payload).digest()[:8]) + payload


def _frame_at(data: bytes, start: int, marker: bytes) -> bytes | None:
    """The payload of the whole, undamaged frame that begins here; None when there is none."""
    body = start + _HEAD.size
    if body > len(data):
        return None
    found, length, check = _HEAD.unpack_from(data, start)
    payload = data[body : body + length]
    if found != marker or length > FRAME_BYTES_MAX or len(payload) != length:
        return None
    return payload if hashlib.sha256(payload).digest()[:8] == check else None


def _frames(data: bytes, marker: bytes) -> tuple[list[bytes], int]:
    """The payloads from the start on, and where the first bad byte stands (the end, if none)."""
    payloads: list[bytes] = []
    position = MARKER_BYTES
    while (payload := _frame_at(data, position, marker)) is not None:
        payloads.append(payload)
        position += _HEAD.size + len(payload)
    return payloads, position


def _frame_behind(data: bytes, position: int, marker: bytes) -> bool:
    while (position := data.find(marker, position + 1)) >= 0:
        if _frame_at(data, position, marker) is not None:
            return True
    return False


def _records(payload: bytes, path: Path) -> Iterator[JournalRecord]:
    position = 0
    while position < len(payload):
        if position + _LENGTH.size > len(payload):
            raise StoreError(f"signing record {path}: a record's length is cut off")
        (length,) = _LENGTH.unpack_from(payload, position)
        position += _LENGTH.size
        body = payload[position : position + length]
        position += length
        try:
            record = JournalRecord.FromString(body)
        except DecodeError as error:
            raise StoreError(f"signing record {path} holds a record that cannot be read") from error
        if len(body) != length or record.WhichOneof("kind") is None:
            raise StoreError(f"signing record {path} holds a record of unknown kind")
        yield record


def _set_aside(path: Path, tail: bytes) -> Path:
    number = 1
    while (torn := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    torn.write_bytes(tail)
    return torn


def _cut(path: Path, size: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(handle, size)
        os.fsync(handle)
    except OSError as error:
        raise StoreError(f"the torn end of signing record {path} cannot be cut: {error.strerror}") from error
    finally:
        os.close(handle)


def _replace(path: Path, data: bytes) -> None:
    """Write a whole file durably, then let it take the name: file, rename, directory."""
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.write(handle, data) != len(data):
            raise OSError(f"{fresh} could not be written whole (disk full?)")
        os.fsync(handle)
    finally:
        os.close(handle)
    fresh.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
