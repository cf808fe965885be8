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
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("ada", seen([part(1)], [quantity(lot("a"))]))


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
