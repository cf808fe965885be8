"""Lots of serials are interval maps: one record for many serials, until one of them is touched.

A lot's serials stand in a row, by place 0 to count - 1: a range, a list, or the root of a list. At the lot's home its
intervals lie end to end and cover every place once; elsewhere there are those that came over the bridge. Each is recorded like a part, under `LOT?interval=i-j`, with holder, status,
container and history. What an event names may be an interval that is recorded, or some of its serials: entering the
event then carves them out. A serial of a root is carved out before, by its proof (ledger/memberships.py).

    [i, j)  carved at [a, b)  gives  [i, a), [a, b), [b, j)         a serial: [k, k + 1), under its own identifier

Carving is no event. The pieces are as the interval was, and their histories begin with its entries so far: a piece
names the interval and how many entries that is (`carved_from`, `carved_n`). Where the interval had none of its own,
the piece names what the interval itself was carved from, so that the way back is never longer than the history.
What was carved is SPLIT, for ever, and intervals are never put together again. The record of an interval repeats what
its lot says of the serials, so that it alone proves in whose hands each of them is.
"""

from ledger import starts, state
from ledger.containers import count_pieces, standing
from ledger.errors import InvariantBroken, Refused
from ledger.gs1_keys import escape
from ledger.identifiers import Identifier, interval_text
from ledger.ranges import find_range
from ledger.recording import Recording
from ledger.state import Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import (
    IntervalRecord,
    LotRecord,
    PartRecord,
    PartStatus,
    Reason,
    Serials,
)


def serial_text(serials: Serials, place: int) -> str:
    """Canonical identifier of the serial at a place of a lot that is a range."""
    number = str(serials.first + place).zfill(serials.width)
    return f"{serials.item_class}/21/{escape(serials.prefix + number)}"


def is_interval(record: PartRecord) -> bool:
    """Whether a record stands for an interval of a lot, not for one part."""
    return bool(record.lot) and record.id == interval_text(record.lot, record.start, record.end)


def place_of(reader: Reader, identifier: Identifier) -> tuple[LotRecord, int, int] | None:
    """The lot that a serial or an interval lies in, and its places [from, to); None for what lies in none.

    Raises Refused for an interval: UNKNOWN_LOT, SERIALS_INVALID where the lot has not so many serials.
    """
    if identifier.interval is None:
        found = find_range(reader, identifier)
        if found is None:
            return None
        lot, place = found
        return _load_lot(reader, lot), place, place + 1
    start, end = identifier.interval
    record = state.load(reader, state.lot_key(identifier.lot_text), LotRecord)
    if record is None:
        raise Refused(f"lot {identifier.lot_text} has no record on this chain", Reason.UNKNOWN_LOT)
    if end > record.serials.count:
        raise Refused(f"{record.id} has {record.serials.count} serials, not {end}", Reason.SERIALS_INVALID)
    return record, start, end


def lot_of(reader: Reader, identifier: Identifier, record: PartRecord | None) -> str:
    """The lot of serials that an identifier names serials of, or would; empty for anything else. record: under its name."""
    if identifier.interval is not None:
        return identifier.lot_text
    if record is not None and record.lot:
        return record.lot
    found = find_range(reader, identifier)
    return "" if found is None else found[0]


def held_at(reader: Reader, lot: LotRecord, place: int) -> PartRecord | None:
    """The record, as stored, of what holds the serial at a place: an interval, or the serial's own; None for a serial
    that never came to this chain."""
    found = last_below(reader, lot, place + 1)
    return found if found is not None and place < found.end else None


def last_below(reader: Reader, lot: LotRecord, end: int) -> PartRecord | None:
    """The record, as stored, of the last interval or serial that begins below a place; None where none does."""
    start = starts.at_or_below(reader, lot.id, lot.serials.count, end - 1)
    if start is None:
        return None
    piece = _load_interval(reader, lot.id, start)
    name = interval_text(lot.id, start, piece.end)
    if piece.serial:
        name = f"{lot.serials.item_class}/21/{piece.serial}"
    record = state.load(reader, state.part_key(name), PartRecord)
    if record is None or record.status == PartStatus.SPLIT:
        raise InvariantBroken(f"nothing holds serial {start} of {lot.id}")
    return record


