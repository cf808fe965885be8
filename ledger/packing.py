"""AggregationEvent and AssociationEvent: into containers and out of them, packed or installed.

What goes in is free-standing and in the member's possession; where it goes is too, so nothing is ever in two
places or inside itself. A chain that adopts takes real events whose taking out nobody recorded: what is adopted, and
is inside something else by what was recorded, or over, stays as it is and is flagged. Packing into something unknown commissions it, if the member holds the grant: a box
begins with being filled. The container's own entry comes first, then one in the history of each child, which
names the container's number of entries after its own: between the two the container speaks for the child.
"""

from ledger import lots, state
from ledger.commissioning import begin_output
from ledger.containers import Filling, free, inside_of
from ledger.custody import check_free, check_possession, find_or_adopt, find_part
from ledger.delegations import may_commission
from ledger.errors import InvariantBroken, Refused
from ledger.event import Quantity
from ledger.identifiers import Identifier
from ledger.intervals import find_piece
from ledger.recording import Recording
from ledger.shipping import is_seen_after_its_end
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    EntryKind,
    GenerationRecord,
    LotRecord,
    PartRecord,
    PartStatus,
    Reason,
)


def pack_or_unpack(recording: Recording) -> None:
    """What an AggregationEvent or AssociationEvent says, by its action.

    Raises Refused: EVENT_INVALID without a parent where one is needed, and as the actions below.
    """
    view = recording.view
    installed = view.type == "AssociationEvent"
    if view.parent is None:
        if view.action != "OBSERVE":
            raise Refused(f"parentID: an {view.type} {view.action} needs it", Reason.EVENT_INVALID)
        _observe_children(recording)
    elif view.action == "ADD":
        _add(recording, view.parent, installed)
    elif _was_filled_before(recording, view.parent):
        _observe_unfilled(recording, view.parent)
    elif view.action == "OBSERVE":
        _observe(recording, view.parent)
    elif view.children or view.child_quantities:
        _remove(recording, view.parent, installed)
    else:
        _remove_all(recording, view.parent, installed)


# ---- in -----------------------------------------------------------------------------------------------------


def _add(recording: Recording, parent: Identifier, installed: bool) -> None:
    """Puts children and amounts into the parent.

    Raises Refused: NOTHING_TO_DO, SELF_CONTAINMENT, UNKNOWN_PART, NOT_HOME_CHAIN, NOT_LIVE, NOT_IN_CUSTODY,
    NOT_FREE_STANDING for the parent, INSIDE_CONTAINER for a child, TOO_DEEP, MANIFEST_FULL, NOT_OWNER,
    EVENT_INVALID, UNKNOWN_LOT, QUANTITY_INVALID, QUANTITY_EXCEEDED, EVENT_REPEATED.
    """
    context, view = recording.context, recording.view
    if not view.children and not view.child_quantities:
        raise Refused("childEPCs: nothing is listed to go in", Reason.NOTHING_TO_DO)
    # (1) Everything may go where it is said to go.
    container = _find_container(recording, parent, installed)
    children: list[tuple[PartRecord, GenerationRecord | None]] = []
    flagged: list[PartRecord] = []
    for identifier in view.children:
        if identifier == parent:
            raise Refused(f"{parent.text} cannot be put into itself", Reason.SELF_CONTAINMENT)
        child = find_or_adopt(recording, identifier)
        if _stays_where_it_is(recording, child):
            if child.container != container.id:
                flagged.append(child)
            # What is inside already is where it is said to be, and the container's entry speaks for it.
            continue
        check_free(context, child)
        children.append((child, inside_of(context.overlay, child)))
    finding = Reason.SEEN_ELSEWHERE if flagged else Reason.REASON_UNSPECIFIED
    for child in flagged:
        over = is_seen_after_its_end(recording, child)
        recording.enter_part(
            child, EntryKind.FLAG, finding=Reason.SEEN_AFTER_END if over else Reason.SEEN_ELSEWHERE
        )
    if not children and not view.child_quantities:
        recording.enter_part(container, finding=finding)
        return
    # (2) The container, which was nowhere below the highest hop inside it.
    filling = Filling.load(context.overlay, container) or Filling.start(container, installed)
    filling.require_kind(installed)
    for child, inner in children:
        filling.add_child(child, inner)
        container.hop = max(container.hop, child.hop)
    n = recording.enter_part(container, finding=finding)
    filling.record.opened_n = filling.record.opened_n or n
    # (3) Each child, and each amount.
    generation = filling.record.generation
    for child, _ in children:
        child.container = container.id
        child.generation = generation
        recording.enter_part(
            child, EntryKind.PACKED, container=container.id, generation=generation, container_n=n
        )
    for quantity in view.child_quantities:
        lot = lots.spend_amount(recording, quantity)
        lots.put_amount(context.overlay, lot.id, container.id, quantity.unit, lots.require_amount(quantity))
        filling.add_amount(lot.id, quantity.unit)
        _enter_amount(recording, lot, EntryKind.PACKED, filling, n)
    filling.save(context.overlay)


