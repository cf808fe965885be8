"""The chain on its own threads: one that writes, one that answers.

The Application is used by one thread at a time: everything that judges, executes or commits runs on the writer
thread, agreement before admission before the rest. Answers come from a second thread, out of what is durable and
immutable, and proofs from views of provable heights that the writer hands over after each commit; so
a query never waits for a block, nor a block for a query. The event loop only ever waits.
"""

import asyncio
import contextlib
import functools
import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from client.clock import now_ms
from ledger.admission import Gate
from ledger.application import AheadOfClock, Application, Info
from ledger.block import CheckedTransaction
from ledger.context import ChangeTable, OperationTable
from ledger.errors import Invalid, InvariantBroken, StoreError
from ledger.kv import KeyValue
from ledger.rows import BoundaryHeader
from ledger.store import Store
from ledger.view import ProvenState, View
from ledger.vouched import NOBODY, Vouched
from node.kept_views import KeptViews
from node.pool import Waiting
from proto.chiptrace.v1.consensus_pb2 import Certificate, SignedHeader
from proto.chiptrace.v1.ledger_pb2 import AppHashOpening, Block, Reason, Result

T = TypeVar("T")
_LOG: Final = logging.getLogger("chiptrace.chain")
OVERTAKING_MAX: Final = 32  # answers asked for later that come before what is in the background
LEFT_OUT_CHECKED_MAX: Final = 256  # of what a block did not take, per block


class Priority(IntEnum):
    """Order of a thread's work. What is in the background comes after the answers that wait, and some that come later."""

    AGREEMENT = 0
    ADMISSION = 1
    ANSWER = 2
    BACKGROUND = 3
    STOP = 4


class Worker:
    """One thread that does one thing at a time, the most urgent first, each asked for from the event loop."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.PriorityQueue[tuple[int, int, Callable[[], Any] | None, Any]] = (
            queue.PriorityQueue()
        )
        self._count = 0
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, priority: Priority, job: Callable[[], T]) -> "asyncio.Future[T]":
        """The job's result, or what it raised; called from the event loop."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(priority, job, future)
        return future

    async def stop(self) -> None:
        """Finish what was asked for, then end the thread."""
        self._put(Priority.STOP, None, None)
        await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    def _put(self, priority: Priority, job: Callable[[], Any] | None, future: Any) -> None:
        self._count += 2
        place = self._count
        if priority == Priority.BACKGROUND:
            # Not behind all answers for ever: who keeps asking would let no validator begin with a snapshot. Odd: nobody's.
            priority, place = Priority.ANSWER, place + 2 * OVERTAKING_MAX + 1
        self._jobs.put((priority, place, job, future))

    def _work(self) -> None:
        # For the system's tools.
        with contextlib.suppress(OSError):
            Path(f"/proc/self/task/{threading.get_native_id()}/comm").write_text(self._thread.name)
        while True:
            _, _, job, future = self._jobs.get()
            if job is None:
                return
            if future.cancelled():
                continue
            try:
                result, error = job(), None
            except BaseException as raised:
                result, error = None, raised
            loop = future.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def signed_header(found: BoundaryHeader) -> SignedHeader:
    """A stored header as it travels."""
    return SignedHeader(
        header=found.header,
        certificate=Certificate.FromString(found.certificate),
        next_validators=found.next_validators,
        recovery=found.recovery,
    )


@dataclass(frozen=True, slots=True)
class Built:
    """A block for us to propose, and which of the transactions offered can be in none, and why."""

    block: bytes
    transactions: int  # in it
    unfit: list[tuple[bytes, Invalid]]


class Admissible(NamedTuple):
    """A transaction that passed admission, and its member."""

    transaction: CheckedTransaction
    member: str


@dataclass(frozen=True, slots=True)
class Committed:
    """A height that is decided, executed and on disk: the tip now, and its outcomes by transaction id, in order."""

    info: Info
    results: dict[bytes, Result]


@dataclass(frozen=True, slots=True)
class _Handover:
    """Which heights can be proven now, and a view of the newest for the reader (None: nothing can)."""

    served: tuple[int, int] | None
    view: View | None


def _checked(gate: Gate, data: bytes) -> Admissible | Invalid:
    try:
        transaction = gate.check(data)
    except Invalid as error:
        return error
    except (StoreError, InvariantBroken):
        raise
    except Exception:
        _LOG.exception("transaction refused: checking it failed", extra={"bytes": len(data)})
        return Invalid("this node cannot read the transaction", Reason.MALFORMED)
    return Admissible(transaction, gate.member(transaction.body.signer))


