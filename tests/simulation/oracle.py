"""What must hold, checked from the outside: quorums, certificates and voting rules are worked out here anew.

Nothing of the engine's package is imported. The oracle sees what honest replicas make durable, what they put on
the wire and what they decide; of the dishonest it assumes that they have signed everything.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from proto.chiptrace.v1.consensus_pb2 import Certificate, JournalRecord, PeerMessage, Proposal, Vote
from proto.chiptrace.v1.ledger_pb2 import Block, Header
from tests.simulation.application import CHAIN_ID, Application, Stored
from tests.simulation.keys import SimulatedKeys

NOTARIZE, NULLIFY, FINALIZE = 1, 2, 3
WORDS = {NOTARIZE: b"notarize", NULLIFY: b"nullify", FINALIZE: b"finalize"}
Claim = tuple[int, int, int, bytes]  # kind, height, view, block hash


class Violation(Exception):
    """Something happened that must never happen."""


def more_than_two_thirds(votes: int, of: int) -> bool:
    return 3 * votes > 2 * of


def hash_of(block: bytes) -> bytes:
    return hashlib.sha256(b"chiptrace/v1/block\0" + CHAIN_ID + Block.FromString(block).header).digest()


def signed(claim: Claim) -> bytes:
    kind, height, view, block_hash = claim
    numbers = height.to_bytes(8, "big") + view.to_bytes(8, "big")
    return (
        b"chiptrace/v1/" + WORDS[kind] + b"\0" + CHAIN_ID + numbers + (b"" if kind == NULLIFY else block_hash)
    )


def claim_of(message: Vote | Certificate) -> Claim:
    return message.kind, message.height, message.view, message.block_hash


def certificates_in(message: Proposal) -> Iterator[Certificate]:
    if message.HasField("notarization"):
        yield message.notarization
    yield from message.nullifications
    if message.HasField("parent_finalization"):
        yield message.parent_finalization


@dataclass
class Durable:
    """What one replica's journal proves, kept while it is written and rebuilt after a crash."""

    votes: set[Claim] = field(default_factory=set)
    proposed: set[Claim] = field(
        default_factory=set
    )  # the leader's notarize in each proposal, own or another's
    certificates: set[Claim] = field(default_factory=set)
    bodies: set[bytes] = field(default_factory=set)

    def add(self, record: JournalRecord) -> None:
        kind = record.WhichOneof("kind")
        if kind == "vote":
            self.votes.add(claim_of(record.vote))
        elif kind == "certificate":
            self.certificates.add(claim_of(record.certificate))
        elif kind == "proposal":
            self.proposed.add(claim_of(record.proposal.vote))
            self.certificates.update(claim_of(each) for each in certificates_in(record.proposal))
            if record.proposal.block:
                self.bodies.add(hash_of(record.proposal.block))


