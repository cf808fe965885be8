"""The serials of a class that lots were commissioned with: runs in rows, none of which overlaps another.

A serial is split in one way only: its last digits, 19 at most, and the text before them. The serials of a class with
one prefix and one number of digits are a row, and a run of a lot is two numbers in it: a range is one run, a list as
many as it takes. Where runs begin is a set (ledger/starts.py), so that the run a serial lies in, or that it lies in
none, is found and proven with a few keys.

What is commissioned one by one lies in no run. That no run is laid over it is known in two ways. Up to LISTED_MAX
serials of a new lot are looked up one by one. Of more it is asked whether anything was commissioned one by one in
that part of the numbers: for each class and number of digits there are 256 parts, each with a mark that is set once.
So a run may be refused that would do no harm, never the other way; and commissioning one by one writes a mark at most
256 times, and else nothing but the part itself. What came from another chain is marked apart: it keeps a run from
beginning here, and none from coming, which was compared where both began.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ledger import starts, state
from ledger.errors import InvariantBroken, Refused
from ledger.gs1_keys import escape, unescape
from ledger.identifiers import Identifier, canonical
from ledger.limits import IDENTIFIERS_PER_EVENT_MAX
from ledger.state import Kind, Overlay, Reader, state_key
from proto.chiptrace.v1.ledger_pb2 import IntervalRecord, Reason, SerialClassRecord, Serials

# 10 ^ 19 numbers are the most that fit 64 bits.
WIDTH_MAX: Final = 19
# A list has at most so many serials, and so many of a range are looked up one by one.
LISTED_MAX: Final = IDENTIFIERS_PER_EVENT_MAX
MARKS: Final = 256
_MARKS_BYTES: Final = MARKS // 8
_NO_CLASS: Final = SerialClassRecord()


def read_range(lot: Identifier, first: str, last: str) -> Serials:
    """The serials of a lot from the first to the last, both of the lot's class.

    Raises Refused: SERIALS_INVALID, IDENTIFIER_INVALID for what is no serial.
    """
    require_class(lot)
    for serial in (first, last):
        serial_of(lot.class_text, serial)
    (prefix, low), (other, high) = _split(first), _split(last)
    if prefix != other or len(low) != len(high) or not low or low > high:
        raise Refused(
            f"serials {first} to {last}: both end in a number of equally many digits, and have the same text "
            f"before it, or before its last {WIDTH_MAX} digits",
            Reason.SERIALS_INVALID,
        )
    return Serials(
        item_class=lot.class_text,
        prefix=prefix,
        width=len(low),
        first=int(low),
        count=int(high) - int(low) + 1,
    )


def check_list(lot: Identifier, listed: Sequence[str]) -> Serials:
    """A lot of exactly these serials, in this order; `add_list` says which one is where.

    Raises Refused: SERIALS_INVALID for one that is listed twice or too many, IDENTIFIER_INVALID for what is none.
    """
    require_class(lot)
    if not 1 <= len(listed) <= LISTED_MAX:
        raise Refused(
            f"{lot.text}: {len(listed)} serials are listed, 1 to {LISTED_MAX} can be; give more as a range, or as "
            "the root of their list",
            Reason.SERIALS_INVALID,
        )
    seen = set[str]()
    for serial in listed:
        serial_of(lot.class_text, serial)
        if serial in seen:
            raise Refused(f"{lot.text}: serial {serial} is listed twice", Reason.SERIALS_INVALID)
        seen.add(serial)
    return Serials(item_class=lot.class_text, count=len(listed))


def require_class(lot: Identifier) -> None:
    """Returns only for a name under which a lot of serials can be; else Refused(SERIALS_INVALID)."""
    if lot.scheme != "lgtin":
        raise Refused(f"{lot.text}: a lot of serials is named by GTIN and lot", Reason.SERIALS_INVALID)


def serial_of(item_class: str, serial: str) -> Identifier:
    """The part with this serial of a class. Raises Refused(IDENTIFIER_INVALID)."""
    return canonical(f"{item_class}/21/{escape(serial)}")


def order(serial: str) -> tuple[int, str]:
    """What serials are compared by: their length, then their text."""
    return len(serial), serial


# ---- runs ---------------------------------------------------------------------------------------------------


def find_range(reader: Reader, identifier: Identifier) -> tuple[str, int] | None:
    """The lot in whose range or list a serial is, and its place there; None where it is in none."""
    if identifier.scheme != "sgtin":
        return None
    prefix, digits = _split_name(identifier.class_text, identifier.text)
    record = _look_at_class(reader, identifier.class_text, len(digits))
    return _find_run(reader, record, identifier.class_text, prefix, digits)


def _find_run(
    reader: Reader, record: SerialClassRecord, item_class: str, prefix: str, digits: str
) -> tuple[str, int] | None:
    if not record.ranges:
        return None
    width, number = len(digits), _number(digits)
    found = _at_or_below(reader, _row(item_class, prefix, width), width, number)
    if found is None or number >= found[1].end:
        return None
    return found[1].lot, found[1].place + number - found[0]


def add_range(overlay: Overlay, lot: str, serials: Serials, *, begins: bool = True) -> None:
    """Enters a lot's range among the runs of its class; begins: here, and not on a chain that some of it came from.

    Raises Refused(SERIALS_OVERLAP).
    """
    # (1) No run has a serial in common with it. (2) Nor has what was commissioned one by one.
    width = serials.width
    _check_runs(overlay, lot, serials.item_class, serials.prefix, width, serials.first, serials.count)
    if serials.count <= LISTED_MAX:
        for number in range(serials.first, serials.first + serials.count):
            _check_single(overlay, lot, serials.item_class, serials.prefix + str(number).zfill(width))
    else:
        _check_marks(overlay, lot, serials, begins)
    # (3) It is one of them.
    _add_run(overlay, lot, 0, serials.item_class, serials.prefix, width, serials.first, serials.count)


def add_list(overlay: Overlay, lot: str, item_class: str, listed: Sequence[str]) -> None:
    """Enters a lot's list among the runs of its class. Raises Refused(SERIALS_OVERLAP)."""
    place = 0
    while place < len(listed):
        # (1) As many as follow each other are one run.
        prefix, digits = _split(listed[place])
        first, count = _number(digits), 1
        row = prefix, len(digits)
        while place + count < len(listed) and _number_in(row, listed[place + count]) == first + count:
            count += 1
        # (2) It overlaps no other, and nothing that was commissioned one by one.
        _check_runs(overlay, lot, item_class, prefix, len(digits), first, count)
        for serial in listed[place : place + count]:
            _check_single(overlay, lot, item_class, serial)
        # (3) It is one of them.
        _add_run(overlay, lot, place, item_class, prefix, len(digits), first, count)
        place += count


