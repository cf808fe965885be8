"""How custody and ownership move: offered by the shipper, moved by the receiver's own signature alone.

A shipment to a member offers its parts (with all their contents) and amounts; until the receiver accepts, they
are OFFERED and nothing else happens to them. The receiver accepts what she lists: all, or some, the rest
staying on offer. What she lists beyond the offer ("over") is a finding on what she accepted and brings nothing
into being. The shipper takes an offer back any time, the receiver declines it, and anyone returns it once it
has expired; an offer that came over the bridge goes back over the bridge.
"""

from typing import Final

from ledger import decimals, inbound, lots, state
from ledger.containers import open_generation, standing
from ledger.context import Context
from ledger.custody import (
    check_free,
    check_possession,
    find_or_adopt,
    find_part,
    load_part,
    may_adopt,
    require_part,
    save_part,
)
from ledger.errors import Refused
from ledger.event import Quantity
from ledger.identifiers import Identifier
from ledger.members import member_for
from ledger.policies import check_shipping
from ledger.recording import Recording
from proto.chiptrace.v1.ledger_pb2 import (
    BalanceRecord,
    EntryKind,
    LotRecord,
    PartRecord,
    PartStatus,
    Reason,
    ReturnOffer,
    Role,
)

_OWNING: Final = "owning_party"
_POSSESSING: Final = "possessing_party"


# ---- shipping -----------------------------------------------------------------------------------------------


def ship(recording: Recording) -> None:
    """The bizStep shipping offers what is listed to the member that is to possess it.

    The member that is to own it is offered ownership too, if it is the same one and the shipper owns all of
    it. A destination that is no member moves nothing and is a finding; the shipper's own moves nothing.

    Raises Refused: UNKNOWN_PART, NOT_LIVE, NOT_IN_CUSTODY, INSIDE_CONTAINER, ALREADY_OFFERED, NOT_OWNER,
    UNKNOWN_LOT, QUANTITY_INVALID, QUANTITY_EXCEEDED, EVENT_REPEATED, LICENCE_MISSING.
    """
    destination = recording.view.destination(_POSSESSING)
    receiver = _party(recording, destination)
    check_shipping(recording, receiver, destination)
    if receiver is None or receiver == recording.member:
        outside = destination is not None and receiver is None
        observe(recording, Reason.PARTY_NOT_A_MEMBER if outside else Reason.REASON_UNSPECIFIED)
        return
    sells = _party(recording, recording.view.destination(_OWNING)) == receiver
    for identifier in recording.view.epcs:
        _offer_part(recording, identifier, receiver, sells)
    place = lots.offer_place(recording.member, receiver)
    for quantity in recording.view.quantities:
        record = lots.spend_amount(recording, quantity)
        amount, now_ms = lots.require_amount(quantity), recording.context.time_ms
        lots.put_amount(recording.context.overlay, record.id, place, quantity.unit, amount, now_ms)
        recording.enter_lot(record)


def _party(recording: Recording, identifier: Identifier | None) -> str | None:
    return None if identifier is None else member_for(recording.context.overlay, identifier.text)


def observe(
    recording: Recording,
    finding: "Reason.ValueType" = Reason.REASON_UNSPECIFIED,
    *,
    with_parent: bool = False,
) -> None:
    """Enters the event in the histories of the parts and amounts it lists, all in the member's possession.

    An adopted part that its member consumed or destroyed is flagged instead (SEEN_AFTER_END).

    Raises Refused: UNKNOWN_PART, NOT_LIVE, NOT_IN_CUSTODY, UNKNOWN_LOT, QUANTITY_EXCEEDED, EVENT_REPEATED.
    """
    view = recording.view
    named = view.epcs
    if with_parent and view.parent is not None:
        named = tuple(dict.fromkeys((view.parent, *named)))
    for identifier in named:
        record = find_or_adopt(recording, identifier)
        if is_seen_after_its_end(recording, record):
            recording.enter_part(record, EntryKind.FLAG, finding=Reason.SEEN_AFTER_END)
            continue
        check_possession(recording.context, record)
        recording.enter_part(record, finding=finding)
    for quantity in view.quantities:
        recording.enter_lot(lots.hold_amount(recording, quantity), finding=finding)


def is_seen_after_its_end(recording: Recording, record: PartRecord) -> bool:
    """Whether a chain that adopts is told of an adopted part which its own member ended.

    Real documents consume what goes on living (a battery that is swapped and then inspected). Where the origin
    is unknown anyway, the sighting is worth its entry: a finding for ever, and nothing comes back to life.
    """
    ended = record.status in (PartStatus.CONSUMED, PartStatus.DESTROYED) and record.holder == recording.member
    return ended and record.adopted and recording.context.parameters.adoption


def _offer_part(recording: Recording, identifier: Identifier, receiver: str, sells: bool) -> None:
    context = recording.context
    record = find_or_adopt(recording, identifier)
    if record.status == PartStatus.OFFERED and record.holder == recording.member:
        raise Refused(
            f"{record.id} is on offer to member {record.offered_to} already; take that back first",
            Reason.ALREADY_OFFERED,
        )
    check_free(context, record)
    record.offers_ownership = sells and _check_sale(context, record, receiver)
    record.status = PartStatus.OFFERED
    record.offered_to = receiver
    record.offered_at_ms = context.time_ms
    recording.enter_part(record)


