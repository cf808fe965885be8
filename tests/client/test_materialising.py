"""What a client fetches and sends so that contents of containers become known; and its commands about crossings."""

import pytest

from client.capture import custody_event
from client.materialising import operations, way_in
from client.verified import NotVerifiable
from ledger.errors import Refused
from proto.chiptrace.v1.ledger_pb2 import LIVE, Change, PutMember, Reason
from tests.bridge.crossing import carry, pack, tote
from tests.bridge.test_containers import status
from tests.bridge.test_rehoming import moved
from tests.bridge.test_rehoming_hostile import arrived_from_lost
from tests.bridge.test_serials import LOT, captured, die, whole
from tests.bridge.two_chains import World
from tests.client.direct import verified
from tests.ledger.chain_fixture import key_of
from tests.ledger.rules_world import seen, serials_of


def bring(world, part, host="b", source="a"):
    world.settle()
    here, there = verified(world[host]), verified(world[source])
    names = way_in(here, there, part)
    result = world[host].operate(world[host].members[0], *operations(here, there, names))
    assert result.ok, result
    return names


def test_what_lies_deep_comes_with_all_that_is_around_it():
    world = World()
    part, other = world.commission("a", "ada"), world.commission("a", "ada")
    inner = pack(world, "a", world.commission("a", "ada"), part, other)
    middle = pack(world, "a", world.commission("a", "ada"), inner)
    outer = pack(world, "a", world.commission("a", "ada"), middle)
    carry(world, "a", outer, "bob")
    # Long after, and whatever the client knows: it learns a newer header in the same transaction.
    for _ in range(70):
        world.commission("a", "ada")
    assert bring(world, part) == [middle, inner, part]
    assert status(world, "b", part) == LIVE
    # Others follow with what is known by then; what is known comes once more without effect.
    assert bring(world, other) == [other]
    assert bring(world, part) == [part]
    assert status(world, "b", other) == LIVE


def test_what_did_not_arrive_is_told_apart():
    world = World()
    box, (one, _) = tote(world)
    lone = world.commission("a", "ada")
    world.settle()
    for part in (one, lone, box):
        with pytest.raises(Refused) as caught:
            way_in(verified(world["b"]), verified(world["a"]), part)
        assert caught.value.reason == Reason.NOT_ARRIVED


def test_a_serial_that_nobody_touched_becomes_known_with_its_interval():
    world = World()
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    box = world.commission("a", "ada")
    packing = {"type": "AggregationEvent", "action": "ADD", "bizStep": "packing"}
    inside = {"parentID": box, "childQuantityList": [{"epcClass": whole(0, 10)}]}
    assert world["a"].operate("ada", captured(world, packing | inside)).ok
    carry(world, "a", box, "bob")
    assert bring(world, die(3)) == [whole(0, 10)]
    assert world["b"].operate("bob", captured(world, seen([die(3)]))).ok
    for absent in (die(50), die(200)):
        with pytest.raises(Refused) as caught:
            way_in(verified(world["b"]), verified(world["a"]), absent)
        assert caught.value.reason == Reason.NOT_ARRIVED


def test_chain_by_chain():
    world = World()
    box, (one, _) = tote(world)
    carry(world, "a", box, "bob")
    carry(world, "b", box, "ada")
    with pytest.raises(Refused) as caught:
        way_in(verified(world["a"]), verified(world["b"]), one)
    assert caught.value.reason == Reason.NOT_ARRIVED
    bring(world, one)
    bring(world, one, host="a", source="b")
    assert status(world, "a", one) == LIVE


def test_an_event_about_lots_and_parts_lists_each_where_it_belongs():
    part = "https://id.gs1.org/01/04012345111118/21/1"
    lot = "https://id.gs1.org/01/04012345123456/10/W1"
    event = custody_event([part, lot, f"{lot}?interval=0-5"], "receiving", "2026-01-01T00:00:00Z")
    lists = {field.name: len(field.value.list.items) for field in event.fields}
    assert (lists["epcList"], lists["quantityList"]) == (1, 2)
    only = custody_event([lot], "receiving", "2026-01-01T00:00:00Z")
    assert "epcList" not in {field.name for field in only.fields}


def moved_on(world):
    """Chain b goes on, though it was given up."""
    put = Change(put_member=PutMember(id="late", name="Late", admin_keys=[key_of("late", "admin")]))
    done = world.govern("b", put).ok
    world.settle()
    return done


def test_what_came_from_a_chain_that_was_given_up_becomes_known_under_its_last_state():
    made: list[str] = []

    def box(world):
        part, around = moved(world), moved(world)
        made.append(part)
        return pack(world, "b", around, part)

    world, around = arrived_from_lost(box)
    (part,) = made
    assert world.accept("a", around, "abe").ok
    here, there = verified(world["a"]), verified(world["b"])
    built = operations(here, there, way_in(here, there, part))
    assert world["a"].operate("ann", *built).ok
    assert world.part("a", part).container == around
    # Another state of that chain proves nothing.
    assert moved_on(world)
    with pytest.raises(NotVerifiable):
        operations(here, verified(world["b"]), [part])
