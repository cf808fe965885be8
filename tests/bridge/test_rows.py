"""What a container of many kinds costs: rows of manifests that a transaction, or a block, goes through are bounded."""

import pytest

from ledger import codec, execute
from ledger.errors import Refused
from ledger.limits import MANIFEST_ROWS_MAX, ROWS_PER_BLOCK_MAX, ROWS_PER_TRANSACTION_MAX
from ledger.overlay import MappingReader, Overlay
from proto.chiptrace.v1.bridge_pb2 import ReturnPart
from proto.chiptrace.v1.ledger_pb2 import Operation, Reason
from tests.bridge.crossing import pack
from tests.bridge.test_containers import refused
from tests.bridge.test_licences import crossing
from tests.bridge.test_serials import captured
from tests.bridge.two_chains import HOUR_MS, World, object_event, packing_event
from tests.ledger.rules_world import shipping

KINDS = ("04012345111118", "04012345111125", "04012345111132")


@pytest.fixture
def world(monkeypatch):
    """Three boxes of three kinds each, where a transaction may go through seven rows and a block through ten."""
    world = World()
    world.boxes = []
    for number in range(3):
        things = [f"https://id.gs1.org/01/{kind}/21/9{number}" for kind in KINDS]
        assert world["a"].operate("ada", object_event("ADD", "commissioning", *things, number=number)).ok
        world.boxes.append(pack(world, "a", world.commission("a", "ada"), *things, member="ada"))
    monkeypatch.setattr(execute, "ROWS_PER_TRANSACTION_MAX", 7)
    monkeypatch.setattr(execute, "ROWS_PER_BLOCK_MAX", 10)
    return world


def test_shipping_here(world):
    refused(world["a"].operate("ada", captured(world, shipping(world.boxes, "abe"))), Reason.TOO_MANY_ROWS)
    # To nobody who is a member it moves nothing, and looks as long.
    elsewhere = [captured(world, shipping([box], "urn:epc:id:pgln:4012345.00002"), 1) for box in world.boxes]
    refused(world["a"].operate("ada", *elsewhere), Reason.TOO_MANY_ROWS)
    assert world["a"].operate("ada", captured(world, shipping(world.boxes[:2], "abe"))).ok


def test_packing_and_taking_out(world):
    pallet = world.commission("a", "ada")
    refused(world["a"].operate("ada", packing_event("ADD", pallet, *world.boxes)), Reason.TOO_MANY_ROWS)
    for boxes in (world.boxes[:2], world.boxes[2:]):
        pack(world, "a", pallet, *boxes)
    refused(world["a"].operate("ada", packing_event("DELETE", pallet, *world.boxes)), Reason.TOO_MANY_ROWS)
    pack(world, "a", pallet, *world.boxes[:2], action="DELETE")


def test_taking_back_a_packing(world):
    pallet = world.commission("a", "ada")
    pack(world, "a", pallet, *world.boxes[:2])
    event = {"type": "AggregationEvent", "action": "ADD", "bizStep": "packing", "parentID": pallet}
    event["childEPCs"] = world.boxes[2:]
    wrong = {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:20.000Z"}}
    packed, declared = captured(world, event, 7), captured(world, event | wrong, 7)
    assert world["a"].operate("ada", packed).ok
    others = packing_event("DELETE", pallet, *world.boxes[:2])
    refused(world["a"].operate("ada", declared, others), Reason.TOO_MANY_ROWS)
    assert world["a"].operate("ada", declared).ok
    assert world.part("a", world.boxes[2]).container == ""
    assert world["a"].operate("ada", others).ok


def test_sending_and_returning(world):
    """Who sends goes through a manifest twice, for the policies and to close it."""
    sendings = [crossing(world, box) for box in world.boxes[1:]]
    refused(world["a"].operate("ada", *sendings), Reason.TOO_MANY_ROWS)
    for box in world.boxes:
        assert world["a"].operate("ada", crossing(world, box)).ok
    world.relay()
    back = [
        Operation(return_part=codec.encode(ReturnPart(part=box, timeout_ms=world.clock.now_ms + HOUR_MS)))
        for box in world.boxes
    ]
    refused(world["b"].operate("bob", *back), Reason.TOO_MANY_ROWS)
    assert world["b"].operate("bob", *back[:2]).ok


def test_a_block_goes_through_so_many(world, monkeypatch):
    monkeypatch.setattr(execute, "ROWS_PER_BLOCK_MAX", 8)
    chain = world["a"]
    shipped = (world.boxes[:2], world.boxes[2:], [world.commission("a", "ada")])
    events = [captured(world, shipping(parts, "abe"), 1) for parts in shipped]
    results = chain.produce([chain.transaction("ada", one) for one in events])
    # What goes through none is not concerned.
    assert [result.reason for result in results] == [0, Reason.TOO_MANY_ROWS, 0]
    assert chain.operate("ada", events[1]).ok


def test_rows_are_counted_at_every_level_and_stay_counted():
    block = Overlay(MappingReader({}), None, 10)
    one = block.child(None, 7)
    one.go_through(7)
    one.child().go_through(0)
    with pytest.raises(Refused) as error:
        one.child().go_through(1)
    assert error.value.reason == Reason.TOO_MANY_ROWS
    # What it went through stays counted, also where it is thrown away.
    other = block.child(None, 7)
    other.go_through(3)
    with pytest.raises(Refused, match="more than 10 rows"):
        other.go_through(1)


def test_the_fullest_container_can_always_be_sent_and_packed():
    assert ROWS_PER_TRANSACTION_MAX >= 2 * MANIFEST_ROWS_MAX
    assert ROWS_PER_BLOCK_MAX >= ROWS_PER_TRANSACTION_MAX