def _check_sale(context: Context, record: PartRecord, receiver: str) -> bool:
    """Whether ownership moves on acceptance: not to whom it belongs already. Raises Refused(NOT_OWNER)."""
    if record.owner == receiver:
        return False
    if record.owner != context.member:
        raise Refused(
            f"{record.id} belongs to member {record.owner}; {context.member} cannot offer its ownership",
            Reason.NOT_OWNER,
        )
    contents = open_generation(context.overlay, record)
    if contents is not None and contents.foreign:
        raise Refused(
            f"{record.id} holds things that do not belong to {context.member}; its ownership cannot be offered",
            Reason.NOT_OWNER,
        )
    return True


def void(recording: Recording) -> None:
    """With bizStep void_shipping the shipper takes its offers back, as `return_offer` does one by one.

    Raises Refused: UNKNOWN_PART, NOTHING_TO_DO for what is not on offer, NOT_IN_CUSTODY for another's offer,
    EVENT_INVALID where amounts are listed, EVENT_REPEATED.
    """
    if recording.view.quantities:
        raise Refused(
            "an offer of an amount is taken back by the operation return_offer", Reason.EVENT_INVALID
        )
    for identifier in recording.view.epcs:
        record = find_part(recording, identifier) or require_part(recording.context.overlay, identifier.text)
        _check_on_offer(record)
        if record.holder != recording.member:
            raise Refused(f"{record.id} was shipped by member {record.holder}", Reason.NOT_IN_CUSTODY)
        _end_offer(record)
        recording.enter_part(record, EntryKind.RETURNED)


# ---- receiving ----------------------------------------------------------------------------------------------


def receive(recording: Recording) -> None:
    """With bizStep receiving or accepting, custody of what was offered moves to the member, ownership if offered.

    What the member possesses already is observed. Listing what was neither is "over": with something accepted
    beside it, a finding OVER_RECEIPT there and nothing else; alone, refused.

    Raises Refused: NOT_OFFERED_TO_YOU, UNKNOWN_PART, INSIDE_CONTAINER (of a container to be received whole),
    UNKNOWN_LOT, QUANTITY_INVALID, EVENT_REPEATED.
    """
    context = recording.context
    # (1) What is on offer to the member becomes hers, so that what is inside can be observed below.
    accepted: list[PartRecord] = []
    others: list[Identifier] = []
    for identifier in recording.view.epcs:
        record = find_part(recording, identifier)
        if record is None or record.status != PartStatus.OFFERED or record.offered_to != recording.member:
            others.append(identifier)
            continue
        _accept(record, recording.member)
        recording.settle(record)
        accepted.append(record)
    # (2) The rest she possesses, or it is over.
    possessed: list[PartRecord] = []
    over: list[tuple[Identifier, PartRecord | None]] = []
    for identifier in others:
        record = find_part(recording, identifier)
        if record is None and may_adopt(recording, identifier):
            record = find_or_adopt(recording, identifier)
        if record is not None and _possesses(context, record):
            possessed.append(record)
        else:
            over.append((identifier, record))
    if over and not accepted:
        raise _not_offered(context, *over[0])
    # (3) Entries.
    finding = Reason.OVER_RECEIPT if over else Reason.REASON_UNSPECIFIED
    for record in accepted:
        recording.enter_part(record, finding=finding)
    for record in possessed:
        recording.enter_part(record)
    for quantity in recording.view.quantities:
        _receive_amount(recording, quantity)


def _accept(record: PartRecord, member: str) -> None:
    if record.offers_ownership and record.owner != member:
        record.owner = member
        record.contents_follow = record.open
    record.status = PartStatus.LIVE
    record.holder = member
    record.arrived_offer = False
    _clear_offer(record)


def _clear_offer(record: PartRecord) -> None:
    record.offered_to = ""
    record.offered_at_ms = 0
    record.offers_ownership = False


def _possesses(context: Context, record: PartRecord) -> bool:
    where = standing(context.overlay, record)
    return where.status == PartStatus.LIVE and where.holder == context.member


def _not_offered(context: Context, identifier: Identifier, found: PartRecord | None) -> Refused:
    record = found or require_part(context.overlay, identifier.text)
    where = standing(context.overlay, record)
    outer = load_part(context.overlay, where.outermost) if where.outermost else None
    if outer is not None and outer.id != record.id and outer.offered_to == context.member:
        return Refused(
            f"{record.id} is inside {outer.id}, which is on offer to you; receive that, with all its contents",
            Reason.INSIDE_CONTAINER,
        )
    return Refused(f"{record.id} is not on offer to member {context.member}", Reason.NOT_OFFERED_TO_YOU)


