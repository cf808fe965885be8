"""A packet between two chains: its shape, and the bytes that stand for it in state.

The commitments are those of IBC v2 (as in ibc-go, 04-channel/v2/types/commitment.go), one payload per packet
and the timeout in milliseconds. Every field is hashed before it is joined with others, so that no byte can be
moved from one field into the next:

    commitment      = sha256(0x02 ‖ sha256(destination_client) ‖ sha256(be64(timeout_ms)) ‖ sha256(payload))
    payload         = sha256(sha256(source_port) ‖ sha256(destination_port) ‖ sha256(version)
                             ‖ sha256(encoding) ‖ sha256(value))
    acknowledgement = sha256(0x02 ‖ sha256(what the receiving application answered))

The source client and the sequence are not in the commitment: they are its key in state.
"""

import re
from functools import lru_cache
from typing import Final

from ledger.errors import Refused
from ledger.hashes import sha256
from ledger.limits import PACKET_TIMEOUT_MS_MAX, PACKET_VALUE_BYTES_MAX, U64_MAX
from ledger.state import Kind, acknowledgement_key, commitment_key, receipt_key, state_key
from proto.chiptrace.v1.bridge_pb2 import Packet
from proto.chiptrace.v1.ledger_pb2 import Reason
from proto.chiptrace.v1.node_pb2 import PacketItem

# What an application answers: done, or not done and undone. Nothing else is ever written; an error says no
# more, because text is not the same on every node.
SUCCESS: Final = b"\x01"
ERROR: Final = sha256(b"UNIVERSAL_ERROR_ACKNOWLEDGEMENT")

# The value of a receipt. Receipts are never deleted: they are what stops a packet from arriving twice.
RECEIPT: Final = b"\x02"

_VERSION_BYTE: Final = b"\x02"
_CLIENT_ID: Final = re.compile(r"[a-z0-9-]{1,32}")
_PORT: Final = re.compile(r"[a-zA-Z0-9./+_-]{1,64}")
_WORD_CHARACTERS_MAX: Final = 64  # of a client or a port


def is_client_id(text: str) -> bool:
    """Whether this may name a client: 1 to 32 of a-z, 0-9 and the hyphen."""
    return _CLIENT_ID.fullmatch(text) is not None


def check_shape(packet: Packet) -> None:
    """Returns only if every field is there and within bounds. Raises Refused(MALFORMED or OVERSIZE)."""
    for name, client in (("source", packet.source_client), ("destination", packet.destination_client)):
        if not is_client_id(client):
            raise Refused(f"the packet's {name} client {client!r} is no client id", Reason.MALFORMED)
    for name, text in (
        ("source port", packet.source_port),
        ("destination port", packet.destination_port),
        ("version", packet.version),
        ("encoding", packet.encoding),
    ):
        if _PORT.fullmatch(text) is None:
            raise Refused(f"the packet's {name} {text[:80]!r} is not well formed", Reason.MALFORMED)
    if packet.sequence < 1:
        raise Refused("packets are numbered from 1", Reason.MALFORMED)
    if packet.timeout_ms < 1:
        raise Refused("a packet has a timeout", Reason.MALFORMED)
    if not packet.value:
        raise Refused("the packet carries nothing", Reason.MALFORMED)
    if len(packet.value) > PACKET_VALUE_BYTES_MAX:
        raise Refused(
            f"the packet carries {len(packet.value)} bytes, more than {PACKET_VALUE_BYTES_MAX}",
            Reason.OVERSIZE,
        )


def check_timeout(timeout_ms: int, now_ms: int) -> None:
    """Returns only if now < timeout <= now + 24 h. Raises Refused(TIMEOUT_OUT_OF_BOUNDS)."""
    if not now_ms < timeout_ms <= min(now_ms + PACKET_TIMEOUT_MS_MAX, U64_MAX):
        raise Refused(
            f"timeout {timeout_ms} is not within 24 h after now, {now_ms}; give milliseconds since 1970",
            Reason.TIMEOUT_OUT_OF_BOUNDS,
        )


def packet_commitment(packet: Packet) -> bytes:
    """The 32 bytes that stand for a packet under its commitment key on the source chain."""
    payload = sha256(
        _word(packet.source_port)
        + _word(packet.destination_port)
        + _word(packet.version)
        + _word(packet.encoding)
        + sha256(packet.value)
    )
    return sha256(
        _VERSION_BYTE
        + _word(packet.destination_client)
        + sha256(packet.timeout_ms.to_bytes(8, "big"))
        + sha256(payload)
    )


@lru_cache(maxsize=256)
def _kept_word(text: str) -> bytes:
    return sha256(text.encode())


def _word(text: str) -> bytes:
    """The hash of a field that most packets have in common: of words that can be one, kept."""
    return _kept_word(text) if len(text) <= _WORD_CHARACTERS_MAX else sha256(text.encode())


def acknowledgement_commitment(acknowledgement: bytes) -> bytes:
    """The 32 bytes that stand for an acknowledgement under its key on the destination chain."""
    return sha256(_VERSION_BYTE + sha256(acknowledgement))


# ---- keys: built here from the packet acted on, never taken from a message --------------------------------


def sent_key(packet: Packet) -> bytes:
    """Key of the packet's commitment, on the source chain."""
    return commitment_key(packet.source_client, packet.sequence)


def received_key(packet: Packet) -> bytes:
    """Key of the packet's receipt, on the destination chain."""
    return receipt_key(packet.destination_client, packet.sequence)


def answered_key(packet: Packet) -> bytes:
    """Key of the packet's acknowledgement, on the destination chain."""
    return acknowledgement_key(packet.destination_client, packet.sequence)


# ---- node-side rows, which nothing proves: bodies for relayers ------------------------------------------------
# A commitment cannot be turned back into its packet, so each node keeps the bodies. Rows are PacketItem
# messages; they are written once and never changed: whether a sent packet is still open is seen by its
# commitment in state (`PacketItem.open` is left for the answering node to fill in).


def sent_row_key(client: str, sequence: int) -> bytes:
    """Side-table key of a packet sent over a client."""
    return state_key(Kind.COMMITMENT, client, sequence)


def received_row_key(client: str, sequence: int) -> bytes:
    """Side-table key of a packet received over a client, with the acknowledgement written for it."""
    return state_key(Kind.RECEIPT, client, sequence)


def sent_row(packet: Packet, height: int) -> PacketItem:
    """The body of a packet sent at a height."""
    return PacketItem(packet=packet, height=height)


def received_row(packet: Packet, height: int, acknowledgement: bytes) -> PacketItem:
    """The body of a packet received at a height, and what was answered."""
    return PacketItem(packet=packet, height=height, acknowledgement=acknowledgement)
