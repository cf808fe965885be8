"""Port custody/1: one part changes chains, and is live on exactly one of them at any time.

    here   LIVE ── send ──► IN_TRANSIT ── success ──► DEPARTED ── arrives again ──► OFFERED, or LIVE as a return
                                │
                                └─ error, or proven timeout ──► LIVE again
    there  (none, or DEPARTED) ── arrives ──► OFFERED ── the receiver's `receiving` event ──► LIVE
                                                 └─ declined or expired ── sent as a return ──► IN_TRANSIT …

The hop rises when a part is sent and is never used again, not even after a timeout; an arrival needs a hop above
that of our own record. Who may send a part to us: the chain that our DEPARTED record names, or, where we have no
record, the home chain of the part's prefix.
"""

import re
from typing import Final

from bridge.clients import load_client
from bridge.packet import packet_commitment
from bridge.sending import send_packet
from ledger import codec, custody
from ledger.context import Context
from ledger.errors import Refused
from ledger.grants import grant_for
from ledger.hashes import HASH_BYTES
from ledger.history import history_root
from ledger.identifiers import canonical
from ledger.limits import HOP_MAX, PACKET_VALUE_BYTES_MAX
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
    PartRecord,
    Reason,
)

PORT: Final = "custody/1"
VERSION: Final = "custody/1"
ENCODING: Final = "application/x-protobuf"

_MEMBER_ID: Final = re.compile(r"[a-z0-9-]{1,32}")

# ---- leaving --------------------------------------------------------------------------------------------


def send_part(ctx: Context, message: SendPart) -> None:
    """Operation: sends a part that the signer's member holds to a member of another chain.

    Raises Refused: ROLE_NOT_ALLOWED, what `custody.possess` raises, NOT_FROM_HOME,
    UNKNOWN_MEMBER, LICENCE_MISSING, and what `send_packet` raises.
    """
    ctx.require_role(OPERATOR, DEVICE)
    # (1) Live here, in the hands of the signer's member, in nothing and with nothing in it: containers cross with a
    #     later version.
    if canonical(message.part).interval is not None:
        raise Refused(
            f"{message.part} stays on this chain: serials of a lot cross one by one, each after an event of its own",
            Reason.INTERVAL_STAYS,
        )
    part = custody.possess(ctx, message.part)
    # (2) Every crossing starts or ends at the part's home; the other chain would refuse it.
    client = load_client(ctx.overlay, message.client)
    if part.origin_chain not in (ctx.chain_id, client.chain_id):
        raise Refused(
            f"{part.id} is at home on chain {part.origin_chain.hex()}; from here it can be sent only there",
            Reason.NOT_FROM_HOME,
        )
    # (3) To somebody; whether there is such a member is the other chain's to say.
    if _MEMBER_ID.fullmatch(message.receiver) is None:
        raise Refused(f"{message.receiver[:40]!r} cannot name a member", Reason.UNKNOWN_MEMBER)
    # (4) Under every licence that a policy here asks for.
    to = f"{message.client}/{message.receiver}"
    check_part(ctx, canonical(part.id), Leaving(to, "", True, tuple(message.licences)))
    # (5) On its way.
    part.shipper = ""
    part.offers_ownership = part.owner == ctx.member
    _depart(ctx, part, message.client, message.receiver, message.timeout_ms)


