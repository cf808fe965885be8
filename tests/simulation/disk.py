"""What survives a crash: the signing record in the bytes of its real file, and the store.

The framing is the node's own (node/journal_file.py); only the file is missing. An append that was not yet synced when
the process died leaves a random part of its bytes, with zeros or noise behind it, or all of them, or none.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from node import journal_file
from proto.chiptrace.v1.consensus_pb2 import JournalRecord
from tests.simulation.application import Stored
from tests.simulation.oracle import Durable

MARKER = b"simulate"
HEAD = bytes(journal_file._frames(b"", MARKER)[1])  # stands for the head of the file
NAME = Path("signing-record")


class Damaged(Exception):
    """The record is no whole one with a torn end."""


@dataclass
class Disk:
    """One node's. `written` is None where the signing record is lost: then its key must not vote again."""

    written: bytes | None = HEAD
    blocks: list[Stored] = field(default_factory=list)
    ever: Durable = field(default_factory=Durable)  # for the oracle: also what was dropped since
    height: int = 0  # the highest of which the record speaks
    torn: int = 0  # how often an end was cut off

    def persist(self, records: Sequence[JournalRecord]) -> None:
        """Append, and sync."""
        self.written = self._record() + journal_file._frame(MARKER, records)
        self._durable(records)

    def tear(self, records: Sequence[JournalRecord], draw: random.Random) -> None:
        """The process dies in the middle of an append."""
        frame = journal_file._frame(MARKER, records)
        kept = draw.choice((0, len(frame), draw.randint(0, len(frame))))
        behind = draw.choice((0, 0, len(frame) - kept))
        noise = draw.randbytes(behind) if draw.random() < 0.5 else bytes(behind)
        self.written = self._record() + frame[:kept] + noise
        if kept == len(frame) or frame[kept:] == noise:
            self._durable(records)  # nobody knows, but it is there

    def replay(self) -> tuple[JournalRecord, ...]:
        """The records found at a start; a torn end is cut off."""
        data = self._record()
        frames, good = journal_file._frames(data, MARKER)
        if good < len(data):
            if journal_file._frame_behind(data, good, MARKER):
                raise Damaged(f"at byte {good} of {len(data)}")
            self.torn += 1
            self.written = data[:good]
        return tuple(record for payload in frames for record in journal_file._records(payload, NAME))

    def rotate(self) -> None:
        """All in the record is stored: it begins anew and says only which height is open."""
        record = JournalRecord(height=len(self.blocks) + 1)
        self.written = HEAD + journal_file._frame(MARKER, [record])
        self.height = max(self.height, record.height)

    def forget_votes(self) -> None:
        """What no node does: the record is emptied and the key goes on (a mutant)."""
        self.written, self.height = HEAD, 0

    def _durable(self, records: Sequence[JournalRecord]) -> None:
        for record in records:
            self.ever.add(record)
            self.height = max(self.height, record.height)

    def _record(self) -> bytes:
        if self.written is None:
            raise Damaged("there is none")
        return self.written
