"""What an error declaration takes back: the inverse of an event, as far as there is one and it is still possible.

    ObjectEvent ADD                 what was commissioned is VOID, amounts are taken away again
    Aggregation/AssociationEvent ADD     what went in comes out; DELETE of what is listed: it goes back in
    TransformationEvent             outputs are VOID, inputs live again, amounts are as they were

There is none for shipping, receiving, returning, destroying and unpacking all. Serials of a lot are taken back as the
interval that the event named, while nothing was carved out of it.
`find_inverse` reads and changes nothing; only `Inverse.apply` does. Whether it may be applied is decided in
corrections.py.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ledger import decimals, lots, state
from ledger.containers import Filling, free, inside_of, standing
from ledger.custody import load_part
from ledger.errors import InvariantBroken
from ledger.event import EventView, Quantity
from ledger.identifiers import Identifier, interval_text
from ledger.recording import Recording
from ledger.state import Kind
from ledger.transformation import enter_correction, run_name
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    Decimal,
    EntryKind,
    LotRecord,
    MovedRecord,
    PartRecord,
    PartStatus,
    TransformationRecord,
)

OVER: Final = (PartStatus.CONSUMED, PartStatus.DESTROYED, PartStatus.VOID)


@dataclass(frozen=True, slots=True)
class Inverse:
    """What would be done, and by whose word.

    needed: members without whom it is not done. latest: the event is the newest of every part it touched, which
    also shows that it was recorded.
    """

    needed: frozenset[str]
    latest: bool
    apply: Callable[[], None]


def find_inverse(recording: Recording, original: bytes) -> Inverse | None:
    """The inverse of the event with digest `original` (32 bytes), which says what the declaration under recording
    says; None where it has none, or none any more."""
    view = recording.view
    if view.type == "ObjectEvent" and view.action == "ADD":
        return _commissioning(recording, original)
    if view.type in ("AggregationEvent", "AssociationEvent") and view.parent is not None:
        return _filling(recording, original, view.parent)
    if view.type == "TransformationEvent":
        return _transformation(recording, original)
    return None


# ---- what was commissioned ------------------------------------------------------------------------------------


def _commissioning(recording: Recording, original: bytes) -> Inverse | None:
    view = recording.view
    begun = begun_intervals(view)
    amounts = () if begun else view.quantities
    parts = _all_free(recording, view.epcs, begun)
    whose = _mover(recording, original, amounts)
    if parts is None or whose is None or not _has(recording, amounts, whose):
        return None

    def apply() -> None:
        _void(recording, parts)
        for quantity in amounts:
            _enter_amount(recording, quantity, take_from=whose)

    needed = {whose, *_concerned(parts)} - {""}
    return Inverse(frozenset(needed), _is_latest(parts, original), apply)


def _void(recording: Recording, parts: Iterable[PartRecord]) -> None:
    for record in parts:
        record.status = PartStatus.VOID
        recording.enter_part(record, EntryKind.UNDONE)
        if record.lot:
            recording.enter_lot(_lot(recording, record.lot), EntryKind.UNDONE)


def _concerned(parts: Iterable[PartRecord]) -> set[str]:
    """Who must agree that a part never was: who made it, who has it, whose it is."""
    return {member for record in parts for member in (record.commissioner, record.holder, record.owner)}


def begun_intervals(view: EventView) -> tuple[str, ...]:
    """The intervals of all serials of a lot that the event says begin with it; none for most events."""
    if view.serials is None:
        return ()
    begun = (*view.quantities, *view.output_quantities)
    return tuple(
        interval_text(item.of.text, 0, decimals.to_int(item.amount))
        for item in begun
        if item.amount is not None and decimals.sign(item.amount) > 0 and decimals.is_whole(item.amount)
    )


def _all_free(
    recording: Recording, identifiers: Iterable[Identifier], intervals: Iterable[str]
) -> list[PartRecord] | None:
    """The parts, if each began here and is live, free-standing and empty; None if one is not."""
    found: list[PartRecord] = []
    for name in (*(identifier.text for identifier in identifiers), *intervals):
        record = load_part(recording.context.overlay, name)
        if record is None or record.status != PartStatus.LIVE or record.container or record.open:
            return None
        # A serial of a lot began with its lot, an interval of some of them with its carving.
        part_of_lot = bool(record.lot) and name not in intervals
        if part_of_lot or record.adopted or record.origin_chain != recording.context.chain_id:
            return None
        found.append(record)
    return found


# ---- what was packed or installed, and taken out -------------------------------------------------------------


def _filling(recording: Recording, original: bytes, parent: Identifier) -> Inverse | None:
    """Of a generation that is still open, in a container that stands free with its holder, who must agree."""
    view, overlay = recording.view, recording.context.overlay
    container = load_part(overlay, parent.text)
    if container is None or container.status != PartStatus.LIVE or container.container:
        return None
    filling = Filling.load(overlay, container)
    if filling is None or filling.record.installed != (view.type == "AssociationEvent"):
        return None
    children = [load_part(overlay, identifier.text) for identifier in view.children]
    known = [child for child in children if child is not None and child.status != PartStatus.SPLIT]
    if len(known) != len(children) or not (known or view.child_quantities):
        return None
    latest = _is_latest([container, *known], original)
    if view.action == "ADD":
        inside = (container.id, container.generations)
        if any((child.container, child.generation) != inside for child in known):
            return None
        if not _has(recording, view.child_quantities, container.id):
            return None

        def apply() -> None:
            _take_out(recording, container, filling, known)
    elif view.action == "DELETE" and latest:
        # Of an earlier taking out nobody can say where the things are; what is latest stands as it left them.
        if any(child.status != PartStatus.LIVE or child.container for child in known):
            return None
        if not _has(recording, view.child_quantities, container.holder):
            return None

        def apply() -> None:
            _put_back(recording, container, filling, known)
    else:
        return None
    return Inverse(frozenset((container.holder,)), latest, apply)


def _take_out(
    recording: Recording, container: PartRecord, filling: Filling, children: list[PartRecord]
) -> None:
    overlay, generation = recording.context.overlay, filling.record.generation
    owner = "" if filling.record.foreign else container.owner
    for child in children:
        filling.remove_child(child, inside_of(overlay, child))
    for quantity in recording.view.child_quantities:
        _move(recording, quantity, container.id, container.holder)
        if decimals.sign(lots.amount_at(overlay, quantity.of.text, container.id, quantity.unit)) == 0:
            filling.remove_amount(quantity.of.text, quantity.unit)
    if filling.is_empty:
        filling.close(ClosedBy.EMPTIED, container.history.n + 1)
    n = recording.enter_part(container, EntryKind.UNDONE)
    for child in children:
        free(child, container.holder, owner, container.hop)
        recording.enter_part(
            child, EntryKind.UNPACKED, container=container.id, generation=generation, container_n=n
        )
    _enter_amounts(recording, EntryKind.UNPACKED, filling, n)
    filling.save(overlay)


def _put_back(
    recording: Recording, container: PartRecord, filling: Filling, children: list[PartRecord]
) -> None:
    """As packing does it. Raises Refused: TOO_DEEP, NOT_OWNER, MANIFEST_FULL."""
    overlay, generation = recording.context.overlay, filling.record.generation
    for child in children:
        filling.add_child(child, inside_of(overlay, child))
        container.hop = max(container.hop, child.hop)
    for quantity in recording.view.child_quantities:
        _move(recording, quantity, container.holder, container.id)
        filling.add_amount(quantity.of.text, quantity.unit)
    n = recording.enter_part(container, EntryKind.UNDONE)
    for child in children:
        child.container, child.generation = container.id, generation
        recording.enter_part(
            child, EntryKind.PACKED, container=container.id, generation=generation, container_n=n
        )
    _enter_amounts(recording, EntryKind.PACKED, filling, n)
    filling.save(overlay)


def _enter_amounts(recording: Recording, kind: "EntryKind.ValueType", filling: Filling, n: int) -> None:
    generation = filling.record
    for quantity in recording.view.child_quantities:
        recording.enter_lot(
            _lot(recording, quantity.of.text),
            kind,
            container=generation.container,
            generation=generation.generation,
            container_n=n,
        )


# ---- what was made -------------------------------------------------------------------------------------------


def _transformation(recording: Recording, original: bytes) -> Inverse | None:
    """While every input is as that event left it: consumed, and nothing after it."""
    view, overlay = recording.view, recording.context.overlay
    run = state.load(overlay, state.transformation_key(run_name(view, original)), TransformationRecord)
    both = set(view.inputs) & set(view.outputs)
    begun = begun_intervals(view)
    made = () if begun else view.output_quantities
    outputs = _all_free(recording, [item for item in view.outputs if item not in both], begun)
    inputs = _consumed_by(recording, [item for item in view.inputs if item not in both], original)
    if run is None or outputs is None or inputs is None or any(record.hop for record in outputs):
        return None
    if _standing_events(run) > 1 and (view.inputs or view.input_quantities):
        # Of what went in here something may have been made by another event of the run, which is taken back first.
        return None
    used = tuple(quantity for quantity in view.input_quantities if quantity.amount is not None)
    amounts = (*used, *made)
    if _mover(recording, original, amounts) not in ({run.member} if amounts else {""}):
        return None
    if not _has(recording, made, run.member):
        return None
    stayed = (load_part(overlay, item.text) for item in view.inputs if item in both)
    named = (*inputs, *outputs, *stayed)
    if not amounts and not any(record is not None and record.last_event == original for record in named):
        # Nothing shows that the run has such an event: what was never added to it would be taken from what it made.
        return None

    def apply() -> None:
        enter_correction(recording, run)
        _void(recording, outputs)
        for record in inputs:
            record.status = PartStatus.LIVE
            recording.enter_part(record, EntryKind.UNDONE)
        for identifier in view.inputs:
            kept = load_part(overlay, identifier.text) if identifier in both else None
            if kept is not None:
                recording.enter_part(kept, EntryKind.CORRECTED)
        for quantity in made:
            _enter_amount(recording, quantity, take_from=run.member)
        for quantity in view.input_quantities:
            if quantity in used:
                _enter_amount(recording, quantity, put_to=run.member)
            else:
                recording.enter_lot(_lot(recording, quantity.of.text), EntryKind.CORRECTED)

    needed = {run.member} | _concerned(outputs)
    latest = _is_latest([*inputs, *outputs], original) and bool(inputs or outputs or amounts)
    return Inverse(frozenset(needed), latest, apply)


def _standing_events(run: TransformationRecord) -> int:
    """How many events of a run were not taken back: each of those has two entries, the others one."""
    return run.history.n - 2 * run.undone


def _consumed_by(
    recording: Recording, identifiers: Iterable[Identifier], original: bytes
) -> list[PartRecord] | None:
    found: list[PartRecord] = []
    for identifier in identifiers:
        record = load_part(recording.context.overlay, identifier.text)
        if record is None or record.status != PartStatus.CONSUMED or record.last_event != original:
            return None
        found.append(record)
    return found


# ---- amounts -------------------------------------------------------------------------------------------------


def _mover(recording: Recording, original: bytes, quantities: Iterable[Quantity]) -> str | None:
    """Whose amounts the event moved: empty where it names none, None where it is not recorded that it did."""
    if not tuple(quantities):
        return ""
    key = state.state_key(Kind.BALANCE, original)
    moved = state.load(recording.context.overlay, key, MovedRecord)
    return moved.member if moved is not None and moved.member else None


def _has(recording: Recording, quantities: Iterable[Quantity], place: str) -> bool:
    """Whether all these amounts still lie there. Amounts of one lot look alike, so more may have happened to it."""
    overlay = recording.context.overlay
    left: dict[tuple[str, str], Decimal] = {}  # an event may name a lot more than once
    for quantity in quantities:
        lot, unit = quantity.of.text, quantity.unit
        record = state.load(overlay, state.lot_key(lot), LotRecord)
        if record is None or record.HasField("serials") or quantity.amount is None:
            return False
        held = left.get((lot, unit))
        if held is None:
            held = lots.amount_at(overlay, lot, place, unit)
        if decimals.compare(quantity.amount, held) > 0:
            return False
        left[lot, unit] = decimals.subtract(held, quantity.amount)
    return True


def _move(recording: Recording, quantity: Quantity, source: str, target: str) -> None:
    overlay, amount = recording.context.overlay, lots.require_amount(quantity)
    lots.take_amount(overlay, quantity.of.text, source, quantity.unit, amount)
    lots.put_amount(overlay, quantity.of.text, target, quantity.unit, amount)


def _enter_amount(recording: Recording, quantity: Quantity, *, take_from: str = "", put_to: str = "") -> None:
    overlay, amount = recording.context.overlay, lots.require_amount(quantity)
    if take_from:
        lots.take_amount(overlay, quantity.of.text, take_from, quantity.unit, amount)
    else:
        lots.put_amount(overlay, quantity.of.text, put_to, quantity.unit, amount)
    recording.enter_lot(_lot(recording, quantity.of.text), EntryKind.UNDONE)


def _lot(recording: Recording, name: str) -> LotRecord:
    record = state.load(recording.context.overlay, state.lot_key(name), LotRecord)
    if record is None:
        raise InvariantBroken(f"lot {name} has no record, though amounts of it were moved")
    return record


# ---- what came after -----------------------------------------------------------------------------------------


def _is_latest(parts: Iterable[PartRecord], original: bytes) -> bool:
    return all(record.last_event == original for record in parts)


def is_over(recording: Recording, record: PartRecord) -> bool:
    """Whether a part is consumed, destroyed or void, alone or with what it is inside of."""
    return standing(recording.context.overlay, record).status in OVER
