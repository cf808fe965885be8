"""Flooder: votes for heights and views that nobody is at, and asks for everything, all the time."""

from __future__ import annotations

from proto.chiptrace.v1.consensus_pb2 import BlockRequest, PeerMessage
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import FINALIZE, NOTARIZE, NULLIFY


class Flooder(Corrupted):
    quiet_until = 0

    def overhear(self, message: PeerMessage) -> None:
        if self.world.now_ms < self.quiet_until or not self.world.chance(0.4):
            return
        self.quiet_until = self.world.now_ms + 3  # or two of them would drown each other
        draw = self.world.random
        height = self.application.height + draw.choice((0, 1, 1, 1, 2, 50))
        view = draw.choice((1, 2, 5, 17, 1_000, 2**63, 2**64 - 1))
        kind = draw.choice((NOTARIZE, NULLIFY, FINALIZE))
        if height:
            self.cast(self.some(), kind, height, view, draw.randbytes(32))
        request = BlockRequest(from_height=draw.randint(1, 5), to_height=draw.choice((5, 100, 2**64 - 1)))
        if draw.random() < 0.5:
            request = BlockRequest(block_hash=draw.randbytes(32))
        self.tell(self.some(0.3), PeerMessage(block_request=request))
