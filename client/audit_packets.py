"""Packets of the bridge that operations bring, and what operations send: read once, however many steps of an audit ask."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from google.protobuf.message import Message

from bridge import attest_port
from bridge.packet import packet_commitment
from ledger import codec
from ledger.limits import PACKET_VALUE_BYTES_MAX, TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    CustodyTransfer,
    Materialise,
    Packet,
    ReceivePacket,
    SendPart,
    TimeoutPacket,
)
from proto.chiptrace.v1.ledger_pb2 import AttestationCopy, Membership, Operation

# Operations that bring a packet.
_PACKETS: Final[Mapping[str, type[Message]]] = {
    "receive_packet": ReceivePacket,
    "acknowledge_packet": AcknowledgePacket,
    "timeout_packet": TimeoutPacket,
}


class Carried(NamedTuple):
    """A packet that an operation brought, with the transfer in it."""

    packet: Packet
    commitment: bytes
    transfer: CustodyTransfer
    acknowledgement: bytes


class Told(NamedTuple):
    """A packet that an operation brought, with the claim of another chain in it."""

    packet: Packet
    commitment: bytes
    copy: AttestationCopy


def told(operation: Operation) -> Told | None:
    """The claim that a packet brought; None for any other operation or packet. Raises Malformed."""
    found = brought(operation)
    return found if isinstance(found, Told) else None


def carried(operation: Operation) -> Carried | None:
    """The packet of custody in a receive, acknowledge or timeout; None for any other operation. Raises Malformed."""
    found = brought(operation)
    return found if isinstance(found, Carried) else None


def brought(operation: Operation) -> Carried | Told | None:
    """Either of them; None for what brings no packet. Raises Malformed."""
    kind = operation.WhichOneof("kind") or ""
    if kind not in _PACKETS:
        return None
    data = getattr(operation, kind)
    return _packet_kept(kind, data) if len(data) <= _KEPT_BYTES_MAX else _packet(kind, data)


def _packet(kind: str, data: bytes) -> Carried | Told | None:
    message: Any = codec.decode(_PACKETS[kind], data, TRANSACTION_BYTES_MAX)
    packet: Packet = message.packet
    if packet.source_port != attest_port.PORT:
        transfer = codec.decode(CustodyTransfer, packet.value, PACKET_VALUE_BYTES_MAX)
        acknowledgement = message.acknowledgement if kind == "acknowledge_packet" else b""
        return Carried(packet, packet_commitment(packet), transfer, acknowledgement)
    if kind != "receive_packet":
        return None
    copy = codec.decode(AttestationCopy, packet.value, PACKET_VALUE_BYTES_MAX)
    return Told(packet, packet_commitment(packet), copy)


def sent(operation: Operation) -> SendPart:
    """What a send_part says. Raises Malformed."""
    data = operation.send_part
    return _sent_kept(data) if len(data) <= _KEPT_BYTES_MAX else _sent(data)


def _sent(data: bytes) -> SendPart:
    return codec.decode(SendPart, data, TRANSACTION_BYTES_MAX)


# Functions of bytes; large ones are read again.
_KEPT_BYTES_MAX: Final = 16_384
_packet_kept = lru_cache(maxsize=2_048)(_packet)
_sent_kept = lru_cache(maxsize=2_048)(_sent)


def came_over(operation: Operation) -> str | None:
    """The client over which something came by this operation; None for any other operation. Raises Malformed."""
    if operation.WhichOneof("kind") == "materialise":
        return codec.decode(Materialise, operation.materialise, TRANSACTION_BYTES_MAX).client
    packet = carried(operation)
    return None if packet is None else packet.packet.destination_client


def shown_by(operation: Operation) -> list[Membership]:
    """What an operation shows of the lists behind the roots of lots. Raises Malformed."""
    if operation.WhichOneof("kind") == "materialise":
        made = codec.decode(Materialise, operation.materialise, TRANSACTION_BYTES_MAX)
        return [made.membership] if made.HasField("membership") else []
    packet = carried(operation)
    if packet is not None:
        return [packet.transfer.membership] if packet.transfer.HasField("membership") else []
    return list(operation.capture.memberships)
