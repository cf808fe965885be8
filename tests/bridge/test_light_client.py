"""The one function that extends trust in another chain, with every way to lie to it."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.light_client import (
    CertifiedHeader,
    certified,
    check_misbehaviour,
    check_set,
    from_anchor,
    from_genesis,
    one_member_suffices,
    verify_header,
)
from ledger import codec
from ledger.block import block_hash, decode_header
from ledger.errors import Invalid, Malformed
from ledger.hashes import ZERO
from ledger.limits import HEADER_AHEAD_MS_MAX
from proto.chiptrace.v1.consensus_pb2 import NOTARIZE, SignedHeader
from proto.chiptrace.v1.ledger_pb2 import Header, Reason, Validator, ValidatorSet
from tests.bridge.certified import CHAIN, HERE, T0, Keys, make_header, signed_header

PERIOD = 14 * 86_400_000
NOW = T0 + 1_000_000
FIRST = Keys("abcd")


def genesis_state(keys=FIRST):
    return from_genesis(CHAIN, keys.set, T0)


def verify(trusted, signed, now_ms=NOW, period=PERIOD):
    return verify_header(trusted, signed, now_ms, period)


def refused(reason, trusted, signed, **options):
    with pytest.raises(Invalid) as caught:
        verify(trusted, signed, **options)
    assert caught.value.reason == reason


# ---- what holds ---------------------------------------------------------------------------------------------


def test_it_begins_at_a_genesis():
    trusted = genesis_state()
    assert (trusted.latest_height, trusted.latest_time_ms, trusted.latest_block_hash) == (0, T0, ZERO)
    assert trusted.latest_next_validators_hash == FIRST.hash()


@pytest.mark.parametrize("signers", [(0, 1, 2), (1, 2, 3), (0, 1, 2, 3)])
def test_any_quorum_certifies_any_later_height(signers):
    signed = signed_header(17, FIRST, signers=signers)
    after = verify(genesis_state(), signed)
    assert after.latest_height == 17
    assert after.latest_block_hash == block_hash(CHAIN, signed.header)
    assert after.validators == FIRST.set


def test_the_newest_header_again_changes_nothing_even_from_another_view_and_unsigned():
    signed = signed_header(17, FIRST)
    after = verify(genesis_state(), signed)
    assert verify(after, signed) is after
    assert verify(after, signed_header(17, FIRST, view=9)) is after
    assert verify(after, SignedHeader(header=signed.header)) is after


# Steps in height, each with the members of the set that follows where it changes.
set_walks = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from(["", "abcd", "bcde", "abcdefg"])), max_size=6
)


@settings(max_examples=30, deadline=None)
@given(set_walks)
def test_it_follows_every_change_of_sets(steps):
    trusted, keys, height = genesis_state(), FIRST, 0
    for step, members in steps:
        height += step
        following = Keys(members, height + 1, salt=str(height)) if members else None
        trusted = verify(trusted, signed_header(height, keys, following))
        keys = following or keys
        assert trusted.validators == keys.set
        assert trusted.latest_height == height


def test_it_begins_at_an_anchor():
    trusted = from_anchor(CHAIN, FIRST.set, signed_header(40, FIRST))
    assert verify(trusted, signed_header(41, FIRST)).latest_height == 41


def test_a_boundary_header_is_no_anchor():
    following = Keys("bcde", 41)
    with pytest.raises(Invalid) as caught:
        from_anchor(CHAIN, FIRST.set, signed_header(40, FIRST, following))
    assert caught.value.reason == Reason.BAD_VALIDATORS
    with pytest.raises(Invalid):
        from_anchor(CHAIN, following.set, signed_header(40, FIRST, following))


# ---- what is refused, step by step ----------------------------------------------------------------------------


def test_a_frozen_client_verifies_nothing():
    trusted = dataclasses.replace(genesis_state(), frozen=True)
    refused(Reason.CLIENT_FROZEN, trusted, signed_header(1, FIRST))


def test_30_an_expired_client_verifies_nothing_and_time_is_the_given_one():
    signed = signed_header(1, FIRST)
    assert verify(genesis_state(), signed, now_ms=T0 + PERIOD)
    refused(Reason.CLIENT_EXPIRED, genesis_state(), signed, now_ms=T0 + PERIOD + 1)
    assert verify(genesis_state(), signed, now_ms=T0 + 10 * PERIOD, period=None)


def test_19_a_header_of_another_chain_is_refused():
    header = make_header(3, FIRST, chain_id=HERE)
    after = verify(genesis_state(), signed_header(17, FIRST))
    refused(Reason.WRONG_CHAIN, after, SignedHeader(header=header, certificate=FIRST.certify(header, 3)))
    refused(
        Reason.WRONG_CHAIN, genesis_state(), SignedHeader(header=header, certificate=FIRST.certify(header, 3))
    )


def test_heights_at_and_below_the_newest_are_refused():
    after = verify(genesis_state(), signed_header(17, FIRST))
    refused(Reason.NOT_NEWER, after, signed_header(16, FIRST))
    refused(Reason.NOT_NEWER, after, signed_header(17, FIRST, app_hash=bytes(31) + b"x"))


@pytest.mark.parametrize("time_ms", [T0 + 17_000, T0 + 16_999, 1, 0])
def test_time_must_increase(time_ms):
    after = verify(genesis_state(), signed_header(17, FIRST))
    refused(Reason.BAD_TIME, after, signed_header(18, FIRST, time_ms=time_ms))


def test_a_header_from_the_future_waits():
    edge = NOW + HEADER_AHEAD_MS_MAX
    assert verify(genesis_state(), signed_header(1, FIRST, time_ms=edge))
    refused(Reason.BAD_TIME, genesis_state(), signed_header(1, FIRST, time_ms=edge + 1))


@pytest.mark.parametrize("members", ["abcd", "bcde"])
def test_another_set_certifies_nothing(members):
    stranger = Keys(members, salt="stranger")
    refused(Reason.BAD_VALIDATORS, genesis_state(), signed_header(1, stranger))


def test_the_right_set_in_the_header_but_strangers_in_the_certificate():
    stranger = Keys("abcd", salt="stranger")
    header = make_header(1, FIRST)
    signed = SignedHeader(header=header, certificate=stranger.certify(header, 1))
    refused(Reason.BAD_CERTIFICATE, genesis_state(), signed)


@pytest.mark.parametrize("signers", [(), (0,), (0, 1), (2, 3)])
def test_12_less_than_a_quorum_certifies_nothing(signers):
    refused(Reason.BAD_CERTIFICATE, genesis_state(), signed_header(1, FIRST, signers=signers))


def test_27_a_notarization_is_no_finalization():
    header = make_header(1, FIRST)
    signed = SignedHeader(header=header, certificate=FIRST.certify(header, 1, kind=NOTARIZE))
    refused(Reason.BAD_CERTIFICATE, genesis_state(), signed)


def test_19_votes_of_another_chain_height_or_kind_are_no_votes_for_this_header():
    header = make_header(1, FIRST)
    for other in (
        FIRST.certify(header, 1, chain_id=HERE),
        FIRST.certify(header, 2),
        FIRST.certify(header, 1, kind=NOTARIZE),
    ):
        # As signed, and re-labelled as what is wanted.
        relabelled = FIRST.certify(header, 1)
        relabelled.signatures[:] = other.signatures
        for certificate in (other, relabelled):
            refused(
                Reason.BAD_CERTIFICATE, genesis_state(), SignedHeader(header=header, certificate=certificate)
            )
    # Another view signs other bytes too.
    moved = FIRST.certify(header, 1, view=3)
    moved.view = 4
    refused(Reason.BAD_CERTIFICATE, genesis_state(), SignedHeader(header=header, certificate=moved))


def test_10_no_certificate_at_all():
    refused(Reason.BAD_CERTIFICATE, genesis_state(), SignedHeader(header=make_header(1, FIRST)))


def test_a_header_under_the_certificate_of_its_neighbour():
    one, other = signed_header(1, FIRST), signed_header(1, FIRST, time_ms=T0 + 1)
    crossed = SignedHeader(header=one.header, certificate=other.certificate)
    refused(Reason.BAD_CERTIFICATE, genesis_state(), crossed)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_01_any_flipped_bit_is_refused(data):
    signed = codec.encode(signed_header(3, FIRST, Keys("bcde", 4), signers=(0, 1, 2)))
    bit = data.draw(st.integers(0, len(signed) * 8 - 1))
    flipped = bytearray(signed)
    flipped[bit // 8] ^= 1 << bit % 8
    try:
        message = SignedHeader.FromString(bytes(flipped))
    except Exception:  # the envelope itself broke: nothing reaches the client
        return
    if message.header == SignedHeader.FromString(signed).header and codec.encode(message) == signed:
        return
    with pytest.raises((Invalid, Malformed)):
        verify(genesis_state(), message)


# ---- changes of the set -----------------------------------------------------------------------------------------


def test_a_skipped_boundary_is_refused_and_heals():
    second = Keys("bcde", 6)
    third = Keys("cdef", 9)
    boundary = signed_header(5, FIRST, second)
    refused(Reason.BAD_VALIDATORS, genesis_state(), signed_header(7, second))
    trusted = verify(genesis_state(), boundary)
    refused(Reason.BAD_VALIDATORS, trusted, signed_header(7, FIRST))
    refused(Reason.BAD_VALIDATORS, trusted, signed_header(12, third))
    trusted = verify(trusted, signed_header(8, second, third))
    assert verify(trusted, signed_header(12, third)).latest_height == 12


def test_a_set_that_left_and_came_back_cannot_skip_what_was_between():
    """S -> S' -> S: the second S is in force from another height and so has another hash."""
    second, again = Keys("bcde", 6), Keys("abcd", 9)
    assert again.set.validators == FIRST.set.validators
    refused(Reason.BAD_VALIDATORS, genesis_state(), signed_header(12, again))
    trusted = verify(genesis_state(), signed_header(5, FIRST, second))
    trusted = verify(trusted, signed_header(8, second, again))
    refused(Reason.BAD_VALIDATORS, trusted, signed_header(12, FIRST))
    assert verify(trusted, signed_header(12, again)).latest_height == 12


