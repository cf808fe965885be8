"""How far the chain is proven to go: each step, and each way to lie about one."""

import pytest

from consensus import boundaries as boundaries_file
from consensus.boundaries import Horizon, cross
from consensus.patience import PEERS_MAX, Patience
from ledger.errors import Invalid, Malformed
from ledger.limits import VALIDATORS_MAX
from proto.chiptrace.v1.consensus_pb2 import BoundaryReply, Certificate, SignedHeader, VoteKind
from proto.chiptrace.v1.ledger_pb2 import Block, Header, Reason, ValidatorSet
from tests.consensus import chain

LATE_MS = 160
FIRST = chain.validators(4)
SETS = {
    1: FIRST,
    6: chain.validators(4, start=6, first=3),
    7: chain.validators(5, start=7, first=3),
    12: chain.validators(4, start=12, first=9),
}


@pytest.fixture(scope="module")
def ledger():
    return chain.Ledger(sets=SETS).grow(20)


def made(validators=FIRST):
    return Horizon(chain.CHAIN_ID, chain.key(0), chain.verify, validators, Patience(LATE_MS))


def finalization(ledger, height):
    return ledger.blocks[height - 1][1]


def boundaries(ledger, from_height=1):
    return ledger.boundaries(from_height)


def changed(signed, sign=None, **fields):
    """The same boundary with other header fields, certified anew by `sign` if given."""
    header = Header.FromString(signed.header)
    for name, value in fields.items():
        setattr(header, name, value)
    data = header.SerializeToString(deterministic=True)
    certificate = signed.certificate
    if sign is not None:
        block = Block(header=data).SerializeToString(deterministic=True)
        certificate = chain.finalization(sign, header.height, chain.hash_of(block))
    return SignedHeader(header=data, certificate=certificate, next_validators=signed.next_validators)


# ---- one step -----------------------------------------------------------------------------------------


def test_every_step_of_a_chain_is_proven_by_the_set_before_it(ledger):
    validators, walked = FIRST, []
    for boundary in boundaries(ledger).headers:
        validators = cross(chain.CHAIN_ID, validators, boundary, chain.verify)
        walked.append(validators)
    assert walked == [SETS[6], SETS[7], SETS[12]]


def refused(boundary, validators=FIRST, chain_id=chain.CHAIN_ID):
    with pytest.raises((Invalid, Malformed)) as error:
        cross(chain_id, validators, boundary, chain.verify)
    return error.value.reason


def test_a_step_of_another_chain(ledger):
    assert refused(boundaries(ledger).headers[0], chain_id=bytes(32)) == Reason.WRONG_CHAIN


def test_a_step_from_another_set(ledger):
    first, second, _ = boundaries(ledger).headers
    assert refused(second) == Reason.BAD_VALIDATORS
    assert refused(first, SETS[7]) == Reason.BAD_VALIDATORS
    same_members_later = chain.validators(4, start=2)  # a set's hash says from when it is in force
    assert refused(first, same_members_later) == Reason.BAD_VALIDATORS


def test_a_step_before_the_set_is_in_force(ledger):
    following = chain.validators(4, start=6, first=9)
    named = chain.blocks.validators_hash(chain.CHAIN_ID, following)
    early = changed(boundaries(ledger).headers[1], SETS[6], height=5, next_validators_hash=named)
    early.next_validators = following.SerializeToString(deterministic=True)
    assert refused(early, SETS[6]) == Reason.BAD_VALIDATORS


def test_a_step_whose_header_was_changed(ledger):
    assert refused(changed(boundaries(ledger).headers[0], time_ms=5)) == Reason.BAD_CERTIFICATE


@pytest.mark.parametrize("what", ["kind", "height", "signature", "too few"])
def test_a_step_that_no_quorum_finalized(ledger, what):
    boundary = SignedHeader.FromString(boundaries(ledger).headers[0].SerializeToString())
    if what == "kind":
        boundary.certificate.kind = VoteKind.NOTARIZE
    elif what == "height":
        boundary.certificate.height += 1
    elif what == "signature":
        boundary.certificate.signatures[1] = bytes(64)
    else:
        boundary.certificate.signers = b"\xc0"
        del boundary.certificate.signatures[2:]
    assert refused(boundary) == Reason.BAD_CERTIFICATE


def test_a_step_certified_by_the_set_that_it_names(ledger):
    assert refused(changed(boundaries(ledger).headers[0], SETS[6])) == Reason.BAD_CERTIFICATE


