"""A part's way over two chains and home: every status, entry and finding on the way."""

from proto.chiptrace.v1.ledger_pb2 import DEPARTED, IN_TRANSIT, LIVE, OFFERED
from tests.bridge.two_chains import World


def test_a_part_goes_over_is_accepted_and_comes_home_as_itself():
    world = World("a", "b")
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    assert world.part("a", part).status == IN_TRANSIT
    world.relay()
    assert world.part("a", part).status == DEPARTED
    there = world.part("b", part)
    assert (there.status, there.offered_to, there.holder, there.hop) == (OFFERED, "bob", "", 1)
    assert world.accept("b", part, "bob").ok
    there = world.part("b", part)
    assert (there.status, there.holder, there.owner) == (LIVE, "bob", "bob")
    assert world.send("b", part, "abe").ok
    world.relay()
    home = world.part("a", part)
    assert (home.status, home.offered_to, home.holder, home.hop) == (OFFERED, "abe", "", 2)
    assert world.accept("a", part, "abe").ok
    home = world.part("a", part)
    assert (home.status, home.holder, home.owner, home.commissioner) == (LIVE, "abe", "abe", "ada")
    assert world.part("b", part).status == DEPARTED
    world.check_history("a", part)
    world.check_history("b", part)
