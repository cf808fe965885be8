"""How transactions come in, from clients and from other validators, and how their senders learn the outcome.

Both ways lead through the same check. Clients' transactions are passed on to the other validators; theirs are
not. Checks run in chunks on the writer's thread, which gives way to agreement, so a flood costs its senders time
and nothing else. An outcome is told only once it is on disk here.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from client.clock import now_ms
from ledger.admission import Repeated
from ledger.errors import Invalid
from ledger.limits import TRANSACTION_BYTES_MAX
from ledger.rows import Place
from node.chain_host import Admissible, ChainHost, Committed
from node.pool import Pool, Waiting
from proto.chiptrace.v1.ledger_pb2 import Reason, Result
from proto.chiptrace.v1.node_pb2 import Outcome

CHUNK: Final = 64  # transactions checked at a time
WAITING_MAX: Final = 10_000  # transactions of each side that wait to be checked
WAITING_BYTES_MAX: Final = 33_554_432  # of each side


class _Incoming(NamedTuple):
    data: bytes
    answer: "asyncio.Future[Outcome] | None"  # None: from a validator, which wants no answer


class _Queue:
    """Transactions of one side that wait to be checked: bounded, first come first served."""

    def __init__(self) -> None:
        self._items: deque[_Incoming] = deque()
        self._bytes = 0

    def __bool__(self) -> bool:
        return bool(self._items)

    def put(self, item: _Incoming) -> bool:
        """False: there is no room."""
        if len(self._items) >= WAITING_MAX or self._bytes + len(item.data) > WAITING_BYTES_MAX:
            return False
        self._items.append(item)
        self._bytes += len(item.data)
        return True

    def get(self) -> _Incoming:
        """The one that waits longest."""
        item = self._items.popleft()
        self._bytes -= len(item.data)
        return item


class Admission:
    """The way into the pool. Owned by the event loop."""

    def __init__(
        self, host: ChainHost, pool: Pool, pass_on: Callable[[bytes], None], wake: Callable[[], None]
    ) -> None:
        self._host = host
        self._pool = pool
        self._pass_on = pass_on
        self._wake = wake
        self._from_clients = _Queue()
        self._from_validators = _Queue()
        self._arrived = asyncio.Event()
        self._checked = asyncio.Event()  # nothing waits to be checked, nor is being checked
        self._checked.set()
        self._in_step: Callable[[], bool] = lambda: False
        self._stopping = False
        self._refusal = ""  # why none are taken now, though the node is in step
        self._finals: dict[bytes, asyncio.Future[Outcome]] = {}

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
        for data in transactions:
            # One frame may hold millions of empty ones: the first that finds no room ends it.
            if self._stopping or self._refusal or not self._from_validators.put(_Incoming(data, None)):
                break
        self._arrived.set()
        self._checked.clear()

    def submit(self, transactions: Sequence[bytes]) -> "list[asyncio.Future[Outcome] | Outcome]":
        """A client's frame of transactions: the outcome of each one's admission, here already where it is not taken."""
        answers: list[asyncio.Future[Outcome] | Outcome] = []
        try:
            self._check_open()
        except Invalid as error:
            return [refused_outcome(error) for _ in transactions]
        for data in transactions:
            try:
                answers.append(self._take(data))
            except Invalid as error:
                answers.append(refused_outcome(error))
        return answers

    async def submit_one(self, data: bytes) -> Outcome:
        """A transaction of this node's own, as a client's: the outcome of its admission."""
        (answer,) = self.submit([data])
        return answer if isinstance(answer, Outcome) else await answer

    def _check_open(self) -> None:
        if self._stopping:
            raise Invalid("the node is stopping; ask another one", Reason.SHUTTING_DOWN)
        if not self._in_step():
            raise Invalid("the node is not in step with the others; ask another one", Reason.NOT_SYNCED)
        if self._refusal:
            raise Invalid(f"{self._refusal}; ask another one", Reason.DISK_NEARLY_FULL)

    def _take(self, data: bytes) -> "asyncio.Future[Outcome]":
        if len(data) > TRANSACTION_BYTES_MAX:
            raise Invalid(
                f"the transaction has {len(data)} bytes, {TRANSACTION_BYTES_MAX} are allowed", Reason.OVERSIZE
            )
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if not self._from_clients.put(_Incoming(data, answer)):
            raise Invalid("too many transactions wait to be checked; try again in a moment", Reason.POOL_FULL)
        self._arrived.set()
        self._checked.clear()
        return answer

    def final(self, transaction: bytes) -> "asyncio.Future[Outcome] | None":
        """What becomes of an admitted transaction, once it is final and on disk here, or can be in no block any more.
        Not to be cancelled: others may wait for the same. None: it does not wait any more."""
        if transaction not in self._pool:
            return None
        future = self._finals.get(transaction)
        if future is None:
            future = self._finals[transaction] = asyncio.get_running_loop().create_future()
        return future

    async def settle(self, transaction: bytes, seconds: float) -> Outcome:
        """What `final` comes to; after so many seconds what is known then."""
        future = self.final(transaction)
        if future is not None:
            await asyncio.wait((future,), timeout=seconds)
            return future.result() if future.done() else not_final(transaction, seconds)
        place = await self._host.read(lambda store: store.place(transaction))
        return _expired(transaction) if place is None else await self._decided(place)

    async def catch_up(self, seconds: float) -> None:
        """Returns once nothing waits to be checked any more, or after so long."""
        if not self._checked.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._checked.wait(), seconds)

    async def run(self) -> None:
        """Check what comes in, for ever. Raises StoreError when the disk fails."""
        while True:
            while not self._from_clients and not self._from_validators:
                self._checked.set()
                self._arrived.clear()
                await self._arrived.wait()
            chunk = self._next_chunk()
            answers = await self._host.check([item.data for item in chunk], now_ms())
            # Into the pool first, without a pause: what is decided meanwhile must find them there to remove.
            outcomes = [self._outcome(item, found) for item, found in zip(chunk, answers, strict=True)]
            for item, found, outcome in zip(chunk, answers, outcomes, strict=True):
                if item.answer is None or outcome is None or item.answer.done():
                    continue  # a validator wants no answer, a client has gone
                if isinstance(found, Repeated) and found.same:
                    outcome = await self._decided(found.first)
                item.answer.set_result(outcome)

    def committed(self, committed: Committed) -> None:
        """A height is on disk: its transactions leave the pool and their senders learn the outcome."""
        self._pool.remove(committed.results)
        height = committed.info.height
        for index, (transaction, result) in enumerate(committed.results.items()):
            if transaction in self._finals:
                self._settled(transaction, final_outcome(Place(transaction, height, index), result))
        for transaction in self._pool.expire(committed.info.time_ms + 1):
            self._settled(transaction, _expired(transaction))

    async def drop(self, unfit: Sequence[tuple[bytes, Invalid]]) -> None:
        """These were found unfit for any block, and why: decided already, or overtaken by events."""
        self._pool.remove(transaction for transaction, _ in unfit)
        for transaction, why in unfit:
            outcome = refused_outcome(why, transaction)
            if isinstance(why, Repeated) and why.same and transaction in self._finals:
                outcome = await self._decided(why.first)
            self._settled(transaction, outcome)

    def _next_chunk(self) -> list[_Incoming]:
        """From both sides in turn, so that neither holds the other up."""
        chunk: list[_Incoming] = []
        while len(chunk) < CHUNK and (self._from_clients or self._from_validators):
            if self._from_clients:
                chunk.append(self._from_clients.get())
            if self._from_validators:
                chunk.append(self._from_validators.get())
        return chunk

    def _outcome(self, item: _Incoming, found: Admissible | Invalid) -> Outcome | None:
        """Into the pool with it, or why not; None where nobody wants to know."""
        if isinstance(found, Invalid):
            return None if item.answer is None else refused_outcome(found)
        transaction = found.transaction
        waiting = Waiting(transaction.id, item.data, found.member, transaction.body.valid_until_ms)
        try:
            added = self._pool.add(waiting)
        except Invalid as error:
            return None if item.answer is None else refused_outcome(error, transaction.id)
        if added:
            self._wake()
        if item.answer is None:
            return None
        if added:
            self._pass_on(item.data)
        return Outcome(transaction=transaction.id, admitted=True)

    async def _decided(self, place: Place) -> Outcome:
        results = await self._host.read(lambda store: store.results(place.height))
        return final_outcome(place, Result.FromString(results[place.index]))

    def _settled(self, transaction: bytes, outcome: Outcome) -> None:
        future = self._finals.pop(transaction, None)
        if future is not None and not future.done():
            future.set_result(outcome)


def _expired(transaction: bytes) -> Outcome:
    return Outcome(
        transaction=transaction,
        reason=Reason.EXPIRED,
        detail="it is in no block and can be in none any more; sign it again with the same idempotency key",
    )


def not_final(transaction: bytes, seconds: float) -> Outcome:
    """The outcome of a transaction that waits still, after so many seconds."""
    return Outcome(
        transaction=transaction,
        admitted=True,
        detail=f"not final after {seconds:.0f} s; it still may become so: send the same bytes again",
    )


def final_outcome(place: Place, result: Result) -> Outcome:
    """The outcome of a transaction that stands in a block which is on disk here."""
    detail = "" if result.ok else f"operation {result.operation} was refused: {Reason.Name(result.reason)}"
    return Outcome(
        transaction=place.transaction,
        reason=result.reason,
        admitted=True,
        final=True,
        ok=result.ok,
        height=place.height,
        index=place.index,
        detail=detail,
    )


def refused_outcome(error: Invalid, transaction: bytes = b"") -> Outcome:
    """Nothing was decided about it, and this node does not keep it. For a repetition: what it repeats."""
    outcome = Outcome(transaction=transaction, reason=error.reason, detail=str(error))
    if isinstance(error, Repeated):
        first = error.first
        outcome.transaction, outcome.height, outcome.index = first.transaction, first.height, first.index
    return outcome
