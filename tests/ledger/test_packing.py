import pytest

from ledger import state
from ledger.limits import MANIFEST_ROWS_MAX
from proto.chiptrace.v1.ledger_pb2 import ClosedBy, Entry, Reason
from tests.ledger.rules_world import (
    World,
    add,
    box,
    holding,
    lot,
    making,
    packing,
    part,
    quantity,
    refused,
    seen,
    shipping,
    unpacking,
)

LOT = lot("L")


@pytest.fixture
def world() -> World:
    world = World()
    world.event(
        "ada", add([part(1), part(2), part(3), box(1), box(2)], [quantity(LOT, 100), quantity(LOT, 3, "KGM")])
    )
    return world


def last(world: World, name: str) -> Entry:
    return world.told(state.part_key(name))[-1]


def observing(parent, children=(), amounts=(), **more) -> dict:
    return holding("OBSERVE", parent, children, amounts, **more)


# ---- in


@pytest.mark.parametrize("kind", ["Aggregation", "Association"])
def test_children_go_in_with_the_containers_place_in_its_history(world, kind):
    world.event("ada", packing(box(1), [part(1), part(2)], kind=kind))
    for name in (part(1), part(2)):
        entry = last(world, name)
        assert (entry.container, entry.generation, entry.container_n) == (box(1), 1, 2)
        record = world.part(name)
        assert (record.container, record.generation) == (box(1), 1)
        assert world.story(name) == ["EVENT", "PACKED"]
    record = world.part(box(1))
    assert (record.generations, record.open) == (1, True)
    generation = world.generation(box(1))
    assert (generation.opened_n, generation.count, generation.depth, generation.closed_by) == (2, 2, 1, 0)
    assert generation.installed == (kind == "Association")
    assert [(row.item_class, row.count) for row in generation.manifest] == [
        ("https://id.gs1.org/01/04012345123456", 2)
    ]
    # The container, its generation, and each child.
    assert len(world.touched) == 4


def test_packing_commissions_a_box_under_the_members_grant(world):
    world.event("ada", packing(box(7), [part(1)]))
    record = world.part(box(7))
    assert (record.holder, record.commissioner, record.adopted, record.open) == ("ada", "ada", False, True)
    with refused(Reason.UNKNOWN_PART, "no grant"):
        world.event("ada", packing(box(7, "bob"), [part(2)]))
    with refused(Reason.IDENTIFIER_INVALID):
        world.event("ada", packing("https://id.gs1.org/01/04012345123456", [part(2)]))


def test_a_second_event_fills_the_same_generation_and_a_closed_one_stays_closed(world):
    world.event("ada", packing(box(1), [part(1)]), packing(box(1), [part(2)]))
    assert world.generation(box(1)).count == 2
    world.event("ada", unpacking(box(1)), packing(box(1), [part(1)]))
    assert world.part(part(1)).generation == 2
    assert world.generation(box(1)).closed_by == ClosedBy.UNPACK_ALL
    with refused(Reason.GENERATION_CLOSED, "its generation 1"):
        world.event("ada", unpacking(box(1), [part(2)]))


def test_nothing_goes_where_it_cannot(world):
    world.event("ada", packing(box(1), [part(1)]), packing(box(2), [box(1)]))
    with refused(Reason.NOT_FREE_STANDING, box(2)):
        world.event("ada", packing(box(1), [part(2)]))
    with refused(Reason.INSIDE_CONTAINER, box(1)):
        world.event("ada", packing(box(3), [part(1)]))
    with refused(Reason.SELF_CONTAINMENT):
        world.event("ada", packing(box(2), [box(2)]))
    with refused(Reason.NOT_FREE_STANDING):
        world.event("ada", packing(box(1), [box(2)]))
    with refused(Reason.NOTHING_TO_DO):
        world.event("ada", packing(box(2)))
    with refused(Reason.EVENT_INVALID, "parentID"):
        world.event("ada", packing("", [part(2)]))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", packing(box(4, "bob"), [part(2)]))
    world.give("ada", "bob", part(3))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", packing(box(2), [part(3)]))
    world.event("ada", shipping([part(2)], "bob"))
    with refused(Reason.NOT_LIVE, "OFFERED"):
        world.event("ada", packing(box(2), [part(2)]))


def test_boxes_nest_eight_deep(world):
    world.event("ada", packing(box(10), [part(1)]))
    for depth in range(1, 8):
        world.event("ada", packing(box(10 + depth), [box(9 + depth)]))
    assert world.generation(box(17)).depth == 8
    world.event("ada", seen([part(1)]))
    with refused(Reason.TOO_DEEP):
        world.event("ada", packing(box(18), [box(17)]))
    # What is taken out no longer counts.
    world.event(
        "ada", packing(box(17), [part(2)]), unpacking(box(17), [box(16)]), packing(box(18), [box(17)])
    )
    assert world.generation(box(18)).depth == 2


