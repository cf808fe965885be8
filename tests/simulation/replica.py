"""One honest node: the engine with a simulated disk, clocks and application, and the driver's duties.

Inputs wait in an inbox while the disk works, and are then stepped together: what they want recorded is written with one
sync before anything of them is sent, as node/driver.py does it. A crash comes between any two effects, or inside a
write, of which then a part of the bytes remains. What was made durable stays, all else is gone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from consensus import effects
from consensus.answers import decided_blocks
from consensus.engine import Engine
from ledger.limits import HEADERS_PER_REPLY_MAX
from proto.chiptrace.v1.consensus_pb2 import (
    BoundaryReply,
    Certificate,
    JournalRecord,
    PeerMessage,
    SignedHeader,
    TransactionFrame,
)
from proto.chiptrace.v1.ledger_pb2 import Block, Header
from tests.simulation.application import CHAIN_ID, Application, Stored
from tests.simulation.disk import Disk
from tests.simulation.keys import SimulatedKeys
from tests.simulation.network import Network
from tests.simulation.oracle import Oracle, Violation, hash_of
from tests.simulation.world import World

BATCH_MAX = 16  # inputs stepped before their effects are performed

Acknowledge = Callable[[int, int], None]  # (replica, height): final, and on disk there


@dataclass(frozen=True)
class Pace:
    """How long application and disk take, in milliseconds (the most; the least is nothing)."""

    build_ms: int = 2
    judge_ms: int = 2
    execute_ms: int = 2
    persist_ms: int = 0


@dataclass
class Setting:
    """What all replicas of a run share."""

    world: World
    network: Network
    keys: SimulatedKeys
    oracle: Oracle
    genesis: tuple[int, ...]
    settings: effects.EngineSettings
    heartbeat_ms: int
    pace: Pace
    build_fails: float = 0.0
    rotates: float = 1.0  # how often a record whose heights are all stored begins anew
    home: dict[int, int] = field(default_factory=dict)  # replica by key
    key_at: dict[int, int] = field(default_factory=dict)  # and key by replica


class Replica:
    """A node that follows the rules. `engine` is None while it is down."""

    def __init__(self, setting: Setting, index: int, skew_ms: int) -> None:
        self.setting, self.index, self.skew_ms = setting, index, skew_ms
        self.world, self.network, self.keys = setting.world, setting.network, setting.keys
        self.key = index  # of this key; it gets another when it loses that one
        setting.home[index] = setting.key_at[index] = index
        self.disk = Disk()
        self.engine: Engine | None = None
        self.application = self.empty_application()
        self.life = 0  # counts starts: what an earlier life began must not reach a later one
        self.dying_in: int | None = None  # effects until the crash
        self.executing: Stored | None = None
        self.inbox: deque[effects.Input] = deque()
        self.writing: tuple[JournalRecord, ...] | None = None  # under way to the disk
        self.waiting: dict[bytes, list[Acknowledge]] = {}  # clients' transactions
        self.timer_at = -1
        self.told_ms = 0  # by the steady clock
        self.steady_at = 0
        self.voting = True  # else it follows: until its store has caught up with its record, or for ever
        self.paused_until = 0
        self.loses_journal = False  # a mutant
        self.crashes = 0
        self.network.attach(index, self.receive)

    def empty_application(self) -> Application:
        return Application(self.keys.public, self.setting.genesis, self.setting.heartbeat_ms)

    @property
    def height(self) -> int:
        return len(self.disk.blocks)

    # ---- clocks -----------------------------------------------------------------------------------

    def wall(self) -> int:
        """What this machine believes the time to be; it may be set forward and back."""
        return 1_000_000 + self.world.now_ms + self.skew_ms

    def now(self) -> int:
        """The same, but never backwards within one life (client/clock.py)."""
        self.told_ms = max(self.told_ms + self.world.now_ms - self.steady_at, self.wall())
        self.steady_at = self.world.now_ms
        return self.told_ms

    # ---- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        if self.engine is not None:
            return
        self.life += 1
        self.dying_in = self.executing = self.writing = None
        self.inbox.clear()
        self.waiting.clear()
        self.told_ms, self.steady_at = self.wall(), self.world.now_ms
        self.application = self.empty_application()
        for stored in self.disk.blocks:
            self.application.execute(stored)
        self.open_engine()

    def open_engine(self) -> None:
        """From what the store and the signing record hold."""
        if self.loses_journal:
            self.disk.forget_votes()
        application = self.application
        records = self.disk.replay() if self.disk.written is not None else ()
        self.voting = self.disk.written is not None and self.disk.height <= application.height + 1
        key = self.key  # of this engine, also where the node gets another one later
        self.engine = Engine(
            CHAIN_ID,
            self.keys.public[key],
            (lambda signed: self.keys.sign(key, signed)) if self.voting else None,
            self.keys.verify,
            self.setting.settings,
            application.height,
            application.block_hash,
            self.disk.blocks[-1].certificate if self.disk.blocks else None,
            application.set_at(application.height + 1),
            application.next_due_ms,
            records if self.voting else (),
            self.now(),
        )
        self.world.note(self.index, f"start at {application.height} with {len(records)} records")
        self.perform(self.in_order(self.engine.start(self.now())))
        if self.engine is not None and application.pool:
            self.step(effects.WorkPending())

    def crash(self) -> None:
        if self.engine is not None:
            self.engine = None
            self.crashes += 1
            if self.writing is not None:
                self.disk.tear(self.writing, self.world.random)
                self.writing = None
            self.world.note(self.index, "crash")

    def lose_blocks(self, count: int) -> None:
        """While it is down, its store is set back by a backup, or gone; the signing record is not."""
        if self.engine is None and count:
            del self.disk.blocks[-count:]
            self.world.note(self.index, f"loses {count} blocks")

    def lose_key(self, key: int, *, blocks: bool) -> None:
        """While it is down, its signing record is lost, and so the use of its key; perhaps its store, too. It comes
        back with the key of this number, which is in no set."""
        kept = [] if blocks else self.disk.blocks
        del self.setting.home[self.key]
        self.setting.home[key], self.setting.key_at[self.index] = self.index, key
        self.key, self.disk = key, Disk(blocks=kept)
        self.world.note(self.index, f"loses its record{' and its store' if blocks else ''}; has key {key}")

    def lose_record(self) -> None:
        """While it is down, its signing record is lost and nobody gives it another key: it only follows, for ever."""
        self.disk.written = None
        self.world.note(self.index, "loses its record")

    def die_within(self, boundaries: int) -> None:
        """Crash after so many more effects, wherever that falls."""
        if self.engine is not None:
            self.dying_in = boundaries

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do it unless this life has ended by then."""
        life = self.life

        def act() -> None:
            if self.engine is None or self.life != life:
                return
            if self.world.now_ms < self.paused_until:
                self.world.schedule(self.paused_until - self.world.now_ms, act)
            else:
                action()

        self.world.schedule(delay_ms, act)

    def pause(self, duration_ms: int) -> None:
        """The whole process stands still; what arrives waits."""
        self.paused_until = self.world.now_ms + duration_ms
        self.world.note(self.index, f"pauses for {duration_ms}")

    # ---- inputs -------------------------------------------------------------------------------------

    def step(self, given: effects.Input) -> None:
        """Into the inbox; stepped at once unless the disk works."""
        self.inbox.append(given)
        if self.writing is None:
            self.turn()

    def turn(self) -> None:
        """What waits in the inbox, a batch at a time, until the disk has to work for one."""
        while self.inbox and self.engine is not None and self.writing is None:
            wanted: list[effects.Effect] = []
            for _ in range(min(BATCH_MAX, len(self.inbox))):
                wanted += self.in_order(self.engine.step(self.inbox.popleft(), self.now()))
            self.perform(wanted)

    def connected(self, peer: int) -> None:
        """A connection to this peer stands (again)."""
        if peer != self.index:
            self.later(0, lambda: self.step(effects.PeerConnected(self.key_of(peer))))

    def receive(self, sender: int, data: bytes) -> None:
        if self.engine is None:
            return
        if self.world.now_ms < self.paused_until:
            self.later(0, lambda: self.receive(sender, data))
            return
        try:
            message = PeerMessage.FromString(data)
        except DecodeError:
            return
        kind = message.WhichOneof("kind")
        self.world.note(self.index, f"hears {sender}: {kind}", data)
        if kind == "transactions":
            for each in message.transactions.transactions:
                self.offer(each)
        elif (kind == "block_request" and not message.block_request.block_hash) or kind == "boundary_request":
            self.serve(sender, message)
        else:
            self.step(effects.Received(self.key_of(sender), message))

    def key_of(self, sender: int) -> bytes:
        """By which key the connection from this node is authenticated."""
        return self.keys.public[self.setting.key_at[sender]]

    # ---- answers from the store, as the driver gives them --------------------------------------------

    def serve(self, sender: int, message: PeerMessage) -> None:
        """Decided heights and boundary headers; bodies by hash are the engine's to answer."""
        if message.HasField("boundary_request"):
            reply = PeerMessage(boundary_reply=self.boundaries(message.boundary_request.from_height))
        else:
            reply = PeerMessage(block_reply=decided_blocks(message.block_request, self.height, self.stored))
        self.emit(effects.Send(self.key_of(sender), reply))

    def stored(self, height: int) -> tuple[bytes, Certificate]:
        stored = self.disk.blocks[height - 1]
        return stored.block, stored.certificate

    def boundaries(self, from_height: int) -> BoundaryReply:
        """The headers from here on whose next set is another than their own."""
        found: list[SignedHeader] = []
        for stored in self.disk.blocks[max(0, from_height - 1) :]:
            data = Block.FromString(stored.block).header
            header = Header.FromString(data)
            if header.validators_hash != header.next_validators_hash:
                following = self.application.set_at(header.height + 1).SerializeToString(deterministic=True)
                found.append(
                    SignedHeader(header=data, certificate=stored.certificate, next_validators=following)
                )
        return BoundaryReply(headers=found[:HEADERS_PER_REPLY_MAX])

    # ---- transactions -------------------------------------------------------------------------------

    def offer(self, data: bytes) -> bool:
        """A transaction reaches this node; says whether it is new."""
        if self.engine is None or not self.application.offer(data):
            return False
        self.step(effects.WorkPending())
        return True

    def submit(self, data: bytes, acknowledge: Acknowledge) -> None:
        """A client's transaction: passed on once, and answered when it is final and on disk here."""
        for height, stored in enumerate(self.disk.blocks, 1):
            if data in Block.FromString(stored.block).transactions:
                acknowledge(self.index, height)
                return
        self.waiting.setdefault(data, []).append(acknowledge)
        if self.offer(data) and self.engine is not None:
            self.pass_on(PeerMessage(transactions=TransactionFrame(transactions=[data])))

    # ---- effects ------------------------------------------------------------------------------------

    def in_order(self, wanted: tuple[effects.Effect, ...]) -> tuple[effects.Effect, ...]:
        """The order of one step's effects is their meaning: nothing is recorded after something was sent."""
        sent = False
        for effect in wanted:
            if sent and isinstance(effect, effects.Persist):
                raise Violation(f"{self.index} is to send before it is durable")
            sent = sent or isinstance(effect, effects.Send)
        return wanted

    def perform(self, wanted: list[effects.Effect] | tuple[effects.Effect, ...]) -> None:
        """Questions first, then one write for all records, then the rest in the engine's order."""
        questions = [each for each in wanted if isinstance(each, effects.BuildBlock | effects.JudgeBlock)]
        records = tuple(
            record for each in wanted if isinstance(each, effects.Persist) for record in each.records
        )
        rest = [
            each
            for each in wanted
            if not isinstance(each, effects.BuildBlock | effects.JudgeBlock | effects.Persist)
        ]
        if not self.all_happen(questions):
            return
        if not records:
            self.all_happen(rest)
            return
        if not self.voting:
            if any(record.HasField("vote") for record in records):
                raise Violation(f"{self.index} only follows and votes")
            self.all_happen(rest)
            return
        self.world.note(self.index, "wants Persist")
        if self.dies():
            self.writing = records
            self.crash()
            return
        duration = self.world.random.randint(0, self.setting.pace.persist_ms)
        if duration:
            self.writing = records
            self.later(duration, lambda: self.written(records, rest))
        else:
            self.disk.persist(records)
            self.all_happen(rest)

    def written(self, records: tuple[JournalRecord, ...], rest: list[effects.Effect]) -> None:
        self.writing = None
        self.disk.persist(records)
        self.all_happen(rest)
        self.turn()

    def all_happen(self, wanted: list[effects.Effect]) -> bool:
        """One by one; says whether the node lives on."""
        for effect in wanted:
            if self.dies():
                self.crash()
                return False
            self.world.note(self.index, f"wants {type(effect).__name__}")
            self.make_happen(effect)
        return True

    def dies(self) -> bool:
        """Whether this is where the crash was to come."""
        if self.dying_in is None:
            return False
        self.dying_in -= 1
        return self.dying_in < 0

    def make_happen(self, effect: effects.Effect) -> None:
        draw, pace = self.world.random.randint, self.setting.pace
        if isinstance(effect, effects.Send):
            self.setting.oracle.sent(self.key, effect.message, self.disk.ever)
            self.emit(effect)
        elif isinstance(effect, effects.SetTimer):
            self.set_timer(effect.at_ms)
        elif isinstance(effect, effects.BuildBlock):
            self.later(draw(0, pace.build_ms), lambda: self.build(effect))
        elif isinstance(effect, effects.JudgeBlock):
            self.later(draw(0, pace.judge_ms), lambda: self.judge(effect))
        elif isinstance(effect, effects.Decide):
            self.decide(effect)
        elif isinstance(effect, effects.ReportFault):
            self.setting.oracle.fault_reported(
                self.key, effect.height, effect.signer, effect.first, effect.second
            )

    def emit(self, effect: effects.Send) -> None:
        if effect.to is None:
            has_it = None if effect.besides is None else self.keys.index.get(effect.besides)
            self.pass_on(effect.message, self.setting.home.get(has_it))
            return
        receiver = self.setting.home.get(self.keys.index[effect.to])
        if receiver == self.index:
            raise Violation(f"{self.index} sends to itself")
        if receiver is not None:  # else that key is nobody's any more
            self.network.send(self.index, receiver, effect.message.SerializeToString(deterministic=True))

    def pass_on(self, message: PeerMessage, besides: int | None = None) -> None:
        """To all others, besides the one who has it."""
        data = message.SerializeToString(deterministic=True)
        for index in range(self.network.size):
            if index not in (self.index, besides):
                self.network.send(self.index, index, data)

    def set_timer(self, at_ms: int) -> None:
        self.timer_at = at_ms

        def fire() -> None:
            if self.timer_at == at_ms and self.now() >= at_ms:
                self.timer_at = -1
                self.world.note(self.index, "timer")
                self.step(effects.TimerFired())

        self.later(at_ms - self.now(), fire)

    def build(self, asked: effects.BuildBlock) -> None:
        application, block = self.application, None
        if asked.height == application.height + 1 and not self.world.chance(self.setting.build_fails):
            block = application.build(self.wall())
        wanted = block is not None and application.wanted(self.now())
        self.step(effects.BlockBuilt(asked.height, asked.view, block, wanted))

    def judge(self, asked: effects.JudgeBlock) -> None:
        if asked.block_hash != hash_of(asked.block):
            raise Violation(f"{self.index} asks about a block under another hash")
        if asked.height == self.application.height + 1:
            early_ms = self.application.judge(asked.block, self.wall())
            if early_ms and early_ms <= self.setting.settings.base_timeout_ms:
                self.later(early_ms, lambda: self.judge(asked))
            else:
                self.step(effects.BlockJudged(asked.height, asked.block_hash, early_ms == 0))

    def decide(self, effect: effects.Decide) -> None:
        if self.executing is not None:
            raise Violation(
                f"{self.index} decides {effect.height} while {self.executing.height} is executing"
            )
        certificate = Certificate()
        certificate.CopyFrom(effect.certificate)
        stored = Stored(effect.height, effect.block_hash, effect.block, certificate)
        self.setting.oracle.decided(self.key, stored, self.height)
        self.executing = stored
        self.later(self.world.random.randint(0, self.setting.pace.execute_ms), lambda: self.executed(stored))

    def executed(self, stored: Stored) -> None:
        if self.dying_in == 0 and self.world.chance(0.5):
            self.crash()  # just before the batch was written
            return
        self.disk.blocks.append(stored)
        if self.dying_in == 0:
            self.crash()  # and just after
            return
        self.executing = None
        application = self.application
        application.execute(stored)
        self.setting.oracle.executed(self.key, stored.height, application.app_hash)
        self.world.note(self.index, f"decides {stored.height} {stored.block_hash.hex()[:8]}")
        if self.voting and self.writing is None and self.world.chance(self.setting.rotates):
            self.disk.rotate()
        for data in Block.FromString(stored.block).transactions:
            for acknowledge in self.waiting.pop(data, ()):
                acknowledge(self.index, stored.height)
        if not self.voting and self.disk.written is not None and self.disk.height <= stored.height + 1:
            self.open_engine()  # as the driver does: it may vote again, by its record
            return
        next_set = application.set_at(stored.height + 1)
        self.step(effects.Executed(stored.height, stored.block_hash, next_set, application.next_due_ms))
        if application.pool:
            self.step(effects.WorkPending())
