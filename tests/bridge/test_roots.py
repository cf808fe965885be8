"""Lots by a root, and by a list, over chains: a serial that was first touched abroad comes home with its proof."""

import pytest

from bridge.packet import SUCCESS, acknowledgement_commitment, answered_key
from client.audit import Audit
from client.materialising import operations
from ledger import codec
from ledger.identifiers import canonical, interval_text
from ledger.roots import SerialList
from proto.chiptrace.v1.bridge_pb2 import AcknowledgePacket, SendPart
from proto.chiptrace.v1.ledger_pb2 import Evidence, Membership, Operation, PartStatus, Reason
from tests.bridge.crossing import lot_record, materialise_operation, pack, update
from tests.bridge.test_custody_traces import routed
from tests.bridge.test_custody_transfer import Corrupt, refused
from tests.bridge.test_serials import accepted, captured
from tests.bridge.two_chains import HOUR_MS, World, object_event, prove, serial
from tests.client.direct import verified
from tests.ledger.rules_world import listed, root_of, seen, serials_of

LOT = canonical("urn:epc:class:lgtin:4012345.012345.R1").text
CLASS = canonical(LOT).class_text
DIES = [f"R{number * 7 % 20:02}X" for number in range(20)]


def die(place):
    return f"{CLASS}/21/{DIES[place]}"


def some(start, end):
    return interval_text(LOT, start, end)


def shown_event(world, name, *shown):
    operation = captured(world, seen([name]), number=77)
    operation.capture.memberships.extend(shown)
    return operation


def send_home(world, name, *, shown=None, member="bob"):
    message = SendPart(client="a-1", part=name, receiver="ada", timeout_ms=world.clock.now_ms + HOUR_MS)
    if shown is not None:
        message.membership.CopyFrom(shown)
    return world["b"].operate(member, Operation(send_part=codec.encode(message)))


@pytest.fixture
def world():
    """20 dies of a root; those from 5 to 15 are bob's on the other chain."""
    world = World("a", "b")
    world.kept = SerialList(world["a"].chain_id, canonical(LOT), DIES)
    assert world["a"].operate("ada", captured(world, root_of(LOT, world.kept))).ok
    assert world.send("a", some(5, 15), "bob", member="ada").ok
    world.relay()
    assert accepted(world, "b", some(5, 15), "bob").ok
    return world


def test_a_serial_first_touched_abroad_comes_home_with_its_proof(world):
    shown = world.kept.membership(die(7))
    refused(world["b"].operate("bob", shown_event(world, die(7))), Reason.UNKNOWN_PART)
    assert world["b"].operate("bob", shown_event(world, die(7), shown)).ok
    other = world.kept.membership(die(8))
    moved = Membership(serial=die(7), lot=LOT, place=8, path=other.path)
    false = Membership(serial=die(7), lot=LOT, place=7, path=other.path)
    for wrong in (None, other, moved, false):
        refused(send_home(world, die(7), shown=wrong), Reason.MEMBERSHIP_INVALID)
    assert send_home(world, die(7), shown=shown).ok
    world.relay()
    assert world.accept("a", die(7), "ada").ok
    record = world.part("a", die(7))
    assert (record.lot, record.start, record.holder) == (LOT, 7, "ada")
    # It is known from then on, on both chains, and goes and comes as any part.
    assert world.send("a", die(7), "bob").ok
    world.relay()
    assert world.accept("b", die(7), "bob").ok
    assert send_home(world, die(7), shown=shown).ok
    world.relay()
    assert PartStatus.Name(world.part("b", die(7)).status) == "DEPARTED"
    world.settle()
    chains = {chain.chain_id: verified(chain) for chain in world.chains.values()}
    report = Audit(chains).run(die(7), world["a"].chain_id, lambda: 0)
    assert {finding.code for finding in report.findings} <= {"ROUND_TRIP", "EXCLUSIVITY_NOT_PROVEN"}, (
        report.findings
    )
    assert report.problem == ""


def test_a_serial_that_came_home_by_its_proof_lies_in_no_range():
    """However large: what has a record of its own is marked, wherever it was first touched."""
    world, name = World("a", "b"), f"{CLASS}/21/D0007"
    kept = SerialList(world["a"].chain_id, canonical(LOT), [f"D{number:04}" for number in range(20)])
    assert world["a"].operate("ada", captured(world, root_of(LOT, kept))).ok
    assert world.send("a", some(5, 15), "bob", member="ada").ok
    world.relay()
    assert accepted(world, "b", some(5, 15), "bob").ok
    shown = kept.membership(name)
    assert world["b"].operate("bob", shown_event(world, name, shown)).ok
    assert send_home(world, name, shown=shown).ok
    world.relay()
    assert world.accept("a", name, "ada").ok
    around = serials_of(LOT.replace("R1", "W1"), "D0000", "D1999", 2_000)
    refused(world["a"].operate("ada", captured(world, around, 1)), Reason.SERIALS_OVERLAP)


def test_on_a_long_route_no_serial_of_a_list_is_named_by_a_chain_that_only_had_an_interval():
    """It would bring as one of them what never left home."""
    corrupt = Corrupt(routed("a", "b", "c", joined=(("b", "c"),), corrupt="c"))
    world = corrupt.world
    assert world["a"].operate("ada", captured(world, listed(LOT, DIES))).ok
    assert world.send("a", some(0, 10), "bob", to="b", member="ada").ok
    world.relay()
    assert accepted(world, "b", some(0, 10), "bob").ok
    assert world.send("b", some(0, 10), "cyd", to="c", member="bob").ok
    taken(world, "b", "c", 1)
    told = {"lot": LOT, "serials": lot_record(world, "a", LOT).serials, "hop": 9, "receiver": "bob"}
    for name, place in ((die(15), 3), (die(3), 3)):
        packet = corrupt.packet(name, start=place, end=place + 1, **told)
        packet.source_client, packet.destination_client = "b-1", "c-1"
        corrupt.nothing_comes_of(packet, Reason.PACKET_MISMATCH, "c", "b")
    whole = corrupt.packet(some(0, 10), start=0, end=10, **told)
    whole.source_client, whole.destination_client = "b-1", "c-1"
    assert corrupt.bring(whole, "c", "b").reason == 0


