"""A corrupt chain's own records, shown to an honest one: what they say of contents stops no chain and takes nothing
from anybody."""

from ledger import codec, state
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import Evidence, GenerationRecord, Operation, Reason
from tests.bridge.crossing import carry, generation, materialise
from tests.bridge.test_containers import refused
from tests.bridge.test_serials import LOT, captured, whole
from tests.bridge.two_chains import World
from tests.ledger.rules_world import serials_of


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
