"""Packet and acknowledgement commitments against IBC v2, computed here by hashlib alone, and packet shapes."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge import packet as packets
from ledger.errors import Refused
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.ledger_pb2 import Reason

VECTORS = Path(__file__).parents[1] / "vectors" / "packet.json"

FIELDS = {
    "source_client": "assembly-1",
    "destination_client": "fab-1",
    "sequence": 7,
    "timeout_ms": 1_790_000_000_000,
    "source_port": "custody/1",
    "destination_port": "custody/1",
    "version": "custody/1",
    "encoding": "application/x-protobuf",
    "value": b"value",
}


def a_packet(**changes):
    return Packet(**(FIELDS | changes))


def independent_commitment(fields):
    """ibc-go's CommitPacket for one payload, written anew: nothing of the product is used."""

    def sha(data):
        return hashlib.sha256(data).digest()

    payload = sha(
        b"".join(
            sha(fields[name].encode()) for name in ("source_port", "destination_port", "version", "encoding")
        )
        + sha(fields["value"])
    )
    timeout = sha(int(fields["timeout_ms"]).to_bytes(8, "big"))
    return sha(b"\x02" + sha(fields["destination_client"].encode()) + timeout + sha(payload))


names = st.from_regex(r"\A[a-z0-9-]{1,32}\Z")
ports = st.from_regex(r"\A[a-zA-Z0-9./+_-]{1,64}\Z")
packet_fields = st.fixed_dictionaries(
    {
        "source_client": names,
        "destination_client": names,
        "sequence": st.integers(1, 2**64 - 1),
        "timeout_ms": st.integers(1, 2**64 - 1),
        "source_port": ports,
        "destination_port": ports,
        "version": ports,
        "encoding": ports,
        "value": st.binary(min_size=1, max_size=200),
    }
)


@given(packet_fields)
def test_commitment_is_that_of_ibc_v2(fields):
    packet = Packet(**fields)
    packets.check_shape(packet)
    assert packets.packet_commitment(packet) == independent_commitment(fields)


@given(packet_fields, packet_fields)
def test_packets_that_differ_in_what_is_committed_have_other_commitments(first, second):
    committed = [name for name in FIELDS if name not in ("source_client", "sequence")]
    same = all(first[name] == second[name] for name in committed)
    equal = packets.packet_commitment(Packet(**first)) == packets.packet_commitment(Packet(**second))
    assert equal == same


def test_golden_vectors():
    vectors = json.loads(VECTORS.read_text())
    assert len(vectors["packets"]) >= 4
    for vector in vectors["packets"]:
        fields = vector["packet"] | {"value": bytes.fromhex(vector["packet"]["value"])}
        assert independent_commitment(fields).hex() == vector["commitment"]
        assert packets.packet_commitment(Packet(**fields)).hex() == vector["commitment"]
        assert packets.sent_key(Packet(**fields)).hex() == vector["commitment_key"]
        assert packets.received_key(Packet(**fields)).hex() == vector["receipt_key"]
        assert packets.answered_key(Packet(**fields)).hex() == vector["acknowledgement_key"]
    for vector in vectors["acknowledgements"]:
        answer = bytes.fromhex(vector["acknowledgement"])
        inner = hashlib.sha256(answer).digest()
        assert hashlib.sha256(b"\x02" + inner).hexdigest() == vector["commitment"]
        assert packets.acknowledgement_commitment(answer).hex() == vector["commitment"]


def test_the_error_is_the_one_constant():
    # hashlib.sha256(b"UNIVERSAL_ERROR_ACKNOWLEDGEMENT"), as in ibc-go 04-channel/v2/types/acknowledgement.go
    assert packets.ERROR.hex() == hashlib.sha256(b"UNIVERSAL_ERROR_ACKNOWLEDGEMENT").hexdigest()
    assert packets.SUCCESS == b"\x01"
    assert packets.RECEIPT == b"\x02"


def test_bytes_cannot_move_between_fields():
    """Attack 29's kin: without hashing each field first, ports and versions could be cut anew."""
    one = a_packet(source_port="ab", destination_port="c")
    other = a_packet(source_port="a", destination_port="bc")
    assert packets.packet_commitment(one) != packets.packet_commitment(other)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"source_client": ""}, Reason.MALFORMED),
        ({"source_client": "A"}, Reason.MALFORMED),
        ({"source_client": "a/b"}, Reason.MALFORMED),
        ({"destination_client": "a" * 33}, Reason.MALFORMED),
        ({"destination_client": "a\n"}, Reason.MALFORMED),
        ({"sequence": 0}, Reason.MALFORMED),
        ({"timeout_ms": 0}, Reason.MALFORMED),
        ({"source_port": ""}, Reason.MALFORMED),
        ({"destination_port": "a b"}, Reason.MALFORMED),
        ({"destination_port": "a\n"}, Reason.MALFORMED),
        ({"version": ""}, Reason.MALFORMED),
        ({"encoding": "x" * 65}, Reason.MALFORMED),
        ({"value": b""}, Reason.MALFORMED),
        ({"value": bytes(262_145)}, Reason.OVERSIZE),
    ],
)
def test_misshapen_packets_are_refused(changes, reason):
    with pytest.raises(Refused) as caught:
        packets.check_shape(a_packet(**changes))
    assert caught.value.reason == reason


NOW = 1_790_000_000_000


@pytest.mark.parametrize(
    "timeout_ms",
    [0, 1, NOW, NOW - 1, NOW + 86_400_001, 2**63, 2**64 - 1, NOW // 1000],
    ids=["zero", "one", "now", "past", "beyond-a-day", "2^63", "2^64-1", "seconds-for-milliseconds"],
)
def test_28_timeouts_out_of_bounds_are_refused(timeout_ms):
    with pytest.raises(Refused) as caught:
        packets.check_timeout(timeout_ms, NOW)
    assert caught.value.reason == Reason.TIMEOUT_OUT_OF_BOUNDS


@pytest.mark.parametrize("timeout_ms", [NOW + 1, NOW + 86_400_000])
def test_28_timeouts_within_a_day_are_taken(timeout_ms):
    packets.check_timeout(timeout_ms, NOW)


@given(st.tuples(names, st.integers(0, 2**64 - 1)), st.tuples(names, st.integers(0, 2**64 - 1)))
def test_24_side_rows_and_keys_of_different_packets_differ(first, second):
    if first != second:
        assert packets.sent_row_key(*first) != packets.sent_row_key(*second)
    assert packets.sent_row_key(*first) != packets.received_row_key(*second)
