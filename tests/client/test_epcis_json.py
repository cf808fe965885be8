"""JSON: exact numbers, no repeated names, bounded size and depth."""

import json
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import epcis_json
from ledger.errors import Malformed
from ledger.limits import EPCIS_DOCUMENT_BYTES_MAX, EPCIS_DOCUMENT_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import Reason

values = st.recursive(
    st.none()
    | st.booleans()
    | st.decimals(allow_nan=False, allow_infinity=False, places=9)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(values, st.integers(0, 4))
def test_what_is_written_is_read_again(value, indent):
    assert epcis_json.parse(epcis_json.to_text(value, indent=indent).encode()) == value


@given(values)
def test_what_is_written_is_json_to_others_too(value):
    assert json.loads(epcis_json.to_text(value), parse_float=Decimal, parse_int=Decimal) == value


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0.1", "0.1"),
        (b"25.0", "25"),
        (b"1e21", "1000000000000000000000"),
        (b"-0", "0"),
        (b"123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"),
        (b"1e400", "1e400"),
    ],
)
def test_numbers_are_exact(text, number):
    found = epcis_json.parse(text)
    assert isinstance(found, Decimal)
    assert found == Decimal(number)
    assert Decimal(epcis_json.to_text(found)) == found


def test_a_byte_order_mark_is_passed_over():
    assert epcis_json.parse("\ufeff{}".encode()) == {}


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1, "a": 1}',
        b'{"a": {"b": 1, "\\u0062": 2}}',
        b"[1,]",
        b"{'a': 1}",
        b"[01]",
        b"[NaN]",
        b"[Infinity]",
        b'["\\ud83d"]',
        b'"\xc3"',
        b"// no\n1",
        b"1 2",
        b"[" + b"1" * 129 + b"]",
    ],
)
def test_what_is_not_strict_json_is_refused(data):
    with pytest.raises(Malformed):
        epcis_json.parse(data)


def test_depth_and_size_are_bounded():
    deepest = b"[" * EPCIS_DOCUMENT_DEPTH_MAX + b"]" * EPCIS_DOCUMENT_DEPTH_MAX
    epcis_json.parse(deepest)
    epcis_json.parse(json.dumps("[{" * 1_000 + '"[' * 1_000).encode())
    for data in (b"[" + deepest + b"]", b" " * (EPCIS_DOCUMENT_BYTES_MAX + 1)):
        with pytest.raises(Malformed) as caught:
            epcis_json.parse(data)
        assert caught.value.reason == Reason.OVERSIZE


def test_hostile_texts_cost_no_more_than_their_length():
    begun = time.process_time()
    for data in (b'"' + b'\\"' * 500_000, b'["' * 500_000, b'"' * 1_000_001, b"[" * 1_000_000):
        with pytest.raises(Malformed):
            epcis_json.parse(data)
    assert time.process_time() - begun < 5
