"""What was proven once is proven for ever: all that a relayer ever brought, brought again after the part went on."""

import pytest

from tests.bridge import two_chains
from tests.bridge.two_chains import World


@pytest.fixture
def brought(monkeypatch):
    """Every operation that relayers made, in order."""
    made = []
    operation = two_chains.Relayer.operation

    def recorded(self, source, action):
        found = operation(self, source, action)
        made.append(found)
        return found

    monkeypatch.setattr(two_chains.Relayer, "operation", recorded)
    return made


def everything_again(world, part, brought):
    """Both chains are shown every old proof, forwards and backwards; the part stays where and as it is."""
    before = [world.part(name, part) for name in ("a", "b")]
    for operation in [*brought, *reversed(brought)]:
        for name, member in (("a", "ada"), ("b", "bob")):
            world[name].operate(member, operation, role="relayer")
    assert [world.part(name, part) for name in ("a", "b")] == before
    assert world.live_copies(part) == 1


def test_a_part_is_not_revived_by_an_old_root(brought):
    world = World("a", "b")
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.accept("b", part, "bob").ok
    world.relay()
    assert {operation.WhichOneof("kind") for operation in brought} >= {"receive_packet", "acknowledge_packet"}
    everything_again(world, part, list(brought))
    # Home again: the old arrival there does not make it live on b once more.
    assert world.send("b", part, "ada").ok
    world.relay()
    assert world.accept("a", part, "ada").ok
    everything_again(world, part, list(brought))


def test_what_was_declined_and_came_back_is_not_received_by_an_old_root(brought):
    world = World("a", "b")
    part = world.commission("a", "ada")
    assert world.send("a", part, "bob").ok
    world.relay()
    assert world.give_back("b", part, "bob").ok
    world.relay()
    everything_again(world, part, list(brought))
