"""Lots by a root, touched serial by serial, and what an attacker would try with their proofs."""

import pytest

from ledger import intervals, merkle, roots, state
from ledger.corrections import original_of
from ledger.identifiers import canonical, interval_text
from ledger.roots import SerialList
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    Change,
    CorrectionRecord,
    CorrectionState,
    Delegate,
    LotRecord,
    Membership,
    Operation,
    PartStatus,
    PutPolicy,
    Reason,
    Trigger,
)
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    listed,
    making,
    packing,
    quantity,
    receiving,
    refused,
    root_of,
    seen,
    serials_of,
    shipping,
    unpacking,
)
from tests.ledger.test_corrections import recorded, state_of, wrong

LOT = canonical("urn:epc:class:lgtin:4012345.012345.R1").text
OTHER = canonical("urn:epc:class:lgtin:4012345.012345.R2").text
CLASS = canonical(LOT).class_text
# As a tester leaves them: no two follow each other.
DIES = [f"W{number * 7919 % 1000:03}X" for number in range(100)]


def die(place: int) -> str:
    return f"{CLASS}/21/{DIES[place]}"


def some(start: int, end: int, lot: str = LOT) -> str:
    return interval_text(lot, start, end)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def kept(world) -> SerialList:
    """A lot of 100 dies, ada's, by the root of their list."""
    return world.root(LOT, DIES)


def edges(world: World, lot: str = LOT) -> list[tuple[int, int]]:
    record = world.record(state.lot_key(lot), LotRecord)
    found = intervals.pieces(world.overlay, record, 0, record.serials.count, 2_000)
    return [(piece.start, piece.end) for piece in found]


def touch(world: World, kept: SerialList, name: str, member: str = "ada") -> None:
    world.shown(member, seen([name]), kept.membership(name))


# ---- the honest way -----------------------------------------------------------------------------------------


def test_a_serial_becomes_a_record_when_it_is_first_touched(world, kept):
    assert edges(world) == [(0, 100)]
    touch(world, kept, die(40))
    record = world.part(die(40))
    assert (record.lot, record.start, record.end, record.holder) == (LOT, 40, 41, "ada")
    assert (record.carved_from, record.carved_n) == (some(0, 100), 1)
    assert not record.HasField("serials")
    assert world.story(die(40)) == ["EVENT"]
    assert edges(world) == [(0, 40), (40, 41), (41, 100)]
    # From then on it is a part like any other, with the proof or without.
    world.event("ada", seen([die(40)]))
    touch(world, kept, die(40))
    assert world.story(die(40)) == ["EVENT"] * 3


def test_intervals_of_places_are_shipped_packed_and_consumed(world, kept):
    world.event("ada", shipping([], "bob", [quantity(some(10, 30))]))
    world.event("bob", receiving([], [quantity(some(10, 30))]))
    touch(world, kept, die(20), "bob")
    with refused(Reason.NOT_IN_CUSTODY):
        touch(world, kept, die(21))
    world.shown("ada", packing(box(1), [die(5)], [quantity(some(0, 5))]), kept.membership(die(5)))
    assert world.generation(box(1)).count == 2
    with refused(Reason.INTERVAL_SPLIT):
        world.event("bob", making(used=[quantity(some(10, 30))]))
    world.event("bob", making([die(20)], used=[quantity(some(10, 20)), quantity(some(21, 30))]))
    assert edges(world) == [(0, 5), (5, 6), (6, 10), (10, 20), (20, 21), (21, 30), (30, 100)]
    world.event("ada", unpacking(box(1)))
    world.shown("ada", destroying([die(0), die(4)]), *(kept.membership(die(n)) for n in (0, 4)))
    assert world.status(die(4)) == "DESTROYED"


def test_the_receiver_takes_one_die_of_what_is_offered(world, kept):
    world.event("ada", shipping([], "bob", [quantity(some(10, 30))]))
    world.shown("bob", receiving([die(12)]), kept.membership(die(12)))
    assert (world.part(die(12)).holder, world.part(some(10, 12)).offered_to) == ("bob", "bob")


