"""What a client fetches and sends so that a step of a long route becomes known."""

import pytest

from client.following import operations
from ledger.errors import Refused
from proto.chiptrace.v1.bridge_pb2 import FollowPart
from proto.chiptrace.v1.ledger_pb2 import DEPARTED, LIVE, Reason
from tests.bridge.crossing import carry, pack
from tests.bridge.test_containers import status
from tests.bridge.test_custody_traces import routed
from tests.bridge.two_chains import World
from tests.client.direct import verified
from tests.client.test_materialising import bring


def follow(world, part, host, source):
    world.settle()
    built = operations(verified(world[host]), verified(world[source]), part)
    return world[host].operate(world[host].members[-1], *built)


def around(depth, long_after=0):
    """A part, inside so many boxes, that goes a → b → c → a, each chain told what it has to know."""
    world = routed("a", "b", "c", joined=(("b", "c"),))
    part = outer = world.commission("a", "ada")
    for _ in range(depth):
        outer = pack(world, "a", world.commission("a", "ada"), outer)
    carry(world, "a", outer, "bob", to="b")
    for _ in range(long_after):
        world.commission("a", "ada")
        world["b"].produce()
    assert follow(world, outer, "c", "a").ok
    assert status(world, "c", outer) == DEPARTED
    carry(world, "b", outer, "cyd", to="c")
    for _ in range(long_after):
        world["b"].produce()
    return world, part, outer


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_what_went_round_comes_home_step_by_step(depth):
    # Long after, and whatever the clients know: each learns a newer header in the same transaction.
    world, _, outer = around(depth, long_after=70)
    assert follow(world, outer, "a", "b").ok
    carry(world, "c", outer, "ada", to="a")
    assert status(world, "a", outer) == LIVE
    assert follow(world, outer, "a", "b").reason == Reason.NOT_LIVE


@pytest.mark.parametrize("depth", [1, 3])
def test_what_lies_deep_is_followed_by_the_filling_it_left_in(depth):
    world, part, _ = around(depth)
    world.settle()
    # Unknown on b, which has not touched it: its home tells, and c takes it out of what came.
    with pytest.raises(Refused) as caught:
        operations(verified(world["c"]), verified(world["b"]), part)
    assert caught.value.reason == Reason.UNKNOWN_PART
    assert "materialise" in str(caught.value)
    inner = bring(world, part, host="b", source="a")
    assert (len(inner), inner[-1]) == (depth, part)
    for name in inner:
        built = operations(verified(world["c"]), verified(world["a"]), name)
        assert len(FollowPart.FromString(built[-1].follow_part).path) == 2 * (inner.index(name) + 1) + 1
        assert follow(world, name, "c", "a").ok
    bring(world, part, host="c", source="b")
    assert status(world, "c", part) == LIVE


def test_what_is_still_on_its_way_or_at_home_has_not_gone_on():
    world = routed("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    box = pack(world, "a", world.commission("a", "ada"), world.commission("a", "ada"))
    for name in (part, box):
        assert follow(world, name, "c", "a").reason == Reason.NOT_LIVE
        assert world.send("a", name, "bob", to="b").ok
        assert follow(world, name, "c", "a").reason == Reason.NOT_LIVE


def test_without_a_grant_for_it_the_chain_refuses():
    world = World("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob", to="b")
    assert follow(world, part, "c", "a").reason == Reason.NOT_FROM_HOME
