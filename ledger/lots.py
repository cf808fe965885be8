"""Lots: identified classes with amounts, and how much of each lies where.

An amount lies at a place: a member, a container, or an offer from one member to another. Moving takes exactly
what is put elsewhere; only commissioning (by a grant's holder) and adoption add to a lot, only destroying and
transforming take from it. So the sum over all places never exceeds what was declared.
"""

from collections.abc import Sequence

from ledger import decimals, state
from ledger.delegations import draw_amount, draw_serials
from ledger.errors import Refused
from ledger.event import Quantity
from ledger.grants import holds_grant, require_grant
from ledger.intervals import begin
from ledger.ranges import add_list, add_range
from ledger.recording import Recording
from ledger.roots import read_serials
from ledger.state import Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    BalanceRecord,
    Decimal,
    LotRecord,
    PartStatus,
    Reason,
)

# ---- amounts ------------------------------------------------------------------------------------------------


def offer_place(sender: str, receiver: str) -> str:
    """The place of amounts on offer; no member id or canonical identifier holds the sign between."""
    return f"{sender}>{receiver}"


def amount_at(reader: Reader, lot: str, place: str, unit: str) -> Decimal:
    """How much of a lot lies at a place in this unit (empty: pieces)."""
    record = state.load(reader, state.balance_key(lot, place, unit), BalanceRecord)
    return Decimal() if record is None else record.amount


def put_amount(
    overlay: Overlay, lot: str, place: str, unit: str, amount: Decimal, offered_at_ms: int = 0
) -> None:
    """Adds to what lies at a place. Raises Refused(QUANTITY_INVALID) where the sum cannot be kept exactly."""
    key = state.balance_key(lot, place, unit)
    total = decimals.add(amount_at(overlay, lot, place, unit), amount)
    record = BalanceRecord(lot=lot, place=place, unit=unit, amount=total, offered_at_ms=offered_at_ms)
    state.save(overlay, key, record)


def take_amount(overlay: Overlay, lot: str, place: str, unit: str, amount: Decimal) -> Decimal:
    """Takes from what lies at a place and returns what is left. Raises Refused(QUANTITY_EXCEEDED)."""
    key = state.balance_key(lot, place, unit)
    record = state.load(overlay, key, BalanceRecord) or BalanceRecord(lot=lot, place=place, unit=unit)
    if decimals.compare(amount, record.amount) > 0:
        raise Refused(
            f"{decimals.to_text(amount)} {unit or 'pieces'} of {lot} are asked for, "
            f"{place} has {decimals.to_text(record.amount)}",
            Reason.QUANTITY_EXCEEDED,
        )
    left = decimals.subtract(record.amount, amount)
    if decimals.sign(left) == 0:
        overlay.delete(key)
    else:
        record.amount.CopyFrom(left)
        state.save(overlay, key, record)
    return left


def require_amount(quantity: Quantity) -> Decimal:
    """The amount that an event moves: given, above zero, whole where it counts pieces; QUANTITY_INVALID."""
    amount = quantity.amount
    if amount is None or decimals.sign(amount) <= 0:
        raise Refused(f"{quantity.of.text}: say how much, above zero", Reason.QUANTITY_INVALID)
    if not quantity.unit and not decimals.is_whole(amount):
        raise Refused(
            f"{quantity.of.text}: {decimals.to_text(amount)} pieces; pieces are whole, else name a unit",
            Reason.QUANTITY_INVALID,
        )
    return amount


def check_amount(reader: Reader, quantity: Quantity, place: str) -> None:
    """Returns only if at least as much lies at a place as an event says; else Refused(QUANTITY_EXCEEDED)."""
    held = amount_at(reader, quantity.of.text, place, quantity.unit)
    if quantity.amount is not None and decimals.compare(quantity.amount, held) > 0:
        raise Refused(
            f"{place} has {decimals.to_text(held)} {quantity.unit or 'pieces'} of {quantity.of.text}, "
            f"not {decimals.to_text(quantity.amount)}",
            Reason.QUANTITY_EXCEEDED,
        )


# ---- lots under events --------------------------------------------------------------------------------------


def find_lot(recording: Recording, quantity: Quantity) -> LotRecord:
    """The lot an event names; adopted, with as much as the event says (or nothing), where the chain allows.

    Raises Refused: UNKNOWN_LOT, and for an adoption QUANTITY_INVALID, NOT_HOME_CHAIN.
    """
    context = recording.context
    record = state.load(context.overlay, state.lot_key(quantity.of.text), LotRecord)
    if record is not None:
        _check_amounts(record)
        return record
    if not context.parameters.adoption or not holds_grant(context, quantity.of):
        raise Refused(
            f"lot {quantity.of.text} was never commissioned on this chain; its grant's holder commissions it",
            Reason.UNKNOWN_LOT,
        )
    require_grant(context, quantity.of)
    record = _new_lot(recording, quantity, adopted=True)
    if quantity.amount is not None:
        put_amount(context.overlay, record.id, recording.member, quantity.unit, require_amount(quantity))
    return record


