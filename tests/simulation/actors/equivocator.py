"""Equivocator: as leader proposes block A to some and block B to others, and votes for both everywhere."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Proposal
from proto.chiptrace.v1.ledger_pb2 import Block, Header
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import FINALIZE, NOTARIZE, hash_of


def another(block: bytes) -> bytes:
    """The same block, one millisecond later: as valid, and different."""
    changed = Block.FromString(block)
    header = Header.FromString(changed.header)
    header.time_ms += 1
    changed.header = header.SerializeToString(deterministic=True)
    return changed.SerializeToString(deterministic=True)


class Equivocator(Corrupted):
    def emit(self, effect: effects.Send) -> None:
        message = effect.message
        if message.WhichOneof("kind") == "proposal" and message.proposal.from_view == 0:
            self.propose_two(message.proposal)
        else:
            super().emit(effect)

    def propose_two(self, first: Proposal) -> None:
        second = Proposal()
        second.CopyFrom(first)
        second.block = another(first.block)
        hashes = [first.vote.block_hash, hash_of(second.block)]
        vote = self.vote(NOTARIZE, first.height, first.view, hashes[1])
        if vote is None:
            return
        second.vote.CopyFrom(vote)
        sees_first = self.some()
        self.tell(sees_first, PeerMessage(proposal=first))
        sees_second = [index for index in self.others() if index not in sees_first or self.world.chance(0.2)]
        self.tell(sees_second, PeerMessage(proposal=second))
        for block_hash in hashes:
            self.cast(self.others(), NOTARIZE, first.height, first.view, block_hash)
            self.cast(self.some(), FINALIZE, first.height, first.view, block_hash)
