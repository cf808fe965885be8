"""Braggart: says that it has decided far more than anyone, with certificates that nobody signed, and answers what it is
asked with nothing, with the wrong heights, or with true blocks under false finalizations."""

from __future__ import annotations

from proto.chiptrace.v1.consensus_pb2 import BlockReply, Certificate, PeerMessage, Tip
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import FINALIZE


class Braggart(Corrupted):
    quiet_until = 0

    def boast(self) -> Certificate:
        draw = self.world.random
        height = self.application.height + draw.choice((1, 2, 3, 10, 10_000, 2**63))
        size = len(self.members(1))
        return Certificate(
            kind=FINALIZE,
            height=height,
            view=draw.choice((1, 2, 2**64 - 1)),
            block_hash=draw.randbytes(32),
            signers=b"\xff" * (size // 8) + bytes([(0xFF00 >> size % 8) & 0xFF] if size % 8 else []),
            signatures=[draw.randbytes(64) for _ in range(size)],
        )

    def overhear(self, message: PeerMessage) -> None:
        if message.WhichOneof("kind") == "block_request":
            return
        if self.world.now_ms >= self.quiet_until:
            self.quiet_until = self.world.now_ms + 5
            boast = self.boast()
            as_tip = self.world.chance(0.7)
            said = PeerMessage(tip=Tip(finalization=boast)) if as_tip else PeerMessage(certificate=boast)
            self.tell(self.some(0.3), said)

    def serve(self, sender: int, message: PeerMessage) -> None:
        request = message.block_request
        draw = self.world.random
        stored = [draw.choice(self.disk.blocks)] if self.disk.blocks and draw.random() < 0.7 else []
        finalization = draw.choice([self.boast(), *(each.certificate for each in self.disk.blocks)])
        finalization = Certificate.FromString(finalization.SerializeToString())
        if draw.random() < 0.5 and request.from_height:
            finalization.height = request.from_height
        reply = BlockReply(
            blocks=[each.block for each in stored],
            finalization=finalization,
            block_hash=request.block_hash,
            from_height=request.from_height,
        )
        if draw.random() < 0.8:
            self.tell([sender], PeerMessage(block_reply=reply))