def test_a_quarter_of_a_million_dies_by_root_cost_no_more_than_ten():
    keys = []
    for count in (10, 250_000):
        world = World()
        kept = SerialList(world.chain_id, canonical(LOT), [f"{number:06X}" for number in range(count)])
        world.event("ada", root_of(LOT, kept))
        keys.append(len(world.touched))
    assert keys[1] <= keys[0] + 2 <= 12
    name = f"{CLASS}/21/{200_000:06X}"
    touch(world, kept, name)
    assert (world.part(name).start, len(kept.membership(name).path)) == (200_000, 18)
    assert len(world.touched) <= 11


def test_a_root_is_drawn_on_a_delegation_serial_by_serial(world):
    world.act("ada", Operation(delegate=Delegate(prefix="gs1:4012345", member="bob", serials=150)))
    world.root(LOT, DIES, "bob")
    with refused(Reason.DELEGATION_EXCEEDED, "50 of 150"):
        world.root(OTHER, DIES, "bob")


# ---- lists in the event --------------------------------------------------------------------------------------


def test_a_list_needs_no_proofs(world):
    world.event("ada", listed(LOT, DIES))
    assert world.lot(LOT).serials.count == 100
    world.event("ada", seen([die(40)]))
    assert edges(world) == [(0, 40), (40, 41), (41, 100)]
    assert world.part(die(40)).start == 40
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", seen([f"{CLASS}/21/W000Y"]))
    with refused(Reason.SERIALS_OVERLAP, "R1"):
        world.event("ada", listed(OTHER, ["A", DIES[7]]))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", add([die(3)]))
    with refused(Reason.MEMBERSHIP_INVALID, "no root"):
        world.shown(
            "ada", seen([die(3)]), SerialList(world.chain_id, canonical(LOT), DIES).membership(die(3))
        )


def test_a_list_that_has_a_serial_twice_or_one_that_is_a_part(world):
    with refused(Reason.SERIALS_INVALID, "twice"):
        world.event("ada", listed(LOT, ["1", "2", "1"]))
    world.event("ada", add([f"{CLASS}/21/2"]))
    with refused(Reason.SERIALS_OVERLAP, "one by one"):
        world.event("ada", listed(LOT, ["1", "2", "3"]))
    world.event("ada", listed(LOT, ["1", "3"]))
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", listed(OTHER, ["5", "6"]) | {"quantityList": [quantity(OTHER, 3)]})


@pytest.mark.parametrize(
    "ilmd",
    [
        {"ours:serials": []},
        {"ours:serials": "1"},
        {"ours:serials": ["1"], "ours:firstSerial": "1", "ours:lastSerial": "1"},
        {"ours:serialsRoot": "00" * 32},
        {"ours:serialsRoot": "00" * 31, "ours:lowestSerial": "1", "ours:highestSerial": "1"},
        {"ours:serialsRoot": "AA" * 32, "ours:lowestSerial": "1", "ours:highestSerial": "1"},
        {"ours:serialsRoot": "00" * 32, "ours:lowestSerial": "", "ours:highestSerial": "1"},
        {"ours:lowestSerial": "1", "ours:highestSerial": "1"},
    ],
)
def test_words_that_do_not_go_together(world, ilmd):
    with refused(Reason.EVENT_INVALID, "ilmd|serials"):
        world.event("ada", listed(LOT, ["1"]) | {"ilmd": ilmd})


# ---- attacks on proofs ----------------------------------------------------------------------------------------


def test_a_serial_without_a_proof_is_unknown(world, kept):
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", seen([die(40)]))
    assert edges(world) == [(0, 100)]


def test_a_serial_above_the_count_or_under_a_false_index(world, kept):
    good = kept.membership(die(40))
    for place in (39, 41, 99, 100, 2**63):
        false = Membership(serial=good.serial, lot=LOT, place=place, path=good.path)
        with refused(Reason.MEMBERSHIP_INVALID):
            world.shown("ada", seen([die(40)]), false)
    # A list with one more than was said.
    longer = SerialList(world.chain_id, canonical(LOT), [*DIES, "W999Z"])
    with refused(Reason.MEMBERSHIP_INVALID):
        world.shown("ada", seen([f"{CLASS}/21/W999Z"]), longer.membership(f"{CLASS}/21/W999Z"))
    touch(world, kept, die(40))
    with refused(Reason.MEMBERSHIP_INVALID):
        false = Membership(serial=good.serial, lot=LOT, place=41, path=good.path)
        world.shown("ada", seen([die(40)]), false)


