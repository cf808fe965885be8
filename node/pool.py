"""Transactions that wait for a block: bounded, first come first served, every member a fair share.

The pool holds what admission has checked; it decides nothing. A transaction leaves when it is in a block, when
its validity ends, or never enters when the pool is full. Each member waits in a lane of its own, and a block is
filled from the lanes in turn, so that one member's flood does not hold up the others.

How much may wait follows from what the chain lately decided (`Pace`): what is admitted shall be final within seconds, and
what would wait longer is refused while that costs next to nothing. What another validator has admitted gets twice the
room: all refuse at about the same moment, and what one of them let in the others should hold too. Where one has no room
for it nothing is lost: its own node proposes it, and a proposal brings all its transactions along.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from ledger.errors import Invalid
from ledger.limits import POOL_BYTES_MAX, POOL_TRANSACTIONS_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

TURN: Final = 32  # transactions taken from a lane before the next lane's turn
LANE_SHARE: Final = 2  # one lane may hold 1/2 of the pool, by count and by bytes
LANE_SECONDS: Final = 1.5  # what the chain decides in so long may wait in one lane
LANE_MIN: Final = 50  # of transactions, however slow the chain
PASSED_ON_TIMES: Final = 2  # as much room for what another validator has admitted
RETRY_MS: Final = 500  # after a refusal: a third of a lane is decided by then
_PACE_AT_FIRST: Final = 2_000.0  # transactions per second
_PACE_MIN: Final = 1.0
_GROWTH: Final = 1.1  # of the pace, per height that was decided without delay


class Pace:
    """How many transactions per second the chain decides when it has more than enough of them.

    A height says so when far more waited as it began than it decided: what has come in since says nothing, for its proposal
    was drawn up before, and a few may not have reached its leader. Otherwise it was small because there were few: then the
    pace is not known to be as low as before, and is believed to be higher.
    """

    def __init__(self, per_second_max: float) -> None:
        self._per_second_max = per_second_max
        self.per_second = min(_PACE_AT_FIRST, per_second_max)
        self._before_ms = 0.0
        self._left = 0  # by the height before

    def decided(self, transactions: int, left: int, now_ms: float) -> None:
        """A height of so many transactions is decided, and so many are left waiting."""
        elapsed_ms = max(now_ms - self._before_ms, 1.0)
        if self._left > 2 * transactions > 0:
            self.per_second += (transactions * 1_000 / elapsed_ms - self.per_second) / 2
            self.per_second = max(self.per_second, _PACE_MIN)
        elif transactions:
            self.per_second *= _GROWTH
        self.per_second = min(self.per_second, self._per_second_max)
        self._before_ms, self._left = now_ms, left


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
        self._by_data: dict[bytes, Waiting] = {}
        self._lanes: dict[str, deque[Waiting]] = {}
        self._lane_counts: dict[str, int] = {}
        self._lane_bytes: dict[str, int] = {}
        self._bytes = 0
        self._pace = Pace(transactions_max / LANE_SHARE / LANE_SECONDS)
        self._set_bounds()

    def decided(self, transactions: int, now_ms: float) -> None:
        """A height of so many transactions is decided; they have been removed."""
        self._pace.decided(transactions, len(self._waiting), now_ms)
        self._set_bounds()

    def _set_bounds(self) -> None:
        """What may wait until the next height: in all and in one lane, by whether another validator passed it on."""
        lane_hard = max(1, self._transactions_max // LANE_SHARE)
        lane = min(lane_hard, max(LANE_MIN, int(self._pace.per_second * LANE_SECONDS)))
        self.lane_max = lane  # of transactions of one member, admitted here
        self._bounds = {
            passed_on: (min(self._transactions_max, times * LANE_SHARE * lane), min(lane_hard, times * lane))
            for passed_on, times in ((False, 1), (True, PASSED_ON_TIMES))
        }

    def full_lanes(self, *, passed_on: bool) -> dict[str, str]:
        """The members for whose transactions there is no room now, each with what to say of it."""
        _, lane_max = self._bounds[passed_on]
        return {
            lane: str(self.no_room(f"{lane}'s share of the pool is"))
            for lane, count in self._lane_counts.items()
            if count >= lane_max
        }

    def free(self, *, passed_on: bool) -> int:
        """How many more may come in, whose ever they are."""
        return self._bounds[passed_on][0] - len(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, transaction: bytes) -> bool:
        return transaction in self._waiting

    def waiting(self, data: bytes) -> Waiting | None:
        """The transaction of exactly these bytes, if it waits."""
        return self._by_data.get(data)

    def check_room(self, lane: str, size: int, *, passed_on: bool = False) -> None:
        """Raises Invalid(POOL_FULL) when a transaction of this lane and size has no place now."""
        count, held = self._lane_counts.get(lane, 0), self._lane_bytes.get(lane, 0)
        # However much others have waiting, who has next to nothing finds room as long as there is any at all.
        total_max, lane_max = self._bounds[passed_on]
        total_max = total_max if count >= LANE_MIN else self._transactions_max
        full = len(self._waiting) >= total_max or self._bytes + size > self._bytes_max
        lane_full = count >= lane_max or (held > 0 and held + size > self._bytes_max // LANE_SHARE)
        if full or lane_full:
            raise self.no_room("the pool is" if full else f"{lane}'s share of the pool is")

    def no_room(self, whose: str) -> Invalid:
        """The refusal, and when to try again."""
        return Invalid(
            f"{whose} full: what waits already takes this chain about {LANE_SECONDS} s at "
            f"{self._pace.per_second:.0f} transactions/s; send the same bytes again in {RETRY_MS} ms",
            Reason.POOL_FULL,
        )

    def add(self, waiting: Waiting, *, passed_on: bool = False) -> bool:
        """Let it wait; False when it waits already. Raises Invalid(POOL_FULL)."""
        if waiting.id in self._waiting:
            return False
        self.check_room(waiting.lane, len(waiting.data), passed_on=passed_on)
        self._waiting[waiting.id] = self._by_data[waiting.data] = waiting
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
            del self._by_data[waiting.data]
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
