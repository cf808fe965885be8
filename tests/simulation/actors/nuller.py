"""Nuller: nullifies and finalizes the same view, the fault that convicts."""

from __future__ import annotations

from consensus import effects
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import FINALIZE, NOTARIZE, NULLIFY


class Nuller(Corrupted):
    def emit(self, effect: effects.Send) -> None:
        super().emit(effect)
        message = effect.message
        if message.WhichOneof("kind") == "vote":
            vote = message.vote
            if vote.kind in {NOTARIZE, FINALIZE}:
                self.cast(self.some(0.8), FINALIZE, vote.height, vote.view, vote.block_hash)
                self.cast(self.some(0.8), NULLIFY, vote.height, vote.view)
