"""Containers over chains: whole, at once, and their contents one by one when somebody touches them."""

import pytest

from ledger.containers import standing
from proto.chiptrace.v1.ledger_pb2 import (
    DEPARTED,
    IN_TRANSIT,
    LIVE,
    OFFERED,
    PART_STATUS_UNSPECIFIED,
    ClosedBy,
    Reason,
)
from tests.bridge.crossing import (
    arrival,
    carry,
    destroy,
    generation,
    materialise,
    observe,
    pack,
    tote,
    unpack_all,
    update,
)
from tests.bridge.two_chains import HOUR_MS, World


def refused(result, reason):
    assert (result.ok, Reason.Name(result.reason)) == (False, Reason.Name(reason))


def status(world, name, part):
    """Where the part really is, through everything it is in."""
    record = world.part(name, part)
    return standing(world[name].app.store, record).status if record.id else PART_STATUS_UNSPECIFIED


def test_a_container_crosses_whole_and_its_children_become_records_when_touched():
    world = World()
    box, (one, _) = tote(world)
    assert world.send("a", box, "bob").ok
    # The sending closed the filling; nothing of the children was written.
    closed = generation(world, "a", box, 1)
    assert (closed.closed_by, closed.hop, closed.destination, closed.count) == (
        ClosedBy.EXPORT,
        1,
        world["b"].chain_id,
        2,
    )
    assert status(world, "a", one) == status(world, "a", box) == IN_TRANSIT
    refused(observe(world, "a", one, "ada"), Reason.NOT_LIVE)
    world.relay()
    assert status(world, "a", one) == DEPARTED
    refused(observe(world, "a", one, "ada"), Reason.NOT_LIVE)
    opened = generation(world, "b", box, 2)
    assert (opened.count, opened.from_generation, opened.from_hop, opened.from_chain) == (
        2,
        1,
        1,
        world["a"].chain_id,
    )
    assert world.accept("b", box, "bob").ok
    refused(observe(world, "b", one, "bob"), Reason.UNKNOWN_PART)
    assert materialise(world, "b", one).ok
    assert status(world, "b", one) == LIVE
    assert observe(world, "b", one, "bob").ok
    assert arrival(world, "b", "a", box, 1).left_count == 1
    # Once is enough.
    again = materialise(world, "b", one)
    assert (again.ok, again.reason) == (True, Reason.REDUNDANT)
    pack(world, "b", box, one, action="DELETE")
    record = world.part("b", one)
    assert (record.status, record.container, record.holder, record.hop) == (LIVE, "", "bob", 1)
    assert (record.owner, record.origin_chain, record.commissioner) == ("bob", world["a"].chain_id, "ada")
    for part in (box, one):
        world.check_history("b", part)


@pytest.mark.parametrize("how", ["error", "timeout"])
def test_a_container_that_does_not_arrive_is_as_it_was(how):
    world = World()
    box, (one, _) = tote(world)
    receiver = "nobody" if how == "error" else "bob"
    assert world.send("a", box, receiver, timeout_ms=1_000 if how == "timeout" else HOUR_MS).ok
    if how == "timeout":
        world.pass_time(2_000)
    world.relay()
    opened = generation(world, "a", box, 1)
    assert (opened.closed_by, opened.closed_n, opened.hop, opened.destination) == (0, 0, 0, b"")
    assert status(world, "a", one) == LIVE
    assert observe(world, "a", one, "ada").ok
    pack(world, "a", box, one, action="DELETE")
    # The hop is burnt for the container, and for what was in it.
    assert world.part("a", one).hop == world.part("a", box).hop == 1


def test_a_child_of_a_container_enters_what_became_of_it():
    world = World()
    box, (one, two) = tote(world)
    carry(world, "a", box, "bob")
    unpack_all(world, "b", box)
    assert materialise(world, "b", one).ok
    record = world.part("b", one)
    assert (status(world, "b", one), record.container) == (LIVE, box)
    assert observe(world, "b", one, "bob").ok
    record = world.part("b", one)
    assert (record.status, record.container, record.holder) == (LIVE, "", "bob")
    assert destroy(world, "b", one).ok
    box, (three, _) = tote(world)
    carry(world, "a", box, "bob")
    assert destroy(world, "b", box).ok
    assert materialise(world, "b", three).ok
    refused(observe(world, "b", three, "bob"), Reason.NOT_LIVE)
    carry_home = carry(world, "b", two, "ada") if materialise(world, "b", two).ok else ""
    assert carry_home == "a"
    assert world.part("a", two).status == LIVE
    assert world.part("a", two).container == ""


def test_a_container_that_comes_home_unopened_brings_its_children_chain_by_chain():
    world = World()
    box, (one, _) = tote(world)
    carry(world, "a", box, "bob")
    carry(world, "b", box, "ada")
    assert world.part("a", box).generations == 3
    # What b never saw, b cannot have taken out; but only b's record of it can say so.
    refused(materialise(world, "a", one), Reason.BAD_PROOF)
    assert materialise(world, "b", one).ok
    assert status(world, "b", one) == DEPARTED
    update(world, "a", "b")
    assert materialise(world, "a", one).ok
    assert status(world, "a", one) == LIVE
    assert observe(world, "a", one, "ada").ok
    assert world.part("a", one).hop == 2


def test_a_return_brings_the_contents_back():
    world = World()
    box, (one, _) = tote(world)
    assert world.send("a", box, "bob").ok
    world.relay()
    assert world.part("b", box).status == OFFERED
    assert world.give_back("b", box, "bob").ok
    world.relay()
    assert world.part("a", box).status == LIVE
    assert world.part("a", box).holder == "ada"
    assert materialise(world, "b", one).ok
    update(world, "a", "b")
    assert materialise(world, "a", one).ok
    assert status(world, "a", one) == LIVE
