"""Makes the engine's effects happen, in order, and brings it what happened: messages, timers, work, results.

One loop takes inputs from the inbox and steps the engine. What a batch of inputs wants recorded is written with
one fsync before anything of that batch is sent; blocks are built, judged and executed on the writer's thread and
their results come back as inputs. Requests for decided blocks are answered from the store, beside the loop.
A failed disk or a broken invariant ends `run`, and with it the node.
"""

import asyncio
import logging
from collections.abc import Awaitable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from client.clock import SteadyClock, now_ms
from consensus.effects import (
    BlockBuilt,
    BlockJudged,
    BuildBlock,
    Decide,
    Effect,
    EngineSettings,
    Executed,
    JudgeBlock,
    PeerConnected,
    Persist,
    ReportFault,
    Send,
    SetTimer,
    TimerFired,
    WorkPending,
)
from consensus.engine import Engine
from consensus.messages import check_shape
from ledger import hashes
from ledger.errors import InvariantBroken
from node.admission import Admission
from node.block_size import BlockSize
from node.blocks_ahead import BlocksAhead
from node.chain_host import ChainHost, Committed
from node.fault_reports import FaultReports
from node.inbox import Inbox
from node.journal_file import ROTATE_BYTES
from node.peer_clocks import PROBE_SECONDS, PeerClocks
from node.peers import Peers
from node.pool import Pool
from node.signer import Signer
from node.stored_answers import StoredAnswers, asks_store
from node.verifier import Verifier
from proto.chiptrace.v1.consensus_pb2 import JournalRecord, PeerMessage

_LOG: Final = logging.getLogger("chiptrace.driver")
Work = TypeVar("Work")
Part = TypeVar("Part")
BATCH_MAX: Final = 16  # inputs stepped before their effects are performed
# A leader first checks what has come in, for so long at most: a height costs the same whether it decides ten
# transactions or a thousand. Nobody waits where nothing has come in, and a flood delays a block by no more than this.
GATHER_SECONDS: Final = 0.1


@dataclass(slots=True)
class Seen:
    """The last vote seen of a validator: what it claims to be at."""

    height: int = 0
    view: int = 0


