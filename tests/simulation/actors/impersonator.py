"""Impersonator: votes under another's index, and passes off others' signatures as votes for something else."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Vote
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import FINALIZE, NOTARIZE


class Impersonator(Corrupted):
    def emit(self, effect: effects.Send) -> None:
        super().emit(effect)
        if effect.message.WhichOneof("kind") != "vote":
            return
        forged = Vote()
        forged.CopyFrom(effect.message.vote)
        forged.signer = self.world.random.randrange(0, 8)
        self.tell(self.others(), PeerMessage(vote=forged))

    def overhear(self, message: PeerMessage) -> None:
        if message.WhichOneof("kind") == "vote" and self.world.chance(0.5):
            message.vote.kind = FINALIZE if message.vote.kind == NOTARIZE else NOTARIZE
            message.vote.block_hash = message.vote.block_hash or bytes(32)
            self.tell(self.some(), message)