def test_a_proof_of_another_root(world, kept):
    other = world.root(OTHER, [f"V{number:03}" for number in range(100)])
    name = f"{CLASS}/21/V007"
    for shown in (other.membership(name), kept.membership(die(7))):
        for lot in (LOT, OTHER):
            false = Membership(serial=shown.serial, lot=lot, place=shown.place, path=shown.path)
            if lot != shown.lot:
                with refused(Reason.MEMBERSHIP_INVALID):
                    world.shown("ada", seen([shown.serial]), false)
    with refused(Reason.UNKNOWN_LOT):
        nowhere = Membership(serial=die(7), lot=OTHER.replace("R2", "R3"), place=7)
        world.shown("ada", seen([die(7)]), nowhere)


def test_a_proof_of_what_the_event_does_not_name_or_twice(world, kept):
    one, other = kept.membership(die(1)), kept.membership(die(2))
    for event, shown in (
        (seen([die(1)]), [one, other]),
        (seen([die(1)]), [one, one]),
        (seen([], [quantity(some(0, 100))]), [one]),
    ):
        with refused(Reason.MEMBERSHIP_INVALID, "one each"):
            world.shown("ada", event, *shown)
    spelled = Membership(serial=f"urn:epc:id:sgtin:4012345.012345.{DIES[1]}", lot=LOT, place=1, path=one.path)
    with refused(Reason.MEMBERSHIP_INVALID, "canonical"):
        world.shown("ada", seen([die(1)]), spelled)


def test_who_does_not_hold_the_interval_shows_nothing(world, kept):
    for member in ("bob", "cyd"):
        with refused(Reason.NOT_IN_CUSTODY):
            touch(world, kept, die(1), member)
    world.event("ada", shipping([], "bob", [quantity(some(0, 50))]))
    with refused(Reason.NOT_LIVE):
        touch(world, kept, die(1))
    with refused(Reason.NOT_IN_CUSTODY):
        world.shown("cyd", receiving([die(1)]), kept.membership(die(1)))
    assert edges(world) == [(0, 50), (50, 100)]
    world.set_status(some(50, 100), "DEPARTED")
    with refused(Reason.NOT_LIVE, "another chain"):
        touch(world, kept, die(60))


def test_name_an_interval_and_a_serial_in_it(world, kept):
    shown = kept.membership(die(5))
    for event in (
        seen([die(5)], [quantity(some(0, 10))]),
        destroying([die(5)], [quantity(some(5, 6))]),
        packing(box(1), [die(5)], [quantity(some(0, 100))]),
    ):
        with refused(Reason.INTERVAL_SPLIT):
            world.shown("ada", event, shown)
    assert edges(world) == [(0, 100)]
    # What lies beside it is named with it.
    both = [quantity(some(0, 5)), quantity(some(6, 100))]
    world.shown("ada", seen([die(5)], both), shown)
    assert edges(world) == [(0, 5), (5, 6), (6, 100)]


def test_a_serial_of_a_root_is_not_commissioned_again(world, kept):
    with refused(Reason.ALREADY_COMMISSIONED, "R1"):
        world.shown("ada", add([die(1)]), kept.membership(die(1)))
    touch(world, kept, die(1))
    with refused(Reason.ALREADY_COMMISSIONED, "R1"):
        world.event("ada", add([die(1)]))
    with refused(Reason.SERIALS_OVERLAP, "one by one"):
        world.event("ada", listed(OTHER, [DIES[1]]))


# ---- two claims of one serial -----------------------------------------------------------------------------------

TWICE = "FLAG!SERIAL_CLAIMED_TWICE"


