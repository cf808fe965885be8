import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import rows
from ledger.errors import InvariantBroken, StoreError
from ledger.rows import BoundaryHeader, Place, Tip

HASHES = st.binary(min_size=32, max_size=32)
U64 = st.integers(0, 2**64 - 1)
TIPS = st.builds(Tip, HASHES, U64, U64, HASHES, HASHES, HASHES)


@given(st.binary(max_size=60), st.binary(max_size=60), st.data())
def test_a_seal_finds_every_changed_byte_and_every_other_key(key, value, data):
    stored = rows.seal(key, value)
    assert rows.unseal(key, stored) == value
    index = data.draw(st.integers(0, len(stored) - 1))
    flipped = bytearray(stored)
    flipped[index] ^= data.draw(st.integers(1, 255))
    for wrong_key, wrong in ((key, bytes(flipped)), (key + b"x", stored), (key, stored[:-1]), (key, b"")):
        with pytest.raises(StoreError):
            rows.unseal(wrong_key, wrong)


@given(st.lists(st.binary(max_size=20), max_size=6))
def test_framed_items_come_back(items):
    assert rows.unframe(b"k", rows.frame(items)) == items


@pytest.mark.parametrize("data", [b"\0\0\0\1", b"\0\0", b"\0\0\0\5abcd"])
def test_a_frame_that_ends_early_is_damaged(data):
    with pytest.raises(StoreError):
        rows.unframe(b"k", data)


@given(TIPS, st.data())
def test_the_tip_checks_itself(tip, data):
    encoded = rows.encode_tip(tip)
    assert rows.decode_tip(encoded) == tip
    index = data.draw(st.integers(0, len(encoded) - 1))
    flipped = bytearray(encoded)
    flipped[index] ^= data.draw(st.integers(1, 255))
    for wrong in (bytes(flipped), encoded[:-1], encoded + b"\0", b""):
        with pytest.raises(StoreError):
            rows.decode_tip(wrong)


def test_a_store_of_another_version_is_no_damage():
    tip = rows.encode_tip(Tip(bytes(32), 7, 8, bytes(32), bytes(32), bytes(32)))
    later = tip.replace(b"chiptrace store 4", b"chiptrace store 9")
    with pytest.raises(
        StoreError, match=r"another version of the program .chiptrace store 9.*start the program"
    ):
        rows.decode_tip(later)
    with pytest.raises(StoreError, match="is no tip"):
        rows.decode_tip(b"\0" + tip[1:])


def test_a_store_of_an_earlier_version_is_read():
    tip = Tip(bytes(32), 7, 8, bytes(32), bytes(32), bytes(32))
    for version in (b"1", b"2", b"3"):
        body = rows.encode_tip(tip)[:-32].replace(b"chiptrace store 4", b"chiptrace store " + version)
        assert rows.decode_tip(body + hashlib.sha256(body).digest()) == tip


@given(HASHES, U64, st.integers(0, 2**32 - 1), U64)
def test_places_and_repetitions_come_back(transaction, height, index, time_ms):
    place, data = Place(transaction, height, index), rows.encode_place(rows.be64(height), index)
    assert rows.decode_place(transaction, data) == place
    repetition = rows.encode_repetition(transaction, data, rows.be64(time_ms))
    assert rows.decode_repetition(repetition) == (place, time_ms)


def test_a_repetition_of_another_length_is_our_mistake():
    with pytest.raises(InvariantBroken):
        rows.decode_repetition(bytes(51))


@given(U64, st.binary(max_size=9), st.binary(max_size=9), st.binary(max_size=9))
def test_boundaries_come_back(height, header, certificate, following):
    boundary = BoundaryHeader(height, header, certificate, following)
    assert rows.decode_boundary(rows.boundary_row(height), rows.encode_boundary(boundary)) == boundary


def test_no_two_tables_share_a_letter():
    keys = [
        rows.TIP,
        rows.GENESIS,
        rows.PAGE,
        rows.delta_row(1),
        rows.STATE,
        rows.SIDE,
        rows.block_row(1),
        rows.certificate_row(1),
        rows.results_row(1),
        rows.log_leaf_row(1),
        rows.log_node_row(0, 1),
        rows.entry_row(b"s", 1),
        rows.transaction_row(bytes(32)),
        rows.idempotency_row(b"m", bytes(16)),
        rows.expiry_row(1),
        rows.boundary_row(1),
    ]
    assert len({key[:1] for key in keys}) == len(keys)


@given(st.binary(max_size=8), st.binary(max_size=8), U64)
def test_histories_of_two_subjects_never_interleave(first, second, n):
    if first != second:
        low, high = rows.entry_row(first, 0), rows.entry_row(first, 2**64 - 1)
        assert not low <= rows.entry_row(second, n) <= high
