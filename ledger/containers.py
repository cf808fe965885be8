"""Containers answer for their contents: generations, manifests, and where a part really is.

A child's record names (container, generation) and is not written again while it is inside; what happens to the
container happens to it. A generation is one filling: it opens with the first thing put in and closes once, for
ever, when everything is taken out, destroyed or exported together, or when the last thing leaves.

    generation open     the child is where the container is, and is owned by the container's owner unless the
                        generation holds things of several owners
    closed UNPACK_ALL   the child is free, with the holder, owner and hop the generation records
    closed DESTROY      the child is destroyed
    closed EXPORT       it left over the bridge with the container, and waits with it until that is certain; only
                        then is the generation closed for ever

A freed child's record is brought up to date when it is next read (`normalise`), so closing costs the same
however much is inside. One generation is made either by packing or by installing, not both.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from ledger import codec, state
from ledger.errors import InvariantBroken, Refused
from ledger.identifiers import canonical
from ledger.limits import CONTAINER_DEPTH_MAX, MANIFEST_ROWS_MAX, U64_MAX
from ledger.manifest import Manifest, Row, row_of
from ledger.state import Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    ClosedBy,
    GenerationRecord,
    PartRecord,
    PartStatus,
    Reason,
)

_OPEN: Final = ClosedBy.CLOSED_BY_UNSPECIFIED
# What a closing makes of the children that were inside. EMPTIED leaves none; for EXPORT see `_exported`.
_STATUS_AFTER: Final[Mapping[int, "PartStatus.ValueType"]] = {
    ClosedBy.UNPACK_ALL: PartStatus.LIVE,
    ClosedBy.DESTROY: PartStatus.DESTROYED,
}


# ---- where a part is ----------------------------------------------------------------------------------------


class Standing(NamedTuple):
    """What is true of a part now, through everything it is inside of.

    outermost: id of the free-standing part it is in, or its own; empty once destroyed or exported inside.
    """

    status: "PartStatus.ValueType"
    holder: str
    owner: str
    outermost: str


def load_generation(reader: Reader, container: str, generation: int) -> GenerationRecord:
    """One filling of a container. Raises InvariantBroken where none was recorded."""
    record = state.load(reader, state.generation_key(container, generation), GenerationRecord)
    if record is None:
        raise InvariantBroken(f"generation {generation} of {container} has no record")
    return record


def open_generation(reader: Reader, container: PartRecord) -> GenerationRecord | None:
    """The generation that is open now, or None for a part with nothing inside."""
    return load_generation(reader, container.id, container.generations) if container.open else None


def inside_of(overlay: Overlay, child: PartRecord) -> GenerationRecord | None:
    """As `open_generation`, of what is counted in or out with all its rows. Raises Refused(TOO_MANY_ROWS)."""
    inner = open_generation(overlay, child)
    if inner is not None:
        overlay.go_through(len(inner.manifest))
    return inner


def normalise(reader: Reader, record: PartRecord) -> PartRecord:
    """The record (changed in place) after the closing of the generation it lies in, if that was closed."""
    if not record.container or record.status != PartStatus.LIVE:
        return record
    generation = load_generation(reader, record.container, record.generation)
    if generation.closed_by == _OPEN:
        return record
    if generation.closed_by == ClosedBy.UNPACK_ALL:
        free(record, generation.holder_at_close, generation.owner_at_close, generation.hop)
    elif generation.closed_by == ClosedBy.DESTROY:
        record.status = PartStatus.DESTROYED
        record.holder = generation.holder_at_close
        record.owner = generation.owner_at_close or record.owner
    elif generation.closed_by == ClosedBy.EXPORT:
        record.status = _exported(_container_of(reader, record), generation)
        record.owner = generation.owner_at_close or record.owner
    else:
        raise InvariantBroken(f"{record.id} lies in a generation of {record.container} closed empty")
    return record


def free(record: PartRecord, holder: str, owner: str, hop: int) -> None:
    """Makes a child free-standing. owner: empty where each child kept its own."""
    record.container = ""
    record.generation = 0
    record.holder = holder
    record.hop = hop
    if owner and owner != record.owner:
        record.owner = owner
        # Its own contents were sold with it, and their records were not touched.
        record.contents_follow = record.contents_follow or record.open


def standing(reader: Reader, record: PartRecord) -> Standing:
    """Where a part really is. Reads one generation and one record per container around it."""
    current, owner = record, record.owner
    for _ in range(CONTAINER_DEPTH_MAX + 1):
        if not current.container or current.status != PartStatus.LIVE:
            return Standing(current.status, current.holder, owner, current.id)
        generation = load_generation(reader, current.container, current.generation)
        if generation.closed_by != _OPEN:
            owner, holder = generation.owner_at_close or owner, generation.holder_at_close
            status = _STATUS_AFTER.get(generation.closed_by)
            if generation.closed_by == ClosedBy.EXPORT:
                status = _exported(_container_of(reader, current), generation)
            if status is None:
                raise InvariantBroken(
                    f"{current.id} lies in a generation of {current.container} closed empty"
                )
            return Standing(status, holder, owner, current.id if status == PartStatus.LIVE else "")
        container = _container_of(reader, current)
        if generation.foreign == 0:
            owner = container.owner
        current = container
    raise InvariantBroken(f"{record.id} lies deeper than {CONTAINER_DEPTH_MAX} containers")


def _container_of(reader: Reader, record: PartRecord) -> PartRecord:
    container = state.load(reader, state.part_key(record.container), PartRecord)
    if container is None:
        raise InvariantBroken(f"container {record.container} of {record.id} has no record")
    return container


def _exported(container: PartRecord, generation: GenerationRecord) -> "PartStatus.ValueType":
    """Whether an exported filling is on its way, from which it may come back, or gone."""
    # A hop is of one sending: a container that came home empty and leaves again takes nothing of this with it.
    waits = container.status == PartStatus.IN_TRANSIT and container.hop == generation.hop
    return PartStatus.IN_TRANSIT if waits else PartStatus.DEPARTED


def export_of(reader: Reader, record: PartRecord) -> GenerationRecord | None:
    """The exported filling in which a part left this chain, inside whatever it was in; None if it did not."""
    current = record
    for _ in range(CONTAINER_DEPTH_MAX + 1):
        if not current.container:
            return None
        generation = load_generation(reader, current.container, current.generation)
        if generation.closed_by != _OPEN:
            return generation if generation.closed_by == ClosedBy.EXPORT else None
        current = _container_of(reader, current)
    raise InvariantBroken(f"{record.id} lies deeper than {CONTAINER_DEPTH_MAX} containers")


# ---- what is inside -----------------------------------------------------------------------------------------


class Filling:
    """The open generation of a container, worked on in memory until `save`."""

    def __init__(self, container: PartRecord, record: GenerationRecord, *, first: bool = False) -> None:
        self.record = record
        self._first = first  # it was never saved
        self._container = container
        self._manifest = Manifest(record)

    @classmethod
    def load(cls, reader: Reader, container: PartRecord) -> "Filling | None":
        """The open generation, or None for a container with nothing inside."""
        record = open_generation(reader, container)
        return None if record is None else cls(container, record)

    @classmethod
    def start(cls, container: PartRecord, installed: bool) -> "Filling":
        """Opens the next generation; the caller saves the container too."""
        container.generations += 1
        container.open = True
        record = GenerationRecord(
            container=container.id, generation=container.generations, installed=installed
        )
        return cls(container, record, first=True)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is inside."""
        return not self._manifest

    def require_kind(self, installed: bool) -> None:
        """Returns only if things are packed here, or installed here, as the event says; EVENT_INVALID."""
        if self.record.installed != installed:
            done, event = ("installed", "Association") if self.record.installed else ("packed", "Aggregation")
            raise Refused(
                f"what is in {self.record.container} was {done}; record it as {event}Event",
                Reason.EVENT_INVALID,
            )

    def add_child(self, child: PartRecord, inner: GenerationRecord | None) -> None:
        """Counts a child in; `inner` is the generation open in it.

        Raises Refused: TOO_DEEP; MANIFEST_FULL; NOT_OWNER where the contents were sold with the container and
        the child has another owner.
        """
        levels = 0 if inner is None else _depth(inner)
        if levels + 1 > CONTAINER_DEPTH_MAX:
            raise Refused(
                f"{child.id} holds {levels} levels already, {CONTAINER_DEPTH_MAX} are allowed in all",
                Reason.TOO_DEEP,
            )
        if self._is_foreign(child, inner):
            if self._container.contents_follow:
                raise Refused(
                    f"what is in {self._container.id} belongs to {self._container.owner or 'its owner elsewhere'} like "
                    f"the container, and {child.id} is not known to; unpack the container, then pack anew",
                    Reason.NOT_OWNER,
                )
            self.record.foreign += 1
        record, manifest = self.record, self._manifest
        counted = record.levels
        while len(counted) <= levels:
            counted.append(0)
        counted[levels] += 1
        record.count += 1
        rows = _rows_of(child, inner)
        manifest.prepare(len(rows))
        for row, count in rows:
            there = manifest.count(row)
            if row[3] and (there is not None or row[3] == record.container):
                # Only where another chain said so: an amount lies in one place. Taken out once, it would be gone twice.
                raise Refused(
                    f"{child.id} came as holding some of {row[1]} in {row[3]}, which is not in it",
                    Reason.CONTENTS_INVALID,
                )
            total = (there or 0) + count
            if total > U64_MAX:
                # Only where another chain said so: what it tells of the inside of containers is not counted here.
                raise Refused(
                    f"{self.record.container} would hold more than can be counted", Reason.MANIFEST_FULL
                )
            manifest.put(row, total)
        self._check_rows()

    def remove_child(self, child: PartRecord, inner: GenerationRecord | None) -> None:
        """Counts a child out, as it was counted in: nothing changes in a child while it is inside."""
        levels = 0 if inner is None else _depth(inner)
        if levels >= len(self.record.levels) or self.record.levels[levels] == 0 or self.record.count == 0:
            raise InvariantBroken(f"{child.id} was never counted into {self.record.container}")
        self.record.levels[levels] -= 1
        while self.record.levels and self.record.levels[-1] == 0:
            del self.record.levels[-1]
        self.record.count -= 1
        # Where there are such children, nothing was sold with the container, and their records tell.
        if self.record.foreign and self._is_foreign(child, inner):
            self.record.foreign -= 1
        rows = _rows_of(child, inner)
        self._manifest.prepare(len(rows))
        for row, count in rows:
            there = self._manifest.count(row)
            if there is not None and there >= count:
                self._manifest.put(row, there - count or None)
            else:
                raise InvariantBroken(f"the manifest of {self.record.container} lacks {row} of {child.id}")

    def add_amount(self, lot: str, unit: str) -> None:
        """Notes that some of a lot lies in this container itself. Raises Refused(MANIFEST_FULL)."""
        self._manifest.prepare(1)
        self._manifest.put(("", lot, unit, self.record.container), 0)
        self._check_rows()

    def remove_amount(self, lot: str, unit: str) -> None:
        """Notes that none of a lot in this unit lies in this container itself any more."""
        self._manifest.prepare(1)
        self._manifest.put(("", lot, unit, self.record.container), None)

    def amounts(self) -> list[tuple[str, str]]:
        """(lot, unit) of what lies in this container itself, in ascending order."""
        place = self.record.container
        return sorted((lot, unit) for _, lot, unit, where in self._manifest.rows() if where == place)

    def close(self, closed_by: "ClosedBy.ValueType", closed_n: int) -> None:
        """Closes the generation for ever, the container's entries being `closed_n`; see `normalise`."""
        container = self._container
        self.record.closed_by = closed_by
        self.record.closed_n = closed_n
        self.record.hop = container.hop
        self.record.holder_at_close = container.holder
        self.record.owner_at_close = "" if self.record.foreign else container.owner
        container.open = False
        container.contents_follow = False

    def export(self, destination: bytes, closed_n: int, with_ownership: bool) -> None:
        """Closes the generation because the container leaves for another chain with it, unless it comes to nothing."""
        follows = self._container.contents_follow
        self.close(ClosedBy.EXPORT, closed_n)
        self.record.destination = destination
        self.record.ownership_left = with_ownership
        self._container.contents_follow = follows

    def reopen(self) -> None:
        """Opens the exported generation again, as it was: the container never left."""
        record = self.record
        record.closed_by = _OPEN
        record.closed_n = record.hop = 0
        record.destination = b""
        record.holder_at_close = record.owner_at_close = ""
        record.ownership_left = False
        self._container.open = True

    def save(self, overlay: Overlay) -> None:
        """Writes the generation record. Raises Refused(OVERSIZE)."""
        record = self.record
        record.depth = _depth(record)
        self._manifest.write_back()
        put = overlay.put_first if self._first else overlay.put
        put(state.generation_key(record.container, record.generation), codec.encode(record))

    def _is_foreign(self, child: PartRecord, inner: GenerationRecord | None) -> bool:
        return not _owned_alike(child, self._container) or (inner is not None and inner.foreign > 0)

    def _check_rows(self) -> None:
        if len(self._manifest) > MANIFEST_ROWS_MAX:
            raise Refused(
                f"{self.record.container} would hold more than {MANIFEST_ROWS_MAX} kinds of things; use another",
                Reason.MANIFEST_FULL,
            )