def test_packing_and_installing_do_not_mix(world):
    world.event("ada", packing(box(1), [part(1)], kind="Association"))
    for event in (packing(box(1), [part(2)]), unpacking(box(1), [part(1)]), unpacking(box(1))):
        with refused(Reason.EVENT_INVALID, "AssociationEvent"):
            world.event("ada", event)
    world.event("ada", unpacking(box(1), [part(1)], kind="Association"), packing(box(1), [part(2)]))
    with refused(Reason.EVENT_INVALID, "AggregationEvent"):
        world.event("ada", unpacking(box(1), kind="Association"))


def test_a_container_has_the_highest_hop_inside_it_and_gives_it_on(world):
    record = world.part(part(1))
    record.hop = 5
    world.put_part(record)
    world.event("ada", packing(box(1), [part(1), part(2)]), packing(box(2), [box(1)]))
    assert world.part(box(1)).hop == world.part(box(2)).hop == 5
    world.event("ada", unpacking(box(2)), unpacking(box(1), [part(2)]))
    assert world.part(part(2)).hop == 5
    world.event("ada", unpacking(box(1)))
    assert world.part(part(1)).hop == 5


def test_a_manifest_has_a_greatest_number_of_rows(world):
    # Every lot is a row of its own; built up beneath the rule.
    generation = world.fill(box(1), MANIFEST_ROWS_MAX)
    assert len(generation.manifest) == MANIFEST_ROWS_MAX
    with refused(Reason.MANIFEST_FULL):
        world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.MANIFEST_FULL):
        world.event("ada", packing(box(1), [], [quantity(LOT, 1)]))
    with refused(Reason.MANIFEST_FULL):
        world.event("ada", packing(box(2), [box(1)]))


# ---- seen