def test_overlap_of_two_roots_flags_both_lots(world, kept):
    other = world.root(OTHER, [*reversed(DIES), "Z"])
    touch(world, kept, die(40))
    before = edges(world, OTHER)
    world.shown(
        "ada", shipping([die(40), die(41)], "bob"), other.membership(die(40)), other.membership(die(41))
    )
    assert world.reason == Reason.SERIAL_CLAIMED_TWICE
    # All of the event is left undone, also where nothing was wrong.
    assert edges(world, OTHER) == before
    assert world.part(die(40)).status == PartStatus.LIVE
    assert world.story(die(40)) == ["EVENT", TWICE]
    assert world.lot_story(LOT) == world.lot_story(OTHER) == ["EVENT", TWICE]
    # The first has it, and the rest of the second lot is what it was.
    touch(world, other, die(41))
    assert world.part(die(41)).lot == OTHER
    touch(world, kept, die(41))
    assert world.lot_story(LOT) == ["EVENT", TWICE, TWICE]


def test_a_root_over_a_range_a_list_or_a_part(world):
    world.event("ada", serials_of(OTHER, "0000", "0999", 1_000))
    world.event("ada", listed(LOT.replace("R1", "L1"), ["X1", "X3"]))
    world.event("ada", add([f"{CLASS}/21/P7"]))
    kept = world.root(LOT, ["0005", "X3", "P7", "free"])
    for serial, owner in (("0005", OTHER), ("X3", LOT.replace("R1", "L1")), ("P7", "")):
        name = f"{CLASS}/21/{serial}"
        touch(world, kept, name)
        assert world.reason == Reason.SERIAL_CLAIMED_TWICE
        if owner:
            assert world.lot_story(owner) == ["EVENT", TWICE]
            assert world.overlay.get(state.part_key(name)) is None
    assert world.story(f"{CLASS}/21/P7") == ["EVENT", TWICE]
    assert world.lot_story(LOT) == ["EVENT", TWICE, TWICE, TWICE]
    assert edges(world) == [(0, 4)]
    touch(world, kept, f"{CLASS}/21/free")
    assert world.reason == Reason.REASON_UNSPECIFIED


def test_a_range_over_touched_serials_of_a_root_is_refused(world):
    kept = world.root(LOT, ["000007", "999999"])
    touch(world, kept, f"{CLASS}/21/000007")
    for last in (8, 2_000):
        with refused(Reason.SERIALS_OVERLAP):
            world.event("ada", serials_of(OTHER, "000000", f"{last:06}", last + 1))
    # Nobody knows of the other one.
    world.event("ada", serials_of(OTHER, "500000", "999999", 500_000))
    touch(world, kept, f"{CLASS}/21/999999")
    assert world.lot_story(LOT) == world.lot_story(OTHER) == ["EVENT", TWICE]


def forged(world: World, serials: list[str]) -> tuple[dict, list[Membership]]:
    """A list with a serial twice, as no client makes it: the event, and the proof of each place."""
    names = [str(number) for number in range(len(serials))]
    kept = SerialList(world.chain_id, canonical(LOT), names)
    kept._names = [f"{CLASS}/21/{serial}" for serial in serials]
    kept._levels = merkle.levels([roots.serial_leaf(world.chain_id, name) for name in kept._names])
    event = root_of(LOT, kept, serialsRoot=kept._levels[-1][0].hex(), lowestSerial="A", highestSerial="zzz")
    shown = []
    for place, name in enumerate(kept._names):
        kept._places = {name: place}
        shown.append(kept.membership(name))
    return event, shown


def test_a_list_that_has_one_serial_twice_claims_it_twice(world):
    event, shown = forged(world, ["A", "B", "A", "C"])
    world.event("ada", event)
    world.shown("ada", seen([shown[0].serial]), shown[0])
    world.shown("ada", seen([shown[2].serial]), shown[2])
    assert world.reason == Reason.SERIAL_CLAIMED_TWICE
    assert world.lot_story(LOT) == ["EVENT", TWICE]
    assert world.story(shown[0].serial) == ["EVENT", TWICE]
    assert edges(world) == [(0, 1), (1, 4)]
    # The first one keeps its place, whichever is shown.
    world.shown("ada", seen([shown[0].serial]), shown[0])
    assert world.part(shown[0].serial).start == 0


def test_a_claim_of_what_is_on_another_chain_is_told_of_the_lots(world, kept):
    world.event("ada", add([f"{CLASS}/21/P7"]))
    other = world.root(OTHER, ["P7", "P8"])
    world.set_status(f"{CLASS}/21/P7", "DEPARTED")
    touch(world, other, f"{CLASS}/21/P7")
    assert world.lot_story(OTHER) == ["EVENT", TWICE]
    assert world.story(f"{CLASS}/21/P7") == ["EVENT"]