def return_part(ctx: Context, message: ReturnPart) -> None:
    """Operation: sends an arrived part, which its receiver has not accepted, back to who shipped it.

    The receiver declines at any time; once the offer has expired, or an earlier return failed, anyone may.
    Raises Refused: ROLE_NOT_ALLOWED, UNKNOWN_PART, NOT_LIVE, NOT_OFFERED_TO_YOU, and what `send_packet` raises.
    """
    ctx.require_role(OPERATOR, DEVICE, RELAYER)
    part = custody.require_part(ctx.overlay, message.part)
    if part.status != OFFERED or not part.arrived_offer:
        raise Refused(f"{part.id} is not waiting here after a crossing", Reason.NOT_LIVE)
    declined = part.offered_to == ctx.member and ctx.signer.role != RELAYER
    expired = part.offered_at_ms + ctx.parameters.offer_expiry_ms <= ctx.time_ms
    if not declined and not expired:
        raise Refused(
            f"{part.id} is offered to {part.offered_to}, who may still accept it; others may return it once the offer "
            "has expired",
            Reason.NOT_OFFERED_TO_YOU,
        )
    _depart(ctx, part, part.client, part.shipper, message.timeout_ms)


def _depart(ctx: Context, part: PartRecord, client: str, receiver: str, timeout_ms: int) -> None:
    """IN_TRANSIT with the next hop, which is burnt whatever becomes of the packet."""
    if part.hop >= HOP_MAX:
        raise Refused(f"{part.id} has crossed too often to cross again", Reason.HOP_NOT_ABOVE)
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
    packet = send_packet(ctx, client, timeout_ms, PORT, VERSION, ENCODING, codec.encode(transfer))
    part.status = IN_TRANSIT
    part.client = client
    part.sequence = packet.sequence
    _enter(ctx, part, SENT, packet)


# ---- what became of it: called by the handlers once proven, the commitment being deleted ------------------


def acknowledged(ctx: Context, packet: Packet, success: bool) -> None:
    """The other chain took the part, which is DEPARTED for good, or it did not, and the part is back."""
    if not success:
        _come_back(ctx, packet)
        return
    part = _in_transit(ctx, packet)
    part.status = DEPARTED
    part.offered_to = ""
    part.offered_at_ms = 0
    part.arrived_offer = False
    _enter(ctx, part, DEPARTED_FOR_GOOD, packet)


def timed_out(ctx: Context, packet: Packet) -> None:
    """The other chain can never take the part from this packet: it is back."""
    _come_back(ctx, packet)


def _come_back(ctx: Context, packet: Packet) -> None:
    part = _in_transit(ctx, packet)
    if part.arrived_offer:
        # A return that failed: still offered to its receiver, but anyone may repeat the return at once.
        part.status = OFFERED
        part.offered_at_ms = 0
    else:
        part.status = LIVE
        part.client = ""
        part.sequence = 0
        part.offers_ownership = False
    _enter(ctx, part, RETURNED, packet)


def _in_transit(ctx: Context, packet: Packet) -> PartRecord:
    """The part that this very packet of ours carries away."""
    part = custody.load_part(ctx.overlay, _read_transfer(packet).part)
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
    """Takes a part that a proven packet brings. Raises Refused where it may not come; the caller undoes all."""
    # (1) A transfer in the one form.
    if packet.version != VERSION or packet.encoding != ENCODING:
        raise Refused(f"{PORT} speaks {VERSION} in {ENCODING}", Reason.PORT_NOT_ALLOWED)
    transfer = _read_transfer(packet)
    # (2) To a member of this chain.
    load_member(ctx.overlay, transfer.receiver)
    part = custody.load_part(ctx.overlay, transfer.part)
    if part is None:
        # (3) Unknown here: from its home only, as what it was commissioned there.
        part = _import(ctx, client, transfer)
    else:
        # (4) Known here: it left over this client, and comes back with a hop never seen.
        _check_comes_back(client, packet, transfer, part)
        if client.chain_id == part.origin_chain:
            # Its home may have commissioned by now what it had only adopted.
            part.adopted = transfer.adopted
            part.commissioner = transfer.class_commissioner
    returned = getattr(transfer, "return")
    part.hop = transfer.hop
    part.client = packet.destination_client
    part.sequence = packet.sequence
    if returned:
        # (5) A return ends at who shipped it, as it was. No acceptance: it never was another's.
        part.status = LIVE
        part.client = ""
        part.sequence = 0
        part.offers_ownership = False
    else:
        # (6) Offered: nobody holds it until the receiver signs for it.
        part.status = OFFERED
        part.offered_to = transfer.receiver
        part.offered_at_ms = ctx.time_ms
        part.arrived_offer = True
        part.shipper = transfer.sender
        part.holder = ""
        if part.offers_ownership:
            part.owner = ""  # it went along when the part left, so it is not the old owner's any more
        part.offers_ownership = transfer.ownership
    _enter(ctx, part, ARRIVED, packet)


