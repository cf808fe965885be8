"""Courses of events that broke a rule or the code, each told once as a fixed test, on the chains of the model."""

import pytest

from bridge.packet import SUCCESS
from tests.bridge.model.chain import cheap_signatures
from tests.bridge.model.walk import Setting, Walk
from tests.bridge.model.world import World, base


@pytest.fixture(autouse=True)
def _cheap():
    with cheap_signatures():
        yield


def two(parts=1, boxes=1):
    return World.of(base("a", "b"), parts, boxes)


def cross(world, name, thing, to, accept=True):
    """A thing goes to another chain, is accepted there, and its sender knows."""
    client = next(own for own, there in world.links_from(name) if there == to)
    sequence = world.client(name, client).next_sequence
    assert world.send(name, thing, to).ok
    world.seal(name)
    assert world.update(to, world.link(name, client)[1])
    assert world.bring("receive", name, client, sequence).ok
    world.seal(to)
    assert world.update(name, client)
    assert world.bring("acknowledge", name, client, sequence, answer=SUCCESS).ok
    if accept:
        assert world.accept(to, thing).ok
    world.check()


def materialise(world, name, there, part):
    client = next(own for own, other in world.links_from(name) if other == there)
    world.seal(there)
    world.update(name, client)
    return world.materialise(name, client, part)


def at_rest(world):
    """Everything settles, and every part can be used where it is."""
    walk = Walk(0, Setting(tuple(world.chains)))
    walk.world = world
    walk.sent = list(world.places.packets)
    walk.come_to_rest()


def test_a_box_that_came_home_empty_takes_nothing_along_that_it_carried_before():
    """Its first filling was still held to be under way with it, so what had been in it could not come home."""
    world = two()
    (part,), (box,) = world.parts, world.boxes
    assert world.pack("a", part, box).ok
    cross(world, "a", box, "b")
    assert world.unpack_all("b", box).ok
    cross(world, "b", box, "a")
    assert materialise(world, "b", "a", part).ok
    world.check()
    assert world.send("a", box, "b").ok
    world.check()
    cross(world, "b", part, "a")
    at_rest(world)
