"""What happened to a part while it was inside others: its containers' entries between packing and unpacking."""

from collections.abc import Callable, Sequence
from operator import attrgetter

from client.audit_custody import Closing
from client.audit_entries import EntryReader, Reading
from client.audit_kinds import is_among, is_filling, undoes_filling
from client.audit_report import Step
from client.histories import ProvenEntry
from client.verified import NotVerifiable, VerifiedChain
from ledger import state
from ledger.limits import CONTAINER_DEPTH_MAX
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    Entry,
    EntryKind,
    GenerationRecord,
    PartRecord,
    Reason,
)

STEPS_MAX = 200_000  # in one audit
_HEIGHT = attrgetter("height")
_PUT_IN = (EntryKind.PACKED, EntryKind.MATERIALISED)
_CAME = (EntryKind.ARRIVED, EntryKind.MATERIALISED, EntryKind.FOLLOWED, EntryKind.REHOMED)


class Containers:
    """The containers of one chain, as far as an audit needs them. `reader` reads that chain's entries."""

    def __init__(self, chain: VerifiedChain, reader: EntryReader) -> None:
        self._chain = chain
        self._reader = reader
        self._steps = 0
        # What was found out of a filling, and the steps of containers: each for everything that was in it.
        self._fillings: dict[tuple[str, int], tuple[PartRecord, GenerationRecord, list[ProvenEntry]]] = {}
        self._inside: dict[tuple[str, int], Step] = {}

    def closing(self, container: str, generation: int) -> Closing:
        """How a filling ended, by itself or with what the container was in when that left this chain.

        Raises NotVerifiable where the chain proves no such filling.
        """
        for _ in range(CONTAINER_DEPTH_MAX):
            record, filling, entries = self._filling(container, generation)
            if filling.closed_by == ClosedBy.EXPORT and not _is_sent(entries, filling.closed_n):
                # It was still open when the container left inside another one.
                around = next(
                    (p.entry for p in reversed(entries[: filling.closed_n]) if p.entry.kind in _PUT_IN), None
                )
                if around is None:
                    raise self._broken(
                        f"generation {generation} of {container} left, and the container did not"
                    )
                container, generation = around.container, around.generation
            elif filling.closed_by != ClosedBy.CLOSED_BY_UNSPECIFIED:
                height = entries[filling.closed_n - 1].entry.height
                return Closing(filling.closed_by, height, filling.holder_at_close, filling.hop)
            elif record.container:
                container, generation = record.container, record.generation
                outer = self.closing(container, generation)
                exported = outer.closed_by == ClosedBy.EXPORT
                return outer if exported else Closing(ClosedBy.CLOSED_BY_UNSPECIFIED, 0, "", 0)
            else:
                return Closing(filling.closed_by, 0, "", 0)
        raise self._broken(
            f"{container} stands deeper than {CONTAINER_DEPTH_MAX} containers", Reason.TOO_DEEP
        )

    def steps(self, packing: Entry, unpacking: Entry | None, depth: int = 1) -> list[Step]:
        """Entries of the container from a packing to the unpacking, or to now; with those of what that was in."""
        name, generation = packing.container, packing.generation
        if depth > CONTAINER_DEPTH_MAX:
            raise self._broken(f"{name} stands deeper than {CONTAINER_DEPTH_MAX} containers", Reason.TOO_DEEP)
        record, filling, entries = self._filling(name, generation)
        if packing.kind == EntryKind.PACKED:
            self._check_own(entries, packing)
        elif packing.container_n != filling.opened_n:
            raise self._broken(f"generation {generation} of {name} was not opened where its contents arrived")
        if unpacking is not None:
            self._check_own(entries, unpacking)
            end = unpacking.container_n - 1
        else:
            end = filling.closed_n if filling.closed_by else record.history.n
        start = packing.container_n
        if not start <= end <= len(entries):
            raise self._broken(f"interval [{start}, {end}) is not in {name}'s history")
        readings = self._reader.read_all(name, entries[start:end])
        self._steps += len(readings)
        if self._steps > STEPS_MAX:
            raise self._broken(
                f"more than {STEPS_MAX} steps are involved; audit a smaller part", Reason.OVERSIZE
            )
        steps: list[Step] = []
        for reading, out in with_unpackings(readings):
            steps.append(self._step_inside(name, reading))
            if reading.entry.kind in _PUT_IN:
                steps += self.steps(reading.entry, out, depth + 1)
        return steps

    def _step_inside(self, container: str, reading: Reading) -> Step:
        """The step as one of what was in this container, whose own entry it is."""
        place = container, reading.n
        if place not in self._inside:
            self._inside[place] = reading.step_inside(container)
        return self._inside[place]

    def _filling(
        self, container: str, generation: int
    ) -> tuple[PartRecord, GenerationRecord, list[ProvenEntry]]:
        place = container, generation
        if place not in self._fillings:
            self._fillings[place] = self._checked_filling(container, generation)
        return self._fillings[place]

    def _checked_filling(
        self, container: str, generation: int
    ) -> tuple[PartRecord, GenerationRecord, list[ProvenEntry]]:
        record = self._chain.record(state.part_key(container), PartRecord)
        filling = self._chain.record(state.generation_key(container, generation), GenerationRecord)
        if record is None or filling is None:
            raise self._broken(f"container {container} of a recorded packing has no record")
        entries = self._chain.history(state.part_key(container), record.history)
        if filling.closed_by and not 1 <= filling.closed_n <= len(entries):
            raise self._broken(f"generation {generation} of {container} was closed by no entry of it")
        if filling.closed_by == ClosedBy.EXPORT:
            # Sent off; or left behind open inside another one, until the container came back.
            after = entries[filling.closed_n].entry.kind if filling.closed_n < len(entries) else 0
            if not _is_sent(entries, filling.closed_n) and after not in _CAME:
                raise self._broken(f"generation {generation} of {container} was exported by no sending")
        elif filling.closed_by:
            (reading,) = self._reader.read_all(container, entries[filling.closed_n - 1 : filling.closed_n])
            if not _closes(container, filling, reading):
                raise self._broken(
                    f"generation {generation} of {container} was closed by an entry that says otherwise"
                )
        return record, filling, entries

    def _check_own(self, entries: Sequence[ProvenEntry], child: Entry) -> None:
        """The container's entry that a child's entry points at is for the same event."""
        place = child.container_n - 1
        if not 0 <= place < len(entries):
            raise self._broken(f"{child.container} has no entry {place}")
        own = entries[place].entry
        same = (own.transaction, own.operation, own.digest) == (
            child.transaction,
            child.operation,
            child.digest,
        )
        if not same:
            raise self._broken(f"entry {place} of {child.container} is for another event than its content's")

    def _broken(self, why: str, reason: "Reason.ValueType" = Reason.BAD_PROOF) -> NotVerifiable:
        return NotVerifiable(f"chain {self._chain.trust.name}: {why}", reason)


