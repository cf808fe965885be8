"""Those who meddle with messages: withholder, garbler, forger, swapper, flooder, braggart."""

from __future__ import annotations

from consensus import effects
from proto.chiptrace.v1.consensus_pb2 import BlockReply, BlockRequest, Certificate, PeerMessage, Tip
from proto.chiptrace.v1.ledger_pb2 import Block
from tests.simulation.actors.corrupted import Corrupted
from tests.simulation.application import transaction
from tests.simulation.oracle import FINALIZE, NOTARIZE, NULLIFY, certificates_in


class Withholder(Corrupted):
    """Tells each thing to a few only, and some things late."""

    def emit(self, effect: effects.Send) -> None:
        message, receivers = effect.message, self.some(0.4)
        delay = self.world.random.choice((0, 0, 0, 300, 1_000))
        self.later(delay, lambda: self.tell(receivers, message))


class Garbler(Corrupted):
    """Flips bits of what it says, and of what it heard."""

    def garbled(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.world.random.randint(1, 3)):
            if changed:
                changed[self.world.random.randrange(len(changed))] ^= 1 << self.world.random.randrange(8)
        return bytes(changed)

    def emit(self, effect: effects.Send) -> None:
        super().emit(effect)
        data = effect.message.SerializeToString(deterministic=True)
        for receiver in self.some():
            self.network.send(self.index, receiver, self.garbled(data))

    def overhear(self, message: PeerMessage) -> None:
        if self.world.chance(0.3):
            data = message.SerializeToString(deterministic=True)
            for receiver in self.some():
                self.network.send(self.index, receiver, self.garbled(data))


class Forger(Corrupted):
    """Spoils the certificates inside what it proposes and passes on: bitmaps, signatures, views, block hashes."""

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


class Swapper(Corrupted):
    """Serves bodies whose header is right and whose transactions are not, and ranges that do not fit."""

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


class Flooder(Corrupted):
    """Votes for heights and views that nobody is at, and asks for everything, all the time."""

    quiet_until = 0

    def overhear(self, message: PeerMessage) -> None:
        if self.world.now_ms < self.quiet_until or not self.world.chance(0.4):
            return
        self.quiet_until = self.world.now_ms + 3  # or two of them would drown each other
        draw = self.world.random
        height = self.application.height + draw.choice((0, 1, 1, 1, 2, 50))
        view = draw.choice((1, 2, 5, 17, 1_000, 2**63, 2**64 - 1))
        kind = draw.choice((NOTARIZE, NULLIFY, FINALIZE))
        if height:
            self.cast(self.some(), kind, height, view, draw.randbytes(32))
        request = BlockRequest(from_height=draw.randint(1, 5), to_height=draw.choice((5, 100, 2**64 - 1)))
        if draw.random() < 0.5:
            request = BlockRequest(block_hash=draw.randbytes(32))
        self.tell(self.some(0.3), PeerMessage(block_request=request))


class Braggart(Corrupted):
    """Says that it has decided far more than anyone, with certificates that nobody signed, and answers what it is
    asked with nothing, with the wrong heights, or with true blocks under false finalizations."""

    quiet_until = 0

    def boast(self) -> Certificate:
        draw = self.world.random
        height = self.application.height + draw.choice((1, 2, 3, 10, 10_000, 2**63))
        size = len(self.members(1))
        return Certificate(
            kind=FINALIZE,
            height=height,
            view=draw.choice((1, 2, 2**64 - 1)),
            block_hash=draw.randbytes(32),
            signers=b"\xff" * (size // 8) + bytes([(0xFF00 >> size % 8) & 0xFF] if size % 8 else []),
            signatures=[draw.randbytes(64) for _ in range(size)],
        )

    def overhear(self, message: PeerMessage) -> None:
        if message.WhichOneof("kind") == "block_request":
            return
        if self.world.now_ms >= self.quiet_until:
            self.quiet_until = self.world.now_ms + 5
            boast = self.boast()
            as_tip = self.world.chance(0.7)
            said = PeerMessage(tip=Tip(finalization=boast)) if as_tip else PeerMessage(certificate=boast)
            self.tell(self.some(0.3), said)

    def serve(self, sender: int, request: BlockRequest) -> bool:
        draw = self.world.random
        stored = [draw.choice(self.disk.blocks)] if self.disk.blocks and draw.random() < 0.7 else []
        finalization = draw.choice([self.boast(), *(each.certificate for each in self.disk.blocks)])
        finalization = Certificate.FromString(finalization.SerializeToString())
        if draw.random() < 0.5 and request.from_height:
            finalization.height = request.from_height
        reply = BlockReply(
            blocks=[each.block for each in stored],
            finalization=finalization,
            block_hash=request.block_hash,
            from_height=request.from_height,
        )
        if draw.random() < 0.8:
            self.tell([sender], PeerMessage(block_reply=reply))
        return True
