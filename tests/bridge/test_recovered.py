"""Nobody goes past a recovery unasked; who accepted it does, and only past exactly that one."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.client_step import thaw_message
from bridge.light_client import from_anchor, from_genesis, verify_header
from bridge.recovered import Final, follow_recovery, signed_on_both_sides
from consensus.certificate import form
from consensus.messages import signed_vote
from ledger import codec, hashes
from ledger.block import block_hash, decode_header, recovery_mark, validators_hash
from ledger.errors import ChiptraceError, Invalid
from proto.chiptrace.v1.bridge_pb2 import UpdateClient
from proto.chiptrace.v1.consensus_pb2 import FINALIZE, SignedHeader, Vote
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Genesis,
    Operation,
    Reason,
    Recovery,
    RecoveryDocument,
    Signature,
    ThawClient,
)
from tests.bridge.recovered import recover
from tests.bridge.two_chains import HOUR_MS, TRUSTING_MS, World
from tests.ledger.chain_fixture import key_of, seed_of
from tests.ledger.recovered import approved

WORLD = World("a", "b")
A = WORLD["a"]
for _ in range(3):
    A.produce()
HEIGHT = A.height
OLD_TIP = A.header(HEIGHT)
OPENED = recover(A)
FIRST = A.header(HEIGHT + 1)
NEXT = A.header(HEIGHT + 2)
NOW_MS = A.info.time_ms


def believed(height=HEIGHT):
    """What is believed of a after a height of its old set."""
    trusted = from_genesis(A.chain_id, A.genesis_set, Genesis.FromString(A.genesis).time_ms)
    return verify_header(trusted, A.header(height), NOW_MS, None)


def refused(reason, trusted, signed, accepted=(OPENED.hash,), now_ms=NOW_MS):
    with pytest.raises(ChiptraceError) as caught:
        follow_recovery(trusted, signed, accepted, now_ms)
    assert caught.value.reason == reason, str(caught.value)


def copy(**changed) -> SignedHeader:
    signed = SignedHeader()
    signed.CopyFrom(FIRST)
    for name, value in changed.items():
        setattr(signed, name, value)
    return signed


def other_header(**changed) -> SignedHeader:
    """The first header with other fields, certified anew by the recovery's set."""
    header = decode_header(FIRST.header)
    for name, value in changed.items():
        setattr(header, name, value)
    data = codec.encode(header)
    return SignedHeader(header=data, certificate=A.certify(data), recovery=FIRST.recovery)


def test_who_accepted_it_goes_on_with_its_set():
    trusted, opened = follow_recovery(believed(), FIRST, {OPENED.hash}, NOW_MS)
    assert (trusted.latest_height, trusted.validators) == (HEIGHT + 1, OPENED.validators)
    assert opened == OPENED
    assert verify_header(trusted, NEXT, NOW_MS, None).latest_height == HEIGHT + 2
    # The same header again is no news.
    assert verify_header(trusted, FIRST, NOW_MS, None) == trusted


def test_nobody_follows_unasked():
    refused(Reason.RECOVERED, believed(), FIRST, accepted=())
    refused(Reason.RECOVERED, believed(), FIRST, accepted=(hashes.ZERO,))
    with pytest.raises(Invalid) as caught:
        verify_header(believed(), FIRST, NOW_MS, None)
    assert caught.value.reason == Reason.RECOVERED
    with pytest.raises(Invalid) as caught:  # nor around it
        verify_header(believed(), NEXT, NOW_MS, None)
    assert caught.value.reason == Reason.BAD_VALIDATORS


def test_the_old_set_cannot_mark_a_block_of_its_own_as_recovered():
    """A quorum that is alive is replaced by governance, not by a recovery: a header of its own with one is none."""
    header = decode_header(OLD_TIP.header)
    header.recovery = FIRST.recovery[:32]
    with pytest.raises(Invalid) as caught:
        verify_header(believed(HEIGHT - 1), SignedHeader(header=codec.encode(header)), NOW_MS, None)
    assert caught.value.reason == Reason.RECOVERED


