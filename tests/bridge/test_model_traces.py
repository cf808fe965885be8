"""Courses of events that broke a rule or the code, each told once as a fixed test, on the chains of the model."""

import pytest

from bridge.packet import SUCCESS, acknowledgement_commitment, answered_key
from bridge.transfer import ENCODING, PORT, VERSION
from ledger import codec
from ledger.state import part_key
from proto.chiptrace.v1.bridge_pb2 import CustodyTransfer, Packet
from proto.chiptrace.v1.ledger_pb2 import DEPARTED, OFFERED, Reason
from tests.bridge.model.chain import cheap_signatures
from tests.bridge.model.walk import Setting, Walk
from tests.bridge.model.world import World, base
from tests.bridge.two_chains import HOUR_MS, MEMBERS


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


def test_what_came_here_is_not_held_to_have_gone_on_to_here():
    """Once that was noted, the hop of the arrival was no longer above it, and what lay in the box was nowhere."""
    world = World.of(base("a", "b", "c", joined=(("b", "c"),), long_routes=True), 1, 1)
    (part,), (box,) = world.parts, world.boxes
    assert world.pack("a", part, box).ok
    cross(world, "a", box, "c")
    world.seal("a")
    assert world.update("c", "a-1")
    assert world.follow("c", "a-1", part).reason == Reason.NOT_LIVE
    assert materialise(world, "c", "a", part).ok
    at_rest(world)


# ---- what a chain whose quorum is corrupt can do, and what it cannot ----------------------------------------------


def forged(world, name, there, part, hop, **fields):
    """A packet of a corrupt chain that nobody sent, brought to another one: what was answered, and the record then."""
    own = next(client for client, other in world.links_from(name) if other == there)
    client = world.client(name, own)
    transfer = CustodyTransfer(
        part=part,
        origin_chain=world.chains["a"].chain_id,
        hop=hop,
        sender=MEMBERS[name][0],
        receiver=MEMBERS[there][0],
        history_root=bytes(range(32)),
        class_commissioner=MEMBERS["a"][0],
    )
    for field, value in fields.items():
        setattr(transfer, field, value)
    world.number += 1
    packet = Packet(
        source_client=own,
        destination_client=client.counterparty_client,
        sequence=1_000 + world.number,
        timeout_ms=world.now_ms + HOUR_MS,
        source_port=PORT,
        destination_port=PORT,
        version=VERSION,
        encoding=ENCODING,
        value=codec.encode(transfer),
    )
    world.forge_packet(name, packet)
    world.seal(name)
    assert world.update(there, client.counterparty_client)
    result = world.bring("receive", name, own, packet.sequence)
    assert result.ok  # proven, and so received; what the application says of it is in its reason
    return result.reason, world.record(there, part)


def three(corrupt):
    return World.of(base("a", "b", "c", joined=(("b", "c"),)), 2, 1, corrupt)


def test_a_corrupt_home_copies_what_is_its_own():
    """It is the one that commissions: two chains believe two packets of one part, as they would believe two parts."""
    world = three("a")
    part = world.parts[0]
    world.places.loose.add(part)
    for there, status in (("b", OFFERED), ("c", OFFERED)):
        reason, record = forged(world, "a", there, part, 1)
        assert (reason, record.status) == (Reason.REASON_UNSPECIFIED, status)


def test_a_corrupt_chain_copies_nothing_whose_home_is_honest():
    world = three("b")
    here, away = world.parts
    cross(world, "a", away, "c")
    for part in (here, away):
        for there in ("a", "c"):
            before = world.record(there, part)
            for hop in (1, 2, 9, 2**40):
                for returned in (False, True):
                    reason, record = forged(world, "b", there, part, hop, **{"return": returned})
                    assert reason in (Reason.NOT_FROM_HOME, Reason.NOT_LIVE, Reason.WRONG_COUNTERPARTY)
                    assert record == before
        world.check()


def test_a_corrupt_chain_withholds_or_destroys_what_it_holds_and_returns_it_once():
    world = three("b")
    part = world.parts[0]
    assert world.send("a", part, "b").ok
    world.seal("a")
    packet = world.chains["a"].sent["b-1", 1]
    world.forge("b", answered_key(packet), acknowledgement_commitment(SUCCESS))
    world.seal("b")
    assert world.update("a", "b-1")
    assert world.bring("acknowledge", "a", "b-1", 1, answer=SUCCESS).ok
    # Withheld: for as long as it likes, nobody else has it, and nobody can bring it back.
    world.pass_time(HOUR_MS * 2)
    world.update("a", "b-1")
    assert world.bring("timeout", "a", "b-1", 1).reason == Reason.REDUNDANT
    world.check()
    assert world.record("a", part).status == DEPARTED
    # Returned to its home: once, and to nowhere else.
    reason, _ = forged(world, "b", "c", part, 5)
    assert reason == Reason.NOT_FROM_HOME
    reason, record = forged(world, "b", "a", part, 5)
    assert (reason, record.status) == (Reason.REASON_UNSPECIFIED, OFFERED)
    for hop in (5, 6, 99):
        reason, again = forged(world, "b", "a", part, hop)
        assert (reason, again) == (Reason.NOT_LIVE, record)


def test_nothing_of_a_forked_chain_is_believed_once_it_is_frozen():
    world = three("b")
    part = world.parts[0]
    assert world.send("a", part, "b").ok
    world.seal("a")
    world.forge("b", part_key(part), world.chains["a"].state[part_key(part)])
    world.seal("b")
    assert world.update("a", "b-1")
    assert world.show_fork("b", "a").ok
    packet = world.chains["a"].sent["b-1", 1]
    world.forge("b", answered_key(packet), acknowledgement_commitment(SUCCESS))
    world.pass_time(2 * HOUR_MS)
    assert not world.update("a", "b-1")
    for verb in ("acknowledge", "timeout"):
        assert world.bring(verb, "a", "b-1", 1, answer=SUCCESS).reason == Reason.CLIENT_FROZEN
    assert not world.send("a", world.parts[1], "b").ok
    assert world.materialise("a", "b-1", part).reason == Reason.CLIENT_FROZEN
    world.check()
