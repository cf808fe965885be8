"""Port custody/1: a part changes chains with all that is inside it, and is live on exactly one of them at any time.

    here   LIVE ── send ──► IN_TRANSIT ── success ──► DEPARTED ── arrives again ──► OFFERED, or LIVE as a return
                                │
                                └─ error, or proven timeout ──► LIVE again
    there  (none, or DEPARTED) ── arrives ──► OFFERED ── the receiver's `receiving` event ──► LIVE
                                                 └─ declined or expired ── sent as a return ──► IN_TRANSIT …

The hop rises when a part is sent and is never used again, not even after a timeout; an arrival needs a hop above
that at which our own left. No hop is above the time in milliseconds, which no honest one comes near. Who may send a
part to us: bridge/senders.py. What is inside: bridge/contents.py. Amounts of lots travel through the same port:
bridge/amount_transfer.py.
"""

from bridge import amount_transfer, amounts, contents, serial_lots
from bridge.clients import load_client
from bridge.packet import packet_commitment
from bridge.senders import Departure, check_sender, may_cross
from bridge.sending import send_packet
from bridge.transfer import ENCODING, PORT, VERSION, check_member_id, place_in, read_transfer, sent_transfer
from bridge.whereabouts import note_gone
from ledger import codec, custody
from ledger.containers import open_generation
from ledger.context import Context
from ledger.errors import Refused
from ledger.history import history_root
from ledger.identifiers import canonical
from ledger.members import load_member
from ledger.policies import Leaving, check_part
from ledger.ranges import note_single
from ledger.state import part_key
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, CustodyTransfer, Packet, ReturnPart, SendPart
from proto.chiptrace.v1.ledger_pb2 import (
    ARRIVED,
    DEPARTED,
    DEPARTED_FOR_GOOD,
    DEVICE,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    OPERATOR,
    RELAYER,
    RETURNED,
    SENT,
    EntryKind,
    Membership,
    PartRecord,
    Reason,
)

__all__ = ["ENCODING", "PORT", "VERSION"]

# ---- leaving --------------------------------------------------------------------------------------------


def send_part(ctx: Context, message: SendPart) -> None:
    """Operation: sends a part that the signer's member holds, with its contents, or some of a lot, to a member of
    another chain.

    Raises Refused: ROLE_NOT_ALLOWED, what `custody.possess_whole` raises, NOT_FROM_HOME, UNKNOWN_MEMBER,
    LICENCE_MISSING, and what `send_packet` raises.
    """
    ctx.require_role(OPERATOR, DEVICE)
    if message.HasField("amount"):
        amount_transfer.send_amount(ctx, message)
        return
    # (1) Live here, in the hands of the signer's member, and in nothing.
    part = serial_lots.take_out(ctx, message.part)
    # (2) Every crossing starts or ends at the part's home, or its grant allows others.
    client = load_client(ctx.overlay, message.client)
    _check_route(ctx, client, part)
    # (3) To somebody, under every licence that a policy here asks for, also for what is inside.
    check_member_id(message.receiver, Reason.UNKNOWN_MEMBER)
    to = f"{message.client}/{message.receiver}"
    check_part(ctx, canonical(part.id), Leaving(to, "", True, tuple(message.licences)))
    # (4) On its way. What belongs to others in it stays theirs, and then so does it.
    filling = open_generation(ctx.overlay, part)
    part.shipper = ""
    part.offers_ownership = part.owner == ctx.member and (filling is None or not filling.foreign)
    shown = message.membership if message.HasField("membership") else None
    _depart(ctx, part, client, message.receiver, message.timeout_ms, shown)


def _check_route(ctx: Context, client: ClientRecord, part: PartRecord) -> None:
    """Returns only if the other chain may take the part, and what is in it as far as the manifest tells its home."""
    if not may_cross(ctx.overlay, canonical(part.id), part.origin_chain, ctx.chain_id, client.chain_id):
        raise Refused(
            f"{part.id} is at home on chain {part.origin_chain.hex()}; from here it can be sent only there",
            Reason.NOT_FROM_HOME,
        )
    filling = open_generation(ctx.overlay, part)
    for row in () if filling is None else filling.manifest:
        home = contents.home_of(ctx, row)
        if home and not may_cross(
            ctx.overlay, canonical(row.item_class), home, ctx.chain_id, client.chain_id
        ):
            raise Refused(
                f"{part.id} holds some of {row.item_class}, which is at home on chain {home.hex()} and could not come "
                "out of it over there; take that out first",
                Reason.NOT_FROM_HOME,
            )


