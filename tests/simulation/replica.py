"""One honest node: the engine with a simulated disk, clock and application, and the driver's duties.

A crash comes between any two effects, or inside a Persist, of which then a prefix of the records remains. What
was made durable stays, all else is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError

from consensus import effects
from consensus.answers import decided_blocks
from consensus.engine import Engine
from ledger.limits import HEADERS_PER_REPLY_MAX
from proto.chiptrace.v1.consensus_pb2 import (
    BlockRequest,
    BoundaryReply,
    Certificate,
    JournalRecord,
    PeerMessage,
    SignedHeader,
)
from proto.chiptrace.v1.ledger_pb2 import Block, Header
from tests.simulation.application import CHAIN_ID, Application, Stored
from tests.simulation.keys import SimulatedKeys
from tests.simulation.network import Network
from tests.simulation.oracle import Durable, Oracle, Violation, hash_of
from tests.simulation.world import World


@dataclass
class Disk:
    """All that survives a crash."""

    journal: list[bytes] = field(default_factory=list)
    blocks: list[Stored] = field(default_factory=list)
    ever: Durable = field(default_factory=Durable)  # for the oracle: also what was dropped since

    def persist(self, records: tuple[JournalRecord, ...]) -> None:
        for record in records:
            if record.WhichOneof("kind") == "height" and record.height == len(self.blocks) + 1:
                self.journal.clear()  # all before belongs to stored heights
            self.journal.append(record.SerializeToString(deterministic=True))
            self.ever.add(record)

    def replay(self) -> tuple[JournalRecord, ...]:
        return tuple(JournalRecord.FromString(data) for data in self.journal)

    def signed_up_to(self) -> int:
        """The height at which votes may have been signed; a store that ends before it has lost something."""
        return max((record.height for record in self.replay()), default=0)


@dataclass(frozen=True)
class Pace:
    """How long the application takes, in milliseconds (the most; the least is nothing)."""

    build_ms: int = 2
    judge_ms: int = 2
    execute_ms: int = 2


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


class Replica:
    """A node that follows the rules. `engine` is None while it is down."""

    def __init__(self, setting: Setting, index: int, skew_ms: int) -> None:
        self.setting, self.index, self.skew_ms = setting, index, skew_ms
        self.world, self.network, self.keys = setting.world, setting.network, setting.keys
        self.disk = Disk()
        self.engine: Engine | None = None
        self.application = self.empty_application()
        self.life = 0  # counts starts: what an earlier life began must not reach a later one
        self.dying_in: int | None = None  # effects until the crash
        self.executing: Stored | None = None
        self.timer_at = -1
        self.voting = True  # else it follows until its store has caught up with its journal
        self.paused_until = 0
        self.loses_journal = False  # a mutant
        self.crashes = 0
        self.network.attach(index, self.receive)

    def empty_application(self) -> Application:
        return Application(self.keys.public, self.setting.genesis, self.setting.heartbeat_ms)

    @property
    def height(self) -> int:
        return len(self.disk.blocks)

    def now(self) -> int:
        return 1_000_000 + self.world.now_ms + self.skew_ms

    # ---- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        if self.engine is not None:
            return
        self.life += 1
        self.dying_in = self.executing = None
        self.application = self.empty_application()
        for stored in self.disk.blocks:
            self.application.execute(stored)
        if self.loses_journal:
            self.disk.journal.clear()
        application = self.application
        self.voting = self.disk.signed_up_to() <= application.height + 1
        self.engine = Engine(
            CHAIN_ID,
            self.keys.public[self.index],
            (lambda signed: self.keys.sign(self.index, signed)) if self.voting else None,
            self.keys.verify,
            self.setting.settings,
            application.height,
            application.block_hash,
            self.disk.blocks[-1].certificate if self.disk.blocks else None,
            application.set_at(application.height + 1),
            application.next_due_ms,
            self.disk.replay() if self.voting else (),
            self.now(),
        )
        self.world.note(self.index, f"start at {application.height} with {len(self.disk.journal)} records")
        self.perform(self.engine.start(self.now()))

    def crash(self) -> None:
        if self.engine is not None:
            self.engine = None
            self.crashes += 1
            self.world.note(self.index, "crash")

    def lose_blocks(self, count: int) -> None:
        """While it is down, its store is set back by a backup; the journal is not."""
        if self.engine is None and count:
            del self.disk.blocks[-count:]
            self.world.note(self.index, f"loses {count} blocks")

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
        if self.engine is not None:
            self.perform(self.engine.step(given, self.now()))

    def connected(self, peer: int) -> None:
        """A connection to this peer stands (again)."""
        if peer != self.index:
            self.later(0, lambda: self.step(effects.PeerConnected(self.keys.public[peer])))

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
        self.world.note(self.index, f"hears {sender}: {message.WhichOneof('kind')}", data)
        if message.WhichOneof("kind") == "block_request" and self.serve(sender, message.block_request):
            return
        if message.WhichOneof("kind") == "boundary_request":
            self.show_boundaries(sender, message.boundary_request.from_height)
            return
        self.step(effects.Received(self.keys.public[sender], message))

    def serve(self, sender: int, request: BlockRequest) -> bool:
        """Answer decided heights from the store, as the driver does; bodies by hash are the engine's to answer."""
        if request.block_hash:
            return False

        def read(height: int) -> tuple[bytes, Certificate]:
            return self.disk.blocks[height - 1].block, self.disk.blocks[height - 1].certificate

        reply = decided_blocks(request, self.height, read)
        self.emit(effects.Send(self.keys.public[sender], PeerMessage(block_reply=reply)))
        return True

    def show_boundaries(self, sender: int, from_height: int) -> None:
        """Answer with the stored headers after which another set is in force, as the driver does."""
        headers = []
        for stored in self.disk.blocks[max(0, from_height - 1) :]:
            data = Block.FromString(stored.block).header
            header = Header.FromString(data)
            if header.next_validators_hash != header.validators_hash and len(headers) < HEADERS_PER_REPLY_MAX:
                following = self.application.set_at(stored.height + 1).SerializeToString(deterministic=True)
                headers.append(
                    SignedHeader(header=data, certificate=stored.certificate, next_validators=following)
                )
        reply = PeerMessage(boundary_reply=BoundaryReply(headers=headers))
        self.emit(effects.Send(self.keys.public[sender], reply))

    def offer(self, data: bytes) -> None:
        """A transaction reaches this node."""
        if self.engine is not None and self.application.offer(data):
            self.step(effects.WorkPending())

    # ---- effects ------------------------------------------------------------------------------------

    def perform(self, wanted: tuple[effects.Effect, ...]) -> None:
        for effect in wanted:
            if self.dying_in is not None:
                self.dying_in -= 1
                if self.dying_in < 0:
                    if isinstance(effect, effects.Persist):
                        self.disk.persist(effect.records[: self.world.random.randint(0, len(effect.records))])
                    self.crash()
                    return
            self.make_happen(effect)

    def make_happen(self, effect: effects.Effect) -> None:
        draw, pace = self.world.random.randint, self.setting.pace
        self.world.note(self.index, f"wants {type(effect).__name__}")
        if isinstance(effect, effects.Persist):
            self.disk.persist(effect.records)
        elif isinstance(effect, effects.Send):
            self.setting.oracle.sent(self.index, effect.message, self.disk.ever)
            self.emit(effect)
        elif isinstance(effect, effects.SetTimer):
            self.set_timer(effect.at_ms)
        elif isinstance(effect, effects.BuildBlock):
            self.later(draw(0, pace.build_ms), lambda: self.build(effect))
        elif isinstance(effect, effects.JudgeBlock):
            self.later(draw(0, pace.judge_ms), lambda: self.judge(effect))
        elif isinstance(effect, effects.Decide):
            self.decide(effect)
        else:
            self.setting.oracle.fault_reported(
                self.index, effect.height, effect.signer, effect.first, effect.second
            )

    def emit(self, effect: effects.Send) -> None:
        data = effect.message.SerializeToString(deterministic=True)
        others = [index for index in range(self.network.size) if index != self.index]
        for index in others if effect.to is None else [self.keys.index[effect.to]]:
            if index == self.index:
                raise Violation(f"{self.index} sends to itself")
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
            block = application.build(self.now())
        wanted = block is not None and application.wanted(self.now())
        self.step(effects.BlockBuilt(asked.height, asked.view, block, wanted))

    def judge(self, asked: effects.JudgeBlock) -> None:
        if asked.block_hash != hash_of(asked.block):
            raise Violation(f"{self.index} asks about a block under another hash")
        if asked.height == self.application.height + 1:
            valid = self.application.judge(asked.block, self.now())
            self.step(effects.BlockJudged(asked.height, asked.block_hash, valid))

    def decide(self, effect: effects.Decide) -> None:
        if self.executing is not None:
            raise Violation(
                f"{self.index} decides {effect.height} while {self.executing.height} is executing"
            )
        certificate = Certificate()
        certificate.CopyFrom(effect.certificate)
        stored = Stored(effect.height, effect.block_hash, effect.block, certificate)
        self.setting.oracle.decided(self.index, stored, self.height)
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
        self.application.execute(stored)
        self.world.note(self.index, f"decides {stored.height} {stored.block_hash.hex()[:8]}")
        application = self.application
        next_set = application.set_at(stored.height + 1)
        if not self.voting and self.disk.signed_up_to() <= stored.height + 1:
            self.engine, waiting = (
                None,
                application.pool,
            )  # as the driver does: it may vote again, by its journal
            self.start()
            for data in waiting:
                self.offer(data)
            return
        self.step(effects.Executed(stored.height, stored.block_hash, next_set, application.next_due_ms))
        if application.pool:
            self.step(effects.WorkPending())