def test_the_same_claim_is_entered_once(world, kept):
    world.event("ada", add([f"{CLASS}/21/P7"]))
    other = world.root(OTHER, ["P7", "P8"])
    again = world.capture(seen([f"{CLASS}/21/P7"]), memberships=[other.membership(f"{CLASS}/21/P7")])
    world.act("ada", again)
    with refused(Reason.ALREADY_COMMISSIONED, "both histories say so"):
        world.act("ada", again)
    # Nor by any other event: who has a list does not fill the histories of others with one claim.
    with refused(Reason.ALREADY_COMMISSIONED, "both histories say so"):
        touch(world, other, f"{CLASS}/21/P7")
    assert world.story(f"{CLASS}/21/P7") == ["EVENT", TWICE]


def test_a_claim_stands_in_the_way_of_no_correction(world, kept):
    """Who has a list with another's serial claims it in the very event that made it: that one can be taken back."""
    serial = f"{CLASS}/21/P7"
    packed = recorded(world, "ada", add([serial]))
    other = world.root(OTHER, ["P7", "P8"])
    touch(world, other, serial)
    assert world.story(serial) == ["EVENT", TWICE]
    world.act("ada", wrong(packed))
    assert (state_of(world, packed), world.status(serial)) == ("TAKEN_BACK", "VOID")


def test_what_was_taken_back_stays_so_whoever_records_it_again(world, kept):
    serial = f"{CLASS}/21/P7"
    made = recorded(world, "ada", add([serial]))
    world.act("ada", wrong(made))
    assert state_of(world, made) == "TAKEN_BACK"
    # Once as a claim of a list, once as the grant's holder may.
    other = world.root(OTHER, ["P7", "P8"])
    claimed = Operation()
    claimed.CopyFrom(made)
    claimed.capture.memberships.append(other.membership(serial))
    for operation in (claimed, made):
        world.act("ada", operation)
        assert world.reason in (Reason.SERIAL_CLAIMED_TWICE, Reason.REPEATED_COMMISSIONING)
        assert state_of(world, made) == "TAKEN_BACK"


def test_a_claim_that_is_declared_wrong_takes_nothing_back(world, kept):
    """It did nothing: what it names is where it was, and stays there."""
    touch(world, kept, die(1))
    world.event("ada", packing(box(1), [die(1)]))
    other = world.root(OTHER, DIES)
    said = unpacking(box(1), [die(1)]) | {"eventTime": "2023-11-14T22:13:20.000Z"}
    world.act("ada", world.capture(said, bytes(16), [other.membership(die(1))]))
    assert world.reason == Reason.SERIAL_CLAIMED_TWICE
    wrong = {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:20.000Z"}}
    original = original_of(world.chain_id, world.capture(said | wrong, bytes(16)).capture.event)
    record = world.record(state.correction_key(original), CorrectionRecord)
    assert record.state == CorrectionState.WITHOUT_EFFECT
    world.act("ada", world.capture(said | wrong, bytes(16)))
    assert world.part(die(1)).container == box(1)
    assert world.generation(box(1)).count == 1


def test_a_licence_for_the_lot_is_one_for_its_serials(world, kept):
    policy = PutPolicy(id="p", prefix="gs1:4012345", trigger=Trigger.ANY_SHIPPING, attestation="export_licence",
                       issuers=["dee"])  # fmt: skip
    world.change(Change(put_policy=policy))
    claim = Attest(id="urn:test:licence", subject=LOT, kind="export_licence")
    world.act("dee", Operation(attest=claim))
    under = {"bizTransactionList": [{"type": "cert", "bizTransaction": "urn:test:licence"}]}
    for place in (1, 2):
        if place == 2:
            touch(world, kept, die(place))
        shown = [kept.membership(die(place))]
        with refused(Reason.LICENCE_MISSING):
            world.shown("ada", shipping([die(place)], "bob"), *shown)
        world.shown("ada", shipping([die(place)], "bob") | under, *shown)
        assert world.part(die(place)).offered_to == "bob"
