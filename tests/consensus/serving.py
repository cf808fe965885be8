"""One engine far behind, and scripted peers that hold the chain: who is asked for what, and how long it takes."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Callable

from consensus.answers import decided_blocks
from consensus.effects import (
    Decide,
    EngineSettings,
    Executed,
    PeerConnected,
    Received,
    Send,
    SetTimer,
    TimerFired,
)
from consensus.engine import Engine
from proto.chiptrace.v1.consensus_pb2 import BlockReply, Certificate, PeerMessage, Tip
from tests.consensus import chain

# (who answers, the question) -> answers, each after so many milliseconds
Behaviour = Callable[["Serving", PeerMessage], list[tuple[int, PeerMessage]]]


def honest(serving: Serving, question: PeerMessage) -> list[tuple[int, PeerMessage]]:
    """What every node with the whole chain answers."""
    ledger = serving.ledger
    if question.HasField("boundary_request"):
        reply = ledger.boundaries(question.boundary_request.from_height)
        return [(0, PeerMessage(boundary_reply=reply))]
    request = question.block_request
    if request.block_hash:
        return [(0, PeerMessage(block_reply=BlockReply(block_hash=request.block_hash)))]
    reply = decided_blocks(request, ledger.height, lambda height: ledger.blocks[height - 1])
    return [(0, PeerMessage(block_reply=reply))]


def silence(serving: Serving, question: PeerMessage) -> list[tuple[int, PeerMessage]]:
    """Has shown how far it is, and says nothing more."""
    return []


class Serving:
    """Validator 0 at its start; peers 1, 2, 3... answer as they please."""

    def __init__(
        self,
        ledger: chain.Ledger,
        peers: dict[int, Behaviour],
        *,
        link_ms: int = 5,
        execute_ms: int = 1,
        settings: EngineSettings | None = None,
        own: int = 0,
        verify: Callable[[bytes, bytes, bytes], bool] = chain.verify,
    ) -> None:
        self.ledger, self.peers, self.now = ledger, peers, 1_000_000
        self.link_ms, self.execute_ms = link_ms, execute_ms
        self.index = {chain.key(index): index for index in range(40)}
        self.asked: Counter[int] = Counter()  # questions by peer
        self.questions: list[tuple[int, int, PeerMessage]] = []  # (time, peer, question)
        self.height = 0
        self.fetched_max = 0  # heights at hand and not executed, as seen when asking
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._entered = itertools.count()
        self._timer = 0
        self.engine = Engine(
            chain.CHAIN_ID,
            chain.key(own),
            lambda signed: chain.sign(own, signed),
            verify,
            settings or EngineSettings(),
            0,
            chain.GENESIS,
            None,
            ledger.set_at(1),
            self.now + 10**9,
            (),
            self.now,
        )
        self.perform(self.engine.start(self.now))
        for peer in peers:
            self.give(PeerConnected(chain.key(peer)))

    @property
    def fetched(self) -> int:
        """Heights that the engine holds ahead of the open one."""
        return len(self.engine._sync._catchup._fetched)

    def after(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now + delay_ms, next(self._entered), action))

    def tell(self, peer: int, message: PeerMessage, delay_ms: int = 0) -> None:
        """A message of this peer arrives."""
        data = message.SerializeToString()
        self.after(delay_ms, lambda: self.give(Received(chain.key(peer), PeerMessage.FromString(data))))

    def claim(self, peer: int, finalization: Certificate | None = None) -> None:
        """This peer says what it has decided: the end of the chain, unless told otherwise."""
        self.tell(peer, PeerMessage(tip=Tip(finalization=finalization or self.ledger.finalization)))

    def give(self, event) -> None:
        self.perform(self.engine.step(event, self.now))

    def perform(self, effects) -> None:
        for effect in effects:
            if isinstance(effect, Send) and effect.to is not None:
                self.carry(self.index[effect.to], effect.message)
            elif isinstance(effect, SetTimer):
                self._timer = effect.at_ms
                self.after(max(0, effect.at_ms - self.now), lambda at=effect.at_ms: self.fire(at))
            elif isinstance(effect, Decide):
                self.after(self.execute_ms, lambda decided=effect: self.execute(decided))

    def fire(self, at_ms: int) -> None:
        if at_ms == self._timer:
            self.give(TimerFired())

    def carry(self, peer: int, message: PeerMessage) -> None:
        if message.WhichOneof("kind") not in {"block_request", "boundary_request"}:
            return
        self.asked[peer] += 1
        self.fetched_max = max(self.fetched_max, self.fetched)
        self.questions.append((self.now, peer, message))
        behave = self.peers.get(peer)
        for delay_ms, answer in behave(self, message) if behave else ():
            self.tell(peer, answer, 2 * self.link_ms + delay_ms)

    def execute(self, decided: Decide) -> None:
        assert decided.height == self.height + 1
        assert decided.block == self.ledger.blocks[self.height][0]
        self.height += 1
        following = self.ledger.set_at(self.height + 1)
        self.give(Executed(self.height, decided.block_hash, following, self.now + 10**9))

    def run(self, until_height: int | None = None, limit_ms: int = 600_000) -> int:
        """Go on until the height is executed (the chain's, unless told otherwise); returns the time it took."""
        begun = self.now
        target = self.ledger.height if until_height is None else until_height
        while self.height < target:
            assert self._heap, f"nothing left to happen at height {self.height}"
            assert self._heap[0][0] <= begun + limit_ms, f"only at height {self.height} after {limit_ms} ms"
            self.now, _, action = heapq.heappop(self._heap)
            action()
        return self.now - begun

    def wait(self, duration_ms: int) -> None:
        """Let time pass."""
        end = self.now + duration_ms
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end
