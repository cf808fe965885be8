"""How far the chain is proven to go (rule 11), also beyond the validator set that is known here.

Whoever shows a finalization above the open height says that there is something to fetch. It is believed by proof
only. If the newest set known here signed it, its height is the target. If not, either its teller lies, or the set
has changed since; then the teller is asked for the boundary headers in between. A boundary header is the last one of
its set: certified by that set, and naming the next. Step by step they lead from the set in force here to the one that
signed the claim, as they lead a light client. Every step is final, so each raises the target by itself.

What it costs: a claim that no header proves is dropped, and its teller, who has had one request, rests. One walk
is under way at a time; a teller that is silent holds it up for `block_request_ms`.

The target is a hint where to look and nothing more: each block is verified by exactly the set of its own height. A
set that has retired may be corrupt by now, so a target that only an older set vouched for falls with the step to
the next one, and steps that it made up fall when the blocks reach the first of them and another set is in force there.
"""

from dataclasses import dataclass
from typing import Final

from consensus.certificate import verify_certificate
from consensus.effects import VerifySignature
from consensus.patience import PEERS_MAX, Patience
from ledger import codec
from ledger.block import block_hash, decode_header, validators_hash
from ledger.errors import Invalid, Malformed
from ledger.limits import HEADERS_PER_REPLY_MAX, VALIDATORS_MAX
from proto.chiptrace.v1.consensus_pb2 import (
    BoundaryReply,
    BoundaryRequest,
    Certificate,
    SignedHeader,
    VoteKind,
)
from proto.chiptrace.v1.ledger_pb2 import Header, Reason, ValidatorSet

SET_BYTES_MAX: Final = VALIDATORS_MAX * 512
STEPS_AHEAD_MAX: Final = 256  # sets; who has so many to go through first fetches blocks


def cross(
    chain_id: bytes, validators: ValidatorSet, boundary: SignedHeader, verify: VerifySignature
) -> ValidatorSet:
    """The set that follows `validators`, proven by the last header of `validators`.

    It is in force from the height above that header. Raises Malformed, or Invalid: WRONG_CHAIN, BAD_VALIDATORS,
    BAD_CERTIFICATE.
    """
    # (1) and (2) A final header of this set.
    header = check_final(chain_id, validators, boundary, verify)
    # (3) It names another set for the next height, and that set has come along: one in force from there is another.
    return named_next(header, boundary.next_validators)


def named_next(header: Header, next_validators: bytes) -> ValidatorSet:
    """The set sent along, if it is the one that this header names for the height above it. Raises Malformed,
    Invalid(BAD_VALIDATORS)."""
    following = codec.decode(ValidatorSet, next_validators, SET_BYTES_MAX)
    if header.next_validators_hash != validators_hash(header.chain_id, following):
        raise Invalid(
            f"the set sent along is not the next one of height {header.height}", Reason.BAD_VALIDATORS
        )
    if following.in_force_from != header.height + 1 or not 1 <= len(following.validators) <= VALIDATORS_MAX:
        raise Invalid(f"the set above height {header.height} cannot be in force there", Reason.BAD_VALIDATORS)
    return following


def check_final(
    chain_id: bytes, validators: ValidatorSet, boundary: SignedHeader, verify: VerifySignature
) -> Header:
    """The header, if exactly this set made it final. Raises Malformed, or Invalid: WRONG_CHAIN, BAD_VALIDATORS,
    BAD_CERTIFICATE."""
    # (1) A header of this chain at which exactly this set is in force; its hash names also from when.
    header = decode_header(boundary.header)
    if header.chain_id != chain_id:
        raise Invalid(f"a header of chain {header.chain_id.hex()} leads nowhere here", Reason.WRONG_CHAIN)
    current = validators_hash(chain_id, validators)
    if header.validators_hash != current or header.height < validators.in_force_from:
        raise Invalid(
            f"another set than the one known is in force at height {header.height}; the boundary headers in between come "
            "first",
            Reason.BAD_VALIDATORS,
        )
    # (2) It is final: a quorum of the set says so of these very bytes.
    finalization = boundary.certificate
    said = (finalization.kind, finalization.height, finalization.block_hash)
    if said != (VoteKind.FINALIZE, header.height, block_hash(chain_id, boundary.header)):
        raise Invalid(
            f"the certificate is not for the header of height {header.height}", Reason.BAD_CERTIFICATE
        )
    verify_certificate(chain_id, validators, finalization, verify)
    return header


@dataclass(slots=True)
class _Walk:
    """A request for boundary headers."""

    asked_ms: int
    above: ValidatorSet  # the newest set known when it was made
    late: bool = False  # others may be asked


