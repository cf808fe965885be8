"""Amounts that came over the bridge and wait for the member they were sent to.

Each shipper's lies at a place of its own, `client/sender>receiver`, like an offer between members of this chain, and
an InboundRecord lists those places for the receiver, oldest first: in that order she takes them.
"""

from typing import Final

from ledger import decimals, state
from ledger.errors import Refused
from ledger.lots import amount_at, offer_place, put_amount, take_amount
from ledger.state import Kind, Overlay, Reader, state_key
from proto.chiptrace.v1.ledger_pb2 import BalanceRecord, Decimal, InboundRecord, Reason

PLACES_MAX: Final = 64  # of one lot in one unit, waiting for one member


def inbound_key(lot: str, receiver: str, unit: str) -> bytes:
    """Key of the InboundRecord: where amounts of a lot in one unit wait for a member after a crossing."""
    return state_key(Kind.INBOUND, lot, receiver, unit)


def inbound_place(client: str, sender: str, receiver: str) -> str:
    """Where waits what a member of another chain sent over a client."""
    return offer_place(f"{client}/{sender}", receiver)


def waiting(reader: Reader, lot: str, receiver: str, unit: str) -> Decimal:
    """How much of a lot waits for a member, from all shippers."""
    total = Decimal()
    for place in _load(reader, lot, receiver, unit).places:
        total = decimals.add(total, amount_at(reader, lot, place, unit))
    return total


def add(
    overlay: Overlay,
    lot: str,
    place: str,
    receiver: str,
    unit: str,
    amount: Decimal,
    offered_at_ms: int,
    *,
    again: bool = False,
) -> None:
    """Lets an amount wait at a place; again: after a return that failed, however much waits by then.

    Raises Refused: INBOUND_FULL, QUANTITY_INVALID.
    """
    record = _load(overlay, lot, receiver, unit)
    if place not in record.places:
        if len(record.places) >= PLACES_MAX and not again:
            raise Refused(
                f"{lot} waits for {receiver} from {PLACES_MAX} shippers already; receive or return some of it",
                Reason.INBOUND_FULL,
            )
        record.places.append(place)
        state.save(overlay, inbound_key(lot, receiver, unit), record)
    put_amount(overlay, lot, place, unit, amount, offered_at_ms)


def take(overlay: Overlay, lot: str, receiver: str, unit: str, amount: Decimal) -> None:
    """Takes an amount, no more than waits, from the places in their order. Raises Refused(QUANTITY_EXCEEDED)."""
    left = amount
    for place in list(_load(overlay, lot, receiver, unit).places):
        here = amount_at(overlay, lot, place, unit)
        part = here if decimals.compare(here, left) < 0 else left
        take_from(overlay, lot, place, receiver, unit, part)
        left = decimals.subtract(left, part)
        if not left.coefficient:
            return
    raise Refused(
        f"no {decimals.to_text(amount)} {unit or 'pieces'} of {lot} wait for {receiver}",
        Reason.QUANTITY_EXCEEDED,
    )


def take_from(overlay: Overlay, lot: str, place: str, receiver: str, unit: str, amount: Decimal) -> None:
    """Takes an amount from one place, which is listed no more once it is empty. Raises Refused(QUANTITY_EXCEEDED)."""
    if take_amount(overlay, lot, place, unit, amount).coefficient:
        return
    record = _load(overlay, lot, receiver, unit)
    record.places[:] = [other for other in record.places if other != place]
    key = inbound_key(lot, receiver, unit)
    if record.places:
        state.save(overlay, key, record)
    else:
        overlay.delete(key)


def offered_at(reader: Reader, lot: str, place: str, unit: str) -> int:
    """Since when what waits at a place is on offer; 0 where nothing is."""
    record = state.load(reader, state.balance_key(lot, place, unit), BalanceRecord)
    return 0 if record is None else record.offered_at_ms


def _load(reader: Reader, lot: str, receiver: str, unit: str) -> InboundRecord:
    record = state.load(reader, inbound_key(lot, receiver, unit), InboundRecord)
    return InboundRecord() if record is None else record
