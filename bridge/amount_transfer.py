"""Some of a lot changes chains by itself: sent, answered, received, accepted or returned."""

from bridge.amounts import arriving_lot, came, enter_lots, load_lot, transit_place, went
from bridge.clients import load_client
from bridge.sending import send_packet
from bridge.transfer import ENCODING, PORT, VERSION, check_member_id
from ledger import codec, decimals, inbound, state
from ledger.context import Context
from ledger.errors import InvariantBroken, Refused
from ledger.history import history_root
from ledger.identifiers import canonical
from ledger.lots import put_amount, take_amount
from ledger.policies import Leaving, check_part
from proto.chiptrace.v1.bridge_pb2 import ClientRecord, CustodyTransfer, Packet, ReturnPart, SendPart
from proto.chiptrace.v1.ledger_pb2 import (
    RELAYER,
    BalanceRecord,
    EntryKind,
    LotRecord,
    Reason,
    UnitAmount,
)


def check_may_return(ctx: Context, what: str, receiver: str, offered_at_ms: int) -> None:
    """Returns only for the receiver, who declines, or once the offer has expired; else Refused(NOT_OFFERED_TO_YOU)."""
    declined = receiver == ctx.member and ctx.signer.role != RELAYER
    expired = offered_at_ms + ctx.parameters.offer_expiry_ms <= ctx.time_ms
    if not declined and not expired:
        raise Refused(
            f"{what} is offered to {receiver}, who may still accept it; others may return it once the offer "
            "has expired",
            Reason.NOT_OFFERED_TO_YOU,
        )


# ---- leaving --------------------------------------------------------------------------------------------


def send_amount(ctx: Context, message: SendPart) -> None:
    """Sends some of a lot that the signer's member holds.

    Raises Refused: IDENTIFIER_INVALID, QUANTITY_INVALID, QUANTITY_EXCEEDED, LICENCE_MISSING, and what `load_lot` and
    `send_packet` raise.
    """
    # (1) An amount of a lot.
    lot = canonical(message.part)
    amount = message.amount.amount
    decimals.check(amount)
    if not lot.is_class or lot.interval is not None:
        raise Refused(f"{message.part} is no lot of amounts", Reason.IDENTIFIER_INVALID)
    if decimals.sign(amount) <= 0 or not (message.amount.unit or decimals.is_whole(amount)):
        raise Refused(f"{lot.text}: say how much, above zero; pieces are whole", Reason.QUANTITY_INVALID)
    # (2) That may go there, to somebody, under every licence that a policy here asks for.
    client = load_client(ctx.overlay, message.client)
    record = load_lot(ctx, lot.text, client.chain_id)
    check_member_id(message.receiver, Reason.UNKNOWN_MEMBER)
    to = f"{client.id}/{message.receiver}"
    check_part(ctx, lot, Leaving(to, "", True, tuple(message.licences)))
    # (3) Out of the member's hands.
    take_amount(ctx.overlay, record.id, ctx.member, message.amount.unit, amount)
    _depart(ctx, record, message.amount, client, ctx.member, message.receiver, message.timeout_ms, False)


def return_amount(ctx: Context, message: ReturnPart) -> None:
    """Sends all that waits from one shipper for one member back, as `return_part` does a part."""
    for member in (message.sender, message.receiver):
        check_member_id(member)
    lot = canonical(message.part).text
    place = inbound.inbound_place(message.client, message.sender, message.receiver)
    offer = state.load(ctx.overlay, state.balance_key(lot, place, message.unit), BalanceRecord)
    if offer is None:
        raise Refused(f"nothing of {lot} waits here as {place}", Reason.NOT_LIVE)
    check_may_return(ctx, lot, message.receiver, offer.offered_at_ms)
    client = load_client(ctx.overlay, message.client)
    record = load_lot(ctx, lot, client.chain_id)
    inbound.take_from(ctx.overlay, lot, place, message.receiver, message.unit, offer.amount)
    amount = UnitAmount(unit=message.unit, amount=offer.amount)
    _depart(ctx, record, amount, client, message.receiver, message.sender, message.timeout_ms, True)


def _depart(
    ctx: Context,
    record: LotRecord,
    amount: UnitAmount,
    client: ClientRecord,
    sender: str,
    receiver: str,
    timeout_ms: int,
    returned: bool,
) -> None:
    transfer = CustodyTransfer(
        part=record.id,
        origin_chain=record.origin_chain,
        sender=sender,
        receiver=receiver,
        adopted=record.adopted,
        history_root=history_root(record.history),
        history_n=record.history.n,
        class_commissioner=record.commissioner,
        amount=amount,
    )
    setattr(transfer, "return", returned)
    packet = send_packet(ctx, client.id, timeout_ms, PORT, VERSION, ENCODING, codec.encode(transfer))
    put_amount(ctx.overlay, record.id, transit_place(packet), amount.unit, amount.amount)
    enter_lots(ctx, (record,), EntryKind.SENT, packet)


# ---- what became of it ------------------------------------------------------------------------------------


def answered(ctx: Context, packet: Packet, transfer: CustodyTransfer, success: bool) -> None:
    """The other chain has it, or it is back where it was taken from."""
    # (1) Exactly what this packet of ours carries.
    lot, unit, amount = transfer.part, transfer.amount.unit, transfer.amount.amount
    record = state.load(ctx.overlay, state.lot_key(lot), LotRecord)
    if record is None:
        raise InvariantBroken(f"lot {lot} was sent and has no record")
    take_amount(ctx.overlay, lot, transit_place(packet), unit, amount)
    returned = getattr(transfer, "return")
    if success:
        # (2) Over there. What went back to its shipper cannot be returned again.
        client = load_client(ctx.overlay, packet.source_client)
        went(ctx, record, client.chain_id, unit, amount, "" if returned else transfer.sender)
    elif returned:
        # (3) A return that failed: it waits as before, but anyone may repeat the return at once.
        place = inbound.inbound_place(packet.source_client, transfer.receiver, transfer.sender)
        since = inbound.offered_at(ctx.overlay, lot, place, unit)
        inbound.add(ctx.overlay, lot, place, transfer.sender, unit, amount, since, again=True)
    else:
        put_amount(ctx.overlay, lot, transfer.sender, unit, amount)
    enter_lots(ctx, (record,), EntryKind.DEPARTED_FOR_GOOD if success else EntryKind.RETURNED, packet)


# ---- arriving ---------------------------------------------------------------------------------------------


def receive_amount(ctx: Context, client: ClientRecord, packet: Packet, transfer: CustodyTransfer) -> None:
    """Takes some of a lot: it waits for its receiver, or is hers again if it is returned.

    Raises Refused as `arriving_lot`, `came` and `inbound.add`.
    """
    lot, unit, amount = transfer.part, transfer.amount.unit, transfer.amount.amount
    record = arriving_lot(
        ctx, client, lot, transfer.origin_chain, transfer.adopted, transfer.class_commissioner
    )
    if getattr(transfer, "return"):
        came(ctx, record, client.chain_id, unit, amount, transfer.receiver)
        put_amount(ctx.overlay, lot, transfer.receiver, unit, amount)
    else:
        came(ctx, record, client.chain_id, unit, amount)
        place = inbound.inbound_place(packet.destination_client, transfer.sender, transfer.receiver)
        inbound.add(ctx.overlay, lot, place, transfer.receiver, unit, amount, ctx.time_ms)
    enter_lots(ctx, (record,), EntryKind.ARRIVED, packet)