def test_an_observed_container_answers_for_its_children(world):
    world.event("ada", packing(box(1), [part(1)], [quantity(LOT, 10)]))
    world.event("ada", observing(box(1), [part(1)], [quantity(LOT, 10)]))
    assert world.touched == {state.part_key(box(1))}
    with refused(Reason.NOT_INSIDE):
        world.event("ada", observing(box(1), [part(2)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", observing(box(1), [part(9)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", observing(box(1), [], [quantity(LOT, 11)]))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", observing(box(1)))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", observing(box(9)))
    world.event("ada", packing(box(2), [box(1)]), observing(box(1), [part(1)]))
    world.event("ada", unpacking(box(2)), unpacking(box(1)))
    with refused(Reason.GENERATION_CLOSED):
        world.event("ada", observing(box(1), [part(1)]))


def test_without_a_parent_children_are_observed(world):
    world.event("ada", packing(box(1), [part(1)]))
    world.event("ada", observing("", [part(1), part(2)], [quantity(LOT, 10)]))
    assert world.story(part(1)) == ["EVENT", "PACKED", "EVENT"]
    assert world.lot_story(LOT) == ["EVENT", "EVENT"]
    world.event("ada", observing("", [], [quantity(LOT, 10)]))
    with refused(Reason.NOTHING_TO_DO):
        world.event("ada", observing(""))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", observing("", [part(2)]))


# ---- out


def test_children_come_out_where_the_container_is(world):
    world.event("ada", packing(box(1), [part(1), part(2)]))
    world.give("ada", "bob", box(1))
    world.event("bob", unpacking(box(1), [part(1)]))
    record = world.part(part(1))
    assert (record.holder, record.container, record.generation) == ("bob", "", 0)
    entry = last(world, part(1))
    assert (entry.container, entry.generation, entry.container_n) == (box(1), 1, 5)
    assert world.story(part(1)) == ["EVENT", "PACKED", "UNPACKED"]
    assert world.part(box(1)).open
    world.event("bob", unpacking(box(1), [part(2)]))
    generation = world.generation(box(1))
    assert (generation.closed_by, generation.closed_n, generation.count) == (ClosedBy.EMPTIED, 6, 0)
    assert not world.part(box(1)).open
    with refused(Reason.GENERATION_CLOSED):
        world.event("bob", unpacking(box(1)))


def test_only_what_is_inside_comes_out(world):
    world.event("ada", packing(box(1), [part(1)]), packing(box(2), [part(2)]))
    with refused(Reason.NOT_INSIDE, "but inside"):
        world.event("ada", unpacking(box(1), [part(2)]))
    with refused(Reason.NOT_INSIDE, "free-standing"):
        world.event("ada", unpacking(box(1), [part(3)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", unpacking(box(1), [part(9)]))
    with refused(Reason.NOT_INSIDE, "nothing was ever"):
        world.event("ada", unpacking(part(3), [part(1)]))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", unpacking(box(1), [part(1)]))
    with refused(Reason.EVENT_INVALID):
        world.event("ada", unpacking("", [part(1)]))
    world.event("ada", packing(box(2), [box(1)]))
    with refused(Reason.NOT_FREE_STANDING):
        world.event("ada", unpacking(box(1), [part(1)]))


@pytest.mark.parametrize("children", [1, 40, 400])
def test_unpacking_all_touches_two_records_however_much_is_inside(world, children):
    names = [part(100 + number) for number in range(children)]
    world.event("ada", add(names), packing(box(1), names))
    world.event("ada", unpacking(box(1)))
    assert world.touched == {state.part_key(box(1)), state.generation_key(box(1), 1)}
    generation = world.generation(box(1))
    assert (generation.closed_by, generation.closed_n, generation.count) == (ClosedBy.UNPACK_ALL, 3, children)
    # Every child is free; its record is written when it is next touched.
    world.give("ada", "bob", box(1))
    assert world.part(names[0]).container == ""
    assert world.part(names[0]).holder == "ada"
    world.event("ada", packing(box(2), [names[0]]))
    assert world.story(names[0]) == ["EVENT", "PACKED", "PACKED"]
    with refused(Reason.GENERATION_CLOSED):
        world.event("bob", unpacking(box(1)))


# ---- amounts


def test_amounts_go_in_along_and_out(world):
    world.event("ada", packing(box(1), [part(1)], [quantity(LOT, 10), quantity(LOT, "0.5", "KGM")]))
    assert world.amount(LOT, "ada") == "90"
    assert world.amount(LOT, box(1)) == "10"
    assert world.amount(LOT, box(1), "KGM") == "0.5"
    assert world.amount(LOT, "ada", "KGM") == "2.5"
    entry = world.told(state.lot_key(LOT))[-1]
    assert (entry.container, entry.generation, entry.container_n) == (box(1), 1, 2)
    rows = [
        (row.lot, row.unit, row.place, row.count) for row in world.generation(box(1)).manifest if row.place
    ]
    assert rows == [(LOT, "", box(1), 0), (LOT, "KGM", box(1), 0)]
    world.give("ada", "bob", box(1))
    world.event("bob", unpacking(box(1), [], [quantity(LOT, 4)]))
    assert world.amount(LOT, "bob") == "4"
    assert world.amount(LOT, box(1)) == "6"
    world.event("bob", unpacking(box(1)))
    assert world.amount(LOT, "bob") == "10"
    assert world.amount(LOT, "bob", "KGM") == "0.5"
    assert world.amount(LOT, box(1)) == "0"
    assert world.lot_story(LOT) == ["EVENT", "PACKED", "UNPACKED", "UNPACKED"]


def test_an_amount_goes_in_and_out_once_per_event(world):
    events = packing(box(1), [], [quantity(LOT, 10)]), unpacking(box(1), [], [quantity(LOT, 4)])
    for operation in [world.capture(event) for event in events]:
        world.act("ada", operation)
        world.event("ada", seen([box(1)]))
        with refused(Reason.EVENT_REPEATED):
            world.act("ada", operation)
    assert world.amount(LOT, box(1)) == "6"


def test_the_last_amount_out_closes_too(world):
    world.event("ada", packing(box(1), [], [quantity(LOT, 10)]))
    assert world.generation(box(1)).depth == 1
    world.event("ada", unpacking(box(1), [], [quantity(LOT, 10)]))
    assert world.generation(box(1)).closed_by == ClosedBy.EMPTIED


def test_amounts_are_conserved(world):
    world.event("ada", packing(box(1), [], [quantity(LOT, 10)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", packing(box(1), [], [quantity(LOT, 91)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", unpacking(box(1), [], [quantity(LOT, 11)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", unpacking(box(1), [], [quantity(LOT, 1, "KGM")]))
    for amount in (None, 0, "1.5"):
        for event in (
            packing(box(1), [], [quantity(LOT, amount)]),
            unpacking(box(1), [], [quantity(LOT, amount)]),
        ):
            with refused(Reason.QUANTITY_INVALID):
                world.event("ada", event)
    with refused(Reason.UNKNOWN_LOT):
        world.event("ada", packing(box(1), [], [quantity(lot("M"), 1)]))
    with refused(Reason.UNKNOWN_LOT):
        world.event("ada", unpacking(box(1), [], [quantity(lot("M"), 1)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("bob", packing(box(1, "bob"), [], [quantity(LOT, 1)]))


def test_a_nested_amount_stays_in_its_own_box(world):
    world.event(
        "ada", packing(box(1), [part(1)], [quantity(LOT, 10)]), packing(box(2), [box(1)], [quantity(LOT, 1)])
    )
    rows = {(row.place, row.lot) for row in world.generation(box(2)).manifest if row.place}
    assert rows == {(box(1), LOT), (box(2), LOT)}
    world.event("ada", unpacking(box(2)))
    assert world.amount(LOT, "ada") == "90"
    assert world.amount(LOT, box(1)) == "10"
    with refused(Reason.NOT_FREE_STANDING, "holds contents"):
        world.event("ada", making([box(1)], run="urn:test:run"))
