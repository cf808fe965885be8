"""Which chain is asked about a part when none is named."""

import pytest

from client.connection import NoAnswer
from client.locate import locate
from proto.chiptrace.v1.ledger_pb2 import PartStatus
from tests.bridge.crossing import carry, materialise, tote
from tests.bridge.two_chains import World, object_event, serial
from tests.client.direct import verified


@pytest.fixture
def world():
    return World("a", "b")


def views(world):
    world.settle()
    return {chain.chain_id: verified(chain) for chain in world.chains.values()}


def test_a_part_is_asked_for_where_it_is(world):
    part = world.commission("a", "ada")
    assert locate(views(world), part) == world["a"].chain_id
    assert world.send("a", part, "bob").ok
    world.relay()
    assert locate(views(world), part) == world["b"].chain_id


def test_what_crossed_in_a_box_is_asked_for_where_the_box_is(world):
    box, (part, other) = tote(world)
    carry(world, "a", box, "bob")
    assert materialise(world, "b", part).ok
    found = views(world)
    assert locate(found, part) == world["b"].chain_id
    # What nobody touched over there yet has no record but at home.
    assert locate(found, other) == world["a"].chain_id


def test_of_chains_that_it_left_the_last_one_is_asked():
    """Asked of the first, an audit would leave out all that happened since."""
    world = World("a", "b", "c")
    part = world.commission("a", "ada")
    for source, to, receiver in (("a", "b", "bob"), ("b", "a", "ada"), ("a", "c", "cyd")):
        assert world.send(source, part, receiver, to=to).ok
        world.relay()
        assert world.accept(to, part, receiver).ok
        world.relay()
    found = views(world)
    del found[world["c"].chain_id]
    for chains in (found, dict(reversed(found.items()))):
        assert locate(chains, part) == world["a"].chain_id


@pytest.mark.parametrize("order", [1, -1])
def test_what_ended_where_it_came_to_is_asked_for_there(world, order):
    """Also where nobody has told its sender that it came: there it were on its way for ever."""
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.settle()
    (relayer,) = world.relayers.values()
    relayer.carry()
    assert world.accept("b", part, "bob").ok
    assert world["b"].operate("bob", object_event("DELETE", "destroying", part, number=90)).ok
    statuses = [world.part(name, part).status for name in "ab"]
    assert statuses == [PartStatus.IN_TRANSIT, PartStatus.DESTROYED]
    found = dict(list(views(world).items())[::order])
    assert locate(found, part) == world["b"].chain_id


def test_what_nobody_knows_is_asked_of_the_first_chain(world):
    found = views(world)
    assert locate(found, serial(99)) == next(iter(found))


def test_a_silent_chain_may_be_the_one_unless_the_part_is_present_elsewhere(world):
    part = world.commission("a", "ada")
    found = views(world)

    def silent(*_args, **_options):
        raise NoAnswer("gone")

    found[world["b"].chain_id].connection.call = silent
    assert locate(found, part) == world["a"].chain_id
    with pytest.raises(NoAnswer):
        locate(found, serial(99))
