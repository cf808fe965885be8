"""Transactions that wait for a block: bounded, first come first served, every member a fair share.

The pool holds what admission has checked; it decides nothing. A transaction leaves when it is in a block, when
its validity ends, or never enters when the pool is full. Each member waits in a lane of its own, and a block is
filled from the lanes in turn, so that one member's flood does not hold up the others.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.errors import Invalid
from ledger.limits import POOL_BYTES_MAX, POOL_TRANSACTIONS_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

TURN: Final = 32  # transactions taken from a lane before the next lane's turn
LANE_SHARE: Final = 2  # one lane may hold 1/2 of the pool, by count and by bytes


class Waiting(NamedTuple):
    """A checked transaction in the pool."""

    id: bytes
    data: bytes  # as signed
    lane: str  # whose it is
    valid_until_ms: int


class Pool:
    """All that waits at this node; single-threaded, owned by the event loop."""

    def __init__(
        self, transactions_max: int = POOL_TRANSACTIONS_MAX, bytes_max: int = POOL_BYTES_MAX
    ) -> None:
        self._transactions_max = transactions_max
        self._bytes_max = bytes_max
        self._waiting: dict[bytes, Waiting] = {}
        self._lanes: dict[str, deque[Waiting]] = {}
        self._lane_counts: dict[str, int] = {}
        self._lane_bytes: dict[str, int] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transaction: bytes) -> bool:
        return transaction in self._waiting

    def check_room(self, lane: str, size: int) -> None:
        """Raises Invalid(POOL_FULL) when a transaction of this lane and size has no place now."""
        full = len(self._waiting) >= self._transactions_max or self._bytes + size > self._bytes_max
        held = self._lane_bytes.get(lane, 0)
        lane_full = self._lane_counts.get(lane, 0) >= max(1, self._transactions_max // LANE_SHARE) or (
            held > 0 and held + size > self._bytes_max // LANE_SHARE
        )
        if full or lane_full:
            whose = "the pool is" if full else f"{lane}'s share of the pool is"
            raise Invalid(f"{whose} full; send the same bytes again in a moment", Reason.POOL_FULL)

    def add(self, waiting: Waiting) -> bool:
        """Let it wait; False when it waits already. Raises Invalid(POOL_FULL)."""
        if waiting.id in self._waiting:
            return False
        self.check_room(waiting.lane, len(waiting.data))
        self._waiting[waiting.id] = waiting
        count = self._lane_counts.get(waiting.lane, 0) + 1
        lane = self._lanes.setdefault(waiting.lane, deque())
        if len(lane) > 2 * count + TURN:
            self._compact(waiting.lane)  # a node that never leads takes none out by itself
            lane = self._lanes[waiting.lane]
        lane.append(waiting)
        self._lane_counts[waiting.lane] = count
        self._lane_bytes[waiting.lane] = self._lane_bytes.get(waiting.lane, 0) + len(waiting.data)
        self._bytes += len(waiting.data)
        return True

    def remove(self, transactions: Iterable[bytes]) -> None:
        """Forget these ids: they are in a block, or found unfit for one."""
        for transaction in transactions:
            waiting = self._waiting.pop(transaction, None)
            if waiting is None:
                continue
            self._bytes -= len(waiting.data)
            left = self._lane_counts[waiting.lane] - 1
            self._lane_counts[waiting.lane] = left
            self._lane_bytes[waiting.lane] -= len(waiting.data)
            if left == 0:
                for of_lane in (self._lane_counts, self._lane_bytes, self._lanes):
                    del of_lane[waiting.lane]

    def expire(self, time_ms: int) -> list[bytes]:
        """Remove what can be in no block from this header time on; their ids."""
        gone = [waiting.id for waiting in self._waiting.values() if waiting.valid_until_ms < time_ms]
        self.remove(gone)
        return gone

    def take(self, count_max: int, bytes_max: int) -> list[Waiting]:
        """The transactions for the next block, oldest of each lane first, the lanes in turn. They stay in the
        pool until removed; the lane that came first goes to the end for the next block."""
        taken: list[Waiting] = []
        room = bytes_max
        lanes = deque((name, iter(self._compact(name))) for name in list(self._lanes))
        while lanes and len(taken) < count_max:
            name, lane = lanes.popleft()
            for _ in range(min(TURN, count_max - len(taken))):
                waiting = next(lane, None)
                if waiting is None or len(waiting.data) > room:
                    break
                taken.append(waiting)
                room -= len(waiting.data)
            else:
                lanes.append((name, lane))
        if len(self._lanes) > 1:
            first = next(iter(self._lanes))
            self._lanes[first] = self._lanes.pop(first)
        return taken

    def _compact(self, name: str) -> list[Waiting]:
        """The lane without what has been removed since."""
        kept = [waiting for waiting in self._lanes[name] if self._waiting.get(waiting.id) is waiting]
        self._lanes[name] = deque(kept)
        return kept
