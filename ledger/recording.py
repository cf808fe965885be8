"""One event while it is being recorded: what it says, and the entries it leaves in histories.

The same event is recorded once. Where that is known without a row for every event ever made:

1. a part's record names the newest event entered in its history, so the same event cannot follow itself there;
2. an event that moves amounts leaves a MovedRecord under its digest, because amounts show no trace;
3. a transformation without an id has a record under its digest;
4. for an hour the idempotency key, which clients derive from the event, refuses the same transaction.

What is left: an event that moves no amount may be entered once more after others (an observation, or packing again
what was unpacked since), by who may record it then. Its entries carry the same digest, for every reader of the
history to see.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ledger import state
from ledger.context import Context
from ledger.errors import Refused
from ledger.event import EventView, given_digest
from ledger.event_fields import read_fields
from ledger.limits import TIME_PRECISION_MS
from ledger.plain_event import view_event
from ledger.state import Kind
from proto.chiptrace.v1.ledger_pb2 import (
    CorrectionRecord,
    CorrectionState,
    EntryKind,
    LotRecord,
    MovedRecord,
    PartRecord,
    Reason,
)

_NO_FINDING: Final = Reason.REASON_UNSPECIFIED


@dataclass(slots=True)
class Recording:
    """An event under the rules, within one transaction. digest: 32 bytes. late: older than the chain allows."""

    context: Context
    view: EventView
    digest: bytes
    late: bool
    entered: set[bytes] = field(default_factory=set)  # subject keys with an entry of this event
    adopted: set[bytes] = field(default_factory=set)  # subject keys that this event brought into being
    named: set[bytes] = field(default_factory=set)  # keys of the parts and intervals that it names
    # By key: how serials that had no record of their own are carved out of an interval (ledger/intervals.py).
    carving: dict[bytes, Callable[[], None]] = field(default_factory=dict)

    @property
    def member(self) -> str:
        """Who records the event."""
        return self.context.member

    def check_new(self, record: PartRecord) -> None:
        """Raises Refused(EVENT_REPEATED) if this event is the newest in the part's history already."""
        if record.last_event == self.digest:
            raise Refused(f"this event is recorded already, last for {record.id}", Reason.EVENT_REPEATED)

    def mark_moved(self) -> None:
        """Notes that the event moves amounts; Refused(EVENT_REPEATED) if it did so before."""
        key = state.state_key(Kind.BALANCE, self.digest)
        if key in self.entered:
            return
        moved = state.load(self.context.overlay, key, MovedRecord)
        if moved is not None:
            raise Refused(
                f"this event moved its amounts at height {moved.height} already", Reason.EVENT_REPEATED
            )
        record = MovedRecord(
            height=self.context.height, transaction=self.context.transaction_id, member=self.member
        )
        state.save(self.context.overlay, key, record)
        self.entered.add(key)

    def leave_alone(self) -> None:
        """Notes that the event, declared wrong later, takes nothing with it: what it names was there before.

        Who records again what another recorded changes nothing of what was said of it since.
        """
        key = state.correction_key(self.digest)
        if self.context.overlay.get(key) is None:
            note = CorrectionRecord(original=self.digest, state=CorrectionState.WITHOUT_EFFECT)
            state.save(self.context.overlay, key, note)

    def flag(self, record: PartRecord, finding: "Reason.ValueType") -> None:
        """Enters a finding in the history of a part that need not be the member's, and saves the record.

        Not a change of the part: what was its newest event still is, and can be taken back as before.
        """
        newest = record.last_event
        self.enter_part(record, EntryKind.FLAG, finding=finding)
        record.last_event = newest
        state.save(self.context.overlay, state.part_key(record.id), record)

    def settle(self, record: PartRecord) -> bool:
        """Saves a record under its own key, carved out of an interval if it is not yet; whether it was not."""
        key = state.part_key(record.id)
        carved = self._carve(key)
        state.save(self.context.overlay, key, record)
        return carved

    def _carve(self, key: bytes) -> bool:
        carve = self.carving.pop(key, None)
        if carve is not None:
            carve()
        return carve is not None

    def enter_part(
        self,
        record: PartRecord,
        kind: "EntryKind.ValueType" = EntryKind.EVENT,
        *,
        container: str = "",
        generation: int = 0,
        container_n: int = 0,
        finding: "Reason.ValueType" = _NO_FINDING,
    ) -> int:
        """Enters the event in a part's history and saves the record; returns the new number of entries.

        What the event adopted begins with an ADOPTED_EVENT entry, which stands for a plain one.
        """
        context, key, digest = self.context, state.part_key(record.id), self.digest
        self._carve(key)
        if self.late and not finding:
            finding = Reason.LATE_RECORD
        first = key in self.adopted and key not in self.entered
        if first:
            n = context.enter(key, record.history, EntryKind.ADOPTED_EVENT, digest, finding=finding)
        if not first or kind != EntryKind.EVENT:
            inside = (container, generation, container_n) if container else None
            n = context.enter(key, record.history, kind, digest, inside, finding)
        record.last_event = digest
        self.entered.add(key)
        state.save(context.overlay, key, record)
        return n

    def enter_lot(
        self,
        record: LotRecord,
        kind: "EntryKind.ValueType" = EntryKind.EVENT,
        *,
        container: str = "",
        generation: int = 0,
        container_n: int = 0,
        finding: "Reason.ValueType" = _NO_FINDING,
    ) -> None:
        """Enters the event in a lot's history, once however often it names the lot, and saves the record."""
        key = state.lot_key(record.id)
        if key in self.entered:
            return
        if self.late and not finding:
            finding = Reason.LATE_RECORD
        context, digest = self.context, self.digest
        if key in self.adopted:
            context.enter(key, record.history, EntryKind.ADOPTED_EVENT, digest, finding=finding)
        if key not in self.adopted or kind != EntryKind.EVENT:
            inside = (container, generation, container_n) if container else None
            context.enter(key, record.history, kind, digest, inside, finding)
        self.entered.add(key)
        state.save(self.context.overlay, key, record)


def read_recording(context: Context, data: bytes) -> Recording:
    """The event that `data` encodes, checked in itself.

    A chain that adopts reads a class among things as an amount left open. Raises Malformed for bytes that are no event;
    Refused: EVENT_INVALID, IDENTIFIER_INVALID, QUANTITY_INVALID, EVENT_TIME_OUT_OF_BOUNDS for a time in the future.
    """
    given = read_fields(data)
    view = view_event(given.fields)
    if view.event_time_ms > context.time_ms + TIME_PRECISION_MS:
        raise Refused(
            f"eventTime is {view.event_time_ms - context.time_ms} ms ahead of the chain's clock; "
            "record what has happened",
            Reason.EVENT_TIME_OUT_OF_BOUNDS,
        )
    if view.classes and not context.parameters.adoption:
        raise Refused(
            f"{view.classes[0].text} names a class; one part needs its serial, an amount a quantity list",
            Reason.IDENTIFIER_INVALID,
        )
    late = view.event_time_ms < context.time_ms - context.parameters.backdate_ms
    return Recording(context, view, given_digest(context.chain_id, given), late)
