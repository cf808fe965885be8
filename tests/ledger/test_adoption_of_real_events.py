"""What a chain that adopts makes of events whose past it never saw, as real documents have them."""

import pytest

from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
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


@pytest.fixture
def world():
    return World(adoption=True)


def observed(parent, children, **more):
    return {**packing(parent, children, **more), "action": "OBSERVE", "bizStep": "storing"}


def test_what_comes_out_of_a_box_never_seen_before_is_adopted_free(world):
    world.event("ada", unpacking(box(1), [part(1), part(2)], [quantity(lot("a"), 5)]))
    for name in (box(1), part(1), part(2)):
        assert world.story(name) == ["ADOPTED_EVENT"]
        assert (world.part(name).adopted, world.part(name).container) == (True, "")
    assert world.amount(lot("a"), "ada") == "5"


def test_what_is_seen_in_a_box_never_seen_before_is_adopted_free(world):
    world.event("ada", observed(box(1), [part(1)]))
    assert (world.part(part(1)).adopted, world.part(part(1)).container) == (True, "")
    world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", observed(box(1), [part(2)]))


def test_a_box_that_was_filled_here_answers_for_its_contents(world):
    world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", unpacking(box(1), [part(2)]))


def test_nothing_is_adopted_where_the_chain_does_not_or_another_holds_the_grant(world):
    strict = World()
    with refused(Reason.UNKNOWN_PART):
        strict.event("ada", unpacking(box(1), [part(1)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", unpacking(box(1), [part(1, "bob")]))


def test_an_adopted_part_that_was_consumed_is_flagged_when_it_is_seen_again(world):
    world.event("ada", making([part(1)], [part(2)]))
    world.event("ada", seen([part(1)]))
    assert world.status(part(1)) == "CONSUMED"
    assert world.story(part(1))[-1].startswith("FLAG")
    assert "SEEN_AFTER_END" in world.story(part(1))[-1]
    with refused(Reason.NOT_LIVE):
        world.event("bob", seen([part(1)]))
    with refused(Reason.NOT_LIVE):
        world.event("ada", destroying([part(1)]))


def test_what_is_consumed_and_said_to_be_put_in_is_flagged_and_stays_out(world):
    world.event("ada", making([part(1)], [part(2)]))
    world.event("ada", packing(box(1), [part(1), part(3)]))
    assert world.story(part(1))[-1] == "FLAG!SEEN_AFTER_END"
    assert (world.status(part(1)), world.part(part(1)).container) == ("CONSUMED", "")
    assert world.story(box(1)) == ["EVENT!SEEN_ELSEWHERE"]
    assert world.generation(box(1)).count == 1


def test_what_is_inside_one_thing_and_said_to_be_put_into_another_stays_where_it_is(world):
    world.event("ada", packing(box(1), [part(1)], kind="Association"))
    world.event("ada", packing(box(2), [part(1), part(2)], [quantity(lot("a"), 5)], kind="Association"))
    assert world.part(part(1)).container == box(1)
    assert world.story(part(1)) == ["ADOPTED_EVENT", "PACKED", "FLAG!SEEN_ELSEWHERE"]
    assert (world.generation(box(2)).count, world.part(part(2)).container) == (1, box(2))
    assert world.amount(lot("a"), box(2)) == "5"
    assert world.generation(box(1)).count == 1
    # Nothing else goes in: nothing is opened.
    world.event("ada", packing(box(3), [part(1)], kind="Association"))
    assert (world.part(box(3)).open, world.part(box(3)).generations) == (False, 0)
    world.event("ada", unpacking(box(1), [part(1)], kind="Association"))
    assert world.part(part(1)).container == ""


def test_what_is_put_twice_into_the_same_thing_is_in_it_once(world):
    world.event("ada", packing(box(1), [part(1)]))
    world.event("ada", packing(box(1), [part(1), part(2)]))
    assert (world.story(part(1)), world.story(box(1))) == (["ADOPTED_EVENT", "PACKED"], ["EVENT", "EVENT"])
    assert world.generation(box(1)).count == 2
    world.event("ada", packing(box(1), [part(1)], bizStep="loading"))
    assert world.generation(box(1)).count == 2


def test_only_what_is_adopted_and_in_the_members_hands_is_flagged_where_it_is(world):
    world.event("ada", add([part(1)]))
    world.event("ada", packing(box(1), [part(1), part(2)]))
    with refused(Reason.INSIDE_CONTAINER):
        world.event("ada", packing(box(2), [part(1)]))
    world.give("ada", "bob", box(1))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("ada", packing(box(2), [part(2)]))
    strict = World()
    strict.event("ada", add([part(1), box(2)]))
    strict.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.INSIDE_CONTAINER):
        strict.event("ada", packing(box(2), [part(1)]))


def test_a_part_whose_origin_is_known_stays_consumed_in_silence():
    world = World(adoption=True)
    world.event("ada", {**seen([part(1)]), "action": "ADD", "bizStep": "commissioning"})
    world.event("ada", making([part(1)], [part(2)]))
    with refused(Reason.NOT_LIVE):
        world.event("ada", seen([part(1)]))


def test_an_amount_left_open_adopts_its_lot_with_nothing(world):
    world.event("ada", seen([part(1)], [quantity(lot("a"))]))
    assert world.lot_story(lot("a")) == ["ADOPTED_EVENT"]
    assert world.amount(lot("a"), "ada") == "0"
    world.event("ada", seen([part(1)], [quantity(lot("a"))]))
    assert world.lot_story(lot("a")) == ["ADOPTED_EVENT", "EVENT"]
    for amount in (quantity(lot("a"), 1), quantity(lot("a"), 1, "KGM")):
        with refused(Reason.QUANTITY_EXCEEDED):
            world.event("ada", shipping([], "bob", [amount]))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", seen([], [quantity(lot("a"))]))
    strict = World()
    strict.event("ada", add([], [quantity(lot("a"), 1)]))
    strict.event("ada", destroying([], [quantity(lot("a"), 1)]))
    with refused(Reason.NOT_IN_CUSTODY):
        strict.event("ada", seen([], [quantity(lot("a"))]))


def test_a_lot_may_begin_with_nobody_saying_how_much(world):
    world.event("ada", add([], [quantity(lot("a"))]))
    assert (world.lot(lot("a")).adopted, world.amount(lot("a"), "ada")) == (False, "0")
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", destroying([], [quantity(lot("a"), 1)]))
    world.event("ada", add([], [quantity(lot("a"), 7)]))
    assert world.amount(lot("a"), "ada") == "7"
    with refused(Reason.NOT_GRANTED):
        world.event("bob", add([], [quantity(lot("b"))]))
    with refused(Reason.QUANTITY_INVALID, "say how much"):
        World().event("ada", add([], [quantity(lot("a"))]))


def test_a_lot_among_things_is_an_amount_left_open(world):
    world.event("ada", add([lot("a"), part(1)]))
    world.event("ada", seen([lot("a")]))
    world.event("ada", packing(box(1), [part(1)]))
    assert world.lot_story(lot("a")) == ["EVENT", "EVENT"]
    assert world.story(part(1)) == ["EVENT", "PACKED"]
    world.event("ada", making([lot("a")], [lot("b")]))
    world.event("ada", making([lot("b")], [part(2)]))
    assert (world.lot_story(lot("b")), world.lot(lot("b")).adopted) == (["EVENT", "EVENT"], False)
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", making([lot("a")], [part(9, "bob")]))
    for moved in (packing(box(2), [lot("a")]), destroying([lot("a")]), shipping([lot("a")], "bob")):
        with refused(Reason.QUANTITY_INVALID, "say how much"):
            world.event("ada", moved)
    for strict in (World(), World(adoption=False)):
        with refused(Reason.IDENTIFIER_INVALID, "names a class"):
            strict.event("ada", seen([lot("a")]))


def test_what_is_added_where_it_is_received_begins_there(world):
    for place, step in enumerate(("shipping", "receiving", "accepting"), 1):
        world.event("ada", {**add([part(place)]), "bizStep": step})
        assert (world.story(part(place)), world.part(part(place)).adopted) == (["EVENT"], False)
        with refused(Reason.EVENT_INVALID):
            World().event("ada", {**add([part(place)]), "bizStep": step})
    with refused(Reason.EVENT_INVALID):
        world.event("ada", {**destroying([part(1)]), "bizStep": "shipping"})
    with refused(Reason.NOT_GRANTED):
        world.event("bob", {**add([part(9)]), "bizStep": "receiving"})


def test_a_urn_with_a_word_for_a_number_is_a_name_of_its_own():
    dust = "urn:epc:class:lgtin:6000001.recycled-copper.2032-03"
    world = World(
        adoption=True, grants={"gs1:4012345": "ada", "urn:epc:id:lgtin:6000001.recycled-copper": "ada"}
    )
    world.event("ada", making([part(1)], made=[quantity(dust, "25.5", "GRM")]))
    assert world.amount(dust, "ada", "GRM") == "25.5"
    with refused(Reason.NOT_GRANTED):
        world.event("ada", making([part(2)], made=[quantity(dust.replace("copper", "Copper"), 1, "GRM")]))


WRONG = {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:20.000Z", "reason": "did_not_occur"}}


def test_a_declaration_about_the_unknown_takes_it_up_but_not_what_it_would_have_made(world):
    world.event("ada", {**making([part(1)], [part(2)]), **WRONG})
    assert world.story(part(1)) == ["ADOPTED_EVENT", "CORRECTED"]
    assert (world.status(part(1)), world.part(part(1)).adopted) == ("LIVE", True)
    world.event("ada", making([part(1)], [part(2)]))
    assert (world.part(part(2)).adopted, world.status(part(1))) == (False, "CONSUMED")


def test_a_declaration_about_the_unknown_is_refused_where_nothing_is_adopted():
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        World().event("ada", {**seen([part(1)]), **WRONG})


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("event", [observed, unpacking])
def test_nothing_is_inside_itself(world, event, known):
    # Two entries at one place of one history would be made, of which the last would be the only one.
    if known:
        world.event("ada", seen([box(1)]))
    with refused(Reason.SELF_CONTAINMENT):
        world.event("ada", event(box(1), [part(1), box(1)]))
