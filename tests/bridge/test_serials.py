"""Serials of lots at the bridge: one by one, with a record of their own, and never as an interval."""

import pytest

from client.audit import Audit
from client.audit_report import Verdict
from ledger import codec
from ledger.identifiers import canonical, interval_text
from proto.chiptrace.v1.ledger_pb2 import (
    Capture,
    Change,
    Event,
    Operation,
    PartStatus,
    PutGrant,
    Reason,
    RevokeGrant,
)
from tests.bridge.test_custody_transfer import Corrupt
from tests.bridge.two_chains import PREFIX, World
from tests.client.direct import verified
from tests.ledger.rules_world import iso, seen, serials_of, to_fields

LOT = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
DIE = f"{canonical(LOT).class_text}/21/0005"


def captured(world: World, event: dict) -> Operation:
    stamped = {"eventTime": iso(world.clock.now_ms), "eventTimeZoneOffset": "+00:00"} | event
    return Operation(capture=Capture(event=codec.encode(Event(seed=bytes(16), fields=to_fields(stamped)))))


@pytest.fixture
def world() -> World:
    world = World("a", "b")
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    return world


def test_an_interval_stays(world):
    for name in (interval_text(LOT, 0, 100), interval_text(LOT, 0, 5), interval_text(LOT, 0, 101)):
        assert world.send("a", name, "bob", member="ada").reason == Reason.INTERVAL_STAYS
    assert world.send("a", DIE, "bob", member="ada").reason == Reason.UNKNOWN_PART


def test_a_serial_with_a_record_of_its_own_crosses_and_is_audited_to_its_lot(world):
    assert world["a"].operate("ada", captured(world, seen([DIE]))).ok
    assert world.send("a", DIE, "bob").ok
    world.relay()
    assert world.accept("b", DIE, "bob").ok
    assert PartStatus.Name(world.part("a", DIE).status) == "DEPARTED"
    # What is away is no part of the lot here until it is home again.
    refused = world["a"].operate("ada", captured(world, seen([], [{"epcClass": interval_text(LOT, 0, 100)}])))
    assert refused.reason == Reason.INTERVAL_SPLIT
    world.settle()
    chains = {chain.chain_id: verified(chain) for chain in world.chains.values()}
    report = Audit(chains).run(DIE, world["b"].chain_id, lambda: 0)
    assert (report.problem, report.findings) == ("", [])
    assert report.verdict is Verdict.VERIFIED
    whats = {subject.id: [step.what for step in subject.steps] for subject in report.subjects}
    assert LOT in whats
    home = next(subject for subject in report.subjects if subject.id == DIE and subject.chain == "a")
    assert [step.what for step in home.steps][:2] == ["object ADD commissioning", "object OBSERVE inspecting"]


def test_nothing_of_a_lot_arrives_that_never_left():
    """A corrupt chain brings what it never had: serials of a lot that is here, and intervals."""
    corrupt = Corrupt()
    assert corrupt.world["a"].operate("ada", captured(corrupt.world, serials_of(LOT, "0000", "0099", 100))).ok
    corrupt.nothing_comes_of(corrupt.packet(DIE), Reason.NOT_FROM_HOME)
    for name in (interval_text(LOT, 0, 100), interval_text(LOT, 3, 4)):
        corrupt.nothing_comes_of(corrupt.packet(name), Reason.IDENTIFIER_INVALID)


def test_no_serial_of_a_lot_arrives_from_a_home_that_came_later():
    """The namespace's home moves to the other chain, which commissions a serial that is in a lot here."""
    corrupt = Corrupt()
    world = corrupt.world
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    there = world["b"].chain_id
    moved = PutGrant(prefix=PREFIX, holder="ada", home_chain=there)
    assert world.govern("a", Change(revoke_grant=RevokeGrant(prefix=PREFIX)), Change(put_grant=moved)).ok
    corrupt.nothing_comes_of(corrupt.packet(DIE, origin_chain=there), Reason.SERIALS_OVERLAP)