def _check_amounts(record: LotRecord) -> None:
    if record.serials.count:
        raise Refused(
            f"{record.id} is a lot of {record.serials.count} serials; name which, as {record.id}?interval=i-j",
            Reason.QUANTITY_INVALID,
        )


def _new_lot(recording: Recording, quantity: Quantity, adopted: bool) -> LotRecord:
    record = LotRecord(
        id=quantity.of.text,
        origin_chain=recording.context.chain_id,
        adopted=adopted,
        commissioner=recording.member,
    )
    if adopted:
        recording.adopted.add(state.lot_key(record.id))
    state.save(recording.context.overlay, state.lot_key(record.id), record)
    return record


def commission_amount(recording: Recording, quantity: Quantity) -> LotRecord:
    """Adds a declared amount to the member's, under its grant or a delegation; an adopted lot stays marked as such.

    Raises Refused: QUANTITY_INVALID, EVENT_REPEATED, and what `draw_amount` raises. The caller enters the event.
    """
    context = recording.context
    # A chain that adopts takes a lot of which nobody says how much: it begins, and there is nothing of it to move.
    is_open = quantity.amount is None and context.parameters.adoption
    amount = Decimal() if is_open else require_amount(quantity)
    draw_amount(recording, quantity, amount)
    recording.mark_moved()
    record = state.load(context.overlay, state.lot_key(quantity.of.text), LotRecord)
    if record is None:
        record = _new_lot(recording, quantity, adopted=False)
    _check_amounts(record)
    if is_open:
        return record
    put_amount(context.overlay, record.id, recording.member, quantity.unit, amount)
    return record


def commission_serials(recording: Recording, quantities: Sequence[Quantity], owner: str = "") -> None:
    """The one lot that is listed begins with the serials that the event gives it, as one interval, and is entered.

    Raises Refused: EVENT_INVALID for any other list, SERIALS_INVALID, IDENTIFIER_INVALID, QUANTITY_INVALID,
    ALREADY_COMMISSIONED, SERIALS_OVERLAP, and what `draw_serials` raises.
    """
    context, given = recording.context, recording.view.serials
    if given is None or len(quantities) != 1:
        raise Refused("ilmd: serials are given to one lot, which alone is listed", Reason.EVENT_INVALID)
    (quantity,) = quantities
    # (1) As many as are said to be.
    if quantity.unit:
        raise Refused(f"{quantity.of.text}: serials are counted in pieces", Reason.QUANTITY_INVALID)
    serials = read_serials(quantity.of, given, decimals.to_int(require_amount(quantity)))
    # (2) A new lot, under a right, of serials that nothing else has.
    if context.overlay.get(state.lot_key(quantity.of.text)) is not None:
        raise Refused(f"lot {quantity.of.text} was commissioned already", Reason.ALREADY_COMMISSIONED)
    draw_serials(recording, quantity.of, serials.count)
    if given.listed:
        add_list(context.overlay, quantity.of.text, serials.item_class, given.listed)
    elif not given.root:
        add_range(context.overlay, quantity.of.text, serials)
    # (3) Its record, and that of the one interval it begins with.
    record = _new_lot(recording, quantity, adopted=False)
    record.serials.CopyFrom(serials)
    recording.enter_lot(record)
    whole = begin(context.overlay, record)
    whole.status = PartStatus.LIVE
    whole.holder, whole.owner = recording.member, owner or recording.member
    whole.commissioner = recording.member
    recording.enter_part(whole)


def hold_amount(recording: Recording, quantity: Quantity) -> LotRecord:
    """The lot of which the member has at least as much as the event says (any, if it leaves it open).

    Raises Refused: UNKNOWN_LOT, NOT_IN_CUSTODY, QUANTITY_EXCEEDED. The caller enters the event.
    """
    record = find_lot(recording, quantity)
    held = amount_at(recording.context.overlay, record.id, recording.member, quantity.unit)
    # Who brought a lot into being on a chain that adopts may have said nothing of how much there is.
    begun = recording.context.parameters.adoption and record.commissioner == recording.member
    if decimals.sign(held) == 0 and not (quantity.amount is None and begun):
        raise Refused(f"member {recording.member} has nothing of {record.id}", Reason.NOT_IN_CUSTODY)
    check_amount(recording.context.overlay, quantity, recording.member)
    return record


def spend_amount(recording: Recording, quantity: Quantity) -> LotRecord:
    """Takes an amount from the member's: to be moved, consumed or destroyed by the caller, who enters the event.

    Raises Refused: UNKNOWN_LOT, QUANTITY_INVALID, QUANTITY_EXCEEDED, EVENT_REPEATED.
    """
    amount = require_amount(quantity)
    record = find_lot(recording, quantity)
    recording.mark_moved()
    take_amount(recording.context.overlay, record.id, recording.member, quantity.unit, amount)
    return record
