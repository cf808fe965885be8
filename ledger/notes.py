"""Notes: events that are about no part and no amount, and so about nothing that anybody possesses.

    a reading at a place        an ObjectEvent or TransactionEvent that names nothing, with a readPoint
    an error declaration        of an event of before the ledger, about things the ledger never heard of

They enter a history of what the note is about and who notes it. It is complete in what that member noted of it, and
says nothing of what else happened there: a place has no history here, and no rule depends on a note.
"""

from typing import Final

from ledger import state
from ledger.errors import Refused
from ledger.event import EventView
from ledger.identifiers import canonical
from ledger.recording import Recording
from ledger.transformation import EVENT_URN
from proto.chiptrace.v1.ledger_pb2 import EntryKind, NoteRecord, Reason

_PLACED: Final = ("ObjectEvent", "TransactionEvent")


def names_nothing(view: EventView) -> bool:
    """Whether an event names no part and no amount at all."""
    parts = view.parent is not None or view.epcs or view.children or view.inputs or view.outputs
    amounts = view.quantities or view.child_quantities or view.input_quantities or view.output_quantities
    return not parts and not amounts


def note_place(recording: Recording, kind: "EntryKind.ValueType" = EntryKind.EVENT) -> None:
    """Enters an event that names nothing in the member's notes on the place where it was read.

    Raises Refused: NOTHING_TO_DO where it tells no place or is to make or end something, IDENTIFIER_INVALID,
    EVENT_REPEATED.
    """
    view = recording.view
    acts = view.type == "ObjectEvent" and view.action != "OBSERVE"
    if not view.read_point or acts or view.type not in _PLACED:
        raise Refused(
            "epcList: no part and no amount is named, so no history to enter; a reading of a place has a readPoint",
            Reason.NOTHING_TO_DO,
        )
    try:
        place = canonical(view.read_point).text
    except Refused as error:
        raise Refused(f"readPoint: {error}", error.reason) from error
    _enter(recording, place, kind)


def note_event(recording: Recording, original: bytes) -> None:
    """Enters a declaration about an event unknown here (its digest, 32 bytes) in the member's notes on it.

    Raises Refused(EVENT_REPEATED).
    """
    _enter(recording, EVENT_URN + original.hex(), EntryKind.CORRECTED)


def _enter(recording: Recording, about: str, kind: "EntryKind.ValueType") -> None:
    context = recording.context
    key = state.note_key(about, recording.member)
    record = state.load(context.overlay, key, NoteRecord) or NoteRecord(about=about, member=recording.member)
    if record.last_event == recording.digest:
        raise Refused(f"this event is noted already, last for {about}", Reason.EVENT_REPEATED)
    finding = Reason.LATE_RECORD if recording.late else Reason.REASON_UNSPECIFIED
    context.enter(key, record.history, kind, recording.digest, finding=finding)
    record.last_event = recording.digest
    state.save(context.overlay, key, record)
