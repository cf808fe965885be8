"""Error declarations: the original event stays, and its subjects' histories say that it was wrong.

A declaration is entered where the declarer possesses the subject, or brought it into being, and nowhere else; it
changes no state, but that a chain which adopts takes up parts it never heard of. What is on another chain is frozen.
"""

from ledger import decimals, lots, state
from ledger.containers import standing
from ledger.context import Context
from ledger.custody import find_or_adopt, find_part, is_frozen, may_adopt
from ledger.errors import Refused
from ledger.event import EventView, Quantity
from ledger.identifiers import Identifier
from ledger.recording import Recording
from proto.chiptrace.v1.ledger_pb2 import EntryKind, LotRecord, PartRecord, Reason


def declare_error(recording: Recording) -> None:
    """Enters an event that carries an errorDeclaration as CORRECTED; whoever was last in possession may.

    Raises Refused: EVENT_REPEATED, IDENTIFIER_INVALID, CORRECTION_NOT_APPLICABLE where it may be entered
    nowhere.
    """
    context = recording.context
    entered = 0
    for identifier in _named(recording.view):
        record = find_part(recording, identifier)
        if record is None and _takes_up(recording, identifier):
            # All that is known of it is that something told of it was wrong: adopted, never clean.
            record = find_or_adopt(recording, identifier)
        if record is not None and _may_correct(context, record):
            recording.enter_part(record, EntryKind.CORRECTED)
            entered += 1
    for quantity in _amounts(recording.view):
        lot = state.load(context.overlay, state.lot_key(quantity.of.text), LotRecord)
        if lot is not None and _may_correct_lot(context, lot, quantity.unit):
            recording.enter_lot(lot, EntryKind.CORRECTED)
            entered += 1
    if entered == 0:
        raise Refused(
            f"member {recording.member} possesses nothing that this declaration names, nor commissioned it",
            Reason.CORRECTION_NOT_APPLICABLE,
        )


def _takes_up(recording: Recording, identifier: Identifier) -> bool:
    """Whether a chain that adopts takes up something it never heard of: not what the wrong event would have made."""
    view = recording.view
    made = (*view.outputs, *(view.epcs if view.action == "ADD" else ()))
    return identifier not in made and may_adopt(recording, identifier)


def _named(view: EventView) -> dict[Identifier, None]:
    parent = () if view.parent is None else (view.parent,)
    return dict.fromkeys((*parent, *view.epcs, *view.children, *view.inputs, *view.outputs))


def _amounts(view: EventView) -> tuple[Quantity, ...]:
    return (*view.quantities, *view.child_quantities, *view.input_quantities, *view.output_quantities)


def _may_correct(context: Context, record: PartRecord) -> bool:
    if is_frozen(context.overlay, record):
        return False
    # Members of other chains may bear the same id.
    commissioned = record.origin_chain == context.chain_id and record.commissioner == context.member
    return commissioned or standing(context.overlay, record).holder == context.member


def _may_correct_lot(context: Context, record: LotRecord, unit: str) -> bool:
    held = lots.amount_at(context.overlay, record.id, context.member, unit)
    return decimals.sign(held) > 0 or record.commissioner == context.member