def taken(world, name, corrupt, sequence):
    """What was sent to a corrupt chain is answered with success, whatever became of it."""
    packet = world[name].sent(f"{corrupt}-1", sequence)
    lie = Evidence(first=answered_key(packet), second=acknowledgement_commitment(SUCCESS))
    assert world[corrupt].operate(world[corrupt].members[0], Operation(evidence=lie)).ok
    update(world, name, corrupt)
    height = world[name].client(f"{corrupt}-1").latest_height
    proof = prove(world[corrupt], height, answered_key(packet))
    message = AcknowledgePacket(packet=packet, acknowledgement=SUCCESS, proof=proof)
    operation = Operation(acknowledge_packet=codec.encode(message))
    assert world[name].operate(world[name].members[0], operation, role="relayer").ok


def corrupted(*events):
    corrupt = Corrupt()
    world = corrupt.world
    kept = SerialList(world["a"].chain_id, canonical(LOT), DIES)
    for number, event in enumerate(events):
        assert world["a"].operate("ada", captured(world, event(kept), number)).ok
    assert world.send("a", some(5, 15), "bob", member="ada").ok
    world.relay()
    told = {"lot": LOT, "serials": lot_record(world, "a", LOT).serials, "hop": 9}
    return corrupt, kept, told


def test_a_corrupt_chain_brings_no_serial_of_a_root_that_is_not_in_the_list():
    """Any name of the class would be a second body of a part that is here, or one that never was."""
    corrupt, kept, told = corrupted(
        lambda kept: root_of(LOT, kept),
        lambda _: serials_of(LOT.replace("R1", "W1"), "0000", "0099", 100),
    )
    good = kept.membership(die(7))
    for name in (f"{CLASS}/21/0050", f"{CLASS}/21/R05Y", die(8), die(2)):
        for shown in (None, good, Membership(serial=name, lot=LOT, place=7, path=good.path)):
            more = {} if shown is None else {"membership": shown}
            packet = corrupt.packet(name, start=7, end=8, **told, **more)
            corrupt.nothing_comes_of(packet, Reason.MEMBERSHIP_INVALID)
    corrupt.nothing_comes_of(corrupt.packet(die(7), start=7, end=8, **told), Reason.MEMBERSHIP_INVALID)
    # Shown well, at the place of another.
    moved = corrupt.packet(die(8), start=7, end=8, membership=kept.membership(die(8)), **told)
    corrupt.nothing_comes_of(moved, Reason.MEMBERSHIP_INVALID)
    alone = corrupt.packet(f"{CLASS}/21/0050", hop=9, membership=good)
    corrupt.nothing_comes_of(alone, Reason.MALFORMED)


def test_a_corrupt_chain_brings_no_serial_of_a_list_at_another_place():
    corrupt, _, told = corrupted(
        lambda _: listed(LOT, DIES),
        lambda _: serials_of(LOT.replace("R1", "W1"), "0000", "0099", 100),
    )
    for name in (f"{CLASS}/21/0050", f"{CLASS}/21/R05Y", die(8), die(2)):
        corrupt.nothing_comes_of(corrupt.packet(name, start=7, end=8, **told), Reason.PACKET_MISMATCH)


def test_a_serial_that_a_range_has_comes_under_no_root():
    """The list claims it too: it stays with the range, whoever brings it."""
    world = World("a", "b")
    kept = SerialList(world["a"].chain_id, canonical(LOT), [*DIES[:10], "0050", *DIES[10:]])
    assert world["a"].operate("ada", captured(world, root_of(LOT, kept))).ok
    assert (
        world["a"]
        .operate("ada", captured(world, serials_of(LOT.replace("R1", "W1"), "0000", "0099", 100), 1))
        .ok
    )
    assert world.send("a", some(5, 15), "bob", member="ada").ok
    world.relay()
    assert accepted(world, "b", some(5, 15), "bob").ok
    name = f"{CLASS}/21/0050"
    shown = kept.membership(name)
    assert world["b"].operate("bob", shown_event(world, name, shown)).ok
    assert send_home(world, name, shown=shown).ok
    world.relay()
    assert PartStatus.Name(world.part("b", name).status) == "LIVE"


def test_what_lies_in_a_container_is_shown_too(world):
    """The box is known at home, the die in it was first touched abroad."""
    shown = world.kept.membership(die(7))
    assert world["b"].operate("bob", shown_event(world, die(7), shown)).ok
    made = serial(900)
    assert world["a"].operate("ada", object_event("ADD", "commissioning", made, number=5)).ok
    assert world.send("a", made, "bob").ok
    world.relay()
    assert world.accept("b", made, "bob").ok
    pack(world, "b", made, die(7))
    assert send_home(world, made).ok
    world.relay()
    assert world.accept("a", made, "ada").ok
    world.settle()
    operation = materialise_operation(world, "a", die(7), "b")
    refused(world["a"].operate("ada", operation), Reason.MEMBERSHIP_INVALID)
    here, there = verified(world["a"]), verified(world["b"])
    assert world["a"].operate("ada", *operations(here, there, [die(7)], {die(7): shown})).ok
    record = world.part("a", die(7))
    assert (record.lot, record.start, record.container) == (LOT, 7, made)
