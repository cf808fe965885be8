"""A recall is said of what was recalled, of what it is in, and of what was made of it."""

import pytest

from proto.chiptrace.v1.ledger_pb2 import Attest, Operation, Reason, RevokeAttestation
from tests.bridge.two_chains import World, object_event, packing_event, serial
from tests.client.test_audit import audited
from tests.ledger.rules_world import World as Rules
from tests.ledger.rules_world import lot, making, packing, quantity

DIE, CHIP, BOARD, DEVICE, BOX = (serial(number) for number in range(1, 6))
RECALL = "https://ada.example/recall/1"


@pytest.fixture
def world():
    """A die becomes a chip, with an amount of a lot; the chip is installed on a board, that in a device, that in a box."""
    world, rules = World("a"), Rules()
    chain = world["a"]

    def act(*operations):
        result = chain.operate("ada", *operations)
        assert result.ok, Reason.Name(result.reason)

    world.act = act
    rules.time_ms = chain.info.time_ms
    act(object_event("ADD", "commissioning", DIE, BOARD, DEVICE, BOX))
    act(rules.capture({"type": "ObjectEvent", "action": "ADD", "quantityList": [quantity(lot("L"), 9)]}))
    act(rules.capture(making([DIE], [CHIP], used=[quantity(lot("L"), 1)])))
    act(rules.capture(packing(BOARD, [CHIP], kind="Association")))
    act(rules.capture(packing(DEVICE, [BOARD], kind="Association")))
    act(rules.capture(packing(BOX, [DEVICE])))
    return world


def recall(world, subject):
    world.act(Operation(attest=Attest(id=RECALL, subject=subject, kind="recall", scope="cracked")))


def recalled(world, name):
    report = audited(world, name, "a")
    assert report.problem == ""
    assert {finding.code for finding in report.findings} <= {"RECALLED"}
    return {finding.subject for finding in report.findings}


@pytest.mark.parametrize("subject", [DIE, lot("L")])
def test_what_was_made_of_it_and_what_holds_that(world, subject):
    # A die that was consumed, or an amount that was used up, is recalled all the same.
    recall(world, subject)
    for name in (CHIP, BOARD, DEVICE, BOX):
        assert recalled(world, name) == {subject}
    world.act(Operation(revoke_attestation=RevokeAttestation(id=RECALL)))
    report = audited(world, BOX, "a")
    assert {finding.code for finding in report.findings} == {"REVOKED_ATTESTATION"}


def test_what_is_inside_a_recalled_box(world):
    recall(world, BOX)
    for name in (BOX, DEVICE, BOARD, CHIP):
        assert BOX in recalled(world, name)
    # What is in it was made of a die that never was in it.
    assert recalled(world, DIE) == set()


def test_what_was_taken_out_before(world):
    world.act(packing_event("DELETE", BOX, DEVICE))
    recall(world, BOX)
    assert recalled(world, DEVICE) == set()
