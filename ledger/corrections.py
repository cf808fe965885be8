"""Error declarations: the original event stays, its subjects' histories say that it was wrong, and it is undone if
everybody concerned says so.

The declaration is the original event with an errorDeclaration added, and with its seed: so the digest of the
original follows from it, and stands for it here. A declaration is entered where the declarer possesses the
subject, or brought it into being, and nowhere else. Nothing is rewound. What the event did is taken back
(undoing.py)

1. at once, while it is the newest event of every part it touched and the declarer's word is all that is needed;
2. else when two members at least, and all those who possess, own or made what it touched, declare it wrong, within
   the time for which an offer stands, whatever came of the first word; later, a declaration begins anew;
3. never, where something it touched is over or on another chain: that is CONTESTED, for every reader to see.

A declaration that names no part and no amount, or, on a chain that adopts, only things that nobody heard of, is noted
(notes.py): nothing was recorded that could be undone.

A void serial stays burnt. What is on another chain is frozen: nothing is entered there.
"""

from typing import Final

from ledger import decimals, lots, state
from ledger.containers import normalise, standing
from ledger.context import Context
from ledger.custody import find_or_adopt, find_part, is_frozen, load_part, may_adopt, save_part
from ledger.errors import Refused
from ledger.event import EventView, Quantity, given_digest
from ledger.event_fields import GivenEvent, read_fields
from ledger.grants import holds_grant
from ledger.identifiers import Identifier, canonical
from ledger.intervals import pieces, place_of
from ledger.notes import names_nothing, note_event, note_place
from ledger.recording import Recording
from ledger.undoing import Inverse, begun_intervals, find_inverse, is_over
from proto.chiptrace.v1.ledger_pb2 import (
    CorrectionRecord,
    CorrectionState,
    EntryKind,
    LotRecord,
    PartRecord,
    Reason,
)

PIECES_MAX: Final = 256  # of one interval, in whose histories it is entered that an event was wrong
LOOKED_THROUGH_MAX: Final = (
    2_000  # records of all that a declaration names; one is looked through as often as it is named
)
_DECLARATION = "errorDeclaration"
# After these nothing is left to say.
_DONE = (CorrectionState.TAKEN_BACK,)


def original_of(chain_id: bytes, declaration: bytes) -> bytes:
    """The digest (32 bytes) of the event that an encoded Event declares wrong: all it says but that."""
    given = read_fields(declaration)
    fields = {name: field for name, field in given.fields.items() if name != _DECLARATION}
    return given_digest(chain_id, GivenEvent(given.seed, fields))


def declare_error(recording: Recording, original: bytes) -> None:
    """Enters the event under recording, which declares the one with digest `original` wrong; undoes it if it may be.

    Raises Refused: EVENT_REPEATED for the same member's word once more, IDENTIFIER_INVALID, EVENT_INVALID for a
    declaration that names itself as its correction, CORRECTION_NOT_APPLICABLE where it may be entered nowhere
    or was undone already, and what putting back into a container raises.
    """
    context, view = recording.context, recording.view
    declaration = view.error_declaration
    if declaration is not None and view.event_id and view.event_id in declaration.corrective_event_ids:
        raise Refused(
            "errorDeclaration.correctiveEventIDs: an event does not correct itself", Reason.EVENT_INVALID
        )
    if names_nothing(view) and view.read_point:
        note_place(recording, EntryKind.CORRECTED)
        return
    if _is_unknown(recording):
        note_event(recording, original)
        return
    key = state.correction_key(original)
    record = _begin(recording, key, original)
    # (1) Who says so may: they possess or brought into being something that it names.
    parts, amounts = _subjects(recording)
    # (2) Undo it, or enter that it was wrong.
    record.state, inverse = _judge(recording, record, original)
    _check_new(recording, record, inverse)
    if recording.member not in record.members:
        record.members.append(recording.member)
    record.height = context.height
    state.save(context.overlay, key, record)
    if record.state == CorrectionState.TAKEN_BACK and inverse is not None:
        inverse.apply()
        return
    finding = {
        CorrectionState.DISPUTED: Reason.CONTESTED,
        CorrectionState.WAITING: Reason.CORRECTION_PENDING,
    }.get(record.state, Reason.REASON_UNSPECIFIED)
    if finding:
        context.finding(finding)
    for part in parts:
        # Not a change of the part: what was its newest event still is.
        newest = part.last_event
        recording.enter_part(part, EntryKind.CORRECTED, finding=finding)
        part.last_event = newest
        save_part(context.overlay, part)
    for lot in amounts:
        recording.enter_lot(lot, EntryKind.CORRECTED, finding=finding)


def _begin(recording: Recording, key: bytes, original: bytes) -> CorrectionRecord:
    """What was said of the original so far; nothing, once the time has passed for which a first word counts."""
    context = recording.context
    record = state.load(context.overlay, key, CorrectionRecord)
    if record is None:
        return CorrectionRecord(original=original, declared_at_ms=context.time_ms)
    if record.state in _DONE:
        raise Refused(
            f"that event was declared wrong and undone at height {record.height}",
            Reason.CORRECTION_NOT_APPLICABLE,
        )
    expires_ms = record.declared_at_ms + context.parameters.offer_expiry_ms
    # Whatever came of it: who has the thing by now undoes nothing with an old word of who had it.
    if not record.members or context.time_ms >= expires_ms:
        record.declared_at_ms = context.time_ms
        del record.members[:]
    return record


