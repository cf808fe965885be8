"""Supporter: signs everything anyone might need to go wrong, keeps every vote it hears, and shows the
certificates that come of it to one victim at a time, late. The adversary of the exhaustive model."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import Certificate, PeerMessage, Proposal
from tests.simulation.actors.corrupted import Corrupted, Hoard
from tests.simulation.actors.equivocator import another
from tests.simulation.oracle import FINALIZE, NOTARIZE, NULLIFY, hash_of


class Supporter(Corrupted):
    def start(self) -> None:
        self.hoard = Hoard(self)
        self.bodies: dict[bytes, bytes] = {}
        self.supported: dict[tuple[int, int, bytes], int] = {}
        self.led: set[tuple[int, int]] = set()
        super().start()

    def emit(self, effect: effects.Send) -> None:
        kind = effect.message.WhichOneof("kind")
        if kind in {"block_request", "block_reply"} or (kind == "certificate" and self.world.chance(0.2)):
            super().emit(effect)  # else its engine only serves to follow the chain

    def overhear(self, message: PeerMessage) -> None:
        kind = message.WhichOneof("kind")
        if kind == "proposal":
            proposal = message.proposal
            if proposal.block:
                self.bodies[hash_of(proposal.block)] = proposal.block
            self.hoard.add(proposal.vote)
            self.support(proposal.height, proposal.view, proposal.vote.block_hash)
        elif kind == "vote":
            claim = self.hoard.add(message.vote)
            if self.world.chance(0.5):
                self.support(claim[1], claim[2], claim[3])
            self.show(self.hoard.certificate(claim))
            self.lead(claim[1], claim[2] + 1)
        elif kind == "certificate":
            self.lead(message.certificate.height, message.certificate.view + 1)

    def support(self, height: int, view: int, block_hash: bytes) -> None:
        """Each kind of vote to a crowd of its own, a few times."""
        times = self.supported.get((height, view, block_hash), 0)
        if times >= 4:
            return
        self.supported[height, view, block_hash] = times + 1
        if block_hash:
            self.cast(self.some(), NOTARIZE, height, view, block_hash)
            self.cast(self.some(), FINALIZE, height, view, block_hash)
        if self.world.chance(0.4):
            self.cast(self.some(), NULLIFY, height, view)

    def show(self, certificate: Certificate | None) -> None:
        if certificate is None:
            return
        victim = self.world.random.choice(self.others())
        delay = self.world.random.choice((0, 0, 50, 400))
        self.later(delay, lambda: self.tell([victim], PeerMessage(certificate=certificate)))

    def lead(self, height: int, view: int) -> None:
        """As leader, propose every block for which a proof can be shown, each to others."""
        if (
            (height, view) in self.led
            or height != self.application.height + 1
            or self.leader(height, view) != self.index
        ):
            return
        fresh = self.application.build(self.now())
        candidates = {hash_of(block): block for block in (fresh, another(fresh))}
        candidates.update(self.bodies)
        for block_hash in list(candidates)[-5:]:
            proof = self.hoard.proof(height, view, block_hash)
            vote = self.vote(NOTARIZE, height, view, block_hash)
            if proof is None or vote is None:
                continue
            self.led.add((height, view))
            proposal = Proposal(
                height=height,
                view=view,
                from_view=proof[0],
                block=candidates[block_hash],
                vote=vote,
                notarization=proof[1],
                nullifications=proof[2],
                parent_finalization=self.disk.blocks[-1].certificate if self.disk.blocks else None,
            )
            self.tell(self.some(), PeerMessage(proposal=proposal))