def covering(reader: Reader, lot: LotRecord, place: int) -> PartRecord:
    """As `held_at`. Raises Refused(UNKNOWN_PART) for a serial that never came to this chain."""
    found = held_at(reader, lot, place)
    if found is None:
        raise Refused(f"serial {place} of {lot.id} has no record on this chain", Reason.UNKNOWN_PART)
    return found


def pieces(reader: Reader, lot: LotRecord, start: int, end: int, pieces_max: int) -> list[PartRecord]:
    """What the serials from one place to another are recorded in now, in order; the last ones of too many records.

    Under execution each is counted. Raises Refused(TOO_MANY_RECORDS).
    """
    found: list[PartRecord] = []
    while start < end and len(found) < pieces_max:
        if isinstance(reader, Overlay):
            reader.go_through_records()
        piece = last_below(reader, lot, end)
        if piece is None or piece.end <= start:
            break
        found.append(piece)
        end = piece.start
    return found[::-1]


def untouched(reader: Reader, identifier: Identifier) -> PartRecord | None:
    """What is true of serials without a record of their own: the covering interval's record in their name.

    None for what lies in no lot. Raises Refused: UNKNOWN_LOT, SERIALS_INVALID, INTERVAL_SPLIT.
    """
    found = place_of(reader, identifier)
    if found is None:
        return None
    lot, start, end = found
    held = covering(reader, lot, start)
    if held.end < end or not is_interval(held):
        raise Refused(
            f"{identifier.text} does not lie within one interval: from {start} on there is {held.id}; "
            "name the intervals, and the serials that stand alone, one by one",
            Reason.INTERVAL_SPLIT,
        )
    return _copy(held, identifier.text, start, end)


def stands_in(reader: Reader, identifier: Identifier) -> str:
    """The record that serials without one of their own lie in, by its id; empty where there is none such.

    Raises Refused: UNKNOWN_LOT, SERIALS_INVALID, INTERVAL_SPLIT.
    """
    if untouched(reader, identifier) is None:
        return ""
    lot, start, _ = place_of(reader, identifier) or (LotRecord(), 0, 0)
    return covering(reader, lot, start).id


# ---- carving ------------------------------------------------------------------------------------------------


def find_piece(recording: Recording, identifier: Identifier) -> PartRecord | None:
    """As `untouched`; entering the event for the record found carves it, unless others hold the interval."""
    piece = untouched(recording.context.overlay, identifier)
    if piece is not None:
        # What the caller enters may have another start by then.
        named = _copy(piece, piece.id, piece.start, piece.end)
        recording.carving[state.part_key(piece.id)] = lambda: _carve(recording, named)
    return piece


def _carve(recording: Recording, piece: PartRecord) -> None:
    overlay = recording.context.overlay
    lot = _load_lot(overlay, piece.lot)
    held = covering(overlay, lot, piece.start)
    if held.id == piece.id:
        # The event carved its neighbour, and this is what was left.
        return
    # (1) Nothing that the event itself names is carved by it, and nothing across an edge it made.
    if state.part_key(held.id) in recording.named or held.end < piece.end or not is_interval(held):
        raise Refused(
            f"the event names serials {piece.start} to {piece.end} of {lot.id} twice", Reason.EVENT_INVALID
        )
    carve(recording, lot, held, piece)


def carve(recording: Recording, lot: LotRecord, held: PartRecord, piece: PartRecord) -> None:
    """Takes a piece out of the interval that holds it. The caller saves the piece, as it is then.

    Raises Refused(NOT_IN_CUSTODY).
    """
    overlay = recording.context.overlay
    # Only who holds the interval carves it, or who is offered it.
    if recording.member not in (standing(overlay, held).holder, held.offered_to):
        raise Refused(
            f"serials {piece.start} to {piece.end} of {lot.id} stand for themselves once member {held.holder}, who "
            f"holds them, recorded an event on them; until then name {held.id}",
            Reason.NOT_IN_CUSTODY,
        )
    split_off(overlay, lot, held, piece)


