"""What the dishonest share: a node that knows where the chain stands, watched by no oracle, free to sign."""

from __future__ import annotations

from dataclasses import replace

from google.protobuf.message import DecodeError

from consensus import effects
from ledger.errors import ChiptraceError
from proto.chiptrace.v1.consensus_pb2 import Certificate, PeerMessage, Vote
from tests.simulation.oracle import NOTARIZE, NULLIFY, WORDS, Claim, claim_of, more_than_two_thirds, signed
from tests.simulation.replica import Replica, Setting


class Unwatched:
    """Stands where honest replicas have the oracle."""

    def sent(self, *what: object) -> None:
        pass

    decided = executed = fault_reported = sent


class Corrupted(Replica):
    """Runs an honest engine to know where the chain stands; subclasses bend what goes out."""

    def __init__(self, setting: Setting, index: int, skew_ms: int = 0) -> None:
        pace = replace(setting.pace, persist_ms=0)  # it has no reason to wait for its disk
        super().__init__(replace(setting, oracle=Unwatched(), pace=pace), index, skew_ms)

    def step(self, given: effects.Input) -> None:
        try:
            super().step(given)
        except (ChiptraceError, ValueError):  # it got into trouble with itself: it starts anew
            self.crash()
            self.disk.forget_votes()
            self.world.schedule(100, self.start)

    def receive(self, sender: int, data: bytes) -> None:
        super().receive(sender, data)
        if self.engine is not None:
            try:
                self.overhear(PeerMessage.FromString(data))
            except DecodeError:
                return

    def overhear(self, message: PeerMessage) -> None:
        """What it does with what it heard, besides following the chain."""

    # ---- its own hand ---------------------------------------------------------------------------

    def members(self, height: int) -> list[int]:
        validators = self.application.set_at(max(1, min(height, self.application.height + 2))).validators
        return [self.keys.index[each.key] for each in validators]

    def leader(self, height: int, view: int) -> int:
        members = self.members(height)
        return members[(height + view) % len(members)]

    def vote(self, kind: int, height: int, view: int, block_hash: bytes = b"") -> Vote | None:
        """A genuine vote of this key for anything at all; None where it is no member."""
        if kind not in WORDS or not 0 < height < 2**64 or not 0 < view < 2**64:  # what it heard was garbled
            return None
        members = self.members(height)
        if self.index not in members:
            return None
        claim: Claim = (kind, height, view, b"" if kind == NULLIFY else block_hash)
        signature = self.keys.sign(self.index, signed(claim))
        return Vote(
            kind=kind,
            height=height,
            view=view,
            block_hash=claim[3],
            signer=members.index(self.index),
            signature=signature,
        )

    def others(self) -> list[int]:
        return [index for index in range(self.network.size) if index != self.index]

    def some(self, share: float = 0.5) -> list[int]:
        return [index for index in self.others() if self.world.chance(share)]

    def tell(self, receivers: list[int], message: PeerMessage) -> None:
        data = message.SerializeToString(deterministic=True)
        for receiver in receivers:
            self.network.send(self.index, receiver, data)

    def cast(self, receivers: list[int], kind: int, height: int, view: int, block_hash: bytes = b"") -> None:
        vote = self.vote(kind, height, view, block_hash)
        if vote is not None:
            self.tell(receivers, PeerMessage(vote=vote))


class Hoard:
    """Votes gathered from the wire, and the certificates that can be made of them with one's own."""

    def __init__(self, owner: Corrupted) -> None:
        self.owner = owner
        self.votes: dict[Claim, dict[int, bytes]] = {}

    def add(self, vote: Vote) -> Claim:
        claim = claim_of(vote)
        votes = self.votes.setdefault(claim, {})
        votes[vote.signer] = vote.signature
        own = self.owner.vote(*claim)
        if own is not None:
            votes[own.signer] = own.signature
        if len(self.votes) > 400:
            self.votes.pop(next(iter(self.votes)))
        return claim

    def certificate(self, claim: Claim) -> Certificate | None:
        votes, size = self.votes.get(claim, {}), len(self.owner.members(claim[1]))
        if not more_than_two_thirds(len(votes), size) or max(votes) >= size:
            return None
        bits = "".join("1" if place in votes else "0" for place in range(-(-size // 8) * 8))
        return Certificate(
            kind=claim[0],
            height=claim[1],
            view=claim[2],
            block_hash=claim[3],
            signers=int(bits, 2).to_bytes(len(bits) // 8, "big"),
            signatures=[votes[place] for place in sorted(votes)],
        )

    def held(self, kind: int, height: int) -> list[Certificate]:
        made = [self.certificate(claim) for claim in self.votes if claim[:2] == (kind, height)]
        return [each for each in made if each is not None]

    def proof(
        self, height: int, view: int, block_hash: bytes
    ) -> tuple[int, Certificate | None, list[Certificate]] | None:
        """(from_view, N, [Z...]) by which this block may be proposed in this view, if what is held suffices."""
        gaps: list[Certificate] = []
        for origin in range(view - 1, -1, -1):
            notarization = self.certificate((NOTARIZE, height, origin, block_hash)) if origin else None
            if origin == 0 or notarization is not None:
                return origin, notarization, gaps
            nullification = self.certificate((NULLIFY, height, origin, b""))
            if nullification is None:
                return None
            gaps.insert(0, nullification)
        return None
