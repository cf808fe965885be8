"""What leads on from one thing to others: what was made of it, what is in it, where it went. Each step rests on a
complete history, or on a proven record.

    made from     the thing's history names the event in which it went in; that, or its run's history, names what came out
    inside        the history of the container says what went in, and each child's record says that it is there
    holds         the thing's own record names the container it is in
    went on as    its record names the light client, and that one's record the chain, on which it is then asked for
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from client.audit_entries import EntryReader, Reading
from client.audit_kinds import is_among
from client.reach_amounts import undone
from client.serials import as_recorded, take_out
from client.verified import NotVerifiable, VerifiedChain
from ledger import state
from ledger.containers import export_of
from ledger.event import EventView
from ledger.identifiers import canonical
from ledger.transformation import run_name
from proto.chiptrace.v1.bridge_pb2 import ClientRecord
from proto.chiptrace.v1.ledger_pb2 import (
    EntryKind,
    GenerationRecord,
    PartRecord,
    PartStatus,
    Reason,
    TransformationRecord,
)

_GONE = (PartStatus.DEPARTED, PartStatus.IN_TRANSIT)
_HAPPENED = (EntryKind.EVENT, EntryKind.ADOPTED_EVENT)


@dataclass(frozen=True)
class Window:
    """From one block time to another; until_ms 0: no end."""

    from_ms: int = 0
    until_ms: int = 0

    @property
    def is_all(self) -> bool:
        """Whether it leaves nothing out."""
        return not self.from_ms and not self.until_ms

    def holds(self, time_ms: int) -> bool:
        """Whether a time lies in it."""
        return self.from_ms <= time_ms and (not self.until_ms or time_ms <= self.until_ms)

    def meets(self, from_ms: int, until_ms: int | None) -> bool:
        """Whether an interval, or one that has not ended, has a moment in it."""
        begins = not self.until_ms or from_ms <= self.until_ms
        return begins and (until_ms is None or self.from_ms <= until_ms)


ALL_TIME = Window()


@dataclass(frozen=True)
class Made:
    """Something that an event put out. certain: it was made of the thing asked about, and not perhaps of another."""

    name: str
    event: bytes  # digest
    certain: bool


# Entries with which what was away comes back, with whatever is in it by then.
_BACK = (EntryKind.ARRIVED, EntryKind.MATERIALISED, EntryKind.REHOMED)


class Paths:
    """Steps on one chain; `reader` reads its entries."""

    def __init__(self, chain: VerifiedChain, reader: EntryReader) -> None:
        self._chain = chain
        self._reader = reader
        self._runs: dict[str, list[tuple[EventView, bytes, int]]] = {}

    # ---- what was made of it -----------------------------------------------------------------------------

    def made_of(self, readings: Sequence[Reading], window: Window) -> list[Made]:
        """What came out of every transformation that a thing went into, by its complete history."""
        used = [reading for reading in readings if _goes_in(reading) and window.holds(reading.step.time_ms)]
        back = undone(self._chain, ((one.view, one.operation, one.step.member) for one in readings))
        found: list[Made] = []
        for reading in used:
            view = reading.view
            if view is None or reading.entry.digest in back:
                continue
            alone = not is_among(reading.name, view.run.candidates)
            if not alone and self._is_undone(view, reading.entry.digest):
                continue  # what may have gone in is not told of that
            if not view.transformation_id:
                found += [Made(name, reading.entry.digest, alone) for name in _outputs(view)]
                continue
            found += self._of_run(view.transformation_id, reading, certain=alone)
        return found

    def of_run(self, run: str, window: Window = ALL_TIME) -> list[Made]:
        """All that a run put out, by the run's complete history; of events taken back nothing."""
        return [
            Made(name, digest, certain=True)
            for view, digest, time_ms in self._events(run)
            if window.holds(time_ms)
            for name in _outputs(view)
        ]

    def is_run(self, name: str) -> bool:
        """Whether the chain knows a run of this name."""
        return self._chain.get(state.transformation_key(name)) is not None

    def _is_undone(self, view: EventView, digest: bytes) -> bool:
        return all(digest != other for _, other, _ in self._events(run_name(view, digest)))

    def _of_run(self, run: str, reading: Reading, *, certain: bool) -> Iterator[Made]:
        """Which of a run's inputs became which of its outputs nobody said, unless there was only one."""
        events = self._events(run)
        feeding = [view for view, _, _ in events if view.inputs or view.input_quantities]
        alone = all(is_among(reading.name, view.inputs, view.input_quantities) for view in feeding)
        for view, digest, _ in events:
            same = digest == reading.entry.digest
            for name in _outputs(view):
                yield Made(name, digest, certain and (same or alone))

    def _events(self, run: str) -> list[tuple[EventView, bytes, int]]:
        """(event, digest, block time) of a run, without what was taken back."""
        if run in self._runs:
            return self._runs[run]
        key = state.transformation_key(run)
        record = self._chain.record(key, TransformationRecord)
        if record is None or record.id != run:
            raise self._broken(f"run {run} of a recorded event has no record")
        entries = self._chain.history(key, record.history)
        times = self._chain.times(proven.entry.height for proven in entries)
        told, said = [], []
        for proven in entries:
            event = self._reader.event(run, proven, times[proven.entry.height])
            if event is None or (
                proven.entry.kind == EntryKind.EVENT and run_name(event[0], proven.entry.digest) != run
            ):
                raise self._broken(f"entry {proven.n} of run {run} is for no event of it")
            said.append(event)
            if proven.entry.kind == EntryKind.EVENT:
                told.append((event[0], proven.entry.digest, times[proven.entry.height]))
        back = undone(self._chain, said)
        self._runs[run] = [event for event in told if event[1] not in back]
        return self._runs[run]

    # ---- what is in it, and what it is in --------------------------------------------------------------------

    def inside(self, record: PartRecord, readings: Sequence[Reading], window: Window) -> list[str]:
        """What a container holds, or held when it was destroyed or left; with a window, all that was in it then."""
        inside: dict[str, str] = {}
        since: dict[str, int] = {}
        then: dict[str, None] = {}
        away: set[str] = set()  # left in it, and may be in it still: nobody has shown where they are
        for reading in readings:
            if reading.entry.kind in _BACK:
                away |= set(inside)
            relation, added, removed = reading.contents(record.id)
            before = set(inside)
            if removed is None:
                inside.clear()
            else:
                for name in removed:
                    take_out(self._chain, inside, name)
            for name in before - set(inside):
                if window.meets(since.pop(name, 0), reading.step.time_ms):
                    then[name] = None
            for name in set(inside) - before:  # what was left of an interval
                since[name] = reading.step.time_ms
            inside.update(dict.fromkeys(added, relation))
            away -= set(added)
            since |= dict.fromkeys(added, reading.step.time_ms)
        now = [name for name in inside if window.meets(since.get(name, 0), None)]
        if window.is_all:
            then.clear()
            self._check_inside(
                record, [name for name in as_recorded(self._chain, inside) if name not in away]
            )
        return sorted({*then, *now})

    def _check_inside(self, record: PartRecord, names: Sequence[str]) -> None:
        """What is inside an open container by its history says so itself, and is as much as its record counts."""
        if not record.open:
            return
        children = [name for name in names if not canonical(name).is_class]
        self._chain.values(state.part_key(name) for name in children)
        for name in children:
            child = self._chain.record(state.part_key(name), PartRecord)
            if child is not None and (child.container, child.generation) != (record.id, record.generations):
                raise self._broken(
                    f"{record.id} holds {name} by its history, which is elsewhere by its own record"
                )
        key = state.generation_key(record.id, record.generations)
        filling = self._chain.record(key, GenerationRecord)
        if filling is not None and filling.from_chain and filling.count >= len(children):
            return  # the rest came with it, without names
        if filling is None or filling.count != len(children):
            raise self._broken(f"{record.id} holds {len(children)} by its history, and not by its record")

    # ---- where it went ---------------------------------------------------------------------------------------

    def went_to(self, record: PartRecord, status: "PartStatus.ValueType") -> tuple[str, bytes] | None:
        """By what something left, or is leaving (a light client, or a container), and the id of the chain it went to.

        status: of the part through all that it is in.
        """
        if status not in _GONE:
            return None
        if record.status not in _GONE:
            filling = export_of(self._chain, record)
            return None if filling is None else (f"with {filling.container}", filling.destination)
        client = self._chain.record(state.client_key(record.client), ClientRecord)
        if client is None:
            raise self._broken(f"{record.id} left over client {record.client!r}, which has no record")
        return f"over client {record.client}", client.chain_id

    def _broken(self, why: str) -> NotVerifiable:
        return NotVerifiable(f"chain {self._chain.trust.name}: {why}", Reason.BAD_PROOF)


def _goes_in(reading: Reading) -> bool:
    view = reading.view
    if view is None or view.type != "TransformationEvent" or reading.entry.kind not in _HAPPENED:
        return False
    went = is_among(reading.name, view.inputs, view.input_quantities, view.run.candidates)
    return went and view.error_declaration is None


def _outputs(view: EventView) -> list[str]:
    """What began with a transformation; what went in and came out went on living as itself."""
    kept = set(view.inputs)
    names = [item.text for item in view.outputs if item not in kept]
    return names + [item.of.text for item in view.output_quantities]
