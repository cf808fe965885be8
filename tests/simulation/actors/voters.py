"""Those who vote against the rules: nuller, conflicter, outdated, impersonator."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage, Vote
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import FINALIZE, NOTARIZE, NULLIFY


class Nuller(Corrupted):
    """Nullifies and finalizes the same view, the fault that convicts."""

    def emit(self, effect: effects.Send) -> None:
        super().emit(effect)
        message = effect.message
        if message.WhichOneof("kind") == "vote":
            vote = message.vote
            if vote.kind in {NOTARIZE, FINALIZE}:
                self.cast(self.some(0.8), FINALIZE, vote.height, vote.view, vote.block_hash)
                self.cast(self.some(0.8), NULLIFY, vote.height, vote.view)


class Conflicter(Corrupted):
    """Votes for a block that does not exist beside every block that does."""

    def emit(self, effect: effects.Send) -> None:
        message = effect.message
        if message.WhichOneof("kind") == "vote" and message.vote.kind != NULLIFY:
            vote, invented = message.vote, self.world.random.randbytes(32)
            first, second = (
                (vote.block_hash, invented) if self.world.chance(0.5) else (invented, vote.block_hash)
            )
            self.cast(self.others(), vote.kind, vote.height, vote.view, first)
            self.cast(self.others(), vote.kind, vote.height, vote.view, second)
        else:
            super().emit(effect)


class Outdated(Corrupted):
    """Says again what it and others said long ago, and votes for views long left."""

    def start(self) -> None:
        self.said: list[PeerMessage] = []
        super().start()

    def emit(self, effect: effects.Send) -> None:
        super().emit(effect)
        self.said = [*self.said[-60:], effect.message]
        if self.world.chance(0.3):
            self.tell(self.some(), self.world.random.choice(self.said))
        if effect.message.WhichOneof("kind") == "vote" and effect.message.vote.view > 1:
            vote = effect.message.vote
            view = self.world.random.randint(1, vote.view)
            self.cast(self.some(), vote.kind, vote.height, view, vote.block_hash)

    def overhear(self, message: PeerMessage) -> None:
        if self.world.chance(0.1):
            self.said.append(message)


class Impersonator(Corrupted):
    """Votes under another's index, and passes off others' signatures as votes for something else."""

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
