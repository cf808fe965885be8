"""A corrupt chain's own records, shown to an honest one: what they say of contents stops no chain and takes nothing
from anybody."""

import pytest

from ledger import codec, state
from ledger.containers import standing
from ledger.identifiers import canonical
from ledger.limits import HOP_MAX
from proto.chiptrace.v1.bridge_pb2 import Contents, CustodyTransfer
from proto.chiptrace.v1.ledger_pb2 import LIVE, Evidence, GenerationRecord, ManifestRow, Operation, Reason
from tests.bridge.crossing import carry, generation, materialise, pack, unpack_all, update
from tests.bridge.test_containers import refused
from tests.bridge.test_custody_transfer import Corrupt
from tests.bridge.test_serials import LOT, captured, whole
from tests.bridge.two_chains import HOUR_MS, World, packing_event
from tests.ledger.rules_world import receiving, serials_of, shipping


def write(world, name, key, record):
    """The corrupt chain has whatever it likes under a key."""
    chain = world[name]
    lie = Operation(evidence=Evidence(first=key, second=codec.encode(record)))
    assert chain.operate(chain.members[0], lie).ok


def test_nothing_lies_in_an_interval():
    """Its pieces would be open with no filling, on which the chain that carves it would stop."""
    world = World(corrupt="a")
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    box, part = world.commission("a", "ada"), world.commission("a", "ada")
    inside = {"parentID": box, "childQuantityList": [{"epcClass": whole()}], "childEPCs": [part]}
    packing = {"type": "AggregationEvent", "action": "ADD", "bizStep": "packing"}
    assert world["a"].operate("ada", captured(world, packing | inside)).ok
    filling = generation(world, "a", box, 1)
    filling.levels[:] = [1, 1]
    write(world, "a", state.generation_key(box, 1), filling)
    record = world.part("a", whole())
    record.open, record.generations = True, 1
    write(world, "a", state.part_key(record.id), record)
    inner = GenerationRecord(container=record.id, generation=1, opened_n=1, count=1, depth=1, levels=[1])
    inner.manifest.add(item_class=canonical(part).class_text, count=1)
    write(world, "a", state.generation_key(record.id, 1), inner)
    carry(world, "a", box, "bob")
    refused(materialise(world, "b", record.id), Reason.CONTENTS_INVALID)


def test_an_interval_of_no_lot_does_not_come_out_of_a_container():
    """It would stand under the name of serials that may come later, or be carved here."""
    world = World(corrupt="a")
    box, part = world.commission("a", "ada"), world.commission("a", "ada")
    pack(world, "a", box, part)
    record = world.part("a", part)
    record.id = f"{canonical(part).class_text}/10/L1?interval=0-5"
    assert canonical(record.id).text == record.id
    write(world, "a", state.part_key(record.id), record)
    carry(world, "a", box, "bob")
    refused(materialise(world, "b", record.id), Reason.MALFORMED)
    assert materialise(world, "b", part).ok


def test_a_part_has_no_hop_at_which_it_could_not_have_come():
    """Else whatever is packed with it could never cross again."""
    corrupt = Corrupt(World(corrupt="a"))
    world = corrupt.world
    part = world.commission("a", "ada")
    ways = {"source_client": "b-1", "destination_client": "a-1"}
    told = CustodyTransfer.FromString(corrupt.packet(part, sender="ada", receiver="bob").value)
    told.hop = world.clock.now_ms + HOUR_MS
    corrupt.nothing_comes_of(corrupt.raw(codec.encode(told), **ways), Reason.MALFORMED, "a", "b")
    told.hop = world.clock.now_ms
    assert corrupt.bring(corrupt.raw(codec.encode(told), **ways), "a", "b").reason == 0
    assert world.accept("b", part, "bob").ok
    box = pack(world, "b", carried(world), part)
    unpack_all(world, "b", box)
    assert carry(world, "b", box, "ada") == "a"
    assert world.part("a", box).hop == told.hop + 1


def carried(world):
    box = world.commission("a", "ada")
    carry(world, "a", box, "bob")
    return box


