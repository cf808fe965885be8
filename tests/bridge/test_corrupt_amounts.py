"""What a chain names as the place of an amount, inside a container that it sends, may be a container of ours: nothing of
ours leaves with it, and no chain stops on it."""

from ledger import decimals, state
from ledger.identifiers import canonical
from proto.chiptrace.v1.bridge_pb2 import Contents
from proto.chiptrace.v1.ledger_pb2 import DEPARTED, LIVE, ManifestRow, Reason, Value
from tests.bridge.crossing import carry, materialise, pack, unpack_all, update
from tests.bridge.test_amounts import (
    LOT,
    abroad,
    accept_amount,
    amount_at,
    listed,
    quantity_event,
    send_amount,
)
from tests.bridge.test_containers import refused
from tests.bridge.test_corrupt_contents import write
from tests.bridge.test_custody_transfer import Corrupt
from tests.bridge.two_chains import event, packing_event


def put(world, box, amount):
    world._serials += 1
    more = {"parentID": Value(text=box)} | listed("childQuantityList", LOT, amount)
    packing = event("AggregationEvent", "ADD", "packing", number=world._serials, **more)
    assert world["a"].operate("ada", packing).ok


def robbed():
    """A chest of ada's with 50 in it; the corrupt chain has 10, and two crates."""
    corrupt = Corrupt()
    world = corrupt.world
    assert world["a"].operate("ada", quantity_event(world, "ADD", "commissioning", 100)).ok
    assert send_amount(world, "a", LOT, 10, "bob", member="ada").ok
    chest = world.commission("a", "ada")
    put(world, chest, 50)
    crates = [world.commission("a", "ada") for _ in range(2)]
    for crate in crates:
        carry(world, "a", crate, "bob")
    assert accept_amount(world, "b", "bob").ok
    return corrupt, chest, crates


def naming(corrupt, crate, place, amount="1", levels=(0, 1)):
    """A packet with a crate that is said to hold some of the lot in something else."""
    inner = ManifestRow(item_class=canonical(place).class_text, count=1)
    contents = Contents(
        generation=1, count=1, levels=levels, manifest=[ManifestRow(lot=LOT, place=place), inner]
    )
    origin = corrupt.world["a"].chain_id
    contents.amounts.add(
        amount=decimals.parse(amount), origin_chain=origin, commissioner="ada", history_root=bytes(32)
    )
    return corrupt.packet(crate, contents=contents, receiver="ada")


def test_what_lies_in_a_container_here_does_not_leave_with_another_that_names_it():
    corrupt, chest, (crate, _) = robbed()
    world = corrupt.world
    assert corrupt.bring(naming(corrupt, crate, chest)).reason == 0
    assert world.accept("a", crate, "ada").ok
    gone = world.part("b", crate)
    gone.status, gone.client, gone.hop = DEPARTED, "a-1", 9
    write(world, "b", state.part_key(crate), gone)
    carry(world, "a", crate, "bob")
    # It took along what it brought, and no more.
    assert (amount_at(world, "a", chest), abroad(world)) == ("50", "10")
    unpack_all(world, "a", chest, "ada")
    assert amount_at(world, "a", "ada") == "90"


def test_what_waits_under_a_name_came_with_one_container():
    """Else either would leave with what both brought."""
    corrupt, chest, crates = robbed()
    for crate, reason in zip(crates, (0, Reason.CONTENTS_INVALID), strict=True):
        assert corrupt.bring(naming(corrupt, crate, chest)).reason == reason
    assert amount_at(corrupt.world, "a", "@" + chest) == "1"


