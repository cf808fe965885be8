"""Invalid signatures: whatever it signs is well formed and does not verify; so are its parts of certificates."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import PeerMessage
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.oracle import certificates_in


class InvalidSignatures(Corrupted):
    def spoiled(self, signature: bytes) -> bytes:
        place = self.world.random.randrange(len(signature) * 8)
        return (int.from_bytes(signature, "big") ^ 1 << place).to_bytes(len(signature), "big")

    def emit(self, effect: effects.Send) -> None:
        message = PeerMessage.FromString(effect.message.SerializeToString())
        kind = message.WhichOneof("kind")
        carried = []
        if kind == "vote":
            message.vote.signature = self.spoiled(message.vote.signature)
        elif kind == "proposal":
            message.proposal.vote.signature = self.spoiled(message.proposal.vote.signature)
            carried = list(certificates_in(message.proposal))
        elif kind == "certificate":
            carried = [message.certificate]
        for certificate in carried:
            if certificate.signatures and self.world.chance(0.5):
                place = self.world.random.randrange(len(certificate.signatures))
                certificate.signatures[place] = self.spoiled(certificate.signatures[place])
        super().emit(effects.Send(effect.to, message))
