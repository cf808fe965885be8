import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import ranges
from ledger.errors import Refused
from ledger.identifiers import canonical
from ledger.state import MappingReader, Overlay
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger.rules_world import refused

CLASS = canonical("urn:epc:idpat:sgtin:4012345.012345.*").text
LOT = canonical(f"{CLASS}/10/L")


def serial(text: str):
    return canonical(f"{CLASS}/21/{text}")


def empty() -> Overlay:
    return Overlay(MappingReader({}))


@pytest.mark.parametrize(
    ("first", "last", "prefix", "width", "number", "count"),
    [
        ("1", "9", "", 1, 1, 9),
        ("000001", "250000", "", 6, 1, 250_000),
        ("W7-000", "W7-999", "W7-", 3, 0, 1_000),
        ("A10", "A10", "A", 2, 10, 1),
        ("0" * 19, "9" * 19, "", 19, 0, 10**19),
    ],
)
def test_a_range_is_read_in_one_way(first, last, prefix, width, number, count):
    found = ranges.read_range(LOT, first, last)
    assert (found.prefix, found.width, found.first, found.count) == (prefix, width, number, count)
    assert found.item_class == CLASS


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("9", "10"),
        ("1", "10"),
        ("10", "9"),
        ("A1", "B2"),
        ("A", "B"),
        ("5", "4"),
        ("0" * 20, "1" * 20),
        ("1", "A1"),
        ("A1B1", "A2B2"),
    ],
)
def test_what_is_no_range(first, last):
    with refused(Reason.SERIALS_INVALID):
        ranges.read_range(LOT, first, last)


def test_only_a_gtin_with_a_lot_has_serials_and_they_are_gs1_serials():
    for name in (CLASS, "urn:lot:x", "https://id.gs1.org/00/040123450000000016"):
        with refused(Reason.SERIALS_INVALID):
            ranges.read_range(canonical(name), "1", "2")
    with refused(Reason.IDENTIFIER_INVALID):
        ranges.read_range(LOT, "\x001", "\x002")


SERIALS = st.from_regex(r"[AB]?[0-9]{1,3}", fullmatch=True)


@given(
    st.lists(st.tuples(st.booleans(), SERIALS, st.integers(0, 30)), max_size=20),
    st.lists(SERIALS, max_size=20),
)
def test_no_serial_is_ever_in_two_places(steps, asked):
    """Against a set of all serials: what is refused had a serial in common, or lay between single ones."""
    overlay, taken, singles = empty(), {}, set()
    for number, (alone, first, more) in enumerate(steps):
        if alone:
            try:
                ranges.note_single(overlay, serial(first))
            except Refused:
                assert taken[first] != first
            else:
                assert taken.get(first, first) == first
                taken[first] = first
                singles.add(first)
            continue
        prefix, digits = first.rstrip("0123456789"), first[len(first.rstrip("0123456789")) :]
        names = [prefix + str(int(digits) + step).zfill(len(digits)) for step in range(more + 1)]
        names = [name for name in names if len(name) == len(first)]
        child = overlay.child()
        try:
            ranges.add_range(child, f"L{number}", ranges.read_range(LOT, names[0], names[-1]))
        except Refused as refusal:
            overlap = refusal.reason == Reason.SERIALS_OVERLAP
            order = [(len(name), name) for name in singles]
            between = order and min(order) <= (len(first), names[-1]) and max(order) >= (len(first), names[0])
            assert overlap and (between or any(name in taken for name in names))  # noqa: PT018
        else:
            assert not any(name in taken for name in names)
            child.merge()
            taken |= {name: (f"L{number}", place) for place, name in enumerate(names)}
    for name in [*taken, *asked]:
        found = taken.get(name)
        assert ranges.find_range(overlay, serial(name)) == (None if found == name else found)


def test_a_row_costs_a_few_keys_however_many_ranges_there_are():
    overlay = empty()
    for number in range(300):
        serials = ranges.read_range(LOT, f"{number * 10_000:012}", f"{number * 10_000 + 9_999:012}")
        kept = overlay.child(16)
        ranges.add_range(kept, f"L{number}", serials)
        kept.merge()
    looked = overlay.child(13)
    assert ranges.find_range(looked, serial(f"{2_345_678:012}")) == ("L234", 5_678)
    assert ranges.find_range(overlay.child(13), serial("9" * 12)) is None


def test_other_things_lie_in_no_range():
    assert ranges.find_range(empty(), canonical("urn:epc:id:sscc:4012345.0000000001")) is None
    overlay = empty()
    ranges.note_single(overlay, canonical("urn:epc:id:sscc:4012345.0000000001"))
    assert overlay.changes == {}