def test_only_from_exactly_where_it_says():
    refused(Reason.BAD_RECOVERY, believed(HEIGHT - 1), FIRST)
    other = dataclasses.replace(believed(), latest_block_hash=hashes.ZERO)
    refused(Reason.BAD_RECOVERY, other, FIRST)


def test_the_recovery_is_the_one_that_the_header_names():
    refused(Reason.BAD_ROOT, believed(), copy(recovery=b""))
    again = approved(A, OPENED.document_bytes, A.members[:1])
    refused(Reason.BAD_ROOT, believed(), copy(recovery=again))
    refused(Reason.BAD_ROOT, believed(), SignedHeader(header=NEXT.header, recovery=FIRST.recovery))


def test_the_header_follows_its_block_and_outcome():
    refused(Reason.BAD_RECOVERY, believed(), other_header(parent_hash=bytes(32)))
    refused(Reason.BAD_RECOVERY, believed(), other_header(height=HEIGHT + 2))
    refused(Reason.BAD_RECOVERY, believed(), other_header(app_hash=bytes(32)))
    refused(Reason.WRONG_CHAIN, believed(), other_header(chain_id=bytes(32)))


def test_time_rises_and_is_not_in_the_judges_future():
    refused(Reason.BAD_TIME, believed(), other_header(time_ms=believed().latest_time_ms))
    refused(Reason.BAD_TIME, believed(), FIRST, now_ms=decode_header(FIRST.header).time_ms - HOUR_MS)


def test_a_frozen_client_follows_nothing():
    refused(Reason.CLIENT_FROZEN, dataclasses.replace(believed(), frozen=True), FIRST)