def test_what_belongs_to_somebody_here_is_not_sold_over_there():
    corrupt = Corrupt()
    world = corrupt.world
    part = world.commission("a", "ada")
    owned_by(world, part, "amy")
    carry(world, "a", part, "bob")
    assert world.part("a", part).owner == "amy"
    assert corrupt.bring(corrupt.packet(part, ownership=True)).reason == 0
    assert world.accept("a", part, "abe").ok
    assert (world.part("a", part).holder, world.part("a", part).owner) == ("abe", "amy")


def owned_by(world, part, owner, holder="ada"):
    """Sold to somebody, and back in the hands of its first holder."""
    for event, member in (
        (shipping([part], owner, owner=owner), holder),
        (receiving([part], sender=holder), owner),
        (shipping([part], holder), owner),
        (receiving([part], sender=owner), holder),
    ):
        world._serials += 1
        assert world["a"].operate(member, captured(world, event, world._serials)).ok


def test_things_of_two_owners_that_are_packed_where_neither_is_known_keep_their_owners():
    world = World()
    box, inside, other = (world.commission("a", "ada") for _ in range(3))
    for part, owner in ((box, "abe"), (inside, "abe"), (other, "amy")):
        owned_by(world, part, owner)
    pack(world, "a", box, inside)
    carry(world, "a", box, "bob")
    carry(world, "a", other, "bob")
    # What came as all of one owner stays so; what is packed anew may be anybody's.
    refused(pack_event(world, box, other), Reason.NOT_OWNER)
    assert materialise(world, "b", inside).ok
    unpack_all(world, "b", box)
    pack(world, "b", box, inside, other)
    carry(world, "b", box, "ada")
    update(world, "a", "b")
    for part, owner in ((inside, "abe"), (other, "amy")):
        assert materialise(world, "a", part).ok
        assert standing(world["a"].app.store, world.part("a", part)).owner == owner
    pack(world, "a", box, other, action="DELETE")
    unpack_all(world, "a", box)
    assert [world.part("a", part).owner for part in (box, other)] == ["abe", "amy"]
    assert standing(world["a"].app.store, world.part("a", inside)).owner == "abe"


def pack_event(world, box, part):
    return world["b"].operate("bob", packing_event("ADD", box, part, number=99))


def test_a_container_holds_no_more_than_can_be_counted():
    """However many boxes a chain has said to be full, nested as deep as may be."""
    world = World(corrupt="b")
    boxes = []
    for _ in range(2):
        box = pack(world, "a", world.commission("a", "ada"), world.commission("a", "ada"))
        carry(world, "a", box, "bob")
        filling = generation(world, "b", box, 2)
        filling.manifest[0].count = 2**63
        write(world, "b", state.generation_key(box, 2), filling)
        boxes.append(box)
    around = carried(world)
    pack(world, "b", around, boxes[0])
    refused(pack_event(world, around, boxes[1]), Reason.MANIFEST_FULL)


def test_what_is_packed_into_a_container_can_come_out_of_it_on_the_next_chain():
    """However often the chain it was on says that it was filled: above no number there would be one more for ever."""
    corrupt = Corrupt(World("a", "b", "c", corrupt="b"))
    world = corrupt.world
    box, outer, part = (world.commission("a", "ada") for _ in range(3))
    carry(world, "a", box, "bob", to="b")
    inside = ManifestRow(item_class=canonical(box).class_text, count=1)
    contents = Contents(count=1, levels=[1], manifest=[inside])
    for generation_there in (HOP_MAX, world["a"].now_ms + HOUR_MS):
        contents.generation = generation_there
        told = corrupt.packet(box, contents=contents, receiver="ada")
        corrupt.nothing_comes_of(told, Reason.CONTENTS_INVALID)
    contents.generation = world["a"].now_ms
    assert corrupt.bring(corrupt.packet(box, contents=contents, receiver="ada")).reason == 0
    assert world.accept("a", box, "ada").ok
    unpack_all(world, "a", box)
    pack(world, "a", box, part)
    pack(world, "a", outer, box)
    carry(world, "a", outer, "cyd", to="c")
    unpack_all(world, "c", outer)
    for thing in (box, part):
        update(world, "c", "a")
        assert materialise(world, "c", thing, "a").ok
    unpack_all(world, "c", box, "cyd")
    assert standing(world["c"].app.store, world.part("c", part)).holder == "cyd"


