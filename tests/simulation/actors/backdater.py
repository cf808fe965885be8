"""Backdater: votes for views long left, whatever it has voted there, and repeats what was said long ago."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.actors.corrupted import Corrupted


class Backdater(Corrupted):
    def start(self) -> None:
        self.said: list[PeerMessage] = []
        super().start()

    def emit(self, effect: effects.Send) -> None:
        super().emit(effect)
        self.said = [*self.said[-60:], effect.message]
        if self.world.chance(0.3):
            self.tell(self.some(), self.world.random.choice(self.said))
        if effect.message.WhichOneof("kind") == "vote" and effect.message.vote.view > 1:
            vote = effect.message.vote
            view = self.world.random.randint(1, vote.view)
            self.cast(self.some(), vote.kind, vote.height, view, vote.block_hash)

    def overhear(self, message: PeerMessage) -> None:
        if self.world.chance(0.1):
            self.said.append(message)