def split_off(overlay: Overlay, lot: LotRecord, held: PartRecord, piece: PartRecord) -> None:
    """As `carve`, whoever holds the interval."""
    start, end = piece.start, piece.end
    # (1) What is left on both sides.
    sides = [(low, high) for low, high in ((held.start, start), (end, held.end)) if low < high]
    for low, high in sides:
        side = _copy(held, interval_text(lot.id, low, high), low, high)
        state.save(overlay, state.part_key(side.id), side)
        _put_interval(overlay, lot, low, IntervalRecord(end=high))
    # (2) What is carved out.
    serial = "" if is_interval(piece) else piece.id.removeprefix(f"{lot.serials.item_class}/21/")
    _put_interval(overlay, lot, start, IntervalRecord(end=end, serial=serial))
    count_pieces(overlay, held, len(sides))
    # (3) The interval is no more; with entries of its own, they stay provable.
    if held.history.n:
        held.status = PartStatus.SPLIT
        state.save(overlay, state.part_key(held.id), held)
    else:
        overlay.delete(state.part_key(held.id))


def add_piece(overlay: Overlay, lot: LotRecord, piece: PartRecord) -> None:
    """Enters what came over the bridge among the intervals of its lot, none of which it touches."""
    serial = "" if is_interval(piece) else piece.id.removeprefix(f"{lot.serials.item_class}/21/")
    _put_interval(overlay, lot, piece.start, IntervalRecord(end=piece.end, serial=serial))


def piece_of(held: PartRecord, name: str, start: int, end: int) -> PartRecord:
    """What some of an interval's serials are under a name of their own, before anything happens to them."""
    return _copy(held, name, start, end)


def _copy(held: PartRecord, name: str, start: int, end: int) -> PartRecord:
    piece = PartRecord()
    piece.CopyFrom(held)
    piece.id, piece.start, piece.end = name, start, end
    if not is_interval(piece):
        piece.ClearField("serials")
    if held.history.n:
        piece.carved_from, piece.carved_n = held.id, held.history.n
        piece.ClearField("history")
    return piece


def _load_lot(reader: Reader, name: str) -> LotRecord:
    record = state.load(reader, state.lot_key(name), LotRecord)
    if record is None or not record.serials.count:
        raise InvariantBroken(f"{name} is no lot of serials")
    return record


def _load_interval(reader: Reader, lot: str, start: int) -> IntervalRecord:
    record = state.load(reader, state.interval_key(lot, start), IntervalRecord)
    if record is None:
        raise InvariantBroken(f"interval {start} of {lot} has no record")
    return record


def _put_interval(overlay: Overlay, lot: LotRecord, start: int, record: IntervalRecord) -> None:
    starts.add(overlay, lot.id, lot.serials.count, start)
    state.save(overlay, state.interval_key(lot.id, start), record)


def begin(overlay: Overlay, lot: LotRecord) -> PartRecord:
    """The one interval that a new lot begins with: what is said in its record of the lot. The rest is the caller's."""
    _put_interval(overlay, lot, 0, IntervalRecord(end=lot.serials.count))
    record = PartRecord(
        id=interval_text(lot.id, 0, lot.serials.count),
        origin_chain=lot.origin_chain,
        lot=lot.id,
        end=lot.serials.count,
    )
    repeat_serials(record, lot)
    return record


def repeat_serials(record: PartRecord, lot: LotRecord) -> None:
    """Says in the record of an interval what its lot's serials are, as far as that tells whose one is."""
    record.serials.CopyFrom(lot.serials)
    for name in ("item_class", "lowest", "highest"):
        record.serials.ClearField(name)
