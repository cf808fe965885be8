import pytest

from ledger import state
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    lot,
    making,
    packing,
    part,
    quantity,
    refused,
    seen,
    shipping,
)

WRONG = {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:21Z", "reason": "did_not_occur"}}
LOT = lot("L")


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(1), part(2)], [quantity(LOT, 10)]))
    return world


@pytest.mark.parametrize(
    "event",
    [
        destroying([part(1)], **WRONG),
        shipping([part(1)], "bob", **WRONG),
        packing(box(9), [part(1)], **WRONG),
        packing(part(1), [part(8)], **WRONG),
        making([part(1)], [part(9)], **WRONG),
        making([part(9)], [part(1)], **WRONG),
        add([part(1)], **WRONG),
    ],
)
def test_a_declaration_is_entered_and_changes_nothing(world, event):
    world.event("ada", event)
    assert world.story(part(1)) == ["EVENT", "CORRECTED"]
    assert world.status(part(1)) == "LIVE"
    assert world.touched == {state.part_key(part(1))}


def test_the_possessor_and_the_commissioner_declare(world):
    world.give("ada", "bob", part(1))
    world.event("ada", shipping([part(1), part(2)], "bob", **WRONG))
    world.event("bob", seen([part(1), part(2)], **WRONG))
    assert world.story(part(1)) == ["EVENT", "EVENT", "EVENT", "CORRECTED", "CORRECTED"]
    assert world.story(part(2)) == ["EVENT", "CORRECTED"]
    for event in (seen([part(1)], **WRONG), seen([part(9)], **WRONG), seen([], [quantity(LOT, 1)], **WRONG)):
        with refused(Reason.CORRECTION_NOT_APPLICABLE):
            world.event("cyd", event)
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        world.event("cyd", {"type": "TransactionEvent", "action": "ADD", **WRONG})


def test_what_is_over_may_still_be_called_wrong(world):
    world.event("ada", destroying([part(1)]), destroying([part(1)], **WRONG))
    assert world.story(part(1))[-1] == "CORRECTED"
    assert world.status(part(1)) == "DESTROYED"


def test_amounts_are_corrected_by_who_holds_or_declared_them(world):
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 10)]))
    world.event("ada", destroying([], [quantity(LOT, 3)], **WRONG))
    assert world.lot_story(LOT) == ["EVENT", "EVENT", "CORRECTED"]
    assert world.amount(LOT, "ada>bob") == "10"


@pytest.mark.parametrize("status", ["IN_TRANSIT", "DEPARTED"])
def test_what_is_on_another_chain_is_frozen(world, status):
    world.event("ada", packing(box(1), [part(1)]))
    world.set_status(box(1), status)
    for name in (box(1), part(1)):
        with refused(Reason.CORRECTION_NOT_APPLICABLE):
            world.event("ada", seen([name], **WRONG))


def test_a_declaration_is_entered_once(world):
    operation = world.capture(seen([part(1)], **WRONG))
    world.act("ada", operation)
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", operation)


def test_a_namesake_on_the_chain_of_origin_is_another_member(world):
    world.give("ada", "bob", part(1))
    record = world.part(part(1))
    record.origin_chain = b"o" * 32
    world.put_part(record)
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        world.event("ada", seen([part(1)], **WRONG))
    world.event("bob", seen([part(1)], **WRONG))
