"""Domain tags keep purposes and chains apart; Ed25519 is libsodium's and strict."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import hashes
from ledger.errors import Invalid, InvariantBroken
from ledger.hashes import Purpose
from proto.chiptrace.v1.ledger_pb2 import Reason

CHAIN = hashlib.sha256(b"chain").digest()
SEED = hashlib.sha256(b"seed").digest()
ORDER = 2**252 + 27742317777372353535851937790883648493
PRIME = 2**255 - 19
TAGGED = [purpose for purpose in Purpose if purpose is not Purpose.GENESIS]
IDENTITY = (1).to_bytes(32, "little")
ORDER_8 = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa")


def chain_for(purpose):
    return b"" if purpose is Purpose.GENESIS else CHAIN


def test_no_tag_begins_another():
    tags = [hashes.tag(purpose, b"" if purpose is Purpose.GENESIS else CHAIN) for purpose in Purpose]
    for one in tags:
        assert sum(other.startswith(one) for other in tags) == 1


@given(st.sampled_from(list(Purpose)), st.binary(max_size=100))
def test_hashes_are_what_the_format_says(purpose, data):
    tag = b"chiptrace/v1/" + purpose.value.encode() + b"\0" + chain_for(purpose)
    chain = chain_for(purpose)
    assert hashes.tagged_hash(purpose, chain, data) == hashlib.sha256(tag + data).digest()
    assert hashes.leaf_hash(purpose, chain, data) == hashlib.sha256(b"\0" + tag + data).digest()
    assert hashes.signed_bytes(purpose, chain, data) == tag + data


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_tag_needs_a_whole_chain_id(length):
    with pytest.raises(InvariantBroken):
        hashes.tag(Purpose.BLOCK, bytes(length))


def test_the_genesis_tag_names_no_chain():
    with pytest.raises(InvariantBroken):
        hashes.tag(Purpose.GENESIS, CHAIN)


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.sampled_from(TAGGED), st.binary(max_size=200))
def test_signatures_verify_for_their_purpose_chain_and_key_only(seed, purpose, data):
    key = hashes.public_key(seed)
    hashes.check_public_key(key)
    signature = hashes.sign(seed, purpose, CHAIN, data)
    assert hashes.verify(key, purpose, CHAIN, data, signature)
    assert not hashes.verify(key, purpose, CHAIN, data + b"x", signature)
    assert not hashes.verify(key, purpose, bytes(32), data, signature)
    other = TAGGED[(TAGGED.index(purpose) + 1) % len(TAGGED)]
    assert not hashes.verify(key, other, CHAIN, data, signature)
    assert not hashes.verify(hashes.public_key(hashes.sha256(seed)), purpose, CHAIN, data, signature)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 511))
def test_every_bit_of_a_signature_counts(bit):
    signature = bytearray(hashes.sign_raw(SEED, b"message"))
    signature[bit // 8] ^= 1 << bit % 8
    assert not hashes.verify_raw(hashes.public_key(SEED), b"message", bytes(signature))


def test_a_signature_has_one_form():
    signature = hashes.sign_raw(SEED, b"message")
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    assert not hashes.verify_raw(
        hashes.public_key(SEED), b"message", signature[:32] + scalar.to_bytes(32, "little")
    )


@pytest.mark.parametrize("key_bytes", [0, 31, 33])
def test_keys_of_another_length_verify_nothing(key_bytes):
    signature = hashes.sign_raw(SEED, b"message")
    key = (hashes.public_key(SEED) + b"\0")[:key_bytes]
    assert not hashes.verify_raw(key, b"message", signature)


def test_signatures_of_another_length_verify_nothing():
    key, signature = hashes.public_key(SEED), hashes.sign_raw(SEED, b"message")
    assert not hashes.verify_raw(key, b"message", signature[:63])
    assert not hashes.verify_raw(key, b"message", b"")
    # The first byte of the message moved into the signature would give the same bytes.
    assert not hashes.verify_raw(key, b"essage", signature + b"m")


def test_the_published_edge_vectors():
    assert len(hashes.EDGE_VECTORS) == 12
    assert [vector[-1] for vector in hashes.EDGE_VECTORS] == [number == 3 for number in range(12)]
    hashes.self_test()


def test_the_self_test_notices_another_library(monkeypatch):
    vectors = [(*vector[:-1], not vector[-1] if number == 8 else vector[-1]) for number, vector in enumerate(
        hashes.EDGE_VECTORS
    )]  # fmt: skip
    monkeypatch.setattr(hashes, "EDGE_VECTORS", tuple(vectors))
    with pytest.raises(InvariantBroken, match="vector 8"):
        hashes.self_test()


SMALL_ORDER = [
    IDENTITY,
    (PRIME - 1).to_bytes(32, "little"),
    bytes(32),
    bytes(31) + b"\x80",
    ORDER_8,
    bytes([*ORDER_8[:31], ORDER_8[31] ^ 0x80]),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
]


@pytest.mark.parametrize("key", SMALL_ORDER, ids=bytes.hex)
def test_keys_of_small_order_are_refused(key):
    with pytest.raises(Invalid, match="small order") as raised:
        hashes.check_public_key(key)
    assert raised.value.reason == Reason.KEY_NOT_VALID


@pytest.mark.parametrize("y", [PRIME, PRIME + 1, PRIME + 3, PRIME + 18])
@pytest.mark.parametrize("sign", [0, 1])
def test_keys_in_another_encoding_are_refused(y, sign):
    with pytest.raises(Invalid, match="canonical"):
        hashes.check_public_key((y | sign << 255).to_bytes(32, "little"))


@pytest.mark.parametrize("length", [0, 31, 33])
def test_keys_of_another_length_are_refused(length):
    with pytest.raises(Invalid, match="bytes"):
        hashes.check_public_key(bytes(length))


def test_points_off_the_curve_and_off_the_group_are_refused():
    mixed = bytes.fromhex(hashes.EDGE_VECTORS[3][1])  # on the curve, with a part of small order
    off_curve = next(
        key
        for y in range(2, 100)
        if not hashes.bindings.crypto_core_ed25519_is_valid_point(key := y.to_bytes(32, "little"))
    )
    for key in (mixed, off_curve):
        with pytest.raises(Invalid, match="prime-order"):
            hashes.check_public_key(key)


def test_a_seed_has_32_bytes():
    with pytest.raises(InvariantBroken):
        hashes.public_key(bytes(31))
