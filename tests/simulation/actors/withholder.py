"""Withholder: votes like everyone, but the blocks it proposes reach a few only, and it hands out none."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.actors.corrupted import Corrupted


class Withholder(Corrupted):
    def emit(self, effect: effects.Send) -> None:
        kind = effect.message.WhichOneof("kind")
        if kind == "proposal":
            proposal = effect.message.proposal
            self.tell(self.some(0.5), effect.message)
            # The others hear of the vote all the same: they know that there is a block, and lack it.
            self.tell(self.others(), PeerMessage(vote=proposal.vote))
        elif kind != "block_reply":
            super().emit(effect)

    def serve(self, sender: int, message: PeerMessage) -> None:
        """Nothing."""