def _receive_amount(recording: Recording, quantity: Quantity) -> None:
    overlay, member = recording.context.overlay, recording.member
    sender = _party(recording, recording.view.source(_POSSESSING))
    if sender is None and _receive_inbound(recording, quantity):
        return
    if sender is None or sender == member:
        # Nobody here shipped it: all that can be said is what the member has.
        recording.enter_lot(lots.hold_amount(recording, quantity))
        return
    lot, place = quantity.of.text, lots.offer_place(sender, member)
    offered = lots.amount_at(overlay, lot, place, quantity.unit)
    record = state.load(overlay, state.lot_key(lot), LotRecord)
    if record is None or decimals.sign(offered) == 0:
        raise Refused(
            f"member {sender} has no {quantity.unit or 'pieces'} of {lot} on offer to {member}",
            Reason.NOT_OFFERED_TO_YOU,
        )
    recording.mark_moved()
    amount = offered if quantity.amount is None else lots.require_amount(quantity)
    over = decimals.compare(amount, offered) > 0
    if over:
        amount = offered
    lots.take_amount(overlay, lot, place, quantity.unit, amount)
    lots.put_amount(overlay, lot, member, quantity.unit, amount)
    recording.enter_lot(record, finding=Reason.OVER_RECEIPT if over else Reason.REASON_UNSPECIFIED)


def _receive_inbound(recording: Recording, quantity: Quantity) -> bool:
    """Takes what came over the bridge for the member, if anything did; whether it did."""
    overlay, member, lot = recording.context.overlay, recording.member, quantity.of.text
    came = inbound.waiting(overlay, lot, member, quantity.unit)
    record = state.load(overlay, state.lot_key(lot), LotRecord)
    if record is None or decimals.sign(came) == 0:
        return False
    recording.mark_moved()
    amount = came if quantity.amount is None else lots.require_amount(quantity)
    over = decimals.compare(amount, came) > 0
    if over:
        amount = came
    inbound.take(overlay, lot, member, quantity.unit, amount)
    lots.put_amount(overlay, lot, member, quantity.unit, amount)
    recording.enter_lot(record, finding=Reason.OVER_RECEIPT if over else Reason.REASON_UNSPECIFIED)
    return True


# ---- offers that end otherwise ------------------------------------------------------------------------------


def return_offer(context: Context, operation: ReturnOffer) -> None:
    """Ends an offer without a move: by its shipper or its receiver any time, by anyone once it has expired.

    Only an operator's or a device's key speaks for shipper and receiver. Raises Refused: UNKNOWN_PART, UNKNOWN_LOT, NOTHING_TO_DO for what is not on offer, NOT_OFFERED_TO_YOU for
    others before the expiry, WRONG_COUNTERPARTY for an offer that came over the bridge.
    """
    if operation.sender or operation.receiver or operation.unit:
        _return_amount(context, operation)
        return
    record = require_part(context.overlay, operation.part)
    _check_on_offer(record)
    _check_may_return(context, record.id, record.holder, record.offered_to, record.offered_at_ms)
    _end_offer(record)
    context.enter(state.part_key(record.id), record.history, EntryKind.RETURNED)
    save_part(context.overlay, record)


def _check_on_offer(record: PartRecord) -> None:
    if record.status != PartStatus.OFFERED:
        raise Refused(
            f"{record.id} is not on offer; it is {PartStatus.Name(record.status)}", Reason.NOTHING_TO_DO
        )
    if record.arrived_offer:
        raise Refused(
            f"{record.id} was sent by member {record.shipper} of another chain; give it back with return_part",
            Reason.WRONG_COUNTERPARTY,
        )


def _check_may_return(context: Context, what: str, sender: str, receiver: str, offered_at_ms: int) -> None:
    expires_ms = offered_at_ms + context.parameters.offer_expiry_ms
    concerned = context.member in (sender, receiver) and context.signer.role in (Role.OPERATOR, Role.DEVICE)
    if not concerned and context.time_ms < expires_ms:
        raise Refused(
            f"{what} is on offer from {sender} to {receiver}; others may return it from {expires_ms} on",
            Reason.NOT_OFFERED_TO_YOU,
        )


def _end_offer(record: PartRecord) -> None:
    record.status = PartStatus.LIVE
    _clear_offer(record)


def _return_amount(context: Context, operation: ReturnOffer) -> None:
    lot, unit, overlay = operation.part, operation.unit, context.overlay
    record = state.load(overlay, state.lot_key(lot), LotRecord)
    if record is None:
        raise Refused(f"{lot} has no record on this chain", Reason.UNKNOWN_LOT)
    place = lots.offer_place(operation.sender, operation.receiver)
    offer = state.load(overlay, state.balance_key(lot, place, unit), BalanceRecord)
    if offer is None:
        raise Refused(f"nothing of {lot} is on offer as {place}", Reason.NOTHING_TO_DO)
    _check_may_return(context, lot, operation.sender, operation.receiver, offer.offered_at_ms)
    lots.take_amount(overlay, lot, place, unit, offer.amount)
    lots.put_amount(overlay, lot, operation.sender, unit, offer.amount)
    context.enter(state.lot_key(lot), record.history, EntryKind.RETURNED)
    state.save(overlay, state.lot_key(lot), record)