class ChainHost:
    """The Application behind its threads. All methods are called from the event loop."""

    def __init__(
        self,
        open_kv: Callable[[], KeyValue],
        operations: OperationTable,
        changes: ChangeTable,
        recoveries: Sequence[bytes] = (),
    ) -> None:
        self._open_kv = open_kv
        self._recoveries = recoveries
        self._operations = operations
        self._changes = changes
        self._writer = Worker("writer")
        self._reader = Worker("reader")
        self._application: Application | None = None
        self._info: Info | None = None
        self._served: tuple[int, int] | None = None
        self._views = KeptViews()

    @property
    def info(self) -> Info:
        """Where the chain stands here, durably."""
        if self._info is None:
            raise InvariantBroken("the chain was asked for before it was opened")
        return self._info

    @property
    def served(self) -> tuple[int, int] | None:
        """The lowest and highest height whose state can be proven now."""
        return self._served

    async def start(self, genesis: bytes) -> Info:
        """Open the store, or make it from the genesis. Raises StoreError, Invalid(WRONG_CHAIN), Malformed."""

        def opening() -> _Handover:
            self._application = Application(
                self._open_kv(), self._operations, self._changes, self._recoveries
            )
            self._application.init_chain(genesis)
            return self._take_view()

        self._hand_over(await self._writer.run(Priority.AGREEMENT, opening))
        self._info = self._app.info()
        return self._info

    async def stop(self) -> None:
        """Let both threads finish, then close the database."""
        await self._reader.stop()
        if self._application is not None:
            await self._writer.run(Priority.AGREEMENT, self._application.close)
        await self._writer.stop()

    # ---- agreement ------------------------------------------------------------------------------------------

    async def build(self, waiting: Sequence[Waiting], now_ms: int) -> Built:
        """A block on the tip with as many of these transactions as fit."""
        return await self._writer.run(Priority.AGREEMENT, lambda: self._build(waiting, now_ms))

    async def judge(self, block: bytes, now_ms: int, vouched: Vouched = NOBODY) -> int | None:
        """In how many milliseconds another's block may be voted for: 0, but where its time is too far ahead of our clock;
        None: never, by the rules. `vouched`: of its transactions."""

        def judging() -> int | None:
            try:
                self._app.learn(vouched)
                self._app.process_proposal(block, now_ms)
            except AheadOfClock as error:
                _LOG.warning("block too early", extra={"cause": str(error)})
                return error.ahead_ms
            except Invalid as error:
                _LOG.warning("block refused", extra={"cause": str(error), "reason": error.code})
                return None
            except (StoreError, InvariantBroken):
                raise
            except Exception:
                # Judging changes nothing, so a block that upsets it is only refused, whoever made it.
                _LOG.exception("block refused: judging it failed")
                return None
            return 0

        return await self._writer.run(Priority.AGREEMENT, judging)

    async def execute(
        self, block: bytes, certificate: Certificate, note: bytes = b"", vouched: Vouched = NOBODY
    ) -> Committed:
        """Execute a decided block and make it durable, together with the node's own note (empty: the one before
        stays). Raises StoreError, InvariantBroken: the node must stop."""
        data = certificate.SerializeToString(deterministic=True)

        def executing() -> tuple[Committed, _Handover]:
            self._app.learn(vouched)
            outcome = self._app.finalize_block(block)
            info = self._app.commit(block, outcome, data, note)
            results = {result.transaction: result for result in map(Result.FromString, outcome.results)}
            return Committed(info, results), self._take_view()

        committed, handover = await self._writer.run(Priority.AGREEMENT, executing)
        self._info = committed.info
        self._hand_over(handover)
        return committed

    # ---- admission ------------------------------------------------------------------------------------------

    async def check(
        self, transactions: Sequence[bytes], now_ms: int, full: Mapping[str, str], vouched: Vouched = NOBODY
    ) -> list[Admissible | Invalid]:
        """What admission says of each; `full` are members without room, and what to say of that. Raises StoreError."""

        def checking() -> list[Admissible | Invalid]:
            gate = self._app.gate(now_ms, full, vouched)
            return [_checked(gate, data) for data in transactions]

        return await self._writer.run(Priority.ADMISSION, checking)

    # ---- answers ----------------------------------------------------------------------------------------------

    async def read(self, question: Callable[[Store], T]) -> T:
        """Ask what is durable and never changes (blocks, results, entries, log) on the reader's thread."""
        store = self._app.store
        return await self._reader.run(Priority.ANSWER, lambda: question(store))

    async def headers_above(self, height: int) -> tuple[list[BoundaryHeader], bool]:
        """As Application.headers_above."""
        return await self._reader.run(Priority.ANSWER, lambda: self._app.headers_above(height))

    async def header(self, height: int) -> SignedHeader:
        """The header of a decided height with its certificate. Raises Invalid(NOT_FOUND)."""
        found = await self._reader.run(Priority.ANSWER, lambda: self._app.views.signed_header(height))
        return signed_header(found)

    async def prove(self, keys: Sequence[bytes], height: int) -> ProvenState:
        """Keys of the state after a height (0: the newest provable). Raises Invalid(HEIGHT_NOT_SERVED)."""
        view = self._views.ask(height, now_ms())
        dropped: list[View] = []
        if view is None:
            view = await self.hold(height)
            dropped = self._views.keep(view, now_ms())
        answer = self._reader.run(Priority.ANSWER, functools.partial(view.prove, keys))
        self._close(dropped)  # behind the question, which may be asked of one of them
        return await answer

    # ---- snapshots --------------------------------------------------------------------------------------------

    @property
    def base(self) -> int:
        """The lowest height whose block and certificate are here."""
        return self._app.store.base

    async def hold(self, height: int) -> View:
        """All rows as they were after a provable height, for `background` jobs, until `release`.

        Raises Invalid: HEIGHT_NOT_SERVED, POOL_FULL."""
        opening = self._writer.run(Priority.ANSWER, lambda: self._app.views.view(height))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            # Who asked has gone; the view, which may be open by now, is given back as every other.
            opening.add_done_callback(self._release_opened)
            raise

    def release(self, view: View) -> None:
        """Gives back what `hold` gave."""
        self._close([view])

    def _release_opened(self, opening: "asyncio.Future[View]") -> None:
        if not opening.cancelled() and opening.exception() is None:
            self.release(opening.result())

    async def background(self, job: Callable[[], T]) -> T:
        """A short job on the reader's thread, behind the questions that wait."""
        return await self._reader.run(Priority.BACKGROUND, job)

    def certified(self, height: int) -> tuple[BoundaryHeader, BoundaryHeader, AppHashOpening]:
        """In a background job: the headers of a height and of the one above it, and what its app_hash opens to.

        Raises Invalid: NOT_FOUND, PRUNED."""
        store, views = self._app.store, self._app.views
        last, head = views.signed_header(height), views.signed_header(height + 1)
        root = store.log_leaf(height).state_root
        return (
            last,
            head,
            AppHashOpening(state_root=root, log_size=height, log_root=store.log_root(height)),
        )

    def boundaries(self, above: int, limit: int) -> list[BoundaryHeader]:
        """In a background job: as Store.boundaries."""
        return self._app.store.boundaries(above, limit)

    # ---- on the threads -----------------------------------------------------------------------------------------

    @property
    def _app(self) -> Application:
        if self._application is None:
            raise StoreError("the chain is not open")
        return self._application

    def _build(self, waiting: Sequence[Waiting], now_ms: int) -> Built:
        block = self._app.prepare_proposal([item.data for item in waiting], now_ms)
        chosen = set(Block.FromString(block).transactions)
        left_out = [item for item in waiting if item.data not in chosen][:LEFT_OUT_CHECKED_MAX]
        gate = self._app.gate(now_ms, {})
        found = [(item.id, _checked(gate, item.data)) for item in left_out]
        unfit = [(id_, error) for id_, error in found if isinstance(error, Invalid)]
        return Built(block, len(chosen), unfit)

    def _take_view(self) -> _Handover:
        views = self._app.views
        served = views.served()
        return _Handover(served, views.view(own=True) if served else None)

    def _hand_over(self, handover: _Handover) -> None:
        """Give the reader the newest view."""
        self._served = handover.served
        self._close(self._views.replace_newest(handover.view, now_ms()))

    def _close(self, views: Sequence[View]) -> None:
        """Views go back to the writer once no question uses them: the reader answers in order, so when it comes
        to this job it has done with them."""
        for view in views:
            close = functools.partial(self._writer.run, Priority.ANSWER, view.close)
            done = self._reader.run(Priority.ANSWER, lambda: None)
            done.add_done_callback(functools.partial(_ignoring_result, close))


def _ignoring_result(call: Callable[[], object], _: object) -> None:
    call()
