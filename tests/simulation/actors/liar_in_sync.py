"""Liar in sync: agrees like everyone, and lies to those who catch up: wrong blocks, lowered heights, answers without
end and without content, answers to what nobody asked, broken boundary headers, and finalizations that draw requests."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import (
    BlockReply,
    BoundaryReply,
    Certificate,
    PeerMessage,
    SignedHeader,
    Tip,
)
from proto.chiptrace.v1.ledger_pb2 import Block, Header
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.actors.equivocator import another

WAYS = ("empty", "mute", "other heights", "lowered", "changed", "late", "endless", "unfinished")
QUIET_MS = 4


class LiarInSync(Corrupted):
    told_until = 0

    def copy(self, certificate: Certificate) -> Certificate:
        return Certificate.FromString(certificate.SerializeToString())

    def emit(self, effect: effects.Send) -> None:
        """Its own tip is lowered, or raised beyond what there is; what it answers is spoiled."""
        message = PeerMessage.FromString(effect.message.SerializeToString())
        kind = message.WhichOneof("kind")
        if kind == "tip" and self.disk.blocks and self.world.chance(0.6):
            told = self.copy(self.world.random.choice(self.disk.blocks).certificate)
            if self.world.chance(0.5):
                told.height = self.height + self.world.random.choice((1, 2, 5, 1_000, 2**40))
            message = PeerMessage(tip=Tip(finalization=told))
        elif kind == "block_reply":
            message.block_reply.CopyFrom(self.lie(message.block_reply))
        super().emit(effects.Send(effect.to, message))

    def serve(self, sender: int, message: PeerMessage) -> None:
        if message.HasField("boundary_request"):
            self.tell([sender], PeerMessage(boundary_reply=self.false_boundaries()))
            return
        way = self.world.random.choice(WAYS)
        if way == "mute":
            return
        if way == "late":
            delay = self.world.random.choice((300, 2_000))
            self.later(delay, lambda: Corrupted.serve(self, sender, message))
            return
        if way == "endless":
            for _ in range(self.world.random.randint(5, 40)):
                height = self.world.random.randint(0, self.height + 5)
                self.tell([sender], PeerMessage(block_reply=self.of_height(height)))
            return
        super().serve(sender, message)

    def of_height(self, height: int) -> BlockReply:
        reply = BlockReply(from_height=height)
        if self.disk.blocks:
            stored = self.world.random.choice(self.disk.blocks)
            reply.blocks.append(stored.block)
            reply.finalization.CopyFrom(stored.certificate)
        return reply

    def lie(self, true: BlockReply) -> BlockReply:
        """The answer to a request, bent; rarely as it should be."""
        way, reply = self.world.random.choice(WAYS), BlockReply.FromString(true.SerializeToString())
        if way == "empty":
            del reply.blocks[:]
        elif way == "other heights":
            reply = self.of_height(true.from_height)
        elif way == "lowered":
            reply = self.of_height(max(0, true.from_height - self.world.random.randint(1, 3)))
        elif way == "changed" and reply.blocks:
            reply.blocks[0] = another(reply.blocks[0])
        elif way == "endless":
            reply.blocks.extend(stored.block for stored in self.disk.blocks[-200:])
        elif way == "unfinished":
            reply.ClearField("finalization")
        return reply

    def false_boundaries(self) -> BoundaryReply:
        """Headers that change nothing, of heights that are none, with sets that nobody asked for."""
        draw = self.world.random
        headers = []
        for stored in draw.sample(self.disk.blocks, min(len(self.disk.blocks), draw.randint(0, 4))):
            header = Header.FromString(Block.FromString(stored.block).header)
            header.height += draw.choice((0, 0, 1, 1_000))
            header.next_validators_hash = draw.choice((header.next_validators_hash, draw.randbytes(32)))
            following = self.application.set_at(1).SerializeToString(deterministic=True)
            headers.append(
                SignedHeader(
                    header=header.SerializeToString(deterministic=True),
                    certificate=stored.certificate,
                    next_validators=draw.choice((following, b"", draw.randbytes(40))),
                )
            )
        return BoundaryReply(headers=headers)

    def overhear(self, message: PeerMessage) -> None:
        """Answers to what nobody asked."""
        if self.world.now_ms >= self.told_until and self.world.chance(0.1):
            self.told_until = self.world.now_ms + QUIET_MS
            unasked = self.world.random.choice(
                (
                    PeerMessage(block_reply=self.of_height(self.height + 1)),
                    PeerMessage(boundary_reply=self.false_boundaries()),
                )
            )
            self.tell(self.some(0.4), unasked)