@pytest.mark.parametrize("carried", [b"", b"\xff", SETS[7], FIRST, chain.validators(4, start=6, first=12)])
def test_a_step_with_another_set_than_the_one_it_names(ledger, carried):
    boundary = SignedHeader.FromString(boundaries(ledger).headers[0].SerializeToString())
    boundary.next_validators = carried if isinstance(carried, bytes) else carried.SerializeToString()
    refused(boundary)


def test_a_header_after_which_the_set_stays(ledger):
    current = chain.blocks.validators_hash(chain.CHAIN_ID, FIRST)
    boundary = changed(boundaries(ledger).headers[0], FIRST, next_validators_hash=current)
    boundary.next_validators = FIRST.SerializeToString(deterministic=True)
    assert refused(boundary) == Reason.BAD_VALIDATORS


@pytest.mark.parametrize(
    "following",
    [
        chain.validators(4, start=7, first=3),
        chain.validators(4, start=1, first=3),
        chain.validators(VALIDATORS_MAX + 1, start=6),
        ValidatorSet(in_force_from=6),
    ],
    ids=["too late", "too early", "too many", "nobody"],
)
def test_a_step_to_a_set_that_cannot_be_in_force_there(ledger, following):
    named = chain.blocks.validators_hash(chain.CHAIN_ID, following)
    boundary = changed(boundaries(ledger).headers[0], FIRST, next_validators_hash=named)
    boundary.next_validators = following.SerializeToString(deterministic=True)
    assert refused(boundary) == Reason.BAD_VALIDATORS


# ---- the horizon ----------------------------------------------------------------------------------------


def test_what_the_set_in_force_signed_is_the_target_at_once(ledger):
    horizon = made()
    horizon.told(b"a", finalization(ledger, 4))
    assert horizon.target == 4
    assert horizon.requests(0) == []


def test_what_a_later_set_signed_is_walked_to_and_every_step_raises_the_target(ledger):
    horizon = made()
    horizon.told(b"a", finalization(ledger, 20))
    assert horizon.target == 0
    [(peer, request)] = horizon.requests(0)
    assert (peer, request.from_height) == (b"a", 1)
    reply = boundaries(ledger)
    horizon.answered(b"a", BoundaryReply(headers=reply.headers[:2]), 1)
    assert horizon.target == 6
    [(peer, request)] = horizon.requests(1)  # on we go: it has shown what is true
    assert (peer, request.from_height) == (b"a", 7)
    horizon.answered(b"a", boundaries(ledger, 7), 2)
    assert (horizon.target, horizon.validators) == (20, SETS[12])
    assert horizon.requests(3) == []
    assert horizon.next_ms(3) is None


def test_a_step_proven_meanwhile_by_another_is_passed_over(ledger):
    horizon = made()
    horizon.told(b"a", finalization(ledger, 20))
    horizon.told(b"b", finalization(ledger, 19))
    [(first, _)] = horizon.requests(0)
    [(second, _)] = horizon.requests(LATE_MS)
    assert {first, second} == {b"a", b"b"}
    horizon.answered(second, BoundaryReply(headers=boundaries(ledger).headers[:1]), LATE_MS)
    horizon.answered(first, boundaries(ledger), LATE_MS)
    assert horizon.target == 20


def test_a_lie_costs_its_teller_its_claim_and_one_request(ledger):
    horizon = made()
    lie = Certificate.FromString(finalization(ledger, 20).SerializeToString())
    lie.height = 2**64 - 1
    horizon.told(b"liar", lie)
    assert len(horizon.requests(0)) == 1
    horizon.answered(b"liar", BoundaryReply(), 1)
    assert horizon.requests(1) == []
    horizon.told(b"liar", lie)
    assert horizon.requests(1) == []  # it rests
    assert horizon.next_ms(1) == 1 + LATE_MS // 16
    horizon.told(b"a", finalization(ledger, 20))
    assert [peer for peer, _ in horizon.requests(2)] == [b"a"]
    assert horizon.target == 0


@pytest.mark.parametrize("spoiled", [0, 1, 2])
def test_steps_before_a_bad_one_stand_and_none_after_it(ledger, spoiled):
    horizon = made()
    horizon.told(b"liar", finalization(ledger, 20))
    horizon.requests(0)
    reply = BoundaryReply.FromString(boundaries(ledger).SerializeToString())
    reply.headers[spoiled].certificate.signatures[0] = bytes(64)
    horizon.answered(b"liar", reply, 1)
    assert horizon.target == [0, 5, 6][spoiled]
    horizon.answered(b"liar", boundaries(ledger), 1)  # nobody asked
    assert horizon.target == [0, 5, 6][spoiled]


