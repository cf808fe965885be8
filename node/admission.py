"""How transactions come in, from clients and from other validators, and how their senders learn the outcome.

Both ways lead through the same check. Clients' transactions are passed on to the other validators; theirs are
not. Checks run in chunks on the writer's thread, which gives way to agreement, so a flood costs its senders time
and nothing else. An outcome is told only once it is on disk here.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, NamedTuple

from client.clock import now_ms
from ledger.admission import Repeated
from ledger.errors import Invalid
from ledger.rows import Place
from ledger.vouched import NOBODY, Vouched
from node.chain_host import Admissible, ChainHost, Committed
from node.outcomes import admitted_outcome, expired_outcome, final_outcome, refused_outcome
from node.pool import TURN, Pool, Waiting
from node.verifier import Verifier
from proto.chiptrace.v1.ledger_pb2 import Reason, Result
from proto.chiptrace.v1.node_pb2 import Outcome

CHUNK: Final = 64  # transactions checked at a time
# Chunks of validators' transactions for each of clients': they bring what their clients do, too.
VALIDATORS_CHUNKS: Final = 3
AHEAD_CHUNKS: Final = 4  # one that is checked, and those that the verifier process looks at meanwhile
VOUCHING_SECONDS: Final = (
    0.15  # for a chunk, which takes it 5 ms: what is not answered by then is verified here
)
WAITING_MAX: Final = 10_000  # transactions of each side that wait to be checked
WAITING_BYTES_MAX: Final = 33_554_432  # of each side


class _Frame:
    """Transactions that came together and are answered together: nothing is made for each that one can be made for."""

    __slots__ = ("checked", "ids", "outcomes", "settled", "taken", "transactions", "unchecked", "unsettled")

    def __init__(self, transactions: list[bytes]) -> None:
        self.transactions = transactions
        self.taken = 0  # so many are checked or being checked
        self.unchecked = self.unsettled = len(transactions)
        # Of a client's frame only; a validator wants no answer.
        self.checked: asyncio.Future[None] | None = None  # all of it
        # Where the client wants to know what becomes of it: all known.
        self.settled: asyncio.Future[None] | None = None
        self.ids: list[bytes] = []  # of those admitted, else empty
        self.outcomes: list[Outcome | None] = []  # None: not known yet

    def answered(self, loop: asyncio.AbstractEventLoop, *, finals: bool) -> "asyncio.Future[None]":
        """From now on it is to be answered; says when all of it is checked."""
        self.ids = [b""] * len(self.transactions)
        self.outcomes = [None] * len(self.transactions)
        self.settled = loop.create_future() if finals else None
        self.checked = loop.create_future()
        return self.checked

    def settle(self, index: int, outcome: Outcome) -> None:
        """What becomes of one of them."""
        if self.outcomes[index] is None:
            self.outcomes[index] = outcome
            self.unsettled -= 1
            if self.unsettled == 0 and self.settled is not None and not self.settled.done():
                self.settled.set_result(None)

    def check(self) -> None:
        """One more of them is checked."""
        self.unchecked -= 1
        if self.unchecked == 0 and self.checked is not None and not self.checked.done():
            self.checked.set_result(None)


class _Queue:
    """Frames of one side whose transactions wait to be checked: bounded, first come first served."""

    def __init__(self) -> None:
        self._frames: deque[_Frame] = deque()
        self._bytes = 0
        self.count = 0  # of transactions

    def put(self, transactions: Iterable[bytes], room: int) -> _Frame:
        """As many of them, from the first on, as there is `room` for; what is beyond is not looked at."""
        fitting: list[bytes] = []
        for data in islice(transactions, max(0, min(room, WAITING_MAX - self.count))):
            if self._bytes + len(data) > WAITING_BYTES_MAX:
                break
            fitting.append(data)
            self._bytes += len(data)
        frame = _Frame(fitting)
        if fitting:
            self._frames.append(frame)
            self.count += len(fitting)
        return frame

    def take(self, count_max: int) -> list[tuple[_Frame, int]]:
        """At most so many transactions, those that wait longest: each by its frame and its place there."""
        taken: list[tuple[_Frame, int]] = []
        while self._frames and len(taken) < count_max:
            frame = self._frames[0]
            stop = min(len(frame.transactions), frame.taken + count_max - len(taken))
            taken.extend((frame, index) for index in range(frame.taken, stop))
            frame.taken = stop
            if stop == len(frame.transactions):
                self._frames.popleft()
        self.count -= len(taken)
        self._bytes -= sum(len(frame.transactions[index]) for frame, index in taken)
        return taken


class _Chunk(NamedTuple):
    """Transactions that are checked at one time."""

    passed_on: bool
    places: list[tuple[_Frame, int]]  # where each comes from
    data: list[bytes]
    vouching: "asyncio.Task[Vouched] | None"  # None: nobody is asked


class Admission:
    """The way into the pool. Owned by the event loop."""

    def __init__(
        self,
        host: ChainHost,
        pool: Pool,
        pass_on: Callable[[Sequence[bytes]], None],
        wake: Callable[[], None],
        verifier: Verifier,
    ) -> None:
        self._host = host
        self._verifier = verifier
        self._pool = pool
        self._pass_on = pass_on
        self._wake = wake
        self._from_clients = _Queue()
        self._from_validators = _Queue()
        self._turn = 0  # of clients; above: of validators
        # By whether validators passed it on: whether most of the last chunk was good. If not, the next is not asked about:
        # here what is refused costs little, as signatures come last; the verifier process knows nothing else to look at.
        self._worth_asking = {False: True, True: True}
        self._arrived = asyncio.Event()
        self._checked = asyncio.Event()  # nothing waits to be checked, nor is being checked
        self._checked.set()
        self._in_step: Callable[[], bool] = lambda: False
        self._stopping = False
        self._refusal = ""  # why none are taken now, though the node is in step
        self._finals: dict[bytes, list[tuple[_Frame, int]]] = {}  # who waits for which to be final
        self._read: tuple[int, list[bytes]] = (
            0,
            [],
        )  # the height last read for who asks again, and its results

    def open(self, in_step: Callable[[], bool]) -> None:
        """Take clients' transactions from now on, while the node is in step with the others."""
        self._in_step = in_step

    def close(self) -> None:
        """Take no more: the node stops."""
        self._stopping = True

    def refuse(self, why: str) -> None:
        """Take none while there is a reason, here a disk that is nearly full; empty: take them again."""
        self._refusal = why

    def offer(self, transactions: Iterable[bytes]) -> None:
        """Transactions passed on by a validator. What does not fit is dropped: its own node still has it."""
        if self._stopping or self._refusal:
            return
        # One frame may hold millions of empty ones: they are not looked at beyond what there is room for.
        room = self._pool.free(passed_on=True) - self._from_validators.count
        self._from_validators.put(transactions, room)
        self._arrive()

    async def submit(self, transactions: Sequence[bytes], seconds: float | None) -> list[Outcome]:
        """A client's frame of transactions and what becomes of each: what admission says of it (None), or, where that
        admits it, what is known so many seconds later at the latest."""
        try:
            self._check_open()
        except Invalid as error:
            return [refused_outcome(error)] * len(transactions)
        # (1) As many as there is room for wait to be checked, in their order; the rest is not looked at. A few always are:
        #     whose they are, and whether that member has room, is not known yet.
        room = min(self._pool.lane_max, self._pool.free(passed_on=False)) - self._from_clients.count
        frame = self._from_clients.put(transactions, max(room, TURN))
        # (2) One wait for the whole frame: one for each transaction would cost more than its admission.
        if frame.transactions:
            checked = frame.answered(asyncio.get_running_loop(), finals=seconds is not None)
            self._arrive()
            try:
                await checked
                if frame.settled is not None and not frame.settled.done():
                    await asyncio.wait((frame.settled,), timeout=seconds)
            finally:
                self._leave(frame)
        known = zip(frame.ids, frame.outcomes, strict=True)
        outcomes = [admitted_outcome(id_, seconds) if outcome is None else outcome for id_, outcome in known]
        return outcomes + self._left_out(transactions[len(outcomes) :], seconds)

    def _left_out(self, transactions: Sequence[bytes], seconds: float | None) -> list[Outcome]:
        """There is no room to look at these. Those that wait already, as they stand here, are told so all the same."""
        no_room = refused_outcome(self._pool.no_room("this node's queue is"))
        waiting = map(self._pool.waiting, transactions)
        return [no_room if one is None else admitted_outcome(one.id, seconds and 0.0) for one in waiting]

    def _leave(self, frame: _Frame) -> None:
        """Nobody waits for this frame any more: what is not known of it is told to nobody, and nothing of it is kept."""
        if frame.settled is None:
            return
        frame.settled = None
        for id_, outcome in zip(frame.ids, frame.outcomes, strict=True):
            if outcome is None and id_ in self._finals:
                left = [other for other in self._finals.pop(id_) if other[0] is not frame]
                if left:
                    self._finals[id_] = left

    async def submit_one(self, data: bytes) -> Outcome:
        """A transaction of this node's own, as a client's: the outcome of its admission."""
        (outcome,) = await self.submit([data], None)
        return outcome

    def _check_open(self) -> None:
        if self._stopping:
            raise Invalid("the node is stopping; ask another one", Reason.SHUTTING_DOWN)
        if not self._in_step():
            raise Invalid("the node is not in step with the others; ask another one", Reason.NOT_SYNCED)
        if self._refusal:
            raise Invalid(f"{self._refusal}; ask another one", Reason.DISK_NEARLY_FULL)

    def _arrive(self) -> None:
        if self._from_clients.count or self._from_validators.count:
            self._arrived.set()
            self._checked.clear()

    async def catch_up(self, seconds: float) -> None:
        """Returns once nothing waits to be checked any more, or after so long."""
        if not self._checked.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._checked.wait(), seconds)

    async def run(self) -> None:
        """Check what comes in, for ever. Raises StoreError when the disk fails."""
        ahead: deque[_Chunk] = deque()
        while True:
            ahead_max = AHEAD_CHUNKS if self._verifier.ready else 1
            while len(ahead) < ahead_max and (self._from_clients.count or self._from_validators.count):
                ahead.append(self._next_chunk())
            if ahead:
                await self._check(ahead.popleft())
                continue
            self._checked.set()
            self._arrived.clear()
            await self._arrived.wait()

    def _next_chunk(self) -> _Chunk:
        """What is checked next; the verifier process begins with it now."""
        passed_on = self._next_is_passed_on()
        places = (self._from_validators if passed_on else self._from_clients).take(CHUNK)
        data = [frame.transactions[index] for frame, index in places]
        unseen = [item for item in data if self._pool.waiting(item) is None]
        asked = self._worth_asking[passed_on] and self._verifier.worth_asking(unseen)
        vouching = asyncio.create_task(self._verifier.ask(unseen, VOUCHING_SECONDS)) if asked else None
        return _Chunk(passed_on, places, data, vouching)

    async def _check(self, chunk: _Chunk) -> None:
        vouched = NOBODY if chunk.vouching is None else await chunk.vouching
        full = self._pool.full_lanes(passed_on=chunk.passed_on)
        found = await self._host.check(chunk.data, now_ms(), full, vouched)
        self._verifier.used(vouched)
        refused = sum(isinstance(one, Invalid) for one in found)
        self._worth_asking[chunk.passed_on] = 2 * refused <= len(found)
        # Into the pool first, without a pause: what is decided meanwhile must find them there to remove.
        if chunk.passed_on:
            self._enter_passed_on(chunk.data, found)
            return
        for frame, index, place in self._enter(chunk.places, chunk.data, found):
            frame.settle(index, await self._decided(place))
        for frame, _ in chunk.places:
            frame.check()

    def _next_is_passed_on(self) -> bool:
        """Both sides in turn, so that neither holds the other up."""
        if not self._from_clients.count or not self._from_validators.count:
            return not self._from_clients.count
        self._turn = (self._turn + 1) % (VALIDATORS_CHUNKS + 1)
        return self._turn != 0

    def _enter_passed_on(self, data: Sequence[bytes], found: Sequence[Admissible | Invalid]) -> None:
        """Into the pool with what was found good."""
        added = False
        for item, one in zip(data, found, strict=True):
            if not isinstance(one, Invalid):
                with contextlib.suppress(Invalid):
                    added |= self._pool.add(_waiting(item, one), passed_on=True)
        if added:
            self._wake()

    def _enter(
        self,
        chunk: Sequence[tuple[_Frame, int]],
        data: Sequence[bytes],
        found: Sequence[Admissible | Invalid],
    ) -> list[tuple[_Frame, int, Place]]:
        """Into the pool with what was found good, and on to the other validators; who waits for it is told later. Of the
        rest it is told why not. Returns those that were decided before, and where: their outcome is to be told."""
        fresh: list[bytes] = []
        before: list[tuple[_Frame, int, Place]] = []
        for (frame, index), item, one in zip(chunk, data, found, strict=True):
            if isinstance(one, Repeated) and one.same:
                before.append((frame, index, one.first))
                continue
            if isinstance(one, Invalid):
                frame.settle(index, refused_outcome(one))
                continue
            waiting = _waiting(item, one)
            try:
                if self._pool.add(waiting):
                    fresh.append(item)
            except Invalid as error:
                frame.settle(index, refused_outcome(error, waiting.id))
                continue
            frame.ids[index] = waiting.id
            if frame.settled is not None:
                self._finals.setdefault(waiting.id, []).append((frame, index))
        if fresh:
            self._wake()
            self._pass_on(fresh)
        return before

    def committed(self, committed: Committed) -> None:
        """A height is on disk: its transactions leave the pool and their senders learn the outcome."""
        self._pool.remove(committed.results)
        self._pool.decided(len(committed.results), asyncio.get_running_loop().time() * 1_000)
        height = committed.info.height
        for index, (transaction, result) in enumerate(committed.results.items()):
            if transaction in self._finals:
                self._settled(transaction, final_outcome(Place(transaction, height, index), result))
        for transaction in self._pool.expire(committed.info.time_ms + 1):
            self._settled(transaction, expired_outcome(transaction))

    async def drop(self, unfit: Sequence[tuple[bytes, Invalid]]) -> None:
        """These were found unfit for any block, and why: decided already, or overtaken by events."""
        self._pool.remove(transaction for transaction, _ in unfit)
        for transaction, why in unfit:
            outcome = refused_outcome(why, transaction)
            if isinstance(why, Repeated) and why.same and transaction in self._finals:
                outcome = await self._decided(why.first)
            self._settled(transaction, outcome)

    async def _decided(self, place: Place) -> Outcome:
        # Who sends many again has them in few heights: each is read once, or a thousand would hold admission up for seconds.
        if self._read[0] != place.height:
            self._read = place.height, await self._host.read(lambda store: store.results(place.height))
        return final_outcome(place, Result.FromString(self._read[1][place.index]))

    def _settled(self, transaction: bytes, outcome: Outcome) -> None:
        for frame, index in self._finals.pop(transaction, ()):
            frame.settle(index, outcome)


def _waiting(data: bytes, found: Admissible) -> Waiting:
    transaction = found.transaction
    return Waiting(transaction.id, data, found.member, transaction.body.valid_until_ms)