def _stays_where_it_is(recording: Recording, child: PartRecord) -> bool:
    """Whether a chain that adopts is told that something adopted is put in, which is inside something or over."""
    if not (child.adopted and recording.context.parameters.adoption):
        return False
    if is_seen_after_its_end(recording, child):
        return True
    if not child.container:
        return False
    check_possession(recording.context, child)
    return True


def _find_container(recording: Recording, parent: Identifier, installed: bool) -> PartRecord:
    record = find_part(recording, parent)
    if record is None and installed:
        # A device does not begin with what is installed in it.
        return find_or_adopt(recording, parent)
    if record is None:
        if not may_commission(recording.context, parent):
            raise Refused(
                f"{parent.text} was never commissioned on this chain, and member {recording.member} holds no grant or "
                "delegation under which packing would commission it",
                Reason.UNKNOWN_PART,
            )
        return begin_output(recording, parent)
    check_free(recording.context, record, Reason.NOT_FREE_STANDING)
    return record


def _enter_amount(
    recording: Recording, lot: LotRecord, kind: "EntryKind.ValueType", filling: Filling, n: int
) -> None:
    generation = filling.record
    recording.enter_lot(
        lot, kind, container=generation.container, generation=generation.generation, container_n=n
    )


# ---- seen ---------------------------------------------------------------------------------------------------


def _observe(recording: Recording, parent: Identifier) -> None:
    """Enters the event for the container, which answers for the children it lists.

    Raises Refused: UNKNOWN_PART, NOT_LIVE, NOT_IN_CUSTODY, NOT_INSIDE for a child that is elsewhere,
    QUANTITY_EXCEEDED for more than lies inside, EVENT_REPEATED.
    """
    container = find_or_adopt(recording, parent)
    check_possession(recording.context, container)
    for identifier in recording.view.children:
        _require_inside(recording, container, identifier)
    for quantity in recording.view.child_quantities:
        lots.check_amount(recording.context.overlay, quantity, container.id)
    recording.enter_part(container)


def _was_filled_before(recording: Recording, parent: Identifier) -> bool:
    """Whether a chain that adopts hears of the contents of something into which it never saw anything go."""
    record = find_part(recording, parent)
    return recording.context.parameters.adoption and (
        record is None or (record.adopted and not record.generations)
    )


def _observe_unfilled(recording: Recording, parent: Identifier) -> None:
    """What went in before the ledger's time is seen inside, or comes out: everything named is adopted as it
    stands, free, for the ledger cannot say what else was inside.

    Raises Refused: SELF_CONTAINMENT, UNKNOWN_PART, NOT_HOME_CHAIN, NOT_LIVE, NOT_IN_CUSTODY, NOT_FREE_STANDING,
    INSIDE_CONTAINER, UNKNOWN_LOT, QUANTITY_EXCEEDED, EVENT_REPEATED.
    """
    context, view = recording.context, recording.view
    if parent in view.children:
        raise Refused(f"{parent.text} was never inside itself", Reason.SELF_CONTAINMENT)
    container = find_or_adopt(recording, parent)
    check_free(context, container, Reason.NOT_FREE_STANDING)
    children = [find_or_adopt(recording, identifier) for identifier in view.children]
    for child in children:
        check_free(context, child)
    for record in (container, *children):
        recording.enter_part(record)
    for quantity in view.child_quantities:
        recording.enter_lot(lots.hold_amount(recording, quantity))


def _observe_children(recording: Recording) -> None:
    """Without a parent: each child is observed in the member's possession, wherever it is."""
    view = recording.view
    if not view.children and not view.child_quantities:
        raise Refused("childEPCs: nothing is listed", Reason.NOTHING_TO_DO)
    for identifier in view.children:
        record = find_or_adopt(recording, identifier)
        check_possession(recording.context, record)
        recording.enter_part(record)
    for quantity in view.child_quantities:
        recording.enter_lot(lots.hold_amount(recording, quantity))