class Oracle:
    """Raises Violation at the first thing that must not happen."""

    def __init__(self, keys: SimulatedKeys, genesis: tuple[int, ...], dishonest: frozenset[int]) -> None:
        self.keys = keys
        self.dishonest = dishonest
        self.strict = (
            True  # False: only what users would see (forks), not broken promises that might lead there
        )
        self.truth = Application(keys.public, genesis, heartbeat_ms=0)  # the chain as first decided by anyone
        self.chain: dict[int, bytes] = {0: CHAIN_ID}
        self.voted: dict[int, set[Claim]] = defaultdict(set)  # by honest replica, ever, on the wire
        self._cast: dict[tuple[int, int, int], set[Claim]] = defaultdict(set)  # by replica, height and view
        self._tally: dict[tuple[int, int, int], dict[bytes, set[int]]] = defaultdict(
            dict
        )  # by kind, height, view
        self._final: dict[int, set[bytes]] = defaultdict(set)  # by height: what can be shown as final
        self.blocks: dict[int, bytes] = {}  # by height, as first decided by anyone
        self.states: dict[int, bytes] = {}  # by height: the state after it, as first computed by anyone
        self.place: dict[bytes, int] = {}  # of each transaction, the height
        self.acknowledged: dict[bytes, int] = {}  # what clients were told
        self.shown: dict[tuple[int, int, int], set[bytes]] = defaultdict(set)  # certificates seen, by claim
        self.certified: dict[int, bytes] = {}  # by height: the block of the first finalization seen
        self.genuine: set[bytes] = set()  # certificates verified before
        self.view_of: dict[int, int] = {}  # in which each height was decided
        self.accused: set[int] = set()

    # ---- certificates ---------------------------------------------------------------------------

    def members(self, height: int) -> list[int]:
        keys = [validator.key for validator in self.truth.set_at(height).validators]
        return [self.keys.index[key] for key in keys]

    def leader(self, height: int, view: int) -> int:
        members = self.members(height)
        return members[(height + view) % len(members)]

    def check_certificate(self, certificate: Certificate) -> None:
        """A quorum of the height's set signed exactly this claim."""
        data = certificate.SerializeToString(deterministic=True)
        if data in self.genuine:
            return
        members = self.members(certificate.height)
        bits = "".join(f"{byte:08b}" for byte in certificate.signers)
        if len(certificate.signers) != -(-len(members) // 8) or "1" in bits[len(members) :]:
            raise Violation(f"bitmap of {claim_of(certificate)} does not fit {len(members)} validators")
        signers = [member for member, bit in zip(members, bits, strict=False) if bit == "1"]
        if not more_than_two_thirds(len(signers), len(members)) or len(signers) != len(
            certificate.signatures
        ):
            raise Violation(f"{claim_of(certificate)} is signed by {signers} of {members}: no quorum")
        claim = claim_of(certificate)
        for signer, signature in zip(signers, certificate.signatures, strict=True):
            if not self.keys.verify(self.keys.public[signer], signed(claim), signature):
                raise Violation(f"{claim}: the signature of {signer} is not genuine")
            if self.strict and signer not in self.dishonest and claim not in self.voted[signer]:
                raise Violation(f"{claim} counts a vote which {signer} never sent")
        self.genuine.add(data)
        self.certificate_exists(claim)

    def certificate_exists(self, claim: Claim) -> None:
        """Certificates that contradict each other, whoever made them: the last line, also where promises broke."""
        kind, height, view, block_hash = claim
        if kind == FINALIZE and self.certified.setdefault(height, block_hash) != block_hash:
            raise Violation(f"fork at {height}: two blocks have a finalization")
        if self.strict:
            self.shown[kind, height, view].add(block_hash)
            if kind == NOTARIZE and len(self.shown[kind, height, view]) > 1:
                raise Violation(f"({height}, {view}) has two notarizations")
            if self.shown.get((FINALIZE, height, view)) and self.shown.get((NULLIFY, height, view)):
                raise Violation(f"({height}, {view}) is both finalized and nullified")

    # ---- what honest replicas send ----------------------------------------------------------------

    def sent(self, who: int, message: PeerMessage, durable: Durable) -> None:
        """`who` is honest and is about to send; `durable` is all it ever made durable."""
        kind = message.WhichOneof("kind")
        if kind == "vote":
            self.vote_sent(who, message.vote, durable)
        elif kind == "proposal":
            self.vote_sent(who, message.proposal.vote, durable)
            for certificate in certificates_in(message.proposal):
                self.certificate_sent(who, certificate, durable)
            self.proposal_sent(message.proposal)
        elif kind == "certificate":
            self.certificate_sent(who, message.certificate, durable)
        elif kind == "tip" and message.tip.HasField("finalization"):
            self.certificate_sent(who, message.tip.finalization, durable)

    def certificate_sent(self, who: int, certificate: Certificate, durable: Durable) -> None:
        self.note_own_part(who, certificate, durable)
        self.check_certificate(certificate)

    def note_own_part(self, who: int, certificate: Certificate, durable: Durable) -> None:
        """A vote may go out inside a certificate first; then it has been sent."""
        members = self.members(certificate.height)
        if who not in members or who in self.dishonest:
            return
        place = members.index(who)
        if place // 8 < len(certificate.signers) and certificate.signers[place // 8] >> (7 - place % 8) & 1:
            self.vote_cast(who, claim_of(certificate), durable)

    def proposal_sent(self, proposal: Proposal) -> None:
        """Whatever an honest leader proposes carries its complete proof."""
        height, view, origin = proposal.height, proposal.view, proposal.from_view
        nullified = [(each.kind, each.height, each.view) for each in proposal.nullifications]
        if nullified != [(NULLIFY, height, gap) for gap in range(origin + 1, view)]:
            raise Violation(f"proposal ({height}, {view}) from {origin} proves only the gaps {nullified}")
        if origin:
            wanted = (NOTARIZE, height, origin, proposal.vote.block_hash)
            if claim_of(proposal.notarization) != wanted:
                raise Violation(f"proposal ({height}, {view}) does not carry {wanted}")
        parent = claim_of(proposal.parent_finalization)
        if height > 1 and (parent[:2] != (FINALIZE, height - 1) or parent[3] != self.chain[height - 1]):
            raise Violation(f"proposal ({height}, {view}) does not carry the finalization of its parent")
        if proposal.block and hash_of(proposal.block) != proposal.vote.block_hash:
            raise Violation(f"proposal ({height}, {view}) carries another block than it votes for")

    def vote_sent(self, who: int, vote: Vote, durable: Durable) -> None:
        members = self.members(vote.height)
        claim = claim_of(vote)
        if vote.signer >= len(members):
            raise Violation(f"{who} sends a vote of nobody: {claim}")
        signer = members[vote.signer]
        if not self.keys.verify(self.keys.public[signer], signed(claim), vote.signature):
            raise Violation(f"{who} sends a vote which is not genuine: {claim}")
        if signer == who:
            self.vote_cast(who, claim, durable)
        elif signer not in self.dishonest and claim not in self.voted[signer]:
            raise Violation(f"{who} passes on a vote which {signer} never sent: {claim}")

    def vote_cast(self, who: int, claim: Claim, durable: Durable) -> None:
        if claim in self.voted[who]:
            return
        if self.strict:
            led = self.leader(claim[1], claim[2]) == who and claim in durable.proposed
            if claim not in durable.votes and not led:
                raise Violation(f"{who} sends {claim} before it is durable")
            self.check_rules(who, claim, durable)
        kind, height, view, block_hash = claim
        self.voted[who].add(claim)
        self._cast[who, height, view].add(claim)
        self._tally[kind, height, view].setdefault(block_hash, set()).add(who)
        if self.strict:
            self.check_latent(height, view)

    def views_left(self, height: int) -> int:
        """The highest view of a height in which anyone honest has voted."""
        return max((view for _, at, view in self._cast if at == height), default=0)

    # ---- the four rules ---------------------------------------------------------------------------

    def check_rules(self, who: int, claim: Claim, durable: Durable) -> None:
        kind, height, view, block_hash = claim
        earlier = self._cast[who, height, view]
        if kind in {NOTARIZE, FINALIZE} and any(each[0] == kind and each != claim for each in earlier):
            raise Violation(f"{who} casts {claim} after {sorted(earlier)}")
        if kind != NOTARIZE and any(each[0] == NULLIFY + FINALIZE - kind for each in earlier):
            raise Violation(f"{who} both nullifies and finalizes ({height}, {view})")
        if kind == NOTARIZE:
            if not self.provable(claim, durable):
                raise Violation(f"{who} notarizes without a complete durable proof: {claim}")
            if block_hash not in durable.bodies:
                raise Violation(f"{who} notarizes a block whose body is not durable: {claim}")
        if kind == FINALIZE and (NOTARIZE, height, view, block_hash) not in durable.certificates:
            raise Violation(f"{who} finalizes without a durable notarization: {claim}")
        if kind == NULLIFY and view > 1 and not self.entered(height, view, durable):
            raise Violation(f"{who} nullifies a view which it has not durably entered: {claim}")

    def provable(self, claim: Claim, durable: Durable) -> bool:
        _, height, view, block_hash = claim
        for origin in range(view - 1, -1, -1):
            if origin == 0 or (NOTARIZE, height, origin, block_hash) in durable.certificates:
                return True
            if (NULLIFY, height, origin, b"") not in durable.certificates:
                return False
        return False

    def entered(self, height: int, view: int, durable: Durable) -> bool:
        return any(each[1:3] == (height, view - 1) and each[0] != FINALIZE for each in durable.certificates)

    def possible(self, kind: int, height: int, view: int) -> set[bytes]:
        """Hashes for which a certificate can be shown, if every dishonest member signs whatever helps."""
        members = self.members(height)
        helpers = len(self.dishonest.intersection(members))
        tally = self._tally[kind, height, view]
        return {each for each, who in tally.items() if more_than_two_thirds(len(who) + helpers, len(members))}

    def check_latent(self, height: int, view: int) -> None:
        """Certificates that contradict each other must not even be possible."""
        notarized = self.possible(NOTARIZE, height, view)
        finalized = self.possible(FINALIZE, height, view)
        self._final[height] |= finalized
        unfounded = not finalized <= notarized and len(self.members(height)) > 1  # alone, one need not say N
        if len(notarized) > 1 or unfounded or len(self._final[height]) > 1:
            raise Violation(
                f"({height}, {view}) can be notarized {notarized}, the height {self._final[height]}"
            )
        if finalized and self.possible(NULLIFY, height, view):
            raise Violation(f"({height}, {view}) can be both finalized and nullified")

    # ---- decisions --------------------------------------------------------------------------------

    def decided(self, who: int, stored: Stored, newest: int) -> None:
        """`who` is honest and is told to execute this block on top of height `newest`."""
        height, certificate = stored.height, stored.certificate
        if height != newest + 1:
            raise Violation(f"{who} decides {height} on top of {newest}")
        if hash_of(stored.block) != stored.block_hash:
            raise Violation(f"{who} decides {height} with a block that has another hash")
        first = self.chain.setdefault(height, stored.block_hash)
        if first != stored.block_hash:
            raise Violation(
                f"fork at {height}: {who} decides {stored.block_hash.hex()[:8]} after {first.hex()[:8]}"
            )
        if self.blocks.setdefault(height, stored.block) != stored.block:
            raise Violation(f"{who} executes other bytes than others under the same hash at {height}")
        if (certificate.kind, certificate.height, certificate.block_hash) != (
            FINALIZE,
            height,
            stored.block_hash,
        ):
            raise Violation(f"{who} decides {height} with a certificate for {claim_of(certificate)}")
        self.check_certificate(certificate)
        if self.truth.height < height:
            self.decided_first(who, stored)

    def decided_first(self, who: int, stored: Stored) -> None:
        """The chain grows: by a block that names its parent, and of transactions that no block had before."""
        block = Block.FromString(stored.block)
        if Header.FromString(block.header).parent_hash != self.chain[stored.height - 1]:
            raise Violation(f"{who} decides {stored.height} on another parent than the one decided")
        for data in block.transactions:
            if data in self.place:
                raise Violation(f"a transaction of {self.place[data]} is in {stored.height} again")
            self.place[data] = stored.height
        if not self.truth.follows(stored.block):
            raise Violation(f"{who} decides an invalid block at {stored.height}")
        self.truth.execute(stored)
        self.view_of[stored.height] = stored.certificate.view

    def executed(self, who: int, height: int, state: bytes) -> None:
        """`who` has executed this height: to the same state as everyone."""
        if self.states.setdefault(height, state) != state:
            raise Violation(f"{who} has another state than others after {height}")

    def acknowledge(self, who: int, data: bytes, height: int) -> None:
        """`who` tells a client that its transaction is final at this height."""
        if self.place.get(data) != height or self.acknowledged.setdefault(data, height) != height:
            raise Violation(f"{who} acknowledges for {height} what stands at {self.place.get(data)}")

    def check_store(self, who: int, blocks: list[Stored]) -> None:
        """In the end: every acknowledged transaction stands exactly once, where it was said to stand."""
        found: dict[bytes, list[int]] = defaultdict(list)
        for stored in blocks:
            for data in Block.FromString(stored.block).transactions:
                found[data].append(stored.height)
        for data, height in self.acknowledged.items():
            if height <= len(blocks) and found[data] != [height]:
                raise Violation(f"what was acknowledged for {height} stands at {found[data]} of {who}")

    def fault_reported(self, who: int, height: int, signer: bytes, first: Vote, second: Vote) -> None:
        """Whoever is accused is dishonest, and the two votes prove it to anyone."""
        accused = self.keys.index.get(signer)
        if accused not in self.dishonest:
            raise Violation(
                f"{who} accuses {accused}, who is honest, by {claim_of(first)} and {claim_of(second)}"
            )
        claims = sorted([claim_of(first), claim_of(second)])
        genuine = all(
            vote.height == height and self.keys.verify(signer, signed(claim_of(vote)), vote.signature)
            for vote in (first, second)
        )
        kinds = (claims[0][0], claims[1][0])
        conflict = claims[0] != claims[1] and kinds in {(1, 1), (2, 3), (3, 3)}
        if not genuine or not conflict or first.view != second.view:
            raise Violation(f"{who} accuses {accused} by votes that prove nothing: {claims}")
        self.accused.add(accused)
