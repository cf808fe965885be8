"""Puts a packet on its way: its commitment into state, its body where relayers find it."""

from typing import Final

from bridge.clients import check_active, load_client
from bridge.packet import check_shape, check_timeout, packet_commitment, sent_key, sent_row, sent_row_key
from ledger import codec, state
from ledger.context import Context
from ledger.errors import Refused
from ledger.state import client_key
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.ledger_pb2 import Reason

# A claim of 32 kB is sent a thousand times by operations of 60 bytes: what every node then keeps is counted.
BYTES_PER_RECORD: Final = 256


def send_packet(
    ctx: Context, client: str, timeout_ms: int, port: str, version: str, encoding: str, value: bytes
) -> Packet:
    """Commits to a packet over a client, with the next sequence, which is never used again.

    The same port is addressed on both ends. Raises Refused: UNKNOWN_CLIENT, CLIENT_FROZEN, CLIENT_EXPIRED,
    TIMEOUT_OUT_OF_BOUNDS, OVERSIZE, TOO_MANY_RECORDS.
    """
    # (1) A client that may be relied on now.
    record = load_client(ctx.overlay, client)
    check_active(record, ctx.time_ms)
    # (2) A timeout within bounds, which the other chain has not reached as far as is known here.
    check_timeout(timeout_ms, ctx.time_ms)
    if timeout_ms <= record.latest_time_ms:
        raise Refused(
            f"the other chain's clock is at {record.latest_time_ms}, past the timeout {timeout_ms}",
            Reason.TIMEOUT_OUT_OF_BOUNDS,
        )
    # (3) The commitment under the next sequence.
    packet = Packet(
        source_client=record.id,
        destination_client=record.counterparty_client,
        sequence=record.next_sequence,
        timeout_ms=timeout_ms,
        source_port=port,
        destination_port=port,
        version=version,
        encoding=encoding,
        value=value,
    )
    check_shape(packet)
    ctx.overlay.go_through_records(1 + len(value) // BYTES_PER_RECORD)
    ctx.overlay.put(sent_key(packet), packet_commitment(packet))
    record.next_sequence += 1
    state.save(ctx.overlay, client_key(record.id), record)
    # (4) The body, for relayers.
    row = sent_row(packet, ctx.height)
    ctx.side_put(sent_row_key(record.id, packet.sequence), codec.encode(row))
    return packet
