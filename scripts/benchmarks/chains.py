"""A chain in one process on a real LevelDB, timed stage by stage: what one node does with a transaction, without network.

CPU time, so that other work on the machine counts little: of the thread stage by stage, and what LevelDB's own threads
use meanwhile as a stage of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from client import epcis_read
from client.epcis_context import Namespaces
from client.epcis_json import Json
from ledger import block, codec
from ledger.kv import Change, Snapshot
from ledger.leveldb import LevelKV
from ledger.operations import CHANGES, OPERATIONS
from proto.chiptrace.v1.ledger_pb2 import Capture, Event, Operation, Result
from tests.ledger.chain_fixture import Chain, certificate_of, seed_of

MEMBERS = ("ada", "bob", "cyd", "dee")
GRANTS = {"gs1:4012345": "ada", "gs1:5012345": "bob"}
PER_BLOCK = 500  # transactions
EVENT_TIME = "2023-11-14T22:13:20.000Z"  # of the chain's genesis
STAGES = ("admit", "propose", "validate", "execute", "tree and rows", "write", "compaction")


def part(number: int, prefix: str = "4012345") -> str:
    """A serialised part."""
    return f"urn:epc:id:sgtin:{prefix}.012345.{number}"


def box(number: int) -> str:
    """A container."""
    return f"urn:epc:id:sscc:4012345.{number:010}"


def lot(number: int) -> str:
    """A lot."""
    return f"urn:epc:class:lgtin:4012345.054321.L{number}"


def to_event(members: dict[str, Json], seed: bytes | None = None) -> Event:
    """The Event of JSON-LD members, at the time of the chain's genesis."""
    fixed: dict[str, Json] = {"eventTime": EVENT_TIME, "eventTimeZoneOffset": "+00:00"}
    return epcis_read.to_event(fixed | members, Namespaces(), seed=seed)


def capture(event: Event) -> Operation:
    """The operation that records an event."""
    return Operation(capture=Capture(event=codec.encode(event)))


class CountedKV(LevelKV):
    """LevelDB that counts what is written and how long that takes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.seconds = 0.0
        self.reads = 0
        self.bytes: Counter[str] = Counter()  # by table (rows.py)

    def get(self, key: bytes) -> bytes | None:
        self.reads += 1
        return super().get(key)

    def look(self, key: bytes) -> bytes | None:
        self.reads += 1
        return super().look(key)

    def look_between(self, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
        self.reads += 1
        return super().look_between(start, stop)

    def write(self, changes: Sequence[Change]) -> None:
        for key, value in changes:
            self.bytes[chr(key[0])] += len(key) + len(value or b"")
        started = time.thread_time()
        super().write(changes)
        self.seconds += time.thread_time() - started

    def snapshot(self) -> Snapshot:
        return super().snapshot()


class TimedChain(Chain):
    """Blocks of transactions, with the CPU seconds of every stage."""

    def __init__(self, folder: Path) -> None:
        self.counted = CountedKV(folder)
        super().__init__(MEMBERS, grants=GRANTS, kv=self.counted, operations=OPERATIONS, changes=CHANGES)
        self._used = self.height << 32  # a store that is opened anew has used keys before
        self.stages: Counter[str] = Counter()
        self.refused: Counter[int] = Counter()

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Adds the CPU time of what is inside to a stage."""
        started, others = time.thread_time(), time.process_time()
        yield
        spent = time.thread_time() - started
        self.stages[stage] += spent
        self.stages["compaction"] += time.process_time() - others - spent

    def restart_counting(self) -> None:
        """What follows is counted from nothing."""
        self.stages.clear()
        self.counted.bytes.clear()
        self.counted.reads = 0

    def signed(self, member: str, operations: Sequence[Operation]) -> bytes:
        """A transaction whose idempotency key no other has."""
        self._used += 1
        key = sha256(self._used.to_bytes(8, "big")).digest()[:16]
        until = self.now_ms + 3_000_000
        return block.sign_transaction(self.chain_id, seed_of(member), operations, until, key)

    def run(self, transactions: Sequence[bytes], per_block: int = PER_BLOCK) -> None:
        """All of them through blocks, as a node does: admitted, proposed, judged, executed, made durable."""
        for start in range(0, len(transactions), per_block):
            chunk = transactions[start : start + per_block]
            now = self.now_ms
            with self.timed("admit"):
                for data in chunk:
                    self.app.check_transaction(data, now)
            while chunk:
                with self.timed("propose"):
                    proposed = self.app.prepare_proposal(chunk, now)
                taken = len(block.decode_block(proposed).transactions)
                chunk = chunk[taken:]
                self.decided(proposed, now)
                now = self.now_ms

    def decided(self, data: bytes, now_ms: int) -> None:
        """One block, judged, executed and made durable."""
        header = block.decode_header(block.decode_block(data).header)
        with self.timed("validate"):
            self.app.process_proposal(data, now_ms)
        with self.timed("execute"):
            outcome = self.app.finalize_block(data)
        written = self.counted.seconds
        with self.timed("tree and rows"):
            self.app.commit(data, outcome, certificate_of(header))
        written = self.counted.seconds - written
        self.stages["tree and rows"] -= written
        self.stages["write"] += written
        for result in map(Result.FromString, outcome.results):
            if not result.ok:
                self.refused[result.reason] += 1

    def microseconds(self, events: int) -> dict[str, float]:
        """Microseconds of CPU per event, stage by stage."""
        return {stage: round(self.stages[stage] / events * 1e6, 1) for stage in STAGES}
