"""Lots of serials under events, and what an attacker would try with them."""

from random import Random

import pytest

from ledger import attestations, intervals, state
from ledger.identifiers import canonical, interval_text
from proto.chiptrace.v1.ledger_pb2 import (
    Attest,
    Change,
    Delegate,
    LotRecord,
    Operation,
    PutGrant,
    PutPolicy,
    Reason,
    RevokeAttestation,
    RevokeGrant,
    Trigger,
)
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    making,
    object_event,
    packing,
    part,
    quantity,
    receiving,
    refused,
    seen,
    serials_of,
    shipping,
    unpacking,
)

LOT = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
CLASS = canonical(LOT).class_text


def die(number: int) -> str:
    return f"{CLASS}/21/{number:06}"


def some(start: int, end: int, lot: str = LOT) -> str:
    return interval_text(lot, start, end)


def lot_of(name: str) -> str:
    return canonical(f"urn:epc:class:lgtin:4012345.012345.{name}").text


@pytest.fixture
def world() -> World:
    """A wafer lot of 1,000 dies, serials 000000 to 000999, ada's."""
    world = World()
    world.event("ada", serials_of(LOT, "000000", "000999", 1_000))
    return world


def edges(world: World, lot: str = LOT) -> list[tuple[int, int]]:
    record = world.record(state.lot_key(lot), LotRecord)
    found = intervals.pieces(world.overlay, record, 0, record.serials.count, 2_000)
    return [(piece.start, piece.end) for piece in found]


# ---- commissioning ------------------------------------------------------------------------------------------


def test_a_lot_of_serials_begins_as_one_interval(world):
    lot = world.lot(LOT)
    assert (lot.commissioner, lot.serials.count, lot.serials.width) == ("ada", 1_000, 6)
    assert world.lot_story(LOT) == ["EVENT"] == world.story(some(0, 1_000))
    record = world.part(some(0, 1_000))
    assert (record.holder, record.owner, record.origin_chain) == ("ada", "ada", world.chain_id)
    assert edges(world) == [(0, 1_000)]


def test_a_quarter_of_a_million_dies_cost_no_more_than_ten():
    keys = []
    for count in (10, 250_000):
        world = World()
        world.event("ada", serials_of(LOT, "000000", f"{count - 1:06}", count))
        keys.append(len(world.touched))
    # A level of the set more or less, and nothing else.
    assert keys[1] <= keys[0] + 2 <= 20
    before = len(world.overlay.changes)
    world.event("ada", seen([die(123_456)]))
    assert len(world.overlay.changes) - before <= 10


@pytest.mark.parametrize(
    ("reason", "event"),
    [
        (Reason.NOT_GRANTED, serials_of(LOT.replace("4012345", "4012346"), "1", "2", 2)),
        (Reason.QUANTITY_INVALID, serials_of(LOT, "000", "009", 9)),
        (Reason.SERIALS_INVALID, serials_of(LOT, "9", "10", 2)),
        (Reason.SERIALS_INVALID, serials_of("https://id.gs1.org/01/04012345123456", "1", "2", 2)),
        (Reason.EVENT_INVALID, serials_of(LOT, "1", "", 2)),
        (Reason.EVENT_INVALID, serials_of(LOT, "1", "2", 2, epcList=[part(1)])),
        (Reason.EVENT_INVALID, serials_of(LOT, "1", "2", 2, quantityList=[])| {"epcList": [part(1)]}),
        (Reason.EVENT_INVALID, serials_of(LOT, "1", "2", 2, quantityList=[quantity(LOT, 2), quantity(lot_of("Z"), 2)])),
        (Reason.QUANTITY_INVALID, serials_of(LOT, "1", "2", 2, quantityList=[quantity(LOT, 2, "KGM")])),
    ],
)  # fmt: skip
def test_what_cannot_be_commissioned(reason, event):
    world = World()
    if reason == Reason.NOT_GRANTED:
        event = serials_of(canonical("urn:epc:class:lgtin:4012346.012345.W1").text, "1", "2", 2)
    before = dict(world.overlay.changes)
    with refused(reason):
        world.event("ada", event)
    assert world.overlay.changes == before


