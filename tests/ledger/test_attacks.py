"""Attacks on containers by name: what somebody tries who knows the rules, and what becomes of it."""

import pytest

from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    making,
    packing,
    part,
    receiving,
    refused,
    seen,
    shipping,
    unpacking,
)


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(1), part(2), part(3), *(box(n) for n in range(1, 10))]))
    return world


@pytest.mark.parametrize("who", ["ada", "bob"])
def test_unpack_while_on_offer(world, who):
    """Neither who shipped the box nor who is to get it takes anything out on the way."""
    world.event("ada", packing(box(1), [part(1)]), shipping([box(1)], "bob"))
    for attempt in (unpacking(box(1), [part(1)]), unpacking(box(1)), packing(box(1), [part(2)])):
        with refused(Reason.NOT_LIVE, "OFFERED"):
            world.event(who, attempt)


@pytest.mark.parametrize("status", ["IN_TRANSIT", "DEPARTED"])
def test_unpack_while_in_transit(world, status):
    world.event("ada", packing(box(1), [part(1)]))
    world.set_status(box(1), status)
    for attempt in (
        unpacking(box(1), [part(1)]),
        unpacking(box(1)),
        seen([part(1)]),
        destroying([part(1)]),
        packing(box(1), [part(2)]),
    ):
        with refused(Reason.NOT_LIVE, status):
            world.event("ada", attempt)


def test_box_in_box_in_itself(world):
    """However long the ring: who is inside is not free-standing, and so holds nothing new."""
    with refused(Reason.SELF_CONTAINMENT):
        world.event("ada", packing(box(1), [box(1)]))
    world.event("ada", packing(box(1), [box(2)]), packing(box(3), [box(1)]))
    for ring in (packing(box(2), [box(1)]), packing(box(2), [box(3)]), packing(box(1), [box(3)])):
        with refused(Reason.NOT_FREE_STANDING):
            world.event("ada", ring)
    with refused(Reason.SELF_CONTAINMENT):
        world.event("ada", packing(box(3), [box(3), box(4)]))


def test_box_in_box_in_itself_within_one_transaction(world):
    with refused(Reason.NOT_FREE_STANDING):
        world.event("ada", packing(box(1), [box(2)]), packing(box(2), [box(1)]))
    assert world.part(box(2)).container == ""


def test_a_ninth_level(world):
    for inner in range(1, 9):
        world.event("ada", packing(box(inner + 1), [box(inner)]))
    with refused(Reason.TOO_DEEP):
        world.event("ada", packing(part(3), [box(9)]))


def test_double_receive(world):
    """Once accepted, it is on offer no more: not to the receiver for a second entry of ownership, and to nobody else."""
    world.event("ada", shipping([part(1)], "bob", owner="bob"))
    first = world.capture(receiving([part(1)]))
    world.act("bob", first)
    with refused(Reason.EVENT_REPEATED):
        world.act("bob", first)
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("cyd", receiving([part(1)]))
    world.give("bob", "cyd", part(1))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("bob", receiving([part(1)]))
    assert (world.part(part(1)).holder, world.part(part(1)).owner) == ("cyd", "bob")


def test_ship_what_is_installed(world):
    world.event("ada", packing(part(2), [part(1)], kind="Association"))
    with refused(Reason.INSIDE_CONTAINER):
        world.event("ada", shipping([part(1)], "bob"))
    world.event("ada", shipping([part(2)], "bob"))
    with refused(Reason.INSIDE_CONTAINER, "receive that"):
        world.event("bob", receiving([part(1)]))


def test_what_left_a_closed_generation_is_not_taken_out_again(world):
    world.event("ada", packing(box(1), [part(1)]), unpacking(box(1)))
    world.event("ada", packing(box(1), [part(2)]))
    with refused(Reason.GENERATION_CLOSED):
        world.event("ada", unpacking(box(1), [part(1)]))
    with refused(Reason.NOT_INSIDE):
        world.event("ada", unpacking(box(1), [part(3)]))


def test_consume_what_holds_something(world):
    world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.NOT_FREE_STANDING):
        world.event("ada", making([box(1)], [part(9)]))
    with refused(Reason.INSIDE_CONTAINER):
        world.event("ada", making([part(1)], [part(9)]))


def test_a_hundred_refusals_leave_nothing(world):
    """No sequence of refused operations changes any record or any history."""
    world.event("ada", packing(box(1), [part(1)]), shipping([box(1)], "bob"))
    before, told = dict(world.overlay.changes), {key: list(value) for key, value in world.entries.items()}
    for _ in range(10):
        for member in ("ada", "bob", "cyd"):
            for attempt in (
                unpacking(box(1)),
                destroying([part(1)]),
                shipping([box(1)], "cyd"),
                making([part(1)], [part(9)]),
            ):
                with pytest.raises(Exception, match=r"NOT_|is |custody"):
                    world.event(member, seen([part(2)]) if member == "ada" else attempt, attempt)
    assert (world.overlay.changes, world.entries) == (before, told)