def test_a_boundary_without_or_with_another_set_is_refused():
    second, other = Keys("bcde", 6), Keys("bcdf", 6)
    boundary = signed_header(5, FIRST, second)
    bare = SignedHeader(header=boundary.header, certificate=boundary.certificate)
    refused(Reason.BAD_VALIDATORS, genesis_state(), bare)
    swapped = SignedHeader(
        header=boundary.header, certificate=boundary.certificate, next_validators=codec.encode(other.set)
    )
    refused(Reason.BAD_VALIDATORS, genesis_state(), swapped)


@pytest.mark.parametrize("in_force_from", [5, 7, 1, 2**63])
def test_a_next_set_not_in_force_at_the_next_height_is_refused(in_force_from):
    refused(Reason.BAD_VALIDATORS, genesis_state(), signed_header(5, FIRST, Keys("bcde", in_force_from)))


def test_a_set_sent_along_where_none_changes_is_refused():
    signed = signed_header(5, FIRST)
    signed.next_validators = codec.encode(FIRST.set)
    refused(Reason.BAD_VALIDATORS, genesis_state(), signed)


def _twice(keys):
    return ValidatorSet(in_force_from=6, validators=[*keys.set.validators, keys.set.validators[0]])


@pytest.mark.parametrize(
    "bad",
    [
        ValidatorSet(in_force_from=6),
        _twice(Keys("bcde", 6)),
        ValidatorSet(in_force_from=6, validators=[Validator(key=bytes(32), member="a")]),
        ValidatorSet(in_force_from=6, validators=[Validator(key=b"short", member="a")]),
        Keys("abcdefghijklmnopqrstuvwxyzABCDEF", 6).set,
    ],
    ids=["empty", "twice", "small-order", "short", "too-many"],
)
def test_an_unsound_next_set_is_refused(bad):
    second = Keys("bcde", 6)
    second.set = bad
    refused(Reason.BAD_VALIDATORS, genesis_state(), signed_header(5, FIRST, second))
    with pytest.raises(Invalid):
        check_set(bad)


