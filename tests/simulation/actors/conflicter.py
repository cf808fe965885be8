"""Conflicter: votes for a block that does not exist beside every block that does."""

from __future__ import annotations

from consensus import effects
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import NULLIFY


class Conflicter(Corrupted):
    def emit(self, effect: effects.Send) -> None:
        message = effect.message
        if message.WhichOneof("kind") == "vote" and message.vote.kind != NULLIFY:
            vote, invented = message.vote, self.world.random.randbytes(32)
            first, second = (
                (vote.block_hash, invented) if self.world.chance(0.5) else (invented, vote.block_hash)
            )
            self.cast(self.others(), vote.kind, vote.height, vote.view, first)
            self.cast(self.others(), vote.kind, vote.height, vote.view, second)
        else:
            super().emit(effect)
