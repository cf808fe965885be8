"""The first touch of a serial whose lot is the root of a list: shown where it is in the list, it gets a record.

A capture carries the proofs of the serials that its event names for the first time. Each is checked and its serial
carved out of the interval that holds it, as it is there; then the event is recorded as of any other part.

Lists are not known to the ledger, so one serial may be in two of them, or in one and in a range, or have been
commissioned by itself. Whoever touched it first has it. A second claim that is proven, by who holds the interval,
changes nothing and is entered once, for ever: the histories of both lots, and of the serial, are given a FLAG entry with finding
SERIAL_CLAIMED_TWICE, which is the outcome too. A list that has one serial at two places claims it twice itself.
"""

from collections.abc import Iterable, Sequence

from ledger import state
from ledger.containers import standing
from ledger.custody import is_frozen, load_part
from ledger.errors import InvariantBroken, Refused
from ledger.identifiers import Identifier, canonical
from ledger.intervals import carve, covering, piece_of
from ledger.ranges import bare_serial, find_range, note_single
from ledger.recording import Recording
from ledger.roots import check_membership
from ledger.state import Kind, Overlay
from proto.chiptrace.v1.ledger_pb2 import EntryKind, IntervalRecord, LotRecord, Membership, PartRecord, Reason


def touch(recording: Recording, memberships: Sequence[Membership]) -> bool:
    """Makes the records of serials that the event names for the first time; whether it is to be recorded then.

    It is not where one of them is something else already: that is entered, and nothing else happens. Raises
    Refused: MEMBERSHIP_INVALID, UNKNOWN_LOT, IDENTIFIER_INVALID, NOT_LIVE, NOT_IN_CUSTODY, EVENT_REPEATED,
    ALREADY_COMMISSIONED for a claim that was entered before.
    """
    if not memberships:
        return True
    overlay, named, seen = recording.context.overlay, _named(recording), set[str]()
    first: list[tuple[LotRecord, Identifier, int]] = []
    twice: list[tuple[Identifier, set[str]]] = []
    for membership in memberships:
        # (1) It is about a serial that the event names, and proven.
        serial = canonical(membership.serial)
        if serial.text != membership.serial or serial.text not in named or serial.text in seen:
            raise Refused(
                f"{membership.serial!a}: a proof is for a serial in canonical form that the event names, and one each",
                Reason.MEMBERSHIP_INVALID,
            )
        seen.add(serial.text)
        lot = state.load(overlay, state.lot_key(membership.lot), LotRecord)
        if lot is None:
            raise Refused(f"lot {membership.lot!a} has no record on this chain", Reason.UNKNOWN_LOT)
        check_membership(lot, serial, membership)
        # (2) It was touched already, or is touched by who has it, or is something else's.
        held = covering(overlay, lot, membership.place)
        if held.id == serial.text:
            continue
        _check_holder(recording, held, membership)
        others = _others(overlay, lot, serial)
        if others is None:
            first.append((lot, serial, membership.place))
        else:
            _claim_once(recording, lot, serial, membership.place)
            twice.append((serial, {lot.id, *others}))
    # (3) All of them, or none.
    for serial, lots in twice:
        _flag(recording, serial, lots)
    if twice:
        recording.context.finding(Reason.SERIAL_CLAIMED_TWICE)
        recording.leave_alone()
        return False
    for lot, serial, place in first:
        _make(recording, lot, serial, place)
    return True


def _named(recording: Recording) -> set[str]:
    view = recording.view
    lists: Iterable[Sequence[Identifier]] = (view.epcs, view.children, view.inputs, view.outputs)
    found = {identifier.text for one in lists for identifier in one}
    return found if view.parent is None else {*found, view.parent.text}


def _check_holder(recording: Recording, held: PartRecord, membership: Membership) -> None:
    overlay = recording.context.overlay
    if is_frozen(overlay, held):
        raise Refused(f"{held.id} is on another chain, or on its way there", Reason.NOT_LIVE)
    if recording.member not in (standing(overlay, held).holder, held.offered_to):
        raise Refused(
            f"serial {membership.place} of {membership.lot} is in {held.id}, in custody of member {held.holder}, "
            "who names it first",
            Reason.NOT_IN_CUSTODY,
        )


def _others(overlay: Overlay, lot: LotRecord, serial: Identifier) -> set[str] | None:
    """What has a serial already: lots, none of them for one that was commissioned by itself; None if nothing has it."""
    record = state.load(overlay, state.part_key(serial.text), PartRecord)
    if record is not None:
        return {record.lot} - {"", lot.id}
    found = find_range(overlay, serial)
    return None if found is None else {found[0]}


def _claim_once(recording: Recording, lot: LotRecord, serial: Identifier, place: int) -> None:
    """Else who has a list could fill the histories of others' lots and parts with one claim for ever."""
    overlay, key = recording.context.overlay, state.state_key(Kind.INTERVAL, lot.id, place, "twice")
    if overlay.get(key) is not None:
        raise Refused(
            f"{serial.text} is something else already, and was shown at place {place} of {lot.id} before: both "
            "histories say so",
            Reason.ALREADY_COMMISSIONED,
        )
    state.save(overlay, key, IntervalRecord(end=place + 1, serial=bare_serial(serial)))


def _make(recording: Recording, lot: LotRecord, serial: Identifier, place: int) -> None:
    overlay = recording.context.overlay
    held = covering(overlay, lot, place)
    piece = piece_of(held, serial.text, place, place + 1)
    carve(recording, lot, held, piece)
    note_single(overlay, serial, begins=lot.origin_chain == recording.context.chain_id)
    state.save(overlay, state.part_key(serial.text), piece)


def _flag(recording: Recording, serial: Identifier, lots: set[str]) -> None:
    overlay = recording.context.overlay
    record = load_part(overlay, serial.text)
    if record is not None and not is_frozen(overlay, record):
        recording.check_new(record)
        recording.flag(record, Reason.SERIAL_CLAIMED_TWICE)
    for name in sorted(lots):
        lot = state.load(overlay, state.lot_key(name), LotRecord)
        if lot is None:
            raise InvariantBroken(f"lot {name} has serials but no record")
        recording.enter_lot(lot, EntryKind.FLAG, finding=Reason.SERIAL_CLAIMED_TWICE)