def _import(ctx: Context, client: ClientRecord, transfer: CustodyTransfer) -> PartRecord:
    grant = grant_for(ctx.overlay, canonical(transfer.part))
    if grant is None or grant.home_chain != client.chain_id or transfer.origin_chain != client.chain_id:
        raise Refused(
            f"{transfer.part} is not known here, and no grant says that its home is chain {client.chain_id.hex()}, "
            "from which it comes",
            Reason.NOT_FROM_HOME,
        )
    if getattr(transfer, "return"):
        raise Refused(f"{transfer.part} never left this chain, so it cannot be returned", Reason.UNKNOWN_PART)
    note_single(ctx.overlay, canonical(transfer.part))
    return PartRecord(
        id=transfer.part,
        origin_chain=transfer.origin_chain,
        adopted=transfer.adopted,
        commissioner=transfer.class_commissioner,
    )


def _check_comes_back(
    client: ClientRecord, packet: Packet, transfer: CustodyTransfer, part: PartRecord
) -> None:
    if part.status != DEPARTED:
        raise Refused(f"{part.id} is here already", Reason.NOT_LIVE)
    if part.client != packet.destination_client:
        raise Refused(
            f"{part.id} left over client {part.client!r}, not {client.id!r}", Reason.WRONG_COUNTERPARTY
        )
    if transfer.hop <= part.hop:
        raise Refused(f"{part.id}: hop {transfer.hop} is not above {part.hop}", Reason.HOP_NOT_ABOVE)
    if transfer.origin_chain != part.origin_chain:
        raise Refused(f"{part.id} left with another origin than it comes with", Reason.PACKET_MISMATCH)
    if getattr(transfer, "return") and transfer.receiver != part.holder:
        raise Refused(
            f"{part.id} was shipped by {part.holder!r}; a return goes to nobody else", Reason.PACKET_MISMATCH
        )


# ---- reading and writing ------------------------------------------------------------------------------------


def _read_transfer(packet: Packet) -> CustodyTransfer:
    """The transfer that a packet carries. Raises Malformed, Refused(MALFORMED, IDENTIFIER_INVALID)."""
    transfer = codec.decode(CustodyTransfer, packet.value, PACKET_VALUE_BYTES_MAX)
    identifier = canonical(transfer.part)
    if identifier.text != transfer.part or identifier.is_class or identifier.interval is not None:
        raise Refused(f"{transfer.part[:80]!r} names no part in canonical form", Reason.IDENTIFIER_INVALID)
    for member in (transfer.sender, transfer.receiver, transfer.class_commissioner):
        if _MEMBER_ID.fullmatch(member) is None:
            raise Refused(f"{member[:40]!r} cannot name a member", Reason.MALFORMED)
    if len(transfer.origin_chain) != HASH_BYTES or len(transfer.history_root) != HASH_BYTES:
        raise Refused("the transfer names no origin or no history", Reason.MALFORMED)
    if not 1 <= transfer.hop <= HOP_MAX:
        raise Refused(f"no part arrives at hop {transfer.hop}", Reason.MALFORMED)
    return transfer


def _enter(ctx: Context, part: PartRecord, kind: "EntryKind.ValueType", packet: Packet) -> None:
    """One entry for the part, with the packet's commitment, by which an audit links the chains' histories."""
    ctx.enter(part_key(part.id), part.history, kind, packet_commitment(packet))
    custody.save_part(ctx.overlay, part)