@pytest.mark.parametrize("changed", [{"generation": 1, "many": 2**48}])
def test_what_no_chain_would_take_comes_back(changed):
    """Its home cannot see that before: what is said of what lies in it came from the other chain."""
    corrupt = Corrupt()
    world = corrupt.world
    boxes = [carried(world) for _ in range(2)]
    inside = world.commission("a", "ada")
    count = changed.pop("many", 1)
    row = ManifestRow(item_class=canonical(boxes[0]).class_text, count=count)
    contents = Contents(count=count, levels=[count], manifest=[row], **changed)
    for box in boxes:
        assert corrupt.bring(corrupt.packet(box, contents=contents, receiver="ada")).reason == 0
        assert world.accept("a", box, "ada").ok
    if count > 1:
        box = pack(world, "a", world.commission("a", "ada"), inside, *boxes)
    for receiver, timeout_ms in (("bob", HOUR_MS), ("bob", 1_000)):
        assert world.send("a", box, receiver, timeout_ms=timeout_ms).ok
        if timeout_ms == 1_000:
            world.pass_time(5_000)
        world.relay()
        assert (world.part("a", box).status, world.part("a", box).open) == (LIVE, True)
    if count > 1:
        pack(world, "a", box, inside, action="DELETE")


def told_as_one_owners(world, box, number):
    """The corrupt chain says that all in this filling belongs to the owner of the box."""
    filling = generation(world, "b", box, number)
    filling.foreign = 0
    write(world, "b", state.generation_key(box, number), filling)


def test_what_left_without_its_ownership_is_not_made_anothers_by_the_box_it_comes_home_in():
    world = World(corrupt="b")
    box, inside, other = (world.commission("a", "ada") for _ in range(3))
    for part, owner in ((box, "abe"), (inside, "abe"), (other, "amy")):
        owned_by(world, part, owner)
    pack(world, "a", box, inside)
    carry(world, "a", box, "bob")
    carry(world, "a", other, "bob")
    assert materialise(world, "b", inside).ok
    unpack_all(world, "b", box)
    pack(world, "b", box, inside, other)
    told_as_one_owners(world, box, 3)
    carry(world, "b", box, "ada")
    update(world, "a", "b")
    refused(materialise(world, "a", other), Reason.CONTENTS_INVALID)
    assert materialise(world, "a", inside).ok
    store = world["a"].app.store
    assert [standing(store, world.part("a", part)).owner for part in (inside, other)] == ["abe", "amy"]


def test_nor_by_what_is_around_that_box():
    """A box that was sold over there, in one that somebody here owns."""
    world = World(corrupt="b")
    around, box, inside, other = (world.commission("a", "ada") for _ in range(4))
    for part, owner in ((around, "abe"), (inside, "abe"), (other, "amy")):
        owned_by(world, part, owner)
    for part in (around, box, inside, other):
        carry(world, "a", part, "bob")
    pack(world, "b", box, inside, other)
    pack(world, "b", around, box)
    for part in (box, around):
        told_as_one_owners(world, part, 1)
    carry(world, "b", around, "ada")
    update(world, "a", "b")
    assert materialise(world, "a", box).ok
    refused(materialise(world, "a", other), Reason.CONTENTS_INVALID)
    assert materialise(world, "a", inside).ok


def test_what_was_sold_in_a_box_and_comes_home_without_it_is_the_buyers():
    world = World()
    box, inside = (world.commission("a", "ada") for _ in range(2))
    pack(world, "a", box, inside)
    owned_by(world, box, "amy")
    carry(world, "a", box, "bob")
    assert materialise(world, "b", inside).ok
    unpack_all(world, "b", box)
    carry(world, "b", inside, "ada")
    assert standing(world["a"].app.store, world.part("a", inside)).owner == "amy"