def return_part(ctx: Context, message: ReturnPart) -> None:
    """Operation: sends an arrived part, which its receiver has not accepted, back to who shipped it.

    The receiver declines at any time; once the offer has expired, or an earlier return failed, anyone may.
    Raises Refused: ROLE_NOT_ALLOWED, UNKNOWN_PART, NOT_LIVE, NOT_OFFERED_TO_YOU, and what `send_packet` raises.
    """
    ctx.require_role(OPERATOR, DEVICE, RELAYER)
    if message.client:
        amount_transfer.return_amount(ctx, message)
        return
    part = custody.require_part(ctx.overlay, message.part)
    if part.status != OFFERED or not part.arrived_offer:
        raise Refused(f"{part.id} is not waiting here after a crossing", Reason.NOT_LIVE)
    amount_transfer.check_may_return(ctx, part.id, part.offered_to, part.offered_at_ms)
    _depart(ctx, part, load_client(ctx.overlay, part.client), part.shipper, message.timeout_ms)


def _depart(
    ctx: Context,
    part: PartRecord,
    client: ClientRecord,
    receiver: str,
    timeout_ms: int,
    shown: Membership | None = None,
) -> None:
    """IN_TRANSIT with the next hop, which is burnt whatever becomes of the packet. shown: of a serial of a root."""
    if part.hop >= ctx.time_ms:
        raise Refused(f"{part.id} has crossed too often to cross again now", Reason.HOP_NOT_ABOVE)
    part.hop += 1
    transfer = CustodyTransfer(
        part=part.id,
        origin_chain=part.origin_chain,
        hop=part.hop,
        sender=part.offered_to if part.arrived_offer else ctx.member,
        receiver=receiver,
        adopted=part.adopted,
        history_root=history_root(part.history),
        history_n=part.history.n,
        class_commissioner=part.commissioner,
        ownership=part.offers_ownership,
    )
    setattr(transfer, "return", part.arrived_offer)
    serial_lots.describe(ctx, part, client.chain_id, transfer, shown)
    inside = contents.export(ctx, part, client.chain_id)
    lots = []
    if inside is not None:
        lots = amounts.describe_contained(ctx, inside, part.id, client.chain_id)
        note_gone(
            ctx.overlay, (row.lot for row in inside.manifest if row.lot and not row.place), client.chain_id
        )
        transfer.contents.CopyFrom(inside)
    packet = send_packet(ctx, client.id, timeout_ms, PORT, VERSION, ENCODING, codec.encode(transfer))
    if lots:
        amounts.enter_lots(ctx, lots, SENT, packet)
    part.status = IN_TRANSIT
    part.client = client.id
    part.sequence = packet.sequence
    _enter(ctx, part, SENT, packet)


# ---- what became of it: called by the handlers once proven, the commitment being deleted ------------------


def acknowledged(ctx: Context, packet: Packet, success: bool) -> None:
    """The other chain took what was sent, which is gone for good, or it did not, and it is back."""
    transfer = sent_transfer(packet)
    if transfer.HasField("amount"):
        amount_transfer.answered(ctx, packet, transfer, success)
        return
    part = _in_transit(ctx, packet, transfer)
    _contents_answered(ctx, part, packet, transfer, success)
    if success:
        part.status = DEPARTED
        part.offered_to = ""
        part.offered_at_ms = 0
        part.arrived_offer = False
    elif part.arrived_offer:
        # A return that failed: still offered to its receiver, but anyone may repeat the return at once.
        part.status = OFFERED
        part.offered_at_ms = 0
    else:
        part.status = LIVE
        part.client = ""
        part.sequence = 0
        part.offers_ownership = False
    _enter(ctx, part, DEPARTED_FOR_GOOD if success else RETURNED, packet)


def timed_out(ctx: Context, packet: Packet) -> None:
    """The other chain can never take what was sent from this packet: it is back."""
    acknowledged(ctx, packet, False)


def _contents_answered(
    ctx: Context, part: PartRecord, packet: Packet, transfer: CustodyTransfer, success: bool
) -> None:
    if not transfer.HasField("contents"):
        return
    client = load_client(ctx.overlay, packet.source_client)
    amounts.contained_answered(ctx, client, packet, transfer.contents, part.id, success)
    if not success:
        contents.reopen(ctx, part, transfer.contents)


