"""Skipper: as leader of a later view it proposes what it cannot prove. A new block beside one that is notarized, a
block proposed again without one of the views it skips, or on the notarization of another block."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Proposal
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.actors.equivocator import another
from tests.simulation.oracle import NOTARIZE, hash_of


class Skipper(Corrupted):
    def emit(self, effect: effects.Send) -> None:
        message = effect.message
        if message.WhichOneof("kind") == "proposal" and message.proposal.view > 1 and message.proposal.block:
            self.tell(self.others(), PeerMessage(proposal=self.unproven(message.proposal)))
        else:
            super().emit(effect)

    def unproven(self, lawful: Proposal) -> Proposal:
        proposal = Proposal()
        proposal.CopyFrom(lawful)
        way = self.world.random.choice(("new", "gap", "another"))
        if way == "gap" and proposal.nullifications:
            del proposal.nullifications[self.world.random.randrange(len(proposal.nullifications))]
            return proposal
        proposal.block = another(lawful.block)
        vote = self.vote(NOTARIZE, lawful.height, lawful.view, hash_of(proposal.block))
        if vote is None:
            return lawful
        proposal.vote.CopyFrom(vote)
        if way == "another" and lawful.from_view:
            proposal.notarization.block_hash = (
                vote.block_hash
            )  # whoever holds the true one does not look at it
        else:
            proposal.from_view = 0
            proposal.ClearField("notarization")
            proposal.ClearField("nullifications")
        return proposal