def test_a_lot_is_one_or_the_other(world):
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", add([], [quantity(LOT, 5)]))
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", seen([], [quantity(LOT, 5)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", serials_of(LOT, "001000", "001999", 1_000))
    world.event("ada", add([], [quantity(lot_of("M"), 5)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", serials_of(lot_of("M"), "001000", "001999", 1_000))


def test_a_wafer_becomes_dies():
    world = World()
    world.event("ada", add([part(1)]))
    made = serials_of(LOT, "000000", "249999", 250_000)
    world.event(
        "ada",
        making([part(1)], made=made["quantityList"], **{"ilmd": made["ilmd"], "@context": made["@context"]}),
    )
    assert world.status(part(1)) == "CONSUMED"
    assert world.story(some(0, 250_000)) == ["EVENT"]
    world.event("ada", seen([die(249_999)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", seen([die(250_000)]))


# ---- attacks ------------------------------------------------------------------------------------------------


def test_split_then_touch_the_same_serial_from_both_sides(world):
    world.event("ada", shipping([], "bob", [quantity(some(0, 500))]))
    world.event("bob", receiving([], [quantity(some(0, 500))]))
    world.event("bob", seen([die(499)]))
    for serial in (die(499), die(400)):
        with refused(Reason.NOT_IN_CUSTODY):
            world.event("ada", seen([serial]))
    with refused(Reason.INTERVAL_SPLIT):
        world.event("ada", seen([], [quantity(some(499, 501))]))
    with refused(Reason.INTERVAL_SPLIT):
        world.event("ada", seen([], [quantity(some(0, 1_000))]))
    world.event("ada", seen([die(500)]))
    # What nothing happened to leaves no record behind, and is no step of anybody's history.
    assert world.overlay.get(state.part_key(some(500, 1_000))) is None
    assert world.part(some(501, 1_000)).carved_from == some(0, 1_000)
    assert world.part(die(499)).holder == "bob"
    assert world.part(die(500)).holder == "ada"
    assert edges(world) == [(0, 499), (499, 500), (500, 501), (501, 1_000)]


def test_touch_a_serial_twice_in_one_event(world):
    for event in (
        seen([die(5)], [quantity(some(0, 10))]),
        destroying([die(5)], [quantity(some(5, 6))]),
        making([die(5)], used=[quantity(some(0, 1_000))]),
        packing(box(1), [die(5)], [quantity(some(0, 10))]),
        seen([], [quantity(some(0, 10)), quantity(some(9, 20))]),
    ):
        with pytest.raises(Exception) as caught:
            world.event("ada", event)
        assert caught.value.code in ("EVENT_INVALID", "INTERVAL_SPLIT")
        assert edges(world) == [(0, 1_000)]


def test_take_out_and_receive_serials_twice_in_one_event(world):
    """Where all that is listed is carved before anything is entered."""
    world.event("ada", packing(box(1), [], [quantity(some(0, 500))]))
    world.event("ada", shipping([], "bob", [quantity(some(500, 1_000))]))
    twice = [quantity(some(0, 10)), quantity(some(3, 5))]
    with refused(Reason.EVENT_INVALID, "twice"):
        world.event("ada", unpacking(box(1), [], twice))
    with refused(Reason.EVENT_INVALID, "twice"):
        world.event("bob", receiving([], [quantity(some(500, 510)), quantity(some(503, 505))]))
    assert edges(world) == [(0, 500), (500, 1_000)]


def test_neighbours_in_one_event(world):
    both = [quantity(some(0, 600)), quantity(some(600, 1_000))]
    world.event("ada", packing(box(1), [], both))
    assert edges(world) == [(0, 600), (600, 1_000)]
    assert world.generation(box(1)).count == 2
    rest = [quantity(some(601, 602)), quantity(some(603, 1_000))]
    world.event("ada", unpacking(box(1), [die(600), die(602)], rest))
    assert world.generation(box(1)).count == 1
    assert world.story(die(600)) == world.story(some(601, 602)) == ["UNPACKED"]
    assert edges(world)[1:] == [(600, 601), (601, 602), (602, 603), (603, 1_000)]


def test_consume_a_range_with_carved_serials(world):
    world.event("ada", seen([die(7)]))
    with refused(Reason.INTERVAL_SPLIT, "interval=0-7"):
        world.event("ada", making(used=[quantity(some(0, 1_000))]))
    world.event("ada", making([die(7)], used=[quantity(some(0, 7)), quantity(some(8, 1_000))]))
    for serial in (die(0), die(7), die(999)):
        with refused(Reason.NOT_LIVE):
            world.event("ada", seen([serial]))
    assert edges(world) == [(0, 7), (7, 8), (8, 1_000)]


def test_overlap_of_ranges_is_refused(world):
    for first, last in (("000999", "001500"), ("000000", "000000"), ("000100", "000200")):
        count = int(last) - int(first) + 1
        with refused(Reason.SERIALS_OVERLAP, "W1"):
            world.event("ada", serials_of(lot_of("W2"), first, last, count))
    # Another row, of other serials; and the next ones.
    world.event("ada", serials_of(lot_of("W2"), "0000999", "0001500", 502))
    world.event("ada", serials_of(lot_of("W3"), "001000", "001500", 501))
    with refused(Reason.SERIALS_OVERLAP):
        world.event("ada", serials_of(lot_of("W4"), "001500", "001501", 2))


def test_a_range_over_single_serials_is_refused(world):
    world.event("ada", add([die(2_000), die(3_000)]))
    for first, last in ((1_500, 2_000), (2_000, 2_001), (3_000, 4_000), (1_001, 5_000), (3_001, 4_001)):
        with refused(Reason.SERIALS_OVERLAP, "one by one"):
            world.event("ada", serials_of(lot_of("W2"), f"{first:06}", f"{last:06}", last - first + 1))
    # Up to 1,000 are looked up one by one, so also between two of them; more, where none lies near.
    world.event("ada", serials_of(lot_of("W2"), "001000", "001999", 1_000))
    world.event("ada", serials_of(lot_of("W3"), "002001", "002999", 999))
    world.event("ada", serials_of(lot_of("W4"), "003907", "500000", 496_094))
    world.event("ada", add([die(3_500)]))
    with refused(Reason.ALREADY_COMMISSIONED, "W4"):
        world.event("ada", add([die(3_501), die(499_999)]))


def test_commissioning_one_by_one_writes_a_mark_at_most_256_times():
    """Else nothing but the part: at most one key of the tree for an event about one part."""
    world, random, written = World(), Random(5), 0
    for _ in range(2_000):
        name = die(random.randrange(10**6))
        if world.overlay.get(state.part_key(name)) is None:
            world.event("ada", add([name]))
            written += len(world.touched - {state.part_key(name)})
    assert 250 < written <= 256
    world.event("ada", add([die(10**6 - 1), f"{CLASS}/21/A", f"{CLASS}/21/B"]))
    assert state.serial_class_key(CLASS, 0) in world.touched


def test_a_serial_of_a_lot_is_commissioned_by_nobody_again(world):
    for member in ("ada", "bob"):
        with refused(Reason.ALREADY_COMMISSIONED):
            world.event(member, add([die(5)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", making([], [die(5)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", add([], [quantity(some(0, 5))]))
    world.event("ada", add([part(1)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        # A box that begins with being filled cannot be one of the dies of somebody else.
        world.event("ada", making([part(1)], made=[], outputEPCList=[die(9)]))
    assert edges(world) == [(0, 1_000)]


def test_a_serial_above_the_count(world):
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", seen([die(1_000)]))
    for start, end in ((0, 1_001), (1_000, 1_001), (5_000, 6_000)):
        with refused(Reason.SERIALS_INVALID, "1000 serials"):
            world.event("ada", seen([], [quantity(some(start, end))]))
    with refused(Reason.UNKNOWN_LOT):
        world.event("ada", seen([], [quantity(some(0, 1, lot_of("W9")))]))
    # Another spelling of the number is another serial.
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", seen([f"{CLASS}/21/5"]))


def test_adoption_of_a_serial_inside_a_range():
    world = World(adoption=True)
    world.event("ada", serials_of(LOT, "000000", "000999", 1_000))
    world.event("ada", seen([die(5)]))
    assert not world.part(die(5)).adopted
    world.event("ada", shipping([], "bob", [quantity(some(6, 1_000))]))
    world.event("bob", receiving([], [quantity(some(6, 1_000))]))
    for event in (seen([die(7)]), add([die(7)]), destroying([die(7)])):
        with pytest.raises(Exception) as caught:
            world.event("ada", event)
        assert caught.value.code in ("NOT_IN_CUSTODY", "ALREADY_COMMISSIONED")
    with refused(Reason.UNKNOWN_LOT):
        world.event("ada", seen([], [quantity(some(0, 1, lot_of("W9")))]))
    # An adopted serial is single like any other: no range may cover it later.
    world.event("ada", seen([f"{CLASS}/21/77"]))
    with refused(Reason.SERIALS_OVERLAP):
        world.event("ada", serials_of(lot_of("W2"), "70", "79", 10))


def test_an_interval_partly_offered(world):
    world.event("ada", shipping([], "bob", [quantity(some(100, 200))], owner="bob"))
    for event in (seen([die(150)]), shipping([], "cyd", [quantity(some(150, 160))]), destroying([die(100)])):
        with pytest.raises(Exception) as caught:
            world.event("ada", event)
        assert caught.value.code in ("NOT_LIVE", "ALREADY_OFFERED")
    with refused(Reason.INTERVAL_SPLIT):
        world.event("ada", seen([], [quantity(some(0, 1_000))]))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("cyd", receiving([die(150)]))
    # Accepted in part: the rest stays on offer, and goes back.
    world.event("bob", receiving([die(150)], [quantity(some(100, 120))]))
    world.event("ada", object_event("OBSERVE", [], "void_shipping", [quantity(some(120, 150))]))
    world.give_back("bob", some(151, 200))
    world.event("ada", seen([], [quantity(some(120, 150)), quantity(some(151, 200))]))
    assert (world.part(die(150)).holder, world.part(some(100, 120)).owner) == ("bob", "bob")
    with refused(Reason.UNKNOWN_PART):
        world.give_back("ada", some(300, 400))


def test_an_event_about_pieces_is_entered_once(world):
    event = world.capture(seen([], [quantity(some(0, 10))]))
    world.act("ada", event)
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", event)
    # What is carved out of it later remembers.
    one = world.capture(seen([], [quantity(some(20, 30))]))
    world.act("ada", one)
    world.event("ada", seen([die(25)]))
    with refused(Reason.INTERVAL_SPLIT):
        world.act("ada", one)
    with refused(Reason.EVENT_REPEATED):
        # The very event that carved it, about what it carved.
        again = world.capture(seen([die(27)]))
        world.act("ada", again)
        world.act("ada", again)


# ---- others --------------------------------------------------------------------------------------------------


def test_nobody_else_carves_by_receiving_too_much(world):
    world.event("ada", shipping([], "bob", [quantity(some(0, 10))]))
    world.event("bob", receiving([die(500)], [quantity(some(0, 10))]))
    assert world.story(some(0, 10)) == ["EVENT", "EVENT!OVER_RECEIPT"]
    assert edges(world) == [(0, 10), (10, 1_000)]


def test_nobody_else_carves_by_declaring_an_error(world):
    world.event("ada", shipping([], "bob", [quantity(some(0, 10))]))
    world.event("bob", receiving([], [quantity(some(0, 10))]))
    wrong = {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:20Z"}}
    with refused(Reason.NOT_IN_CUSTODY, "until then"):
        world.event("ada", seen([die(5)]) | wrong)
    world.event("ada", seen([], [quantity(some(0, 10))]) | wrong)
    assert world.story(some(0, 10))[-1] == "CORRECTED"
    world.event("bob", seen([die(5)]) | wrong)
    assert world.story(die(5)) == ["CORRECTED"]


def claim(subject: str, name: str = "urn:claim:1") -> Operation:
    return Operation(attest=Attest(id=name, subject=subject, kind=attestations.KINDS[0]))


def test_claims_are_made_about_what_has_a_record(world):
    world.act("dee", claim(some(0, 1_000), "urn:claim:0"))
    world.act("dee", claim(LOT))
    world.event("ada", seen([die(5)]))
    world.act("dee", claim(die(5), "urn:claim:5"))
    assert world.story(die(5)) == ["EVENT", "ATTESTED"]
    # Of what has none it is said where it lies.
    for subject in (die(6), some(7, 10)):
        with refused(Reason.UNKNOWN_PART, "it lies in .*interval=6-1000; "):
            world.act("dee", claim(subject, "urn:claim:6"))
    for subject, reason in ((some(0, 7), Reason.INTERVAL_SPLIT), (some(0, 1_001), Reason.SERIALS_INVALID)):
        with refused(reason):
            world.act("dee", claim(subject, "urn:claim:6"))
    with refused(Reason.UNKNOWN_PART, "neither"):
        world.act("dee", claim(die(1_000), "urn:claim:6"))


def test_a_claim_about_a_carved_interval_stands_with_its_pieces(world):
    world.event("ada", seen([die(5)]))
    world.event("ada", shipping([], "bob", [quantity(some(6, 500))]))
    world.set_status(some(500, 1_000), "DEPARTED")
    world.act("dee", claim(some(0, 1_000)))
    assert world.story(some(0, 5)) == ["ATTESTED"]
    assert world.story(die(5)) == ["EVENT", "ATTESTED"] == world.story(some(6, 500))
    # What is on another chain is frozen, and what was carved says no more.
    assert world.story(some(500, 1_000)) == []
    assert world.story(some(0, 1_000)) == ["EVENT"]
    world.act("dee", Operation(revoke_attestation=RevokeAttestation(id="urn:claim:1")))
    assert world.story(die(5)) == ["EVENT", "ATTESTED", "ATTESTED"]


def test_a_claim_is_entered_in_so_many_histories_and_no_more(world):
    world.act("dee", claim(some(0, 1_000), "urn:claim:0"))
    for number in range(1, 32):
        world.event("ada", seen([die(2 * number)]))
    world.act("dee", claim(some(0, 1_000)))
    world.event("ada", seen([die(90)]))
    with refused(Reason.INTERVAL_SPLIT, "more than 64 records, of which the first are .*interval=0-2, "):
        world.act("dee", claim(some(0, 1_000), "urn:claim:2"))
    # It can be revoked, all the same, as its own record says.
    world.act("dee", Operation(revoke_attestation=RevokeAttestation(id="urn:claim:0")))
    assert world.story(die(90)) == ["EVENT"]


def test_serials_are_counted_in_pieces(world):
    world.event("ada", seen([], [quantity(some(0, 10), 10)]))
    with refused(Reason.QUANTITY_INVALID, "not as many"):
        world.event("ada", seen([], [quantity(some(0, 10), 9)]))
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", seen([], [quantity(some(0, 10), 10, "KGM")]))
    with refused(Reason.IDENTIFIER_INVALID, "quantity list"):
        world.event("ada", seen([some(0, 10)]))
    with refused(Reason.IDENTIFIER_INVALID):
        world.event("ada", packing(some(0, 10), [die(50)]))


def test_a_box_of_a_million_costs_what_a_box_of_ten_does():
    world = World()
    world.event("ada", serials_of(LOT, "000000", "999999", 1_000_000))
    world.event("ada", serials_of(lot_of("S"), "1000000", "1000009", 10))
    world.event("ada", packing(box(1), [], [quantity(some(0, 1_000_000))]))
    world.event("ada", packing(box(2), [], [quantity(some(0, 10, lot_of("S")))]))
    (row,) = world.generation(box(1)).manifest
    assert (row.item_class, row.lot, row.count) == (CLASS, LOT, 1_000_000)
    touched = []
    for name in (box(1), box(2)):
        world.touched = set()
        world.event("ada", shipping([name], "bob"))
        world.event("bob", receiving([name]))
        world.event("bob", unpacking(name))
        touched.append(len(world.touched))
    assert touched[0] == touched[1]
    world.event("bob", seen([die(654_321)]))
    assert world.part(die(654_321)).holder == "bob"


def test_serials_are_installed_in_a_serial_of_their_own_lot(world):
    world.event("ada", packing(die(5), [die(6)], [quantity(some(7, 9))], kind="Association"))
    assert edges(world) == [(0, 5), (5, 6), (6, 7), (7, 9), (9, 1_000)]
    assert (world.part(die(6)).container, world.part(some(7, 9)).container) == (die(5), die(5))
    filling = world.generation(die(5))
    assert (filling.count, [row.count for row in filling.manifest]) == (2, [3])
    world.event("ada", shipping([die(5)], "bob"))
    with refused(Reason.INSIDE_CONTAINER):
        world.event("bob", receiving([die(8)]))
    world.event("bob", receiving([die(5)]), seen([die(8)]))
    assert world.generation(die(5)).count == 3
    world.event("bob", unpacking(die(5), kind="Association"), destroying([die(7)]))
    with refused(Reason.NOT_LIVE):
        world.event("bob", seen([die(7)]))


def test_a_serial_leaves_an_open_box(world):
    world.event("ada", packing(box(1), [], [quantity(some(0, 10))]))
    world.event("ada", seen([die(3)]))
    assert world.generation(box(1)).count == 3
    world.event("ada", unpacking(box(1), [die(3)], [quantity(some(5, 7))]))
    filling = world.generation(box(1))
    assert (filling.count, [(row.lot, row.count) for row in filling.manifest]) == (3, [(LOT, 7)])
    with refused(Reason.NOT_INSIDE):
        world.event("ada", unpacking(box(1), [die(50)]))
    world.event(
        "ada", unpacking(box(1), [], [quantity(some(0, 3)), quantity(some(4, 5)), quantity(some(7, 10))])
    )
    assert not world.part(box(1)).open


def test_things_of_another_in_a_box_stay_anothers_when_carved(world):
    world.event("ada", shipping([], "bob", [quantity(some(0, 10))]))
    world.event("bob", receiving([], [quantity(some(0, 10))]))
    world.event("bob", add([box(1, "bob")]), packing(box(1, "bob"), [], [quantity(some(0, 10))]))
    assert world.generation(box(1, "bob")).foreign == 1
    world.event("bob", seen([die(5)]))
    assert world.generation(box(1, "bob")).foreign == 3
    world.event("bob", unpacking(box(1, "bob"), [die(5)]))
    assert (world.generation(box(1, "bob")).foreign, world.part(die(5)).owner) == (2, "ada")


def test_bytes_of_state_for_a_lot(world):
    size = sum(
        len(key) + len(value or b"")
        for key, value in world.overlay.changes.items()
        if key[0] in (5, 6, 21, 22, 23)
    )
    assert size < 2_500


def delegating(serials: int) -> Operation:
    return Operation(delegate=Delegate(prefix="gs1:4012345", member="bob", serials=serials))


def test_a_delegate_draws_each_serial_of_a_lot():
    world = World()
    with refused(Reason.NOT_GRANTED):
        world.event("bob", serials_of(LOT, "000", "009", 10))
    world.act("ada", delegating(15))
    world.event("bob", serials_of(LOT, "000", "009", 10))
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", serials_of(lot_of("W2"), "010", "015", 6))
    world.event("bob", serials_of(lot_of("W2"), "010", "014", 5))
    record = world.part(some(0, 10))
    assert (record.holder, record.commissioner) == ("bob", "bob")


def test_a_policy_on_a_lot_holds_for_each_of_its_serials(world):
    terms = {"id": "chips", "attestation": "export_licence", "issuers": ["cyd"]}
    world.change(Change(put_policy=PutPolicy(prefix="gs1:4012345", trigger=Trigger.ANY_SHIPPING, **terms)))
    claim = Attest(id="https://cyd.example/1", kind="export_licence", subject=LOT)
    world.act("cyd", Operation(attest=claim))
    licensed = {"bizTransactionList": [{"type": "cert", "bizTransaction": claim.id}]}
    world.event("ada", packing(box(1), [], [quantity(some(900, 950))]))
    world.event("ada", seen([die(7)]))
    ways = [([die(5)], []), ([die(7)], []), ([], [quantity(some(10, 20))]), ([box(1)], [])]
    # A claim about an interval would be about no piece of it.
    piece = Attest(id="https://cyd.example/2", kind="export_licence", subject=some(8, 900))
    world.act("cyd", Operation(attest=piece))
    with refused(Reason.LICENCE_MISSING):
        other = {"bizTransactionList": [{"type": "cert", "bizTransaction": piece.id}]}
        world.event("ada", shipping([], "bob", [quantity(some(8, 900))], **other))
    for epcs, amounts in ways:
        with refused(Reason.LICENCE_MISSING):
            world.event("ada", shipping(epcs, "bob", amounts))
        world.event("ada", shipping(epcs, "bob", amounts, **licensed))


def test_a_later_holder_of_the_grant_cannot_commission_over_a_lot(world):
    world.change(
        Change(revoke_grant=RevokeGrant(prefix="gs1:4012345")),
        Change(put_grant=PutGrant(prefix="gs1:4012345", holder="cyd")),
    )
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("cyd", add([die(5)]))
    with refused(Reason.SERIALS_OVERLAP):
        world.event("cyd", serials_of(lot_of("W2"), "000500", "000600", 101))