def _in_transit(ctx: Context, packet: Packet, transfer: CustodyTransfer) -> PartRecord:
    """The part that this very packet of ours carries away."""
    part = custody.load_part(ctx.overlay, transfer.part)
    if (
        part is None
        or part.status != IN_TRANSIT
        or part.client != packet.source_client
        or part.sequence != packet.sequence
    ):
        raise Refused(
            f"no part is in transit by packet {packet.sequence} of {packet.source_client!r}", Reason.NOT_LIVE
        )
    return part


# ---- arriving ---------------------------------------------------------------------------------------------


def receive(ctx: Context, client: ClientRecord, packet: Packet) -> None:
    """Takes what a proven packet brings. Raises Refused where it may not come; the caller undoes all."""
    # (1) A transfer in the one form, to a member of this chain.
    transfer = read_transfer(packet)
    load_member(ctx.overlay, transfer.receiver)
    if transfer.hop > ctx.time_ms:
        # What is packed with it takes its hop on: none may be so high that there soon is none above it.
        raise Refused(f"{transfer.part} has crossed more often than can be", Reason.MALFORMED)
    if transfer.HasField("amount"):
        amount_transfer.receive_amount(ctx, client, packet, transfer)
        return
    # (2) From a chain that may send it.
    place = place_in(transfer)
    known, departure = check_sender(ctx, client, transfer.part, transfer.origin_chain, transfer.hop, place)
    returned = getattr(transfer, "return")
    if returned:
        _check_return(known, departure, transfer)
    part = PartRecord(id=transfer.part, origin_chain=transfer.origin_chain) if known is None else known
    if client.chain_id == part.origin_chain:
        # Its home may have commissioned by now what it had only adopted.
        part.adopted = transfer.adopted
        part.commissioner = transfer.class_commissioner
    if place is not None:
        serial_lots.settle(ctx, part, place, known is not None, packet_commitment(packet))
    elif known is None:
        note_single(ctx.overlay, canonical(part.id), begins=False)
    # (3) What is inside, in a new filling; none that it had when it left is open any more.
    contents.leave_behind(ctx.overlay, part, None if departure is None else departure.filling)
    part.container, part.generation = "", 0
    part.gone_to, part.gone_over, part.gone_hop = b"", b"", 0
    if departure is not None and not returned:
        part.owner = departure.owner
    if transfer.HasField("contents"):
        height = client.latest_height
        contents.open_arrived(ctx, client, part, transfer.contents, transfer.hop, height, part.owner)
        amounts.contained_arrived(ctx, client, packet, transfer.contents, part.id)
    part.hop = transfer.hop
    part.client = packet.destination_client
    part.sequence = packet.sequence
    if returned:
        # (4) A return ends at who shipped it, as it was. No acceptance: it never was another's.
        part.status = LIVE
        part.client = ""
        part.sequence = 0
        part.offers_ownership = False
    else:
        # (5) Offered: nobody holds it until the receiver signs for it.
        part.status = OFFERED
        part.offered_to = transfer.receiver
        part.offered_at_ms = ctx.time_ms
        part.arrived_offer = True
        part.shipper = transfer.sender
        part.holder = ""
        # What stayed another's here, over there is nobody's to sell.
        part.offers_ownership = transfer.ownership and not part.owner
    _enter(ctx, part, ARRIVED, packet)


def _check_return(known: PartRecord | None, departure: Departure | None, transfer: CustodyTransfer) -> None:
    """Returns only if the part left by itself, shipped by whom it is returned to."""
    if known is None or departure is None:
        raise Refused(f"{transfer.part} never left this chain, so it cannot be returned", Reason.UNKNOWN_PART)
    if departure.filling is not None or known.gone_to or transfer.receiver != known.holder:
        raise Refused(
            f"{known.id} was shipped by {known.holder!r}; a return goes to nobody else",
            Reason.PACKET_MISMATCH,
        )


def _enter(ctx: Context, part: PartRecord, kind: "EntryKind.ValueType", packet: Packet) -> None:
    """One entry for the part, with the packet's commitment, by which an audit links the chains' histories."""
    ctx.enter(part_key(part.id), part.history, kind, packet_commitment(packet))
    custody.save_part(ctx.overlay, part)