def test_headers_that_do_not_rise_prove_nothing(ledger):
    horizon = made()
    horizon.told(b"liar", finalization(ledger, 20))
    horizon.requests(0)
    headers = list(boundaries(ledger).headers)
    horizon.answered(b"liar", BoundaryReply(headers=headers[::-1]), 1)
    assert horizon.target == 0
    assert horizon.requests(1) == []


def test_one_walk_at_a_time_and_the_next_when_it_is_late(ledger):
    horizon = made()
    for peer in (b"a", b"b", b"c"):
        horizon.told(peer, finalization(ledger, 20))
    assert len(horizon.requests(0)) == 1
    assert horizon.requests(LATE_MS - 1) == []
    assert horizon.next_ms(0) == LATE_MS
    assert len(horizon.requests(LATE_MS)) == 1
    assert len({*horizon._walks}) == 2


def test_a_target_that_only_a_retired_set_vouches_for_falls_with_the_next_step(ledger):
    """Its keys may be anyone's by now. Whoever follows the chain's own headers is not held up by them."""
    horizon = made()
    forged = chain.finalization(FIRST, 1_000_000, bytes(32))
    horizon.told(b"liar", forged)
    assert horizon.target == 1_000_000
    horizon.opened(6, SETS[6])  # so far the blocks themselves have brought us
    assert horizon.target == 5
    horizon.told(b"a", finalization(ledger, 6))
    assert horizon.target == 6


def test_a_boundary_below_the_open_height_leads_nowhere(ledger):
    """That height is decided here, and its set went on."""
    horizon = made()
    horizon.opened(4, FIRST)
    horizon.told(b"liar", finalization(ledger, 20))
    horizon.requests(0)
    retired = chain.validators(4, start=4, first=20)
    named = chain.blocks.validators_hash(chain.CHAIN_ID, retired)
    forged = changed(boundaries(ledger).headers[0], FIRST, height=3, next_validators_hash=named)
    forged.next_validators = retired.SerializeToString(deterministic=True)
    horizon.answered(b"liar", BoundaryReply(headers=[forged]), 1)
    assert (horizon.validators, horizon.target) == (FIRST, 0)


def test_the_set_of_an_opened_height_counts_as_proven(ledger):
    horizon = made()
    horizon.told(b"a", finalization(ledger, 11))
    horizon.opened(7, SETS[7])
    assert horizon.target == 11
    horizon.opened(7, SETS[6])  # older than what is known
    assert horizon.validators == SETS[7]


def test_steps_ahead_are_bounded_and_go_on_with_the_blocks(ledger, monkeypatch):
    """Sets that are kept until their heights open: whoever controls a retired set could else lead on for ever."""
    monkeypatch.setattr(boundaries_file, "STEPS_AHEAD_MAX", 2)
    horizon = made()
    horizon.told(b"a", finalization(ledger, 20))
    horizon.requests(0)
    horizon.answered(b"a", boundaries(ledger), 1)
    forged = chain.finalization(chain.validators(4, start=20, first=20), 1_000, bytes(32))
    horizon.told(b"liar", forged)
    assert horizon.requests(2) == []
    horizon.opened(6, SETS[6])
    assert horizon.requests(3) == []
    horizon.opened(7, SETS[7])
    assert [peer for peer, _ in horizon.requests(4)] == [b"liar"]
    assert (horizon.target, horizon.validators) == (20, SETS[12])


def test_claims_are_bounded_and_forgotten(ledger):
    horizon = made()
    for peer in range(3 * PEERS_MAX):
        horizon.told(b"%d" % peer, finalization(ledger, 20))
    assert len(horizon._claims) == PEERS_MAX
    horizon.opened(21, SETS[12])
    assert not horizon._claims


def test_a_lower_claim_is_not_looked_at(ledger):
    verified = []

    def verify(*arguments):
        verified.append(arguments)
        return chain.verify(*arguments)

    horizon = Horizon(chain.CHAIN_ID, chain.key(0), verify, FIRST, Patience(LATE_MS))
    horizon.told(b"a", finalization(ledger, 4))
    count = len(verified)
    for height in (4, 3, 2):
        horizon.told(b"a", finalization(ledger, height))
        horizon.told(b"b", finalization(ledger, height))
    horizon.told(chain.key(0), finalization(ledger, 5))  # ourselves
    assert len(verified) == count
