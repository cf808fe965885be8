"""One encoding per message: everything else that protobuf would accept is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import codec
from ledger.errors import InvariantBroken, Malformed
from proto.chiptrace.v1 import bridge_pb2, ledger_pb2
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger import messages

KINDS = messages.all_kinds()
BYTES_MAX = 65_536


def decode_or_none(kind, data):
    try:
        return codec.decode(kind, data, BYTES_MAX)
    except Malformed:
        return None


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_is_encoded_is_decoded_as_itself(data):
    kind = data.draw(st.sampled_from(KINDS))
    message = data.draw(messages.messages(kind))
    encoded = codec.encode(message)
    decoded = codec.decode(kind, encoded, len(encoded))
    assert decoded == message
    assert codec.encode(decoded) == encoded


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), st.binary(max_size=60))
def test_random_bytes_raise_nothing_but_malformed_and_have_one_encoding(kind, data):
    message = decode_or_none(kind, data)
    if message is not None:
        assert codec.encode(message) == data


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_is_refused_or_another_message(data):
    kind = data.draw(st.sampled_from(KINDS))
    message = data.draw(messages.messages(kind))
    encoded = bytearray(codec.encode(message))
    if not encoded:
        return
    position = data.draw(st.integers(0, len(encoded) - 1))
    encoded[position] ^= data.draw(st.integers(1, 255))
    changed = decode_or_none(kind, bytes(encoded))
    assert changed is None or (changed != message and codec.encode(changed) == bytes(encoded))


HEIGHT_5 = b"\x18\x05"  # field 3 of Header
VERSION_1 = b"\x10\x01"  # field 2

NOT_CANONICAL = {
    "unknown field": HEIGHT_5 + b"\xf8\x07\x01",
    "unknown field of an empty message": b"\xf8\x07\x01",
    "unknown group": HEIGHT_5 + b"\xfb\x07\xfc\x07",
    "duplicate scalar": HEIGHT_5 + HEIGHT_5,
    "duplicate scalar, last wins": b"\x18\x04" + HEIGHT_5,
    "explicit default": b"\x10\x00" + HEIGHT_5,
    "explicit empty bytes": b"\x0a\x00" + HEIGHT_5,
    "padded varint value": b"\x18\x85\x00",
    "padded varint tag": b"\x98\x00\x05",
    "padded length": b"\x0a\x81\x00\x41",
    "trailing zero": HEIGHT_5 + b"\x00",
    "trailing bytes": HEIGHT_5 + b"abc",
    "out of order": HEIGHT_5 + VERSION_1,
    "truncated": b"\x0a\x20abc",
    "varint wider than its type": b"\x10\x81\x80\x80\x80\x10",
    "wrong wire type": b"\x1d\x05\x00\x00\x00",
    "unfinished varint": b"\x18\x85",
    "varint of eleven bytes": b"\x18" + b"\x80" * 10 + b"\x01",
}


@pytest.mark.parametrize("data", NOT_CANONICAL.values(), ids=NOT_CANONICAL.keys())
def test_other_encodings_are_refused(data):
    with pytest.raises(Malformed) as raised:
        codec.decode(ledger_pb2.Header, data, BYTES_MAX)
    assert raised.value.reason == Reason.MALFORMED


def nested(data: bytes) -> bytes:
    return b"\x0a" + bytes([len(data)]) + data


@pytest.mark.parametrize(
    "kind, data",
    [
        (ledger_pb2.Transaction, b"\x12" + nested(b"k")[1:] + b"\xf8\x07\x01"),
        (ledger_pb2.Transaction, b"\x12\x06" + b"\x0a\x01k" + b"\xf8\x07\x01"),  # unknown inside a nested one
        (ledger_pb2.Value, b"\x0a\x01a" + b"\x0a\x01b"),  # a oneof twice
        (ledger_pb2.Value, b"\x0a\x01a" + b"\x18\x01"),  # two arms of a oneof
        (ledger_pb2.SetParameters, b"\x0a\x02\x08\x01" + b"\x0a\x02\x10\x01"),  # a message in two parts, merged
        (ledger_pb2.Validator, b"\x12\x02\xc3\x28"),  # no UTF-8
        (ledger_pb2.Validator, b"\x12\x03\xed\xa0\x80"),  # a surrogate
        (bridge_pb2.ClientRecord, b"\x70\x01\x70\x02"),  # repeated numbers not packed
        (bridge_pb2.ClientRecord, b"\x72\x01\x01\x72\x01\x02"),  # packed in two parts
        (ledger_pb2.Value, b"\x22\x02" * 30_000),
    ],
    ids=[
        "unknown beside", "unknown nested", "oneof twice", "two arms", "merged parts", "not UTF-8", "surrogate",
        "not packed", "packed twice", "deep",
    ],
)  # fmt: skip
def test_other_encodings_of_nested_messages_are_refused(kind, data):
    with pytest.raises(Malformed):
        codec.decode(kind, data, BYTES_MAX)


def deep_value(levels: int) -> bytes:
    """Lists in lists: each level is Value{list{items[..]}}."""
    data = b""
    for _ in range(levels):
        item = b"\x0a" + varint(len(data)) + data
        data = b"\x22" + varint(len(item)) + item
    return data


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


@pytest.mark.parametrize("levels", [10, 30, 40, 49, 50, 51, 60, 100, 1_000, 5_000])
def test_nesting_is_read_back_or_refused_as_malformed(levels):
    data = deep_value(levels)
    message = decode_or_none(ledger_pb2.Value, data)
    assert message is None or codec.encode(message) == data
    assert (message is None) == (levels > 50)


def test_what_cannot_be_read_back_is_not_encoded():
    value = ledger_pb2.Value()
    inner = value
    for _ in range(400):
        inner = inner.list.items.add()
    try:
        data = codec.encode(value)
    except InvariantBroken:
        return
    with pytest.raises(Malformed):
        codec.decode(ledger_pb2.Value, data, BYTES_MAX)


@pytest.mark.parametrize("data", [HEIGHT_5 + b"\x00" * 100, b"\xff" * 103])
def test_oversize_is_seen_before_parsing(data):
    with pytest.raises(Malformed) as raised:
        codec.decode(ledger_pb2.Header, data, 101)
    assert raised.value.reason == Reason.OVERSIZE


def test_the_limit_itself_is_allowed():
    assert codec.decode(ledger_pb2.Header, HEIGHT_5, 2).height == 5
    with pytest.raises(Malformed):
        codec.decode(ledger_pb2.Header, HEIGHT_5, 1)


def test_hashed_types_have_neither_maps_nor_floats_nor_optional_scalars():
    for kind in KINDS:
        for field in kind.DESCRIPTOR.fields:
            where = field.full_name
            assert field.type not in {field.TYPE_FLOAT, field.TYPE_DOUBLE, field.TYPE_GROUP}, where
            assert field.message_type is None or not field.message_type.GetOptions().map_entry, where
            oneof = field.containing_oneof
            assert oneof is None or not oneof.name.startswith("_"), f"{where} is optional"