def _check_runs(
    overlay: Overlay, lot: str, item_class: str, prefix: str, width: int, first: int, count: int
) -> None:
    # Of the runs that begin at or below its last serial, the one that begins last also ends last, because they do
    # not overlap each other.
    found = _at_or_below(overlay, _row(item_class, prefix, width), width, first + count - 1)
    if found is not None and found[1].end > first:
        raise Refused(f"{lot}: some of its serials are in {found[1].lot} already", Reason.SERIALS_OVERLAP)


def _check_single(overlay: Overlay, lot: str, item_class: str, serial: str) -> None:
    name = serial_of(item_class, serial).text
    if overlay.get(state.part_key(name)) is not None:
        raise Refused(f"{lot}: {name} was commissioned one by one already", Reason.SERIALS_OVERLAP)


def _check_marks(overlay: Overlay, lot: str, serials: Serials, begins: bool) -> None:
    width = serials.width
    keys = [state.serial_class_key(serials.item_class, width)]
    if begins:
        keys.append(_came_key(serials.item_class, width))
    marks = 0
    for key in keys:
        marks |= int.from_bytes((state.look(overlay, key, SerialClassRecord) or _NO_CLASS).singles, "big")
    low, high = _mark(width, serials.first), _mark(width, serials.first + serials.count - 1)
    found = next((mark for mark in range(low, high + 1) if marks >> mark & 1), None)
    if found is not None:
        # The first and the last number with this mark.
        start, end = -(-(found * 10**width) // MARKS), -(-((found + 1) * 10**width) // MARKS) - 1
        raise Refused(
            f"{lot}: of its class, serials that end in {start:0{width}} to {end:0{width}} were commissioned one by "
            f"one; let the range lie outside, or give no more than {LISTED_MAX} serials at once",
            Reason.SERIALS_OVERLAP,
        )


def _add_run(
    overlay: Overlay, lot: str, place: int, item_class: str, prefix: str, width: int, first: int, count: int
) -> None:
    record = _load_class(overlay, item_class, width)
    record.ranges += 1
    state.save(overlay, state.serial_class_key(item_class, width), record)
    row = _row(item_class, prefix, width)
    starts.add(overlay, row, 10**width, first)
    run = IntervalRecord(end=first + count, lot=lot, place=place)
    state.save(overlay, state.interval_key(row, first), run)


# ---- one by one ---------------------------------------------------------------------------------------------


def note_single(overlay: Overlay, identifier: Identifier, *, begins: bool = True) -> None:
    """Notes a serial that gets a record of its own outside of runs; begins: here, and not on another chain.

    Raises Refused(SERIALS_OVERLAP) for one of a run.
    """
    if identifier.scheme != "sgtin":
        return
    prefix, digits = _split_name(identifier.class_text, identifier.text)
    width = len(digits)
    record = _look_at_class(overlay, identifier.class_text, width)
    found = _find_run(overlay, record, identifier.class_text, prefix, digits)
    if found is not None:
        raise Refused(f"{identifier.text} is a serial of {found[0]}", Reason.SERIALS_OVERLAP)
    key = state.serial_class_key(identifier.class_text, width)
    if not begins:
        key = _came_key(identifier.class_text, width)
        record = state.look(overlay, key, SerialClassRecord) or _NO_CLASS
    marks = int.from_bytes(record.singles, "big")
    marked = marks | 1 << _mark(width, _number(digits))
    if marked != marks:
        record = state.load(overlay, key, SerialClassRecord) or SerialClassRecord()
        record.singles = marked.to_bytes(_MARKS_BYTES, "big")
        state.save(overlay, key, record)


def bare_serial(identifier: Identifier) -> str:
    """The serial of a part, without its class and its escapes."""
    return _bare(identifier.class_text, identifier.text)


def _bare(item_class: str, text: str) -> str:
    return unescape(text.removeprefix(f"{item_class}/21/"), text)


@lru_cache(maxsize=4_096)  # of a new part it is asked twice
def _split_name(item_class: str, text: str) -> tuple[str, str]:
    return _split(_bare(item_class, text))


def _mark(width: int, number: int) -> int:
    """In which of the parts of the numbers of so many digits a number lies."""
    numbers: int = 10**width
    return number * MARKS // numbers


def _number(digits: str) -> int:
    return int(digits or "0")


def _number_in(row: tuple[str, int], serial: str) -> int | None:
    """The number of a serial with this prefix and so many digits; None for any other."""
    prefix, digits = _split(serial)
    return _number(digits) if (prefix, len(digits)) == row else None


def _split(serial: str) -> tuple[str, str]:
    cut = max(len(serial.rstrip("0123456789")), len(serial) - WIDTH_MAX)
    return serial[:cut], serial[cut:]


def _load_class(reader: Reader, item_class: str, width: int) -> SerialClassRecord:
    key = state.serial_class_key(item_class, width)
    return state.load(reader, key, SerialClassRecord) or SerialClassRecord()


def _came_key(item_class: str, width: int) -> bytes:
    """Key of a SerialClassRecord with nothing but the marks of what came from other chains."""
    return state_key(Kind.SERIAL_CLASS, item_class, width, "came")


def _look_at_class(reader: Reader, item_class: str, width: int) -> SerialClassRecord:
    """As `_load_class`, to be looked at only."""
    return state.look(reader, state.serial_class_key(item_class, width), SerialClassRecord) or _NO_CLASS


def _row(item_class: str, prefix: str, width: int) -> str:
    # No class holds a space.
    return f"{item_class} {width} {prefix}"


def _at_or_below(reader: Reader, row: str, width: int, number: int) -> tuple[int, IntervalRecord] | None:
    start = starts.at_or_below(reader, row, 10**width, number)
    if start is None:
        return None
    record = state.load(reader, state.interval_key(row, start), IntervalRecord)
    if record is None:
        raise InvariantBroken(f"range {start} of {row} has no record")
    return start, record