def test_a_quorum_of_the_recoverys_set_signed():
    few = copy()
    del few.certificate.signatures[1:]
    few.certificate.signers = b"\x80"
    refused(Reason.BAD_CERTIFICATE, believed(), few)
    old = copy()
    old.certificate.CopyFrom(OLD_TIP.certificate)
    refused(Reason.BAD_CERTIFICATE, believed(), old)
    wrong_set = validators_hash(A.chain_id, A.genesis_set)
    refused(Reason.BAD_VALIDATORS, believed(), other_header(validators_hash=wrong_set))
    refused(Reason.BAD_VALIDATORS, believed(), other_header(next_validators_hash=wrong_set))
    refused(Reason.BAD_VALIDATORS, believed(), copy(next_validators=codec.encode(OPENED.validators)))


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_flipped_byte_is_followed(data):
    name = data.draw(st.sampled_from(["header", "recovery"]))
    value = bytearray(getattr(FIRST, name))
    value[data.draw(st.integers(0, len(value) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ChiptraceError):
        follow_recovery(believed(), copy(**{name: bytes(value)}), {OPENED.hash}, NOW_MS)


def test_an_accepted_hash_is_no_licence_for_other_approvals_or_sets():
    """The document names its set: whoever shows it with another set's certificate shows nothing."""
    document = RecoveryDocument.FromString(OPENED.document_bytes)
    document.validators[0].key = document.validators[1].key
    data = codec.encode(Recovery(document=codec.encode(document), approvals=OPENED.approvals))
    signed = other_header(recovery=recovery_mark(A.chain_id, data))
    signed.recovery = data
    refused(Reason.BAD_VALIDATORS, believed(), signed)


# ---- when the old set was not lost after all --------------------------------------------------------------------------


def old_side(signers=(0, 1, 2), **changed) -> SignedHeader:
    """What the old set makes final at the first lost height, once it is back."""
    header = decode_header(FIRST.header)
    header.recovery = b""
    header.validators_hash = header.next_validators_hash = validators_hash(A.chain_id, A.genesis_set)
    for name, value in changed.items():
        setattr(header, name, value)
    data = codec.encode(header)
    this_hash = block_hash(A.chain_id, data)
    vote = Vote(kind=FINALIZE, height=header.height, view=2, block_hash=this_hash)
    signed = signed_vote(A.chain_id, vote)
    signatures = {index: hashes.sign_raw(seed_of(A.members[index], "validator"), signed) for index in signers}
    certificate = form(FINALIZE, header.height, 2, this_hash, signatures, 4)
    return SignedHeader(header=data, certificate=certificate)


def test_members_that_signed_both_blocks_are_named():
    few = copy()
    few.certificate.CopyFrom(certified_by(few.header, (1, 2, 3)))
    old = old_side()
    # Whoever follows headers alone believes the old set still: that is the fork.
    assert verify_header(believed(), old, NOW_MS, None).latest_height == HEIGHT + 1
    assert both(old, few) == ("abe", "amy")
    assert both(old, FIRST) == ("abe", "ada", "amy")


def both(old, first):
    return signed_on_both_sides(
        A.chain_id, HEIGHT + 1, Final(A.genesis_set, old), Final(OPENED.validators, first)
    )


def certified_by(header, indexes):
    whole = A.certify(header)
    return form(
        FINALIZE,
        HEIGHT + 1,
        1,
        whole.block_hash,
        {i: whole.signatures[i] for i in indexes},
        len(whole.signatures),
    )


def test_nobody_is_accused_by_what_no_quorum_signed():
    for old, first, reason in (
        (old_side(signers=(0, 1)), FIRST, Reason.BAD_CERTIFICATE),
        (FIRST, FIRST, Reason.BAD_VALIDATORS),
        (old_side(), old_side(), Reason.BAD_VALIDATORS),
        (old_side(height=HEIGHT + 2), FIRST, Reason.NOT_MISBEHAVIOUR),
    ):
        with pytest.raises(ChiptraceError) as caught:
            both(old, first)
        assert caught.value.reason == reason


# ---- the client that another chain keeps -----------------------------------------------------------------------------


@pytest.fixture
def world():
    return World("a", "b")


def update(world, *headers):

    message = codec.encode(UpdateClient(client="a-1", headers=headers))
    return world["b"].operate("bob", Operation(update_client=message), role="relayer")


def test_a_chain_does_not_follow_another_ones_recovery(world):
    world.relay()
    a = world["a"]
    height = a.height
    recover(a)
    assert update(world, a.header(height)).ok
    assert update(world, a.header(height + 1)).reason == Reason.RECOVERED
    assert update(world, a.header(height + 2)).reason == Reason.BAD_VALIDATORS
    assert world["b"].client("a-1").latest_height == height


def test_governance_of_both_thaws_it_once_it_has_expired(world):

    a, b = world["a"], world["b"]
    recover(a)

    def thaw() -> bool:
        a.produce()
        anchor = a.header(a.height)
        change = ThawClient(
            id="a-1",
            header=anchor.header,
            certificate=codec.encode(anchor.certificate),
            validators=a.info.validators,
        )
        message = thaw_message(b.chain_id, change, b.client("a-1").history.n)
        for member in a.members[:3]:
            seed = seed_of(member, "admin")
            signature = hashes.sign_raw(seed, message)
            change.counterparty_approvals.append(Signature(key=key_of(member, "admin"), signature=signature))
        return world.govern("b", Change(thaw_client=change)).ok

    assert not thaw()  # it is neither frozen nor expired yet
    world.clock.now_ms += TRUSTING_MS + HOUR_MS
    b.produce()
    assert thaw()
    assert b.client("a-1").latest_height == a.height
    a.produce()
    assert update(world, a.header(a.height)).ok


def test_a_header_behind_the_recovery_is_an_anchor_like_any_other():
    assert from_anchor(A.chain_id, OPENED.validators, NEXT).latest_height == HEIGHT + 2


def test_the_mark_is_in_the_header_for_whoever_has_only_that():
    assert len(decode_header(FIRST.header).recovery) == 32
    assert not decode_header(NEXT.header).recovery