def count_pieces(overlay: Overlay, child: PartRecord, more: int) -> None:
    """Counts in what a child fell into besides itself, if it is inside an open generation: they are as it is."""
    if not child.container or child.status != PartStatus.LIVE:
        return
    record = load_generation(overlay, child.container, child.generation)
    container = state.load(overlay, state.part_key(child.container), PartRecord)
    if record.closed_by != _OPEN or container is None:
        return
    record.count += more
    record.levels[0] += more
    if record.foreign and not _owned_alike(child, container):
        record.foreign += more
    state.save(overlay, state.generation_key(record.container, record.generation), record)


def _owned_alike(child: PartRecord, container: PartRecord) -> bool:
    """Whether two have one owner. Of what came without its ownership nobody here knows whose it is."""
    return child.owner == container.owner and bool(child.owner)


def _rows_of(child: PartRecord, inner: GenerationRecord | None) -> list[tuple[Row, int]]:
    # Of serials of a lot the lot is told, however many of them one record stands for.
    row, count = (canonical(child.id).class_text, child.lot, "", ""), max(1, child.end - child.start)
    rows: list[tuple[Row, int]] = [(row, count)]
    if inner is not None:
        rows.extend((row_of(row), row.count) for row in inner.manifest)
    return rows


def _depth(record: GenerationRecord) -> int:
    """Levels below a container that is not empty: 1 when it holds plain parts and amounts only."""
    return max(1, len(record.levels))
