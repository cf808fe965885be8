"""Packets that arrive, are answered and time out: the one way to an application of the bridge.

Each handler proves first and acts then, and the order of its steps is the protection: keys and values are built
from the packet acted on; a receipt is written before the application runs, a commitment deleted before it hears
of the outcome. A message that somebody else has already relayed is OK with REDUNDANT and changes nothing, so
that relayers never make each other fail.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from bridge import attest_port, custody_transfer
from bridge.clients import load_client
from bridge.packet import (
    ERROR,
    RECEIPT,
    SUCCESS,
    acknowledgement_commitment,
    answered_key,
    check_shape,
    packet_commitment,
    received_key,
    received_row,
    received_row_key,
    sent_key,
)
from bridge.proofs import verify_ending, verify_remote
from ledger import codec
from ledger.block import LogLeaf
from ledger.context import Context
from ledger.errors import Invalid, Malformed, Refused
from ledger.overlay import TOO_MUCH
from proto.chiptrace.v1.bridge_pb2 import (
    AcknowledgePacket,
    ClientRecord,
    Packet,
    ReceivePacket,
    TimeoutPacket,
)
from proto.chiptrace.v1.ledger_pb2 import OPERATOR, RELAYER, Reason


@dataclass(frozen=True, slots=True)
class Application:
    """What answers at a port. `receive` raises Refused, Malformed or Invalid to answer ERROR."""

    receive: Callable[[Context, ClientRecord, Packet], None]
    acknowledged: Callable[[Context, Packet, bool], None]
    timed_out: Callable[[Context, Packet], None]


# Ports that a packet may be addressed to, on both of its ends. Nothing else of a chain can be reached.
APPLICATIONS: Final = {
    custody_transfer.PORT: Application(
        custody_transfer.receive, custody_transfer.acknowledged, custody_transfer.timed_out
    ),
    attest_port.PORT: Application(attest_port.receive, attest_port.acknowledged, attest_port.timed_out),
}


def receive_packet(ctx: Context, message: ReceivePacket) -> None:
    """Operation: takes a packet whose commitment is proven, once, and writes its acknowledgement.

    Raises Refused or Invalid: ROLE_NOT_ALLOWED, MALFORMED, UNKNOWN_CLIENT, WRONG_COUNTERPARTY, TIMED_OUT, and
    what `verify_remote` raises. What the application refuses is answered with ERROR and no reason to fail.
    """
    ctx.require_role(RELAYER, OPERATOR)
    packet = message.packet
    check_shape(packet)
    # (1) Over the client pair that it names.
    client = load_client(ctx.overlay, packet.destination_client)
    if client.counterparty_client != packet.source_client:
        raise Refused(
            f"client {client.id!r} pairs with {client.counterparty_client!r}, not {packet.source_client!r}",
            Reason.WRONG_COUNTERPARTY,
        )
    # (2) In time, by this block's clock.
    if ctx.time_ms >= packet.timeout_ms:
        raise Refused(
            f"the packet timed out at {packet.timeout_ms}, and it is {ctx.time_ms}", Reason.TIMED_OUT
        )
    # (3) REPLAY PROTECTION: once.
    if ctx.overlay.get(received_key(packet)) is not None:
        ctx.finding(Reason.REDUNDANT)
        return
    # (4) The other chain committed to exactly this packet.
    verify_remote(
        ctx.overlay, client, ctx.time_ms, message.proof, sent_key(packet), packet_commitment(packet)
    )
    # (5) The receipt, before anything is done, and for ever.
    ctx.overlay.put(received_key(packet), RECEIPT)
    # (6) The application takes it, or everything it wrote is undone.
    acknowledgement = _deliver(ctx, client, packet)
    # (7) The answer.
    ctx.overlay.put(answered_key(packet), acknowledgement_commitment(acknowledgement))
    row = received_row(packet, ctx.height, acknowledgement)
    ctx.side_put(received_row_key(client.id, packet.sequence), codec.encode(row))


def acknowledge_packet(ctx: Context, message: AcknowledgePacket) -> None:
    """Operation: ends a packet of ours with the proven answer to it.

    Raises Refused or Invalid: ROLE_NOT_ALLOWED, MALFORMED, UNKNOWN_CLIENT, WRONG_COUNTERPARTY,
    PACKET_MISMATCH, and what `verify_ending` raises.
    """
    ctx.require_role(RELAYER, OPERATOR)
    packet = message.packet
    # (1) A packet of ours that is still open.
    client = _open_packet(ctx, packet)
    if client is None:
        return
    # (2) An answer that there is.
    if message.acknowledgement not in (SUCCESS, ERROR):
        raise Refused("the acknowledgement is neither success nor the one error", Reason.PACKET_MISMATCH)
    # (3) The other chain gave it.
    verify_ending(
        ctx.overlay,
        client,
        ctx.time_ms,
        message.proof,
        answered_key(packet),
        acknowledgement_commitment(message.acknowledgement),
    )
    # (4) Closed, before the application hears of it.
    ctx.overlay.delete(sent_key(packet))
    _application(packet).acknowledged(ctx, packet, message.acknowledgement == SUCCESS)


def timeout_packet(ctx: Context, message: TimeoutPacket) -> None:
    """Operation: ends a packet of ours that the other chain had not received when its time was up.

    Raises Refused or Invalid: ROLE_NOT_ALLOWED, MALFORMED, UNKNOWN_CLIENT, WRONG_COUNTERPARTY,
    PACKET_MISMATCH, TIMEOUT_NOT_REACHED, and what `verify_ending` raises.
    """
    ctx.require_role(RELAYER, OPERATOR)
    packet = message.packet
    # (1) A packet of ours that is still open.
    client = _open_packet(ctx, packet)
    if client is None:
        return
    # (2) No receipt of it over there...
    leaf = verify_ending(ctx.overlay, client, ctx.time_ms, message.proof, received_key(packet), None)
    # (3) ...in a state that was itself made at or after the timeout: no later block takes the packet any more.
    #     A fresh header does not do, for it certifies the state before it. Of a chain that was given up there is no
    #     later block at all.
    if leaf is not None:
        _check_late_enough(leaf, packet)
    # (4) Closed, before the application hears of it.
    ctx.overlay.delete(sent_key(packet))
    _application(packet).timed_out(ctx, packet)


def _check_late_enough(leaf: LogLeaf, packet: Packet) -> None:
    if leaf.time_ms < packet.timeout_ms:
        raise Refused(
            f"the proven state is of {leaf.time_ms}, before the timeout {packet.timeout_ms}",
            Reason.TIMEOUT_NOT_REACHED,
        )


def _open_packet(ctx: Context, packet: Packet) -> ClientRecord | None:
    """The client over which this packet of ours went; None, with the finding REDUNDANT, when it is closed."""
    check_shape(packet)
    client = load_client(ctx.overlay, packet.source_client)
    if client.counterparty_client != packet.destination_client:
        raise Refused(
            f"client {client.id!r} pairs with {client.counterparty_client!r}, not {packet.destination_client!r}",
            Reason.WRONG_COUNTERPARTY,
        )
    commitment = ctx.overlay.get(sent_key(packet))
    if commitment is None:
        ctx.finding(Reason.REDUNDANT)
        return None
    if commitment != packet_commitment(packet):
        raise Refused(
            f"packet {packet.sequence} of {client.id!r} was sent with other contents", Reason.PACKET_MISMATCH
        )
    return client


def _application(packet: Packet) -> Application:
    application = APPLICATIONS.get(packet.source_port)
    if application is None or packet.source_port != packet.destination_port:
        raise Refused(
            f"ports {packet.source_port!r} and {packet.destination_port!r} are not served",
            Reason.PORT_NOT_ALLOWED,
        )
    return application


def _deliver(ctx: Context, client: ClientRecord, packet: Packet) -> bytes:
    """Runs the application apart from everything else; its writes, entries and rows count only if it succeeds."""
    overlay = ctx.overlay.child()
    inner = replace(ctx, overlay=overlay, entries=[], side=[], reason=Reason.REASON_UNSPECIFIED)
    try:
        _application(packet).receive(inner, client, packet)
    except (Refused, Malformed, Invalid) as error:
        # Too much is the fault of the transaction around the packet, which the packet must not answer for:
        # else a relayer could have any packet refused.
        if error.reason in TOO_MUCH:
            raise
        ctx.finding(error.reason)
        return ERROR
    overlay.merge()
    ctx.entries.extend(inner.entries)
    ctx.side.extend(inner.side)
    ctx.finding(inner.reason)
    return SUCCESS
