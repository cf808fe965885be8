import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import ranges, state
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
        ("7" + "0" * 19, "7" + "9" * 19, "7", 19, 0, 10**19),
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
        ("A", "A"),
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


def run_of(first: str, more: int) -> list[str]:
    """The serial and so many after it, of as many digits."""
    prefix, digits = ranges._split(first)
    names = [prefix + str(int(digits) + step).zfill(len(digits)) for step in range(more + 1)]
    return [name for name in names if len(name) == len(first)]


STEPS = st.one_of(
    st.tuples(st.just("single"), SERIALS, st.just(0)),
    st.tuples(st.just("range"), SERIALS, st.integers(0, 30)),
    st.tuples(
        st.just("list"),
        st.lists(SERIALS | st.sampled_from(["X", "Y1Z"]), min_size=1, max_size=12),
        st.just(0),
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=20), st.lists(SERIALS, max_size=20), st.sampled_from([3, 1_000]))
def test_no_serial_is_ever_in_two_places(steps, asked, looked_up):
    """Against a set of all serials: what is refused had a serial in common, or is too long to be looked up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "LISTED_MAX", looked_up)
        check_places(steps, asked, looked_up)


def check_places(steps, asked, looked_up):
    overlay, taken, singles = empty(), {}, set()
    for number, (kind, said, more) in enumerate(steps):
        if kind == "single":
            name = serial(said)
            try:
                ranges.note_single(overlay, name)
            except Refused:
                assert taken[said] != said
            else:
                assert taken.get(said, said) == said
                taken[said] = said
                singles.add(said)
                overlay.put(state.part_key(name.text), b"a part")
            continue
        names = run_of(said, more) if kind == "range" else said
        child = overlay.child()
        try:
            if kind == "range":
                ranges.add_range(child, f"L{number}", ranges.read_range(LOT, names[0], names[-1]))
            else:
                ranges.check_list(LOT, names)
                ranges.add_list(child, f"L{number}", CLASS, names)
        except Refused as refusal:
            overlap = any(name in taken for name in names)
            if refusal.reason == Reason.SERIALS_INVALID:
                assert len(set(names)) < len(names) or len(names) > looked_up
            else:
                near = {place_of(name) for name in names} & {place_of(name) for name in singles}
                assert overlap or (kind == "range" and len(names) > looked_up and near)
        else:
            assert not any(name in taken for name in names)
            child.merge()
            taken |= {name: (f"L{number}", place) for place, name in enumerate(names)}
    for name in [*taken, *asked]:
        found = taken.get(name)
        assert ranges.find_range(overlay, serial(name)) == (None if found == name else found)


def place_of(name: str) -> tuple[int, int]:
    """Number of digits, and in which of 256 parts of the numbers it lies."""
    digits = ranges._split(name)[1]
    return len(digits), int(digits or "0") * 256 // 10 ** len(digits)


def test_a_list_is_as_many_runs_as_it_takes():
    listed = ["7", "8", "9", "10", "A1", "A2", "A4", "B", "B5", "8A"]
    overlay = empty()
    ranges.add_list(overlay, "L", CLASS, listed)
    for place, name in enumerate(listed):
        assert ranges.find_range(overlay, serial(name)) == ("L", place)
    for name in ("6", "11", "A3", "A5", "C", "8B"):
        assert ranges.find_range(overlay, serial(name)) is None
    one = empty()
    ranges.add_list(one, "L", CLASS, run_of("0000", 999))
    # A run, its beginning in the set of them, and how many there are.
    assert len(one.changes) == 2 + 2


def test_what_is_no_list():
    for listed in ([], ["1", "2", "1"], [str(number) for number in range(1_001)]):
        with refused(Reason.SERIALS_INVALID):
            ranges.check_list(LOT, listed)
    with refused(Reason.SERIALS_INVALID):
        ranges.check_list(canonical(CLASS), ["1"])
    with refused(Reason.IDENTIFIER_INVALID):
        ranges.check_list(LOT, ["1", "x" * 21])


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
