"""Swapper: serves bodies whose header is right and whose transactions are not, and ranges that do not fit."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import BlockReply, PeerMessage
from proto.chiptrace.v1.ledger_pb2 import Block
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.application import transaction


class Swapper(Corrupted):
    def swapped(self, data: bytes) -> bytes:
        block = Block.FromString(data)
        block.transactions.append(transaction(self.world.random.randrange(10**9, 10**10)))
        return block.SerializeToString(deterministic=True)

    def emit(self, effect: effects.Send) -> None:
        message = PeerMessage()
        message.CopyFrom(effect.message)
        kind = message.WhichOneof("kind")
        if kind == "proposal" and message.proposal.block and self.world.chance(0.7):
            message.proposal.block = self.swapped(message.proposal.block)
        if kind == "block_reply":
            self.spoil(message.block_reply)
        super().emit(effects.Send(effect.to, message))

    def spoil(self, reply: BlockReply) -> None:
        choice = self.world.random.randrange(6)
        blocks = list(reply.blocks)
        if choice in {0, 5}:
            blocks = [self.swapped(each) for each in blocks]
        elif choice == 1:
            blocks = blocks[1:]
        elif choice == 2:
            blocks = blocks[:-1]
        elif choice == 3:
            reply.ClearField("finalization")
        del reply.blocks[:]
        reply.blocks.extend(blocks)