def _is_sent(entries: Sequence[ProvenEntry], closed_n: int) -> bool:
    return entries[closed_n - 1].entry.kind == EntryKind.SENT


def _closes(container: str, filling: GenerationRecord, reading: Reading) -> bool:
    """Whether an entry of the container is the end that a filling names, by who is said to have had it then."""
    view = reading.view
    undone = reading.entry.kind == EntryKind.UNDONE
    if (
        view is None
        or (reading.entry.kind != EntryKind.EVENT and not undone)
        or reading.step.member != filling.holder_at_close
    ):
        return False
    if undone:
        own = view.parent is not None and view.parent.text == container
        return filling.closed_by == ClosedBy.EMPTIED and own and undoes_filling(view) == "ADD"
    if filling.closed_by == ClosedBy.DESTROY:
        destroys = view.action == "DELETE" or view.biz_step in ("destroying", "decommissioning")
        return view.type == "ObjectEvent" and destroys and is_among(container, view.epcs)
    taken_out = is_filling(view) and view.action == "DELETE" and view.parent is not None
    if not taken_out or view.parent is None or view.parent.text != container:
        return False
    listed = bool(view.children or view.child_quantities)
    return filling.closed_by == (ClosedBy.EMPTIED if listed else ClosedBy.UNPACK_ALL)


def with_unpackings(readings: Sequence[Reading]) -> list[tuple[Reading, Entry | None]]:
    """The readings, each with the next entry by which something came out of the container that it names."""
    out: dict[tuple[str, int], Entry] = {}
    found: list[tuple[Reading, Entry | None]] = []
    for reading in reversed(readings):
        place = reading.entry.container, reading.entry.generation
        found.append((reading, out.get(place)))
        if reading.entry.kind == EntryKind.UNPACKED:
            out[place] = reading.entry
    return found[::-1]


def with_containers(
    readings: Sequence[Reading], steps: Callable[[Entry, Entry | None], list[Step]]
) -> list[Step]:
    """A subject's steps with its containers' in between, by height. `steps`: of one container's interval."""
    found: list[Step] = []
    for reading, out in with_unpackings(readings):
        found.append(reading.step)
        if reading.entry.kind in _PUT_IN:
            found.extend(steps(reading.entry, out))
    return sorted(found, key=_HEIGHT)
