"""Outdated: its votes are honest and come too late, some views or heights later, and again and again."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.actors.corrupted import Corrupted

DELAY_VOTES = 4  # of its own, by which each is late


class Outdated(Corrupted):
    def start(self) -> None:
        self.said: list[PeerMessage] = []
        super().start()

    def emit(self, effect: effects.Send) -> None:
        kind = effect.message.WhichOneof("kind")
        if kind not in {"vote", "proposal", "certificate"}:
            super().emit(effect)
            return
        self.said = [*self.said[-60:], effect.message]
        if len(self.said) > DELAY_VOTES:
            self.tell(self.others(), self.said[-1 - DELAY_VOTES])
            self.tell(self.some(0.3), self.world.random.choice(self.said[:-DELAY_VOTES]))

    def overhear(self, message: PeerMessage) -> None:
        if message.WhichOneof("kind") in {"vote", "certificate"} and self.world.chance(0.05) and self.said:
            self.tell(self.some(0.3), self.world.random.choice(self.said))
