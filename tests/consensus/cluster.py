"""Engines wired to each other over virtual time: every delay, loss and crash is the test's to choose."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

from consensus.answers import decided_blocks
from consensus.effects import (
    BlockBuilt,
    BlockJudged,
    BuildBlock,
    Decide,
    EngineSettings,
    Executed,
    JudgeBlock,
    Persist,
    Received,
    ReportFault,
    Send,
    SetTimer,
    TimerFired,
    WorkPending,
)
from consensus.engine import Engine
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.consensus import chain

SETTINGS = EngineSettings(
    base_timeout_ms=100,
    grace_ms=30,
    resend_ms=100,
    leader_dead_ms=300,
    block_request_ms=50,
)


class Node:
    """One engine with its driver: journal and ledger survive a crash, the engine does not."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        self.cluster = cluster
        self.index = index
        self.key = chain.key(index)
        self.ledger = chain.Ledger(sets=dict(cluster.sets))
        self.journal: list = []
        self.faults: list[ReportFault] = []
        self.engine: Engine | None = None
        self.incarnation = 0
        self.timer = None
        self.crash_at_persist: int | None = (
            None  # crash right before (even) or after (odd) that many persists
        )
        self.persists = 0

    def start(self) -> None:
        self.incarnation += 1
        ledger = self.ledger
        self.engine = Engine(
            chain.CHAIN_ID,
            self.key,
            lambda signed: chain.sign(self.index, signed),
            chain.verify,
            self.cluster.settings,
            ledger.height,
            ledger.tip,
            ledger.finalization,
            ledger.set_at(ledger.height + 1),
            ledger.due_ms(),
            list(self.journal),
            self.cluster.now,
        )
        self.apply(self.engine.start(self.cluster.now))
        if ledger.pool:
            self.give(WorkPending())

    def crash(self) -> None:
        self.engine = None
        self.timer = None
        self.incarnation += 1

    def give(self, event) -> None:
        if self.engine is not None:
            self.apply(self.engine.step(event, self.cluster.now))

    def later(self, delay: int, action: Callable[[], None]) -> None:
        incarnation = self.incarnation
        self.cluster.after(delay, lambda: action() if incarnation == self.incarnation else None)

    def apply(self, effects) -> None:
        for effect in effects:
            self.cluster.trace.append((self.cluster.now, self.index, effect))
            if isinstance(effect, Persist):
                if self.persists * 2 == self.crash_at_persist:
                    self.crash()
                    return
                self.journal.extend(effect.records)
                if self.persists * 2 + 1 == self.crash_at_persist:
                    self.crash()
                    return
                self.persists += 1
            elif isinstance(effect, Send):
                self.cluster.send(self.index, effect.to, effect.message, effect.besides)
            elif isinstance(effect, SetTimer):
                self.timer = effect.at_ms
                at = effect.at_ms
                self.later(at - self.cluster.now, lambda at=at: self.fire(at))
            elif isinstance(effect, BuildBlock):
                self.later(self.cluster.build_ms, lambda e=effect: self.build(e))
            elif isinstance(effect, JudgeBlock):
                self.later(self.cluster.judge_ms, lambda e=effect: self.judge(e))
            elif isinstance(effect, Decide):
                self.later(self.cluster.execute_ms, lambda e=effect: self.execute(e))
            elif isinstance(effect, ReportFault):
                self.faults.append(effect)

    def fire(self, at: int) -> None:
        if self.timer == at:
            self.timer = None
            self.give(TimerFired())

    def build(self, effect: BuildBlock) -> None:
        block, wanted = self.ledger.build(self.cluster.now)
        self.give(BlockBuilt(effect.height, effect.view, block, wanted))

    def judge(self, effect: JudgeBlock) -> None:
        self.give(BlockJudged(effect.height, effect.block_hash, self.cluster.judge(self.index, effect)))

    def execute(self, effect: Decide) -> None:
        assert effect.height == self.ledger.height + 1
        assert chain.hash_of(effect.block) == effect.block_hash == effect.certificate.block_hash
        self.ledger.blocks.append((effect.block, effect.certificate))
        self.cluster.decided(effect)
        height = self.ledger.height
        self.give(Executed(height, effect.block_hash, self.ledger.set_at(height + 1), self.ledger.due_ms()))
        if set(self.ledger.pool) - self.included():
            self.give(WorkPending())

    def included(self) -> set[bytes]:
        from proto.chiptrace.v1.ledger_pb2 import Block

        return {tx for data, _ in self.ledger.blocks for tx in Block.FromString(data).transactions}

    def submit(self, data: bytes) -> None:
        self.ledger.pool.append(data)
        self.give(WorkPending())

    def receive(self, sender: int, message: PeerMessage) -> None:
        if message.HasField("block_request") and not message.block_request.block_hash:
            ledger = self.ledger
            reply = decided_blocks(message.block_request, ledger.height, lambda h: ledger.blocks[h - 1])
            self.cluster.send(self.index, self.cluster.nodes[sender].key, PeerMessage(block_reply=reply))
            return
        if message.HasField("boundary_request"):
            reply = self.ledger.boundaries(message.boundary_request.from_height)
            self.cluster.send(self.index, self.cluster.nodes[sender].key, PeerMessage(boundary_reply=reply))
            return
        self.give(Received(self.cluster.nodes[sender].key, message))


class Cluster:
    """Nodes, a network with chosen delays, and one clock."""

    def __init__(self, count: int, settings: EngineSettings = SETTINGS, start_ms: int = 1_000_000) -> None:
        self.settings = settings
        self.now = start_ms
        self.sets = {1: chain.validators(count)}
        self.link_ms = 5
        self.build_ms = self.judge_ms = self.execute_ms = 1
        self.trace: list = []
        self.chain: dict[int, bytes] = {}
        self.deliver: Callable[[int, int, PeerMessage], bool] = lambda sender, to, message: True
        self.judge: Callable[[int, JudgeBlock], bool] = lambda index, effect: True
        self._heap: list = []
        self._entered = itertools.count()
        self.nodes = [Node(self, index) for index in range(count)]

    def start(self, *indexes: int) -> None:
        for index in indexes or range(len(self.nodes)):
            self.nodes[index].start()

    def after(self, delay: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + max(0, delay), next(self._entered), action))

    def send(self, sender: int, to: bytes | None, message: PeerMessage, besides: bytes | None = None) -> None:
        data = message.SerializeToString()
        for node in self.nodes:
            if (
                node.index != sender
                and to in (None, node.key)
                and node.key != besides
                and self.deliver(sender, node.index, message)
            ):
                self.after(self.link_ms, lambda node=node: node.receive(sender, PeerMessage.FromString(data)))

    def decided(self, effect: Decide) -> None:
        assert self.chain.setdefault(effect.height, effect.block_hash) == effect.block_hash, "fork"

    def run(self, duration_ms: int) -> None:
        end = self.now + duration_ms
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end

    def run_until(self, done: Callable[[], bool], limit_ms: int = 20_000) -> int:
        start = self.now
        while not done():
            assert self._heap, "nothing left to happen"
            assert self._heap[0][0] - start <= limit_ms, f"not done after {limit_ms} ms"
            self.now, _, action = heapq.heappop(self._heap)
            action()
        return self.now - start

    def heights(self) -> list[int]:
        return [node.ledger.height for node in self.nodes]
