"""Packets in snapshots: a node that began with one serves relayers as any other, and takes nothing unproven."""

import pytest

from bridge.clients import rehoming_key
from bridge.packet import (
    SUCCESS,
    acknowledgement_commitment,
    packet_commitment,
    received_row_key,
    sent_key,
    sent_row_key,
)
from ledger import codec, rows
from ledger.attestations import foreign_attestation_key
from ledger.errors import Invalid, Malformed, StoreError
from ledger.kv import MemoryKV
from ledger.snapshot import take
from ledger.state import Kind, acknowledgement_key, member_key, state_key
from tests.bridge import test_attest_port, test_rehoming
from tests.bridge.offered import TABLES, begun, taken
from tests.bridge.two_chains import World, row
from tests.ledger.snapshot_fixture import records


@pytest.fixture
def world():
    """On a: one packet closed, two open; on b: one answered."""
    found = World()
    for sequence in (1, 2, 3):
        part = found.commission("a", "ada")
        assert found.send("a", part, "bea").ok
        if sequence == 1:
            found.relay()
    for name in "ab":
        found[name].settle()
    return found


def open_sequences(chain):
    packets = [chain.app.store.side(sent_row_key("b-1", number)) for number in range(1, 4)]
    found = [row(chain, sent_row_key("b-1", n)) for n, data in enumerate(packets, 1) if data]
    return [item.packet.sequence for item in found if chain.app.store.get(sent_key(item.packet)) is not None]


def test_open_packets_and_answers_are_there_and_closed_ones_are_not(world):
    a, b = world["a"], world["b"]
    assert open_sequences(a) == [2, 3]
    height = a.height - 1
    other = begun(a, height)
    assert row(other, sent_row_key("b-1", 1)) is None
    for sequence in (2, 3):
        found = row(other, sent_row_key("b-1", sequence))
        assert found.packet == a.sent("b-1", sequence)
        assert found.height == height  # provable from there on, whenever it was sent
    height = b.height - 1
    there = begun(b, height)
    ours, theirs = row(b, received_row_key("a-1", 1)), row(there, received_row_key("a-1", 1))
    assert theirs.acknowledgement == ours.acknowledgement
    assert (theirs.packet.sequence, theirs.height) == (1, height)


def test_relayers_go_on_from_a_node_that_began_with_a_snapshot(world):
    for name in "ab":
        world[name].app = begun(world[name], world[name].height - 1).app
    world.relay()
    world.settle()
    assert open_sequences(world["a"]) == []


def test_such_a_node_gives_the_same_snapshot(world):
    a = world["a"]
    other = begun(a, a.height - 1)
    for _ in range(2):
        a.produce()
        data = a.app.store.block(a.height)
        other.app.commit(data, other.app.finalize_block(data), b"another certificate")
    assert taken(other, a.height - 1) == taken(a, a.height - 1)


def test_claims_of_other_chains_and_chains_given_up_bring_their_histories_along():
    world = test_rehoming.World()
    part = test_rehoming.moved(world)
    assert test_attest_port.recall(world, "a", "amy", part).ok
    world.relay()
    b = world["b"]
    b.settle()
    claims = foreign_attestation_key(world["a"].chain_id, world["a"].chain_id, test_attest_port.ID)
    assert len(b.entries(claims)) == 1
    assert begun(b, b.height - 1).entries(claims) == b.entries(claims)

    test_rehoming.bring_head(world)
    assert test_rehoming.give_up(world).ok
    a = world["a"]
    a.settle()
    given_up = rehoming_key(b.chain_id)
    assert len(a.entries(given_up)) == 1
    assert begun(a, a.height - 1).entries(given_up) == a.entries(given_up)


def test_only_the_packet_committed_to_is_taken(world):
    a = world["a"]
    packet = a.sent("b-1", 2)
    key, attached = sent_key(packet), codec.encode(packet)
    value = a.app.store.get(key)
    assert TABLES.restore(key, value, attached, 9)
    changed = type(packet).FromString(attached)
    changed.value += b"x"
    for wrong in (b"", attached + b"\0", codec.encode(changed), codec.encode(a.sent("b-1", 3))):
        with pytest.raises((Invalid, Malformed)):
            TABLES.restore(key, value, wrong, 9)
    for other in (member_key("ada"), acknowledgement_key("a-1", 1)):
        with pytest.raises(Invalid):
            TABLES.restore(other, b"x", attached, 9)
        assert TABLES.restore(other, b"x", b"", 9) == []


@pytest.mark.parametrize("kind", [Kind.COMMITMENT, Kind.ACKNOWLEDGEMENT])
@pytest.mark.parametrize(
    "components",
    [
        (),
        (b"b-1",),
        (b"b-1", bytes(7)),
        (b"b-1", bytes(9)),
        (b"b-1", bytes(8), b""),
        (b"\xff", bytes(8)),
    ],
)
def test_keys_that_no_packet_has_are_refused_before_anything_is_proven(kind, components):
    key = state_key(kind, *components)
    with pytest.raises(Malformed):
        TABLES.restore(key, acknowledgement_commitment(SUCCESS), b"", 9)


def test_a_packet_of_a_client_too_long_for_a_key_is_refused(world):
    packet = world["a"].sent("b-1", 2)
    key, value = sent_key(packet), packet_commitment(packet)
    packet.source_client = "b" * 70_000
    with pytest.raises(Invalid):
        TABLES.restore(key, value, codec.encode(packet), 9)


def test_attached_are_the_packets_alone(world):
    chunks, _ = taken(world["a"], world["a"].height - 1)
    states = [payload for letter, payload in records(b"".join(chunks)) if letter == b"S"]
    packets = [codec.encode(world["a"].sent("b-1", sequence)) for sequence in (2, 3)]
    assert [packet for packet in packets if any(payload.endswith(packet) for payload in states)] == packets


def test_a_packet_whose_body_is_lost_is_a_damaged_store(world):
    a = world["a"]
    kv = MemoryKV()
    lost = rows.SIDE + sent_row_key("b-1", 2)
    kv.write([(key, value) for key, value in a.kv.iterate(b"", None) if key != lost])
    with pytest.raises(StoreError):
        list(take(kv.snapshot(), a.height, TABLES))
