"""The serials of a class that lots were commissioned with: ranges in rows, none of which overlaps another.

A serial is split in one way only: a prefix that is empty or ends in what is no digit, and the digits after it. The
serials of a class with one prefix and one number of digits are a row, and a lot's range is two numbers in it. Where
ranges begin is a set (ledger/starts.py), so that the range a serial lies in, or that it lies in none, is found and
proven with a few keys.

Of serials commissioned one by one only the lowest and the highest of the class are kept, by length and then text.
A range may not reach between these two: that refuses too much where both ways are mixed, and never too little.
"""

import re
from typing import Final

from ledger import starts, state
from ledger.errors import InvariantBroken, Refused
from ledger.gs1_keys import escape, unescape
from ledger.identifiers import Identifier, canonical
from ledger.state import Overlay, Reader
from proto.chiptrace.v1.ledger_pb2 import IntervalRecord, Reason, SerialClassRecord, Serials

# 10 ^ 19 numbers are the most that fit 64 bits.
WIDTH_MAX: Final = 19
_SPLIT: Final = re.compile(r"(.*?)([0-9]*)\Z", re.DOTALL)


def read_range(lot: Identifier, first: str, last: str) -> Serials:
    """The serials of a lot from the first to the last, both of the lot's class.

    Raises Refused: SERIALS_INVALID, IDENTIFIER_INVALID for what is no serial.
    """
    if lot.scheme != "lgtin":
        raise Refused(f"{lot.text}: a lot of serials is named by GTIN and lot", Reason.SERIALS_INVALID)
    for serial in (first, last):
        canonical(f"{lot.class_text}/21/{escape(serial)}")
    (prefix, low), (other, high) = _split(first), _split(last)
    if prefix != other or len(low) != len(high) or not 1 <= len(low) <= WIDTH_MAX or low > high:
        raise Refused(
            f"serials {first} to {last}: both end in a number of equally many digits, {WIDTH_MAX} at most, and "
            "have the same text before it",
            Reason.SERIALS_INVALID,
        )
    return Serials(
        item_class=lot.class_text,
        prefix=prefix,
        width=len(low),
        first=int(low),
        count=int(high) - int(low) + 1,
    )


def find_range(reader: Reader, identifier: Identifier) -> tuple[str, int] | None:
    """The lot whose range a serial lies in, and its place there; None where it lies in none."""
    if identifier.scheme != "sgtin":
        return None
    record = state.load(reader, state.serial_class_key(identifier.class_text), SerialClassRecord)
    prefix, digits = _split(_serial(identifier))
    if record is None or not record.ranges or not 1 <= len(digits) <= WIDTH_MAX:
        return None
    found = _at_or_below(reader, _row(identifier.class_text, prefix, len(digits)), len(digits), int(digits))
    if found is None or int(digits) >= found[1].end:
        return None
    return found[1].lot, int(digits) - found[0]


def add_range(overlay: Overlay, lot: str, serials: Serials) -> None:
    """Enters a lot's range among those of its class. Raises Refused(SERIALS_OVERLAP)."""
    # (1) No range has a serial in common with it. Of those that begin at or below its last one, the one that
    #     begins last also ends last, because they do not overlap each other.
    row = _row(serials.item_class, serials.prefix, serials.width)
    end = serials.first + serials.count
    found = _at_or_below(overlay, row, serials.width, end - 1)
    if found is not None and found[1].end > serials.first:
        raise Refused(f"{lot}: some of its serials are in {found[1].lot} already", Reason.SERIALS_OVERLAP)
    # (2) Nor has what was commissioned one by one.
    key = state.serial_class_key(serials.item_class)
    record = state.load(overlay, key, SerialClassRecord) or SerialClassRecord()
    first, last = (
        _order(serials.prefix + str(number).zfill(serials.width)) for number in (serials.first, end - 1)
    )
    if record.highest and first <= _order(record.highest) and last >= _order(record.lowest):
        raise Refused(
            f"{lot}: serials of its class were commissioned one by one between {record.lowest} and "
            f"{record.highest}; let the range lie outside",
            Reason.SERIALS_OVERLAP,
        )
    # (3) It is one of them.
    record.ranges += 1
    state.save(overlay, key, record)
    starts.add(overlay, row, 10**serials.width, serials.first)
    state.save(overlay, state.interval_key(row, serials.first), IntervalRecord(end=end, lot=lot))


def note_single(overlay: Overlay, identifier: Identifier) -> None:
    """Notes a serial that has a record from the start. Raises Refused(SERIALS_OVERLAP) for one of a lot."""
    if identifier.scheme != "sgtin":
        return
    found = find_range(overlay, identifier)
    if found is not None:
        raise Refused(f"{identifier.text} is a serial of {found[0]}", Reason.SERIALS_OVERLAP)
    key = state.serial_class_key(identifier.class_text)
    record = state.load(overlay, key, SerialClassRecord) or SerialClassRecord()
    serial = _serial(identifier)
    if not record.lowest or _order(serial) < _order(record.lowest):
        record.lowest = serial
    if not record.highest or _order(serial) > _order(record.highest):
        record.highest = serial
    state.save(overlay, key, record)


def _serial(identifier: Identifier) -> str:
    return unescape(identifier.text.removeprefix(f"{identifier.class_text}/21/"), identifier.text)


def _split(serial: str) -> tuple[str, str]:
    found = _SPLIT.match(serial)
    if found is None:
        raise InvariantBroken(f"{serial!r} has no split")
    return found[1], found[2]


def _order(serial: str) -> tuple[int, str]:
    return len(serial), serial


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