class Driver:
    """Runs one engine. All methods are called from the event loop."""

    def __init__(
        self,
        host: ChainHost,
        pool: Pool,
        signer: Signer,
        settings: EngineSettings,
        clock: SteadyClock,
        verifier: Verifier,
    ) -> None:
        self._host = host
        self._pool = pool
        self._signer = signer
        self._settings = settings
        self._clock = clock
        self._voting = False
        self._engine: Engine | None = None
        self._peers: Peers | None = None
        self._admission: Admission | None = None
        self._inbox = Inbox()
        self._faults = FaultReports(host, signer)
        self._verifier = verifier
        self._ahead = BlocksAhead(verifier, pool)
        self._block_size = BlockSize()
        self._worked_ms = 0.0  # on the blocks of the open height
        self._decided = 0  # the last height that is decided, executed or being executed
        self._answers = StoredAnswers(
            host, self._spawn, lambda to, answer: self._ready(self._peers).send(to, answer)
        )
        self._timer: asyncio.TimerHandle | None = None
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._heights = asyncio.Condition()
        self._proposing = True
        self._work_told = False
        self.seen: dict[bytes, Seen] = {}
        self.clocks = PeerClocks(now_ms)

    def connect(self, peers: Peers, admission: Admission) -> None:
        """Name whom to send to and whom to tell of commits; before `run`."""
        self._peers = peers
        self._admission = admission

    # ---- what comes in ----------------------------------------------------------------------------------

    async def receive(self, sender: bytes, message: PeerMessage) -> None:
        """A validator's message. Waits while too many of the same sender are not handled yet. Raises Malformed, at
        once: what has no shape is not kept, as it may take far more memory than it has bytes."""
        check_shape(message)
        kind = message.WhichOneof("kind")
        if kind == "transactions":
            self._ready(self._admission).offer(message.transactions.transactions)
        elif asks_store(message):
            self._answers.asked(sender, message)
        elif kind == "clock_probe":
            answer = self.clocks.answer(sender, message.clock_probe)
            if answer is not None:
                self._ready(self._peers).send(sender, answer)
        elif kind == "clock_reply":
            self.clocks.heard(sender, message.clock_reply)
        else:
            if kind == "vote":
                self.seen[sender] = Seen(message.vote.height, message.vote.view)
            await self._inbox.receive(sender, message)

    def reached(self, key: bytes) -> None:
        """The line to a validator is up."""
        self._inbox.put(PeerConnected(key))
        self._ready(self._peers).send(key, self.clocks.probe(key))

    def work_pending(self) -> None:
        """A transaction waits in the pool. Said once until the engine has heard it."""
        if not self._work_told:
            self._work_told = True
            self._inbox.put(WorkPending())

    def stop_proposing(self) -> None:
        """Build no more blocks: the node is about to stop."""
        self._proposing = False

    @property
    def voting(self) -> bool:
        """Whether this node signs votes."""
        return self._voting

    @property
    def started(self) -> bool:
        """Whether there is an engine; ports are open a moment before."""
        return self._engine is not None

    @property
    def engine(self) -> Engine:
        """The engine, for its read-only properties."""
        if self._engine is None:
            raise InvariantBroken("the engine was asked for before it was started")
        return self._engine

    async def height_above(self, height: int) -> int:
        """The tip's height once it is above this one."""
        async with self._heights:
            await self._heights.wait_for(lambda: self._host.info.height > height)
        return self._host.info.height

    # ---- the loop -----------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Step the engine for ever. Raises StoreError or InvariantBroken when the node must stop."""
        self._failed = asyncio.get_running_loop().create_future()
        loop = asyncio.create_task(self._loop())
        self._spawn(self._probe_clocks())
        try:
            await asyncio.wait({loop, self._failed}, return_when=asyncio.FIRST_COMPLETED)
            for ended in (loop, self._failed):
                if ended.done():
                    ended.result()
        finally:
            for task in (loop, *self._tasks):
                task.cancel()
            await asyncio.gather(loop, *self._tasks, return_exceptions=True)
            if self._timer is not None:
                self._timer.cancel()
            self._disk.shutdown(wait=True)

    async def _loop(self) -> None:
        await self._start_engine()
        while True:
            effects: list[Effect] = []
            for event in await self._inbox.take(BATCH_MAX):
                if isinstance(event, WorkPending):
                    self._work_told = False
                if (
                    isinstance(event, Executed)
                    and not self._voting
                    and self._signer.votes_at(event.height + 1)
                ):
                    await self._perform(effects)
                    effects = []
                    await self._start_engine()
                else:
                    effects += self.engine.step(event, self._clock.now_ms())
            self._ahead.look(self.engine.fetched, self.engine.height)
            await self._perform(effects)
            await asyncio.sleep(0)  # others have their turn between batches

    async def _start_engine(self) -> None:
        """From what the store and the signing record hold. Done again when a follower may begin to vote."""
        info = self._host.info
        self._voting = self._signer.votes_at(info.height + 1)
        if self._signer.may_vote and not self._voting:
            _LOG.warning(
                "the database is behind the signing record: this node follows until it has caught up",
                extra={"height": info.height},
            )
        finalization = (await self._host.header(info.height)).certificate if info.height else None
        # What a key signed under a set that a recovery replaced is nothing to the height as it is open now.
        in_set = any(validator.key == self._signer.key for validator in info.validators.validators)
        now = self._clock.now_ms()
        self._engine = Engine(
            info.chain_id,
            self._signer.key,
            self._signer.sign if self._voting else None,
            hashes.verify_raw,
            self._settings,
            info.height,
            info.block_hash,
            finalization,
            info.validators,
            info.next_due_ms,
            self._signer.take_records() if self._voting and in_set else (),
            now,
        )
        await self._perform(self._engine.start(now))
        if len(self._pool):
            self.work_pending()

    async def _perform(self, effects: Sequence[Effect]) -> None:
        # (1) Questions to the application rest on nothing; it thinks while the disk works.
        for effect in effects:
            if isinstance(effect, BuildBlock):
                self._spawn(self._build(effect))
            elif isinstance(effect, JudgeBlock):
                self._spawn(self._judge(effect))
        # (2) All records of the batch, with one fsync, before anything of the batch is sent.
        records = [record for effect in effects if isinstance(effect, Persist) for record in effect.records]
        if records:
            await self._persist(records)
        # (3) The rest, in the engine's order.
        for effect in effects:
            if isinstance(effect, Send):
                self._ready(self._peers).send(effect.to, effect.message, effect.besides)
            elif isinstance(effect, SetTimer):
                self._set_timer(effect.at_ms)
            elif isinstance(effect, Decide):
                self._spawn(self._execute(effect))
            elif isinstance(effect, ReportFault):
                self._spawn(self._faults.bring(effect, self._ready(self._admission).submit_one))

    async def _persist(self, records: list[JournalRecord]) -> None:
        if self._voting:
            await asyncio.get_running_loop().run_in_executor(self._disk, self._signer.append, records)
        elif any(record.HasField("vote") for record in records):
            raise InvariantBroken("a node that only follows was about to vote")

    # ---- effects --------------------------------------------------------------------------------------------

    def _set_timer(self, at_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        delay = max(0, at_ms - self._clock.now_ms()) / 1_000
        self._timer = asyncio.get_running_loop().call_later(delay, self._inbox.put, TimerFired())

    async def _build(self, wanted: BuildBlock) -> None:
        info = self._host.info
        if not self._proposing or info.height + 1 != wanted.height:
            self._inbox.put(BlockBuilt(wanted.height, wanted.view, None, wanted=False))
            return
        if len(self._pool) < self._block_size.transactions:
            await self._ready(self._admission).catch_up(GATHER_SECONDS)
        waiting = self._pool.take(self._block_size.transactions, info.parameters.block_bytes)
        built = await self._worked(self._host.build(waiting, now_ms()))
        await self._ready(self._admission).drop(built.unfit)
        self._block_size.proposed(wanted.height, built.block, built.transactions)
        due = self._clock.now_ms() >= info.next_due_ms
        self._inbox.put(
            BlockBuilt(wanted.height, wanted.view, built.block, wanted=built.transactions > 0 or due)
        )

    async def _judge(self, asked: JudgeBlock) -> None:
        decided = self._decided
        vouched = await self._ahead.of_proposal(asked.block)
        if self._decided != decided:
            return  # the others did not wait: no verdict is wanted, and it would be of a height that is past
        early_ms = await self._worked(self._host.judge(asked.block, now_ms(), vouched))
        if early_ms is not None and 0 < early_ms <= self._settings.base_timeout_ms:
            # One liar can push the chain's time up to the bound of most clocks: whose clock is a little behind would else
            # refuse what honest leaders build on that, too, and each time cost a view.
            await asyncio.sleep((early_ms + 1) / 1_000)
            if self._decided != decided:
                return
            early_ms = await self._worked(self._host.judge(asked.block, now_ms(), vouched))
        self._verifier.used(vouched)
        self._inbox.put(BlockJudged(asked.height, asked.block_hash, early_ms == 0))

    async def _execute(self, decided: Decide) -> None:
        self._decided = decided.height
        self._block_size.decided(decided.height, decided.certificate.view, decided.block)
        # With the height the store keeps how long our record is: one that is shorter later is an old copy.
        vouched = await self._ahead.of_decided(decided.height, decided.block)
        executing = self._host.execute(decided.block, decided.certificate, self._signer.note(), vouched)
        committed = await self._worked(executing)
        self._verifier.used(vouched)
        self._block_size.took(len(committed.results), self._worked_ms)
        self._worked_ms = 0.0
        await self._rotate(committed.info.height + 1)
        self._ready(self._admission).committed(committed)
        info = committed.info
        self._inbox.put(Executed(info.height, info.block_hash, info.validators, info.next_due_ms))
        # Said again even if it was said before: between deciding and opening a height the engine does not listen.
        self._work_told = False
        if len(self._pool):
            self.work_pending()
        self._log_height(committed, decided)
        async with self._heights:
            self._heights.notify_all()

    async def _worked(self, work: Awaitable[Work]) -> Work:
        """What the work comes to; how long it takes, waiting included, counts for the size of our next block."""
        begun = asyncio.get_running_loop().time()
        try:
            return await work
        finally:
            self._worked_ms += (asyncio.get_running_loop().time() - begun) * 1_000

    async def _rotate(self, open_height: int) -> None:
        """The tip is stored, synced, and no later height is open yet: a journal grown large may begin anew."""
        if self._voting:
            await asyncio.get_running_loop().run_in_executor(
                self._disk, self._signer.rotate_above, ROTATE_BYTES, open_height
            )

    @staticmethod
    def _log_height(committed: Committed, decided: Decide) -> None:
        level = logging.INFO if committed.results else logging.DEBUG
        _LOG.log(
            level,
            "height decided",
            extra={
                "height": committed.info.height,
                "view": decided.certificate.view,
                "transactions": len(committed.results),
                "bytes": len(decided.block),
                "lag_ms": now_ms() - committed.info.time_ms,
            },
        )

    # ---- plumbing ---------------------------------------------------------------------------------------------

    async def _probe_clocks(self) -> None:
        """Ask every validator that is reached for its time, again and again."""
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            peers = self._ready(self._peers)
            for key in peers.connected():
                peers.send(key, self.clocks.probe(key))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    @staticmethod
    def _ready(part: Part | None) -> Part:
        if part is None:
            raise InvariantBroken("the driver was run before it was connected")
        return part
