"""The signing record on disk: what this validator has signed and on what grounds, durable before it is sent.

File = head ‖ frame*, head = marker (8 random bytes) ‖ u64 start ‖ sha256(marker ‖ start)[:8], frame = marker ‖ u32
length ‖ sha256(payload)[:8] ‖ payload, where the payload holds the records of one append, each behind its u32 length;
integers big-endian. A frame is fsynced before the next is written, so after a crash only the last frame can be torn:
it was never acknowledged, so no vote that rests on it was sent, and it is cut off (kept aside as .torn-N). A bad frame
with a good one behind it is damage, not a tear: votes may be missing, and the key must not vote again. The marker is
random per file so that no bytes of a block pass for a frame.

`start` is the number of bytes of frames that were written before this file was begun anew, so that `position`, all
bytes ever appended for this key, only grows: who noted a position knows a record that is shorter for an old copy.

The file lives beside the validator's key, never in the data directory, and is never part of a backup.
"""

import hashlib
import os
import secrets
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from client.keys import sync_directory
from ledger.errors import StoreError
from proto.chiptrace.v1.consensus_pb2 import JournalRecord

MARKER_BYTES: Final = 8
FRAME_BYTES_MAX: Final = 67_108_864
ROTATE_BYTES: Final = 8_388_608
_FILE_HEAD: Final = struct.Struct(f">{MARKER_BYTES}sQ8s")
_HEAD: Final = struct.Struct(f">{MARKER_BYTES}sI8s")
_LENGTH: Final = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Content:
    """What stands in a record's file, as far as it is whole."""

    path: Path
    marker: bytes
    start: int
    frames: Sequence[bytes]  # their payloads
    whole: bytes  # the file up to where the last whole frame ends
    tail: bytes  # what stands behind it: torn, or just being written

    @property
    def position(self) -> int:
        """All bytes of frames ever appended for this key."""
        return self.start + len(self.whole) - _FILE_HEAD.size

    def records(self) -> Iterator[JournalRecord]:
        """The records, oldest first. Raises StoreError when one cannot be read."""
        for payload in self.frames:
            yield from _records(payload, self.path)


def read(path: Path) -> Content:
    """The record as it is on disk; nothing is changed. Raises StoreError when it is missing or damaged."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise StoreError(f"signing record {path} cannot be read: {error.strerror}") from error
    if len(data) < _FILE_HEAD.size:
        raise StoreError(f"signing record {path} is damaged at its start: only {len(data)} bytes are there")
    marker, start, check = _FILE_HEAD.unpack_from(data)
    if check != _head_check(marker, start):
        raise StoreError(f"signing record {path} is damaged at its start: the check of its head fails")
    frames, good = _frames(data, marker)
    if good < len(data) and _frame_behind(data, good, marker):
        raise StoreError(
            f"signing record {path} is damaged at byte {good} (not a torn end): votes may be missing"
        )
    return Content(path, marker, start, frames, data[:good], data[good:])


class JournalFile:
    """The journal of one validator key. Any failure is final: the handle refuses everything afterwards."""

    def __init__(self, content: Content, torn: Path | None) -> None:
        self.path = content.path
        self.torn = torn  # where a torn tail was put aside at opening
        self._content = content
        self._marker = content.marker
        self._start = content.start
        self._bytes = len(content.whole)
        self._handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._failure = ""

    @classmethod
    def create(cls, path: Path) -> "JournalFile":
        """Start the signing record of a new key. Raises StoreError when there is one already."""
        if path.exists():
            raise StoreError(f"signing record {path} exists already; a key has one signing record, for ever")
        write_durably(path, _file_head(secrets.token_bytes(MARKER_BYTES), 0))
        return cls(read(path), None)

    @classmethod
    def open(cls, path: Path) -> "JournalFile":
        """Open an existing record and cut a torn tail off. Raises StoreError when it is damaged, OSError when the disk
        does not take it."""
        content = read(path)
        torn = _set_aside(path, content.tail) if content.tail else None
        # The last frame may be whole and yet in no disk: the process was killed before its fsync ended, or that failed,
        # after which reading shows it and another fsync of this file would write nothing. What is told here as recorded
        # is sent again, so it is written anew first.
        write_durably(path, content.whole)
        return cls(content, torn)

    def records(self) -> Iterator[JournalRecord]:
        """The records found at opening, oldest first. Raises StoreError when one cannot be read."""
        return self._content.records()

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
            start = self.position
            data = _file_head(marker, start) + (_frame(marker, records) if records else b"")
            write_durably(self.path, data)
            fresh = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        except OSError as error:
            self._fail(error)
        os.close(self._handle)
        self._handle = fresh
        self._marker = marker
        self._start = start
        self._bytes = len(data)

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self._bytes

    @property
    def position(self) -> int:
        """All bytes of frames ever appended for this key, and durable; it never shrinks."""
        return self._start + self._bytes - _FILE_HEAD.size

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


def _head_check(marker: bytes, start: int) -> bytes:
    return hashlib.sha256(marker + start.to_bytes(8, "big")).digest()[:8]


def _file_head(marker: bytes, start: int) -> bytes:
    return _FILE_HEAD.pack(marker, start, _head_check(marker, start))


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
    position = _FILE_HEAD.size
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


def torn_tails(path: Path) -> list[Path]:
    """The torn tails of this record that were put aside, oldest first."""
    found = path.parent.glob(f"{path.name}.torn-*")
    return sorted(found, key=lambda torn: (len(torn.name), torn.name))


def _set_aside(path: Path, tail: bytes) -> Path:
    """Keep the torn tail, durably, before it is cut off."""
    number = 1
    while (torn := path.with_name(f"{path.name}.torn-{number}")).exists():
        number += 1
    write_durably(torn, tail)
    return torn


def write_durably(path: Path, data: bytes) -> None:
    """Write a whole file durably, then let it take the name: file, rename, directory."""
    fresh = path.with_name(path.name + ".new")
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(data)
        while left:  # one write takes 2 GiB at most; a full disk is an error of the next one
            left = left[os.write(handle, left) :]
        os.fsync(handle)
    finally:
        os.close(handle)
    fresh.replace(path)
    sync_directory(path.parent)