def test_a_genesis_set_is_in_force_from_one():
    with pytest.raises(Invalid):
        from_genesis(CHAIN, Keys("abcd", 2).set, T0)


# ---- bytes ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=100))
def test_05_rubbish_raises_nothing_but_what_is_promised(header, next_validators):
    signed = SignedHeader(header=header, next_validators=next_validators)
    with pytest.raises((Invalid, Malformed)):
        verify(genesis_state(), signed)


def test_17_a_header_in_another_encoding_is_malformed():
    signed = signed_header(1, FIRST)
    for data in (
        signed.header + b"\x00",
        signed.header + Header(height=1).SerializeToString(),
        signed.header[:-1],
    ):
        with pytest.raises(Malformed):
            verify(genesis_state(), SignedHeader(header=data, certificate=FIRST.certify(data, 1)))


# ---- misbehaviour -------------------------------------------------------------------------------------------


def found(signed, keys=FIRST) -> CertifiedHeader:
    return certified(CHAIN, keys.set, signed)


def test_two_blocks_at_one_height_are_misbehaviour():
    check_misbehaviour(found(signed_header(9, FIRST)), found(signed_header(9, FIRST, time_ms=T0 + 1, view=2)))


@pytest.mark.parametrize("later_ms", [T0 + 9_000, T0 + 8_999])
def test_time_that_does_not_increase_is_misbehaviour_in_either_order(later_ms):
    low, high = found(signed_header(9, FIRST)), found(signed_header(12, FIRST, time_ms=later_ms))
    check_misbehaviour(low, high)
    check_misbehaviour(high, low)