def _check_new(recording: Recording, record: CorrectionRecord, inverse: Inverse | None) -> None:
    if recording.member not in record.members or record.state == CorrectionState.TAKEN_BACK:
        return
    waits = "" if inverse is None else ", ".join(sorted(inverse.needed - set(record.members)))
    raise Refused(
        f"member {recording.member} declared that event wrong already"
        + (f"; it waits for {waits}" if waits else ""),
        Reason.EVENT_REPEATED,
    )


def _judge(
    recording: Recording, record: CorrectionRecord, original: bytes
) -> tuple["CorrectionState.ValueType", Inverse | None]:
    """Where the correction stands with the word of the member who declares now, and what would undo the event."""
    if record.state == CorrectionState.WITHOUT_EFFECT:
        return record.state, None
    inverse = find_inverse(recording, original)
    if inverse is None:
        return CorrectionState.DISPUTED if _is_out_of_reach(recording) else CorrectionState.NOTED, None
    agreed = {*record.members, recording.member}
    if recording.member in inverse.needed <= agreed and (inverse.latest or len(agreed) > 1):
        return CorrectionState.TAKEN_BACK, inverse
    if inverse.needed <= {recording.member}:
        # Nobody else is concerned, and more has happened since: an ordinary event says what is so now.
        return CorrectionState.NOTED, inverse
    return CorrectionState.WAITING, inverse


def _is_out_of_reach(recording: Recording) -> bool:
    """Whether something that the event names is over, or on another chain."""
    context = recording.context
    for identifier in _named(recording.view):
        record = load_part(context.overlay, identifier.text)
        if record is not None and (is_over(recording, record) or is_frozen(context.overlay, record)):
            return True
    return False


def _subjects(recording: Recording) -> tuple[list[PartRecord], list[LotRecord]]:
    """The histories into which the member may enter that the event was wrong: some, or CORRECTION_NOT_APPLICABLE."""
    context = recording.context
    parts: dict[str, PartRecord] = {}  # intervals may overlap
    amounts: dict[str, LotRecord] = {}
    looked = 0
    for identifier in _named(recording.view):
        found = _find_all(recording, identifier)
        looked += len(found)
        if looked > LOOKED_THROUGH_MAX:
            raise Refused(
                f"{identifier.text}: a declaration looks through {LOOKED_THROUGH_MAX} records, and the serials that "
                "this one names lie in more",
                Reason.INTERVAL_SPLIT,
            )
        if not found and _takes_up(recording, identifier):
            # All that is known of it is that something told of it was wrong: adopted, never clean.
            found = [find_or_adopt(recording, identifier)]
        for record in found:
            if _may_correct(context, record):
                parts.setdefault(record.id, record)
    for quantity in _amounts(recording.view):
        lot = state.load(context.overlay, state.lot_key(quantity.of.text), LotRecord)
        if lot is not None and _may_correct_lot(context, lot, quantity.unit):
            amounts[lot.id] = lot
    if not parts and not amounts:
        raise Refused(
            f"member {recording.member} possesses nothing that this declaration names, nor commissioned it",
            Reason.CORRECTION_NOT_APPLICABLE,
        )
    return list(parts.values()), list(amounts.values())


def _is_unknown(recording: Recording) -> bool:
    """Whether a chain that adopts is told by a grant's holder of an event that it never saw, and of whose things it
    knows none and takes up none: what is said is noted, and nothing else."""
    context, view = recording.context, recording.view
    if not context.parameters.adoption:
        return False
    parts, amounts = _named(view), _amounts(view)
    for identifier in parts:
        if _find_all(recording, identifier) or _takes_up(recording, identifier):
            return False
    keys = [state.lot_key(quantity.of.text) for quantity in amounts]
    if any(context.overlay.get(key) is not None for key in keys):
        return False
    return any(holds_grant(context, name) for name in (*parts, *(quantity.of for quantity in amounts)))


def _find_all(recording: Recording, identifier: Identifier) -> list[PartRecord]:
    """What stands now for what an event named: of serials of a lot, all that they were carved into since.

    Raises Refused as `find_part`, but INTERVAL_SPLIT only for more than PIECES_MAX.
    """
    overlay = recording.context.overlay
    if identifier.interval is not None:
        if overlay.get(state.lot_key(identifier.lot_text)) is None:
            return []
        found = place_of(overlay, identifier)
        if found is not None:
            lot, start, end = found
            held = pieces(overlay, lot, start, end, PIECES_MAX)
            if held and held[0].start >= start and held[-1].end == end:
                # What the declaration names is not carved by it.
                recording.named.update(state.part_key(record.id) for record in held)
                return [normalise(overlay, record) for record in held]
    record = find_part(recording, identifier)
    return [] if record is None else [record]


def _takes_up(recording: Recording, identifier: Identifier) -> bool:
    """Whether a chain that adopts takes up something it never heard of: not what the wrong event would have made."""
    view = recording.view
    made = (*view.outputs, *(view.epcs if view.action == "ADD" else ()))
    return identifier not in made and may_adopt(recording, identifier)


def _named(view: EventView) -> dict[Identifier, None]:
    parent = () if view.parent is None else (view.parent,)
    begun = (canonical(name) for name in begun_intervals(view))
    return dict.fromkeys((*parent, *view.epcs, *view.children, *view.inputs, *view.outputs, *begun))


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
