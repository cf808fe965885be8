"""What was taken over from a lost chain says so in every audit, and rests on a decision and a proof."""

from bridge.clients import rehoming_key
from client.audit_report import Verdict
from ledger import codec, state
from proto.chiptrace.v1.bridge_pb2 import RehomePart
from proto.chiptrace.v1.ledger_pb2 import LIVE, REHOMED, Operation, RehomingRecord
from tests.bridge.crossing import materialise, pack, update
from tests.bridge.test_rehoming import (
    bring_head,
    give_up,
    lost_world,
    moved,
    rehome,
    rows_of,
    world_with_home_on_b,
)
from tests.bridge.test_rehoming_hostile import arrived_from_lost, nested
from tests.bridge.two_chains import World, object_event
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes


def test_it_is_told_for_ever():
    world, part = lost_world()
    assert rehome(world, part).ok
    assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", part, number=50)).ok
    report = audited(world, part, "a", chains="a")
    assert (report.verdict, codes(report)) == (Verdict.FINDINGS, {"REHOMED"}), report.problem
    assert "burnt down" in report.findings[0].message
    assert report.subject.holder == "ada"


def test_whoever_takes_over_from_its_holder_has_it():
    world = World()
    part = moved(world, receiver="bea")
    bring_head(world)
    assert give_up(world).ok
    assert rehome(world, part).ok
    report = audited(world, part, "a", chains="a")
    assert (codes(report), report.subject.holder) == ({"REHOMED"}, "abe"), report.findings


def test_what_the_heir_took_over_has_its_origin_on_the_lost_chain():
    world, part = world_with_home_on_b(heir=True)
    assert rehome(world, part).ok
    report = audited(world, part, "a", chains="a")
    assert codes(report) == {"REHOMED"}, (report.problem, report.findings)


def test_a_lost_chain_that_still_answers_has_it_too():
    world, part = lost_world()
    assert rehome(world, part).ok
    assert "LIVE_TWICE" in codes(audited(world, part, "a"))


def test_what_a_lost_chain_does_with_it_since_is_of_no_weight():
    """It goes on, and sends it again and again: to a hop above the one at which it was taken over."""
    world, part = lost_world()
    assert rehome(world, part).ok
    assert world.send("b", part, "ada", timeout_ms=1_000).ok
    world.pass_time(10_000)
    update(world, "b", "a")
    world.relay()
    assert world.send("b", part, "ada").ok
    assert world.part("b", part).hop > world.part("a", part).hop
    report = audited(world, part, "a")
    assert (report.problem, codes(report)) == ("", {"REHOMED"})


def test_what_came_from_there_and_was_declined():
    world, part = arrived_from_lost(moved)
    assert rehome(world, part, member="abe").ok
    assert world["a"].operate("ada", object_event("OBSERVE", "inspecting", part, number=50)).ok
    report = audited(world, part, "a", chains="a")
    assert codes(report) == {"REHOMED", "CHAIN_NOT_TRUSTED"}, (report.problem, report.findings)
    assert report.subject.holder == "ada"


def test_what_had_left_in_a_box_in_a_crate():
    world, die, box, crate = nested()
    update(world, "b", "a")
    assert materialise(world, "b", die).ok
    for outer, inner in ((crate, box), (box, die)):
        pack(world, "b", outer, inner, action="DELETE")
    bring_head(world)
    assert give_up(world).ok
    for name in (box, die):
        assert rehome(world, name).ok
        report = audited(world, name, "a", chains="a")
        assert codes(report) == {"REHOMED"}, (report.problem, report.findings)


# ---- a corrupt chain --------------------------------------------------------------------------------------------


def corrupt_world(*, given_up=True):
    world = World(corrupt="a")
    part = moved(world)
    bring_head(world)
    if given_up:
        assert give_up(world).ok
    return world, part


def entered(world, part, rows, member="ada", **fields):
    """Chain a enters a taking over that it never carried out."""
    lie = Forged(world["a"])
    message = RehomePart(chain_id=world["b"].chain_id, part=part, rows=rows)
    signed = lie.signed(member, Operation(rehome_part=codec.encode(message)))
    values = {"status": LIVE, "holder": "ada", "client": "", "sequence": 0} | fields
    lie.part(part, [*lie.real(part), lie.entry(part, signed, REHOMED)], **values)
    return lie


def test_nobody_gave_the_chain_up():
    world, part = corrupt_world(given_up=False)
    lie = entered(world, part, [])
    report = audited(world, part, "a", stubs={"a": lie}, chains="a")
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "never given up" in report.problem


def test_the_rows_prove_nothing():
    world, part = corrupt_world()
    (row,) = rows_of(world, state.part_key(part))
    row.value += b"\x08\x01"
    report = audited(world, part, "a", stubs={"a": entered(world, part, [row])}, chains="a")
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert "does not hold" in report.problem


def test_it_went_to_another_than_the_decision_says():
    world, part = corrupt_world()
    rows = rows_of(world, state.part_key(part))
    lie = entered(world, part, rows, holder="ann")
    report = audited(world, part, "a", stubs={"a": lie}, chains="a")
    assert codes(report) == {"REHOMED", "CONTRADICTION"}, report.problem


def test_members_did_not_approve():
    world, part = corrupt_world()
    rows = rows_of(world, state.part_key(part))
    key = rehoming_key(world["b"].chain_id)
    record = world["a"].record(key, RehomingRecord)
    record.members[0].here = "ann"
    lie = entered(world, part, rows)
    lie.put(key, record)
    report = audited(world, part, "a", stubs={"a": lie}, chains="a")
    assert codes(report) == {"REHOMED", "REHOMING_NOT_APPROVED"}, report.problem


def test_a_part_that_was_here_is_not_taken_over():
    world, _ = corrupt_world()
    part = world.commission("a", "ada")
    report = audited(world, part, "a", stubs={"a": entered(world, part, [])}, chains="a")
    assert report.verdict is Verdict.NOT_VERIFIABLE
