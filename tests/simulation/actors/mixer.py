"""Mixer: puts parts of true messages together wrongly, and signs what comes of it."""

from __future__ import annotations

from proto.chiptrace.v1.consensus_pb2 import BlockReply, Certificate, PeerMessage, Proposal
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.actors.equivocator import another
from tests.simulation.oracle import FINALIZE, NOTARIZE, certificates_in, hash_of


class Mixer(Corrupted):
    """Everything it says is well formed and every signature in it genuine; only nothing fits."""

    quiet_until = 0

    def start(self) -> None:
        self.certificates: list[Certificate] = []
        self.blocks: list[bytes] = []
        super().start()

    def overhear(self, message: PeerMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind == "proposal":
            self.certificates += certificates_in(message.proposal)
            if message.proposal.block:
                self.blocks.append(message.proposal.block)
        elif kind == "certificate":
            self.certificates.append(message.certificate)
        elif kind == "tip" and message.tip.HasField("finalization"):
            self.certificates.append(message.tip.finalization)
        elif kind == "block_reply":
            self.blocks += message.block_reply.blocks
        self.certificates, self.blocks = self.certificates[-30:], self.blocks[-6:]
        if self.world.now_ms >= self.quiet_until and self.certificates:
            self.quiet_until = self.world.now_ms + 4
            self.tell(self.some(0.4), self.mixed())

    def mixed(self) -> PeerMessage:
        draw = self.world.random
        if draw.random() < 0.15:
            return PeerMessage(block_reply=self.mixed_reply())
        if draw.random() < 0.1:
            certificate = Certificate.FromString(draw.choice(self.certificates).SerializeToString())
            certificate.height, certificate.view = draw.randint(1, 9), draw.randint(1, 9)
            return PeerMessage(certificate=certificate)
        proposal = self.mixed_proposal()
        return (
            PeerMessage(proposal=proposal)
            if proposal
            else PeerMessage(certificate=draw.choice(self.certificates))
        )

    def mixed_reply(self) -> BlockReply:
        draw = self.world.random
        chosen = draw.sample(self.blocks, draw.randint(0, len(self.blocks)))
        reply = BlockReply(blocks=chosen, finalization=draw.choice(self.certificates))
        if draw.random() < 0.5 and chosen:
            reply.block_hash = hash_of(draw.choice(self.blocks))
        else:
            reply.from_height = max(0, self.application.height + draw.randint(-1, 3))
        return reply

    def mixed_proposal(self) -> Proposal | None:
        """For a view that is this one's to propose in, or nearly."""
        draw = self.world.random
        height = self.application.height + 1
        views = [view for view in range(1, 12) if self.leader(height, view) == self.index] or [1]
        view = draw.choice(views[:3]) if draw.random() < 0.9 else draw.randint(1, 12)
        origin = draw.choice((0, 0, *range(view)))
        block = draw.choice([*self.blocks, self.application.build(self.now()), b""])
        if draw.random() < 0.2 and block:
            block = another(block)
        notarized = [each for each in self.certificates if each.kind == NOTARIZE and each.height == height]
        finalized = [each for each in self.certificates if each.kind == FINALIZE]
        named = hash_of(block) if block and draw.random() < 0.7 else draw.randbytes(32)
        if notarized and draw.random() < 0.6:
            named = draw.choice(notarized).block_hash
        vote = self.vote(NOTARIZE, height, view, named)
        if vote is None:
            return None
        gaps = [each for each in self.certificates if each.kind == 2 and each.height == height]
        gaps = sorted({each.view: each for each in gaps}.values(), key=lambda each: each.view)
        proposal = Proposal(height=height, view=view, from_view=origin, block=block, vote=vote)
        proposal.nullifications.extend(
            each for each in gaps if origin < each.view < view and draw.random() < 0.9
        )
        fitting = [each for each in notarized if each.view == origin]
        if notarized and (origin or draw.random() < 0.1):
            proposal.notarization.CopyFrom(draw.choice(fitting or notarized))
        if finalized and draw.random() < 0.9:
            parents = [each for each in finalized if each.height == height - 1]
            proposal.parent_finalization.CopyFrom(draw.choice(parents or finalized))
        return proposal