def test_honest_headers_are_none():
    one = signed_header(9, FIRST)
    for other in (one, signed_header(9, FIRST, view=5), signed_header(10, FIRST), signed_header(8, FIRST)):
        with pytest.raises(Invalid) as caught:
            check_misbehaviour(found(one), found(other))
        assert caught.value.reason == Reason.NOT_MISBEHAVIOUR


# ---- strength -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "weak"),
    [
        ("a", True),
        ("aa", True),
        ("ab", False),
        ("aaab", True),
        ("aabb", False),
        ("aabc", False),
        ("abcd", False),
        ("aaaaabb", True),
        ("aaaabbc", False),
    ],
)
def test_12_a_set_that_one_member_can_speak_for_is_weak(members, weak):
    assert one_member_suffices(Keys(members).set) is weak


def test_header_fields_are_read_from_the_bytes_that_were_signed():
    signed = signed_header(7, FIRST)
    after = verify(genesis_state(), signed)
    header = decode_header(signed.header)
    assert (after.latest_time_ms, after.latest_validators_hash) == (header.time_ms, header.validators_hash)


# ---- strict ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("members", "weak"), [("aaab", True), ("a", True), ("aabb", False), ("abcd", False)])
def test_a_strict_client_freezes_before_a_set_that_one_member_certifies(members, weak):
    following = Keys(members, 11, salt="next")
    boundary = signed_header(10, FIRST, following)
    strict = dataclasses.replace(genesis_state(), strict=True)
    after = verify(strict, boundary)
    if weak:
        assert after == dataclasses.replace(strict, frozen=True)
        refused(Reason.CLIENT_FROZEN, after, signed_header(11, following))
    else:
        assert verify(after, signed_header(11, following)).latest_height == 11
    # Who chose the chain herself follows it there.
    assert verify(genesis_state(), boundary).latest_height == 10
