"""Reconfigurer: its votes and proposals are correct, of the height after the one that is open, or with the index that
its key has in another set."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Vote
from tests.simulation.actors.corrupted import Corrupted


class Reconfigurer(Corrupted):
    def moved(self, vote: Vote) -> Vote | None:
        """The same vote, genuine, of the next height; now and then by the index of another set."""
        moved = self.vote(vote.kind, vote.height + 1, vote.view, vote.block_hash)
        if moved is not None and self.world.chance(0.3):
            moved.signer = self.world.random.randrange(self.network.size)
        return moved

    def emit(self, effect: effects.Send) -> None:
        message = PeerMessage.FromString(effect.message.SerializeToString())
        kind = message.WhichOneof("kind")
        if kind == "vote":
            vote = self.moved(message.vote)
        elif kind == "proposal":
            vote = self.moved(message.proposal.vote)
            message.proposal.height += 1
        else:
            super().emit(effect)
            return
        if vote is not None:
            (message.vote if kind == "vote" else message.proposal.vote).CopyFrom(vote)
            super().emit(effects.Send(effect.to, message))