def _require_inside(recording: Recording, container: PartRecord, identifier: Identifier) -> PartRecord:
    # Not brought up to date: what a closed generation freed is to be told from what was never inside.
    record = state.load(recording.context.overlay, state.part_key(identifier.text), PartRecord)
    if record is None or record.status == PartStatus.SPLIT:
        record = find_piece(recording, identifier)
    if record is None:
        raise Refused(f"{identifier.text} has no record on this chain", Reason.UNKNOWN_PART)
    if record.container != container.id:
        where = f"inside {record.container}" if record.container else "free-standing"
        raise Refused(f"{record.id} is not inside {container.id}, but {where}", Reason.NOT_INSIDE)
    if not container.open or record.generation != container.generations:
        raise Refused(
            f"{record.id} left {container.id} when its generation {record.generation} was closed",
            Reason.GENERATION_CLOSED,
        )
    recording.named.add(state.part_key(record.id))
    return record


# ---- out ----------------------------------------------------------------------------------------------------


def _open_container(recording: Recording, parent: Identifier, installed: bool) -> tuple[PartRecord, Filling]:
    container = find_or_adopt(recording, parent)
    check_free(recording.context, container, Reason.NOT_FREE_STANDING)
    filling = Filling.load(recording.context.overlay, container)
    if filling is None:
        if container.generations:
            raise Refused(
                f"{container.id} is empty since its generation {container.generations} was closed",
                Reason.GENERATION_CLOSED,
            )
        raise Refused(f"nothing was ever put into {container.id}", Reason.NOT_INSIDE)
    filling.require_kind(installed)
    return container, filling


def _remove(recording: Recording, parent: Identifier, installed: bool) -> None:
    """Takes what is listed out of the parent; the last thing out closes the generation.

    Raises Refused: UNKNOWN_PART, NOT_LIVE, NOT_IN_CUSTODY, NOT_FREE_STANDING, EVENT_INVALID, NOT_INSIDE,
    GENERATION_CLOSED, UNKNOWN_LOT, QUANTITY_INVALID, QUANTITY_EXCEEDED, EVENT_REPEATED.
    """
    context, view = recording.context, recording.view
    container, filling = _open_container(recording, parent, installed)
    children = [_require_inside(recording, container, identifier) for identifier in view.children]
    carved = [recording.settle(child) for child in children]
    if any(carved):
        # What a listed one was carved out of is inside too, in pieces.
        filling = Filling.load(context.overlay, container) or filling
    owner = "" if filling.record.foreign else container.owner
    for child in children:
        filling.remove_child(child, inside_of(context.overlay, child))
    moved = [_take_out(recording, container, filling, quantity) for quantity in view.child_quantities]
    if filling.is_empty:
        filling.close(ClosedBy.EMPTIED, container.history.n + 1)
    n = recording.enter_part(container)
    generation = filling.record.generation
    for child in children:
        free(child, container.holder, owner, container.hop)
        recording.enter_part(
            child, EntryKind.UNPACKED, container=container.id, generation=generation, container_n=n
        )
    for lot in moved:
        _enter_amount(recording, lot, EntryKind.UNPACKED, filling, n)
    filling.save(context.overlay)


def _take_out(recording: Recording, container: PartRecord, filling: Filling, quantity: Quantity) -> LotRecord:
    overlay, amount = recording.context.overlay, lots.require_amount(quantity)
    record = _lot_inside(recording, quantity.of.text)
    recording.mark_moved()
    left = lots.take_amount(overlay, record.id, container.id, quantity.unit, amount)
    if not left.coefficient:
        filling.remove_amount(record.id, quantity.unit)
    lots.put_amount(overlay, record.id, recording.member, quantity.unit, amount)
    return record


def _lot_inside(recording: Recording, lot: str) -> LotRecord:
    record = state.load(recording.context.overlay, state.lot_key(lot), LotRecord)
    if record is None:
        raise Refused(f"lot {lot} has no record on this chain", Reason.UNKNOWN_LOT)
    return record


def _remove_all(recording: Recording, parent: Identifier, installed: bool) -> None:
    """Empties the parent at once, without touching its children; amounts return to the member one by one.

    Raises Refused: UNKNOWN_PART, NOT_LIVE, NOT_IN_CUSTODY, NOT_FREE_STANDING, EVENT_INVALID, NOT_INSIDE,
    GENERATION_CLOSED, EVENT_REPEATED.
    """
    context = recording.context
    container, filling = _open_container(recording, parent, installed)
    filling.close(ClosedBy.UNPACK_ALL, container.history.n + 1)
    n = recording.enter_part(container)
    if n != filling.record.closed_n:
        raise InvariantBroken(f"the closing of {container.id} is not its newest entry")
    for lot, unit in filling.amounts():
        record = _lot_inside(recording, lot)
        amount = lots.amount_at(context.overlay, lot, container.id, unit)
        lots.take_amount(context.overlay, lot, container.id, unit, amount)
        lots.put_amount(context.overlay, lot, recording.member, unit, amount)
        _enter_amount(recording, record, EntryKind.UNPACKED, filling, n)
    filling.save(context.overlay)
