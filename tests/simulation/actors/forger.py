"""Forger: spoils the certificates inside what it proposes and passes on: bitmaps, signatures, views, block hashes."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import Certificate, PeerMessage
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import FINALIZE, NOTARIZE, NULLIFY, certificates_in


class Forger(Corrupted):
    def forged(self, certificate: Certificate) -> None:
        draw = self.world.random
        choice = draw.randrange(6)
        if choice == 0:
            certificate.signers = draw.randbytes(draw.choice((0, 1, 1, 1, 2, 4)))
        elif choice == 1 and certificate.signatures:
            certificate.signatures.pop()
        elif choice == 2 and certificate.signatures:
            certificate.signatures[0] = draw.randbytes(draw.choice((0, 63, 64)))
        elif choice == 3:
            certificate.block_hash = draw.randbytes(32)
        elif choice == 4:
            certificate.view = draw.choice((0, certificate.view + 1, 2**64 - 1))
        else:
            certificate.kind = draw.choice((NOTARIZE, NULLIFY, FINALIZE))

    def emit(self, effect: effects.Send) -> None:
        if self.world.chance(0.3):
            super().emit(effect)
            return
        message = PeerMessage.FromString(effect.message.SerializeToString())
        kind = message.WhichOneof("kind")
        carried = []
        if kind == "proposal":
            carried = [each for each in certificates_in(message.proposal) if self.world.chance(0.6)]
            if message.proposal.from_view and self.world.chance(0.6):
                message.proposal.block = b""
        elif kind == "certificate":
            carried = [message.certificate]
        elif kind == "tip" and message.tip.HasField("finalization"):
            carried = [message.tip.finalization]
        for certificate in carried:
            self.forged(certificate)
        super().emit(effects.Send(effect.to, message))