def test_two_things_that_tell_of_one_amount_are_not_packed_together():
    """One taken out, the other could not be counted out any more, and the chain would stop."""
    corrupt, chest, (crate, other) = robbed()
    world = corrupt.world
    box = world.commission("a", "ada")
    assert corrupt.bring(naming(corrupt, crate, chest)).reason == 0
    assert corrupt.bring(naming(corrupt, other, box)).reason == 0
    for part in (crate, other):
        assert world.accept("a", part, "ada").ok
    pack(world, "a", box, chest)
    for number, part in enumerate((crate, other)):
        refused(
            world["a"].operate("ada", packing_event("ADD", box, part, number=number)), Reason.CONTENTS_INVALID
        )
    pack(world, "a", box, chest, action="DELETE")
    # The same the other way round: what is in it is told of first.
    pack(world, "a", box, crate)
    refused(world["a"].operate("ada", packing_event("ADD", box, chest, number=9)), Reason.CONTENTS_INVALID)
    pack(world, "a", box, crate, action="DELETE")


def test_what_is_made_known_of_an_earlier_visit_takes_nothing_of_a_later_one():
    corrupt, chest, _ = robbed()
    world = corrupt.world
    outer = pack(world, "a", world.commission("a", "ada"), chest)
    for name, receiver in (("a", "bob"), ("b", "ada"), ("a", "bob")):
        carry(world, name, outer, receiver)
    # As of the first visit: it went home since, and is here again, in a later filling.
    assert materialise(world, "b", chest).ok
    assert (amount_at(world, "b", chest), amount_at(world, "b", "@" + chest)) == ("0", "50")
    carry(world, "b", outer, "ada")
    assert (amount_at(world, "b", "@" + chest), abroad(world)) == ("0", "10")
    for name, source in (("a", "b"), ("b", "a"), ("a", "b")):
        update(world, name, source)
        assert materialise(world, name, chest).ok
    unpack_all(world, "a", outer)
    unpack_all(world, "a", chest, "ada")
    assert amount_at(world, "a", "ada") == "90"


def test_what_is_made_known_while_it_is_under_way_leaves_all_the_same():
    corrupt, chest, (crate, _) = robbed()
    world = corrupt.world
    outer = pack(world, "a", world.commission("a", "ada"), chest)
    carry(world, "a", outer, "bob")
    assert world.send("b", outer, "ada").ok
    assert materialise(world, "b", chest).ok
    assert (amount_at(world, "b", chest), amount_at(world, "b", "@" + chest)) == ("50", "0")
    world.relay()
    assert (amount_at(world, "b", chest), abroad(world)) == ("0", "10")
    # Nor does it where it is said to be in something else by then.
    assert amount_at(world, "a", "@" + chest) == "50"
    assert corrupt.bring(naming(corrupt, crate, chest)).reason == Reason.CONTENTS_INVALID


def test_what_leaves_in_a_container_is_taken_out_of_it_and_not_out_of_what_another_brought_under_its_name():
    """Else the other, which is under way by itself, could never be answered."""
    corrupt, chest, (crate, _) = robbed()
    world = corrupt.world
    assert corrupt.bring(naming(corrupt, crate, chest)).reason == 0
    assert world.accept("a", crate, "ada").ok
    assert amount_at(world, "a", "@" + chest) == "1"
    carry(world, "a", chest, "bob")
    assert (amount_at(world, "a", chest), amount_at(world, "a", "@" + chest)) == ("0", "1")


def test_what_is_made_known_without_its_amount_while_it_is_under_way_leaves_all_the_same():
    corrupt, _, (crate, other) = robbed()
    world = corrupt.world
    assert corrupt.bring(naming(corrupt, crate, other, levels=[1])).reason == 0
    assert world.accept("a", crate, "ada").ok
    assert world.send("a", crate, "bob").ok
    record = world.part("a", other)
    record.status, record.container, record.generation = LIVE, crate, 1
    write(world, "b", state.part_key(other), record)
    update(world, "a", "b")
    assert materialise(world, "a", other).ok
    gone = world.part("b", crate)
    gone.status, gone.client, gone.hop = DEPARTED, "a-1", 9
    write(world, "b", state.part_key(crate), gone)
    world.relay()
    assert world.part("a", crate).status == DEPARTED
    assert (amount_at(world, "a", "@" + other), abroad(world)) == ("0", "10")