class Horizon:
    """The newest validator set known, the height proven under it, and the claims above that."""

    def __init__(
        self,
        chain_id: bytes,
        own_key: bytes | None,
        verify: VerifySignature,
        validators: ValidatorSet,
        patience: Patience,
    ) -> None:
        self._chain_id = chain_id
        self._own_key = own_key
        self._verify = verify
        self._validators = validators
        self._steps = {validators.in_force_from: validators}  # from the open height's set to the newest
        self._open_height = 0
        self._target = 0
        self._claims: dict[bytes, Certificate] = {}  # the highest finalization each peer has shown
        self._walks: dict[bytes, _Walk] = {}  # by who was asked
        self._patience = patience

    @property
    def target(self) -> int:
        """The highest height that is proven to be decided."""
        return self._target

    @property
    def validators(self) -> ValidatorSet:
        """The newest set that is proven to be, or to have been, in force."""
        return self._validators

    def told(self, peer: bytes, finalization: Certificate) -> None:
        """A peer has shown a finalization of a height above the open one."""
        earlier = self._claims.get(peer)
        if peer == self._own_key or finalization.height <= max(
            self._target, earlier.height if earlier else 0
        ):
            return
        if earlier is not None or len(self._claims) < PEERS_MAX:
            self._claims[peer] = finalization
        self._weigh(finalization)

    def opened(self, height: int, validators: ValidatorSet) -> None:
        """This height is open here, and this set is in force at it: as good as proven. Where headers have led to another
        one, a recovery lies in between or a retired set has made them up: what they led to is not the chain that this
        node follows."""
        self._open_height = height
        begins = validators.in_force_from
        proven = max((begun for begun in self._steps if begun <= height), default=begins)
        if self._steps.get(proven) != validators and begins >= min(self._steps):
            self._steps.clear()
            self._enter(validators)
        for begun in [begun for begun in self._steps if begun < begins]:
            del self._steps[begun]
        for peer in [peer for peer, claim in self._claims.items() if claim.height < height]:
            del self._claims[peer]

    def connected(self, peer: bytes) -> None:
        """Its line is up anew: what it was asked before is lost."""
        self._walks.pop(peer, None)

    # ---- walking ------------------------------------------------------------------------------------

    def requests(self, now_ms: int) -> list[tuple[bytes, BoundaryRequest]]:
        """Whom to ask for boundary headers now: at most one who claims more than is proven."""
        for peer, walk in list(self._walks.items()):
            if not walk.late and now_ms >= self._patience.late_at_ms(walk.asked_ms):
                walk.late = True
                self._patience.failed(peer, now_ms)
            if now_ms >= self._patience.given_up_at_ms(walk.asked_ms):
                del self._walks[peer]
        if any(not walk.late for walk in self._walks.values()) or len(self._steps) > STEPS_AHEAD_MAX:
            return []
        rested = [peer for peer in self._unproven() if now_ms >= self._patience.rests_until_ms(peer)]
        if not rested:
            return []
        peer = min(rested, key=self._patience.failures)
        self._walks[peer] = _Walk(now_ms, self._validators)
        return [(peer, BoundaryRequest(from_height=self._validators.in_force_from))]

    def next_ms(self, now_ms: int) -> int | None:
        """When a walk under way has taken too long, or the next may begin."""
        moments = [self._patience.late_at_ms(walk.asked_ms) for walk in self._walks.values()]
        moments += [self._patience.given_up_at_ms(walk.asked_ms) for walk in self._walks.values()]
        moments += [self._patience.rests_until_ms(peer) for peer in self._unproven()]
        return min((moment for moment in moments if moment > now_ms), default=None)

    def answered(self, peer: bytes, reply: BoundaryReply, now_ms: int) -> None:
        """Takes the steps that a reply proves. One that proves none, where one was needed, was no answer."""
        walk = self._walks.pop(peer, None)
        if walk is None:
            return  # nobody asked
        before = self._target
        for boundary in reply.headers[:HEADERS_PER_REPLY_MAX]:
            try:
                header = decode_header(boundary.header)
                if header.height < max(self._validators.in_force_from, self._open_height):
                    continue  # another's answer has proven that step meanwhile, or the blocks have taken it or another
                if header.next_validators_hash == header.validators_hash:
                    self._end_at(boundary)
                    break
                self._enter(cross(self._chain_id, self._validators, boundary, self._verify))
            except (Malformed, Invalid):
                break
        if self._validators.in_force_from > walk.above.in_force_from:
            self._patience.forgive(peer)
        elif self._target > before:
            # Behind a recovery nobody is followed: what the peer claims of there is not believed, nor held against it.
            self._claims.pop(peer, None)
        elif peer in self._unproven():
            del self._claims[peer]
            self._patience.failed(peer, now_ms)

    # ---- within -------------------------------------------------------------------------------------

    def _unproven(self) -> list[bytes]:
        """Who claims more than is proven, and is not being asked for the proof."""
        claims = self._claims.items()
        return [peer for peer, claim in claims if claim.height > self._target and peer not in self._walks]

    def _weigh(self, claim: Certificate) -> None:
        if claim.height <= self._target or claim.height < self._validators.in_force_from:
            return
        try:
            verify_certificate(self._chain_id, self._validators, claim, self._verify)
        except Invalid:
            return
        self._target = claim.height

    def _end_at(self, boundary: SignedHeader) -> None:
        """The last header of a set that lost its quorum. Up to there the chain is proven; who goes on with a recovery
        is for the operator of each node to say (ledger/recovery.py), and `opened` brings its set."""
        header = check_final(self._chain_id, self._validators, boundary, self._verify)
        self._target = max(self._target, header.height)

    def _enter(self, validators: ValidatorSet) -> None:
        """A newer set: the boundary below it is final, and the claims are weighed anew."""
        self._validators = self._steps[validators.in_force_from] = validators
        self._target = validators.in_force_from - 1
        for claim in list(self._claims.values()):
            self._weigh(claim)
