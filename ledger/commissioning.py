"""How parts and amounts begin and end: commissioning under a grant or a delegation, and destroying.

A serial is commissioned once. Its grant's holder who commissions it again brings about a finding in its history
and nothing else: the outcome is FLAGGED, for two bodies may now bear one name. Anyone else is refused.
"""

from ledger import lots
from ledger.containers import Filling, standing
from ledger.custody import check_free, find_or_adopt, find_part, is_frozen, new_part
from ledger.delegations import draw_serials, require_right
from ledger.errors import InvariantBroken, Refused
from ledger.grants import holds_grant, require_grant
from ledger.identifiers import Identifier
from ledger.recording import Recording
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    PartRecord,
    PartStatus,
    Reason,
)


def commission(recording: Recording) -> None:
    """ObjectEvent ADD: its parts begin to exist here, its amounts are added to the member's.

    Where a part exists already, and the member holds the grant, the event changes nothing: each such part's
    history is given a FLAG entry with finding REPEATED_COMMISSIONING, and that is also the outcome. An adopted
    part is no such case: its commissioning supersedes the adoption, wherever the part is, with a finding.

    Raises Refused: IDENTIFIER_INVALID, ALREADY_COMMISSIONED, NOT_LIVE (adopted, and over or away since),
    QUANTITY_INVALID, EVENT_REPEATED, and what the rights of `delegations` raise.
    """
    view = recording.view
    if view.serials is not None:
        if view.epcs:
            raise Refused("epcList: a lot's serials are commissioned alone", Reason.EVENT_INVALID)
        lots.commission_serials(recording, view.quantities)
        return
    # (1) Rights over everything first.
    found: list[tuple[Identifier, PartRecord | None, bool]] = []
    for identifier in view.epcs:
        record = find_part(recording, identifier)
        found.append((identifier, record, _check_right(recording, identifier, record)))
    # (2) A repetition is flagged, and nothing else happens.
    repeated = [record for _, record, _ in found if record is not None and not record.adopted]
    if repeated:
        for quantity in view.quantities:
            require_right(recording.context, quantity.of)
        for record in repeated:
            recording.flag(record, Reason.REPEATED_COMMISSIONING)
        recording.context.finding(Reason.REPEATED_COMMISSIONING)
        recording.leave_alone()
        return
    # (3) New parts, and those that were only adopted so far.
    for identifier, record, held in found:
        if record is None:
            if not held:
                draw_serials(recording, identifier)
            recording.enter_part(new_part(recording, identifier, adopted=False))
        else:
            _supersede_adoption(recording, record)
    # (4) Amounts.
    for quantity in view.quantities:
        recording.enter_lot(lots.commission_amount(recording, quantity))


def _check_right(recording: Recording, identifier: Identifier, record: PartRecord | None) -> bool:
    """Whether the member holds the grant; else it is a delegate."""
    if record is not None and record.lot:
        # The range says for good whose serial it is: nothing is entered, for whoever asks.
        raise Refused(f"{identifier.text} is of lot {record.lot} already", Reason.ALREADY_COMMISSIONED)
    if record is None:
        return require_right(recording.context, identifier)
    granted = holds_grant(recording.context, identifier)
    frozen = not record.adopted and is_frozen(recording.context.overlay, record)
    if not granted or frozen:
        raise Refused(
            f"{identifier.text} was commissioned by member {record.commissioner} already",
            Reason.ALREADY_COMMISSIONED,
        )
    require_grant(recording.context, identifier)
    return True


def _supersede_adoption(recording: Recording, record: PartRecord) -> None:
    where = standing(recording.context.overlay, record)
    if where.status != PartStatus.LIVE:
        raise Refused(
            f"{record.id} was adopted and is {PartStatus.Name(where.status)} now; its origin stays unknown",
            Reason.NOT_LIVE,
        )
    record.adopted = False
    record.commissioner = recording.member
    recording.enter_part(record, finding=Reason.SUPERSEDES_ADOPTION)
    recording.leave_alone()


def commission_output(recording: Recording, identifier: Identifier, owner: str = "") -> PartRecord:
    """A new part made by packing or transforming, under the member's grant or a delegation. The caller enters the event.

    Raises Refused: ALREADY_COMMISSIONED, IDENTIFIER_INVALID, and what `draw_serials` raises.
    """
    record = find_part(recording, identifier)
    if record is not None:
        raise Refused(
            f"{identifier.text} was commissioned by member {record.commissioner} already",
            Reason.ALREADY_COMMISSIONED,
        )
    return begin_output(recording, identifier, owner)


def begin_output(recording: Recording, identifier: Identifier, owner: str = "") -> PartRecord:
    """As `commission_output`, of what is known to have no record."""
    draw_serials(recording, identifier)
    return new_part(recording, identifier, adopted=False, owner=owner)


def destroy(recording: Recording) -> None:
    """ObjectEvent DELETE, destroying or decommissioning: its parts end for ever, with all that is inside them.

    Amounts are taken from the member's. What lies in a destroyed container stays where it is recorded, out of
    anyone's reach. Raises Refused: UNKNOWN_PART, NOT_LIVE, NOT_IN_CUSTODY, INSIDE_CONTAINER, UNKNOWN_LOT,
    QUANTITY_INVALID, QUANTITY_EXCEEDED, EVENT_REPEATED.
    """
    context = recording.context
    for identifier in recording.view.epcs:
        record = find_or_adopt(recording, identifier)
        check_free(context, record)
        filling = Filling.load(context.overlay, record)
        record.status = PartStatus.DESTROYED
        if filling is None:
            recording.enter_part(record)
            continue
        filling.close(ClosedBy.DESTROY, record.history.n + 1)
        if recording.enter_part(record) != filling.record.closed_n:
            raise InvariantBroken(f"the closing of {record.id} is not its newest entry")
        filling.save(context.overlay)
    for quantity in recording.view.quantities:
        recording.enter_lot(lots.spend_amount(recording, quantity))
