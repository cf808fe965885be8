"""What of the bridge's node-side rows goes into a snapshot: the bodies of open packets, which their commitments
prove. What was answered to packets received follows from the state alone. Closed packets are left out: nothing proves
them any more, and no relayer needs them."""

from typing import Final

from bridge.packet import (
    ERROR,
    SUCCESS,
    acknowledgement_commitment,
    packet_commitment,
    received_row,
    received_row_key,
    sent_row,
    sent_row_key,
)
from ledger import codec, rows
from ledger.errors import Invalid, Malformed
from ledger.kv import Snapshot
from ledger.limits import PACKET_VALUE_BYTES_MAX
from ledger.state import Kind, parse_state_key
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import PacketItem

_PACKET_BYTES_MAX: Final = PACKET_VALUE_BYTES_MAX + 4_096
_SEQUENCE_BYTES: Final = 8
_ANSWERS: Final = {acknowledgement_commitment(answer): answer for answer in (SUCCESS, ERROR)}


class PacketTables:
    """The side tables of a chain with a bridge (ledger.snapshot.SideTables)."""

    def attach(self, key: bytes, snapshot: Snapshot) -> bytes:
        """The body of the packet to which this state row commits; empty for any other row."""
        if key[0] != Kind.COMMITMENT:
            return b""
        client, sequence = _place(key)
        row = rows.SIDE + sent_row_key(client, sequence)
        stored = snapshot.get(row)
        if stored is None:
            raise rows.damaged(row, "is missing")
        return codec.encode(PacketItem.FromString(rows.unseal(row, stored)).packet)

    def restore(self, key: bytes, value: bytes, attached: bytes, height: int) -> list[tuple[bytes, bytes]]:
        """The row of an open packet, or of an answer that was given. Raises Invalid(BAD_PROOF), Malformed."""
        kind = key[0]
        if kind == Kind.COMMITMENT:
            packet = codec.decode(Packet, attached, _PACKET_BYTES_MAX)
            named = packet.source_client, packet.sequence
            if named != _place(key) or packet_commitment(packet) != value:
                raise Invalid(
                    f"the packet attached to {key.hex()} is not the one committed to", Reason.BAD_PROOF
                )
            row = codec.encode(sent_row(packet, height))
            return [(sent_row_key(packet.source_client, packet.sequence), row)]
        if attached:
            raise Invalid(f"something is attached to state row {key.hex()}", Reason.BAD_PROOF)
        if kind == Kind.ACKNOWLEDGEMENT and value in _ANSWERS:
            client, sequence = _place(key)
            packet = Packet(destination_client=client, sequence=sequence)
            row = codec.encode(received_row(packet, height, _ANSWERS[value]))
            return [(received_row_key(client, sequence), row)]
        return []


def _place(key: bytes) -> tuple[str, int]:
    """Client and sequence in the key of a packet's row, which nothing has proven yet. Raises Malformed."""
    _, components = parse_state_key(key)
    if len(components) != 2 or len(components[1]) != _SEQUENCE_BYTES:
        raise Malformed(f"state row {key.hex()} is no packet's")
    try:
        client = components[0].decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"state row {key.hex()} is of no client") from error
    return client, int.from_bytes(components[1], "big")
