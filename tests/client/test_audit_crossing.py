"""Audits over chains: containers and what was in them, amounts, intervals, and any number of chains on the way."""

import pytest

from client.audit_report import Verdict
from ledger import codec, state
from ledger.history import append_entry
from proto.chiptrace.v1.bridge_pb2 import Materialise
from proto.chiptrace.v1.ledger_pb2 import (
    LIVE,
    MATERIALISED,
    Attest,
    ClosedBy,
    GenerationRecord,
    History,
    LotRecord,
    Operation,
)
from tests.bridge import test_amounts as amounts
from tests.bridge import test_custody_traces as traces
from tests.bridge import test_serials as serials
from tests.bridge.crossing import (
    carry,
    generation,
    materialise,
    materialise_operation,
    observe,
    pack,
    tote,
    unpack_all,
    update,
)
from tests.bridge.two_chains import World
from tests.client.corrupt import Forged
from tests.client.test_audit import audited, codes


def clean(world, part, name):
    world.settle()
    report = audited(world, part, name)
    assert (report.problem, report.findings) == ("", []), (name, part)
    assert report.verdict is Verdict.VERIFIED
    return report


def steps(report, name, part):
    subject = next(s for s in report.subjects if s.id == part and s.chain == name)
    return [step.what for step in subject.steps]


def chains_of(report, part):
    return {subject.chain for subject in report.subjects if subject.id == part}


def test_a_child_has_its_own_history_and_its_containers_over_both_chains():
    world = World()
    box, (one, two) = tote(world)
    assert world["a"].operate("ada", amounts.object_event_of(world, "inspecting", box)).ok
    carry(world, "a", box, "bob")
    assert materialise(world, "b", one).ok
    report = clean(world, one, "b")
    assert chains_of(report, one) == chains_of(report, box) == {"a", "b"}
    there, here = steps(report, "b", one), steps(report, "a", one)
    # What happened to the box while it was inside, on both chains.
    assert [what for what in here if "inspecting" in what]
    assert [what for what in there if "receiving" in what]
    assert observe(world, "b", one, "bob").ok
    pack(world, "b", box, one, action="DELETE")
    for part in (box, one):
        clean(world, part, "b")
        clean(world, part, "a")
    clean(world, two, "a")


@pytest.mark.parametrize("ending", ["unpacked", "destroyed", "home", "waiting"])
def test_whatever_became_of_the_container(ending):
    world = World()
    box, (one, two) = tote(world)
    if ending == "waiting":
        assert world.send("a", box, "bob").ok
        world.relay()
    else:
        carry(world, "a", box, "bob")
    if ending == "unpacked":
        unpack_all(world, "b", box)
    if ending == "destroyed":
        assert world["b"].operate("bob", amounts.object_event_of(world, "destroying", box, "DELETE")).ok
    if ending == "home":
        carry(world, "b", box, "ada")
    for part in (one, two):
        assert materialise(world, "b", part).ok
    if ending == "unpacked":
        assert observe(world, "b", one, "bob").ok
        carry(world, "b", one, "ada")
    if ending == "home":
        update(world, "a", "b")
        assert materialise(world, "a", one).ok
        assert observe(world, "a", one, "ada").ok
        assert steps(clean(world, one, "a"), "a", one)
    for name in "ab":
        for part in (box, one, two):
            clean(world, part, name)


def test_nested_containers_that_come_home_in_part():
    world = World()
    one, other = (world.commission("a", "ada") for _ in range(2))
    inner = pack(world, "a", world.commission("a", "ada"), one, other)
    outer = pack(world, "a", world.commission("a", "ada"), inner)
    carry(world, "a", outer, "bob")
    for part in (inner, one):
        assert materialise(world, "b", part).ok
    unpack_all(world, "b", outer)
    pack(world, "b", inner, one, action="DELETE", member="bob")
    pack(world, "b", outer, inner)
    carry(world, "b", outer, "ada")
    assert materialise(world, "a", inner).ok
    assert materialise(world, "b", other).ok
    update(world, "a", "b")
    assert materialise(world, "a", other).ok
    for part, name in ((one, "b"), (other, "a"), (inner, "a"), (outer, "a"), (other, "b"), (inner, "b")):
        clean(world, part, name)


def test_a_box_that_never_arrived_is_audited_as_never_gone():
    world = World()
    box, (one, _) = tote(world)
    assert world.send("a", box, "nobody").ok
    world.relay()
    assert observe(world, "a", one, "ada").ok
    pack(world, "a", box, one, action="DELETE")
    for part in (box, one):
        clean(world, part, "a")


def test_amounts_are_audited_to_the_chain_they_came_from():
    world = World()
    assert world["a"].operate("ada", amounts.quantity_event(world, "ADD", "commissioning", 100)).ok
    assert amounts.send_amount(world, "a", amounts.LOT, 30, "bob", member="ada").ok
    world.relay()
    assert amounts.accept_amount(world, "b", "bob").ok
    assert amounts.send_amount(world, "b", amounts.LOT, 10, "ada", member="bob").ok
    world.relay()
    for name in "ab":
        report = clean(world, amounts.LOT, name)
        assert chains_of(report, amounts.LOT) == {"a", "b"}


def test_a_lot_is_audited_on_all_chains_that_know_it_wherever_one_begins():
    world = World()
    assert world["a"].operate("ada", amounts.quantity_event(world, "ADD", "commissioning", 100)).ok
    assert amounts.send_amount(world, "a", amounts.LOT, 30, "bob", member="ada").ok
    world.relay()
    assert amounts.accept_amount(world, "b", "bob").ok
    for name in "ab":
        assert chains_of(clean(world, amounts.LOT, name), amounts.LOT) == {"a", "b"}
    told = {"id": "https://bob.example/1", "subject": amounts.LOT, "scope": "cracks"}
    claim = Attest(kind="recall", valid_from_ms=1, **told)
    assert world["b"].operate("bob", Operation(attest=claim)).ok
    world.settle()
    for name in "ab":
        report = audited(world, amounts.LOT, name)
        assert [(finding.code, finding.chain) for finding in report.findings] == [("RECALLED", "b")]


def test_intervals_and_their_serials_are_audited_to_their_lot_at_home():
    world = World()
    event = serials.serials_of(serials.LOT, "0000", "0099", 100)
    assert world["a"].operate("ada", serials.captured(world, event)).ok
    assert world.send("a", serials.whole(10, 60), "bob", member="ada").ok
    world.relay()
    assert serials.accepted(world, "b", serials.whole(10, 60), "bob").ok
    assert world["b"].operate("bob", serials.captured(world, serials.seen([serials.die(20)]))).ok
    assert world.send("b", serials.die(20), "ada", member="bob").ok
    world.relay()
    assert world.accept("a", serials.die(20), "ada").ok
    for part in (serials.die(20), serials.die(30), serials.whole(30, 40), serials.die(5)):
        clean(world, part, "a")
    for part in (serials.die(20), serials.die(30), serials.whole(30, 40)):
        report = clean(world, part, "b")
        assert chains_of(report, serials.LOT) == {"a", "b"}


def test_an_interval_that_crossed_inside_is_audited_also_by_what_was_carved_out_of_it():
    world = World()
    event = serials.serials_of(serials.LOT, "0000", "0099", 100)
    assert world["a"].operate("ada", serials.captured(world, event)).ok
    box = world.commission("a", "ada")
    inside = {"parentID": box, "childQuantityList": [{"epcClass": serials.whole(0, 50)}]}
    packing = {"type": "AggregationEvent", "action": "ADD", "bizStep": "packing"}
    assert world["a"].operate("ada", serials.captured(world, packing | inside)).ok
    carry(world, "a", box, "bob")
    assert materialise(world, "b", serials.whole(0, 50)).ok
    for part in (serials.whole(0, 50), serials.die(3)):
        clean(world, part, "b")
    unpack_all(world, "b", box)
    assert world["b"].operate("bob", serials.captured(world, serials.seen([serials.die(3)]))).ok
    for part in (serials.whole(4, 50), serials.die(3), serials.die(20)):
        report = clean(world, part, "b")
        assert chains_of(report, serials.LOT) == {"a", "b"}
    assert world.send("b", serials.whole(4, 20), "ada", member="bob").ok
    world.relay()
    assert serials.accepted(world, "a", serials.whole(4, 20), "ada").ok
    for part in (serials.whole(4, 20), serials.whole(0, 4), serials.whole(20, 50), serials.die(5)):
        clean(world, part, "a")
    for part in (serials.die(3), serials.whole(20, 50), serials.whole(4, 20), serials.die(30)):
        clean(world, part, "b")


def test_any_number_of_chains():
    world = traces.routed("a", "b", "c", joined=(("b", "c"),))
    part = world.commission("a", "ada")
    box = pack(world, "a", world.commission("a", "ada"), part)
    carry(world, "a", box, "bob", to="b")
    assert materialise(world, "b", part, "a").ok
    pack(world, "b", box, part, action="DELETE")
    assert traces.follow(world, "c", part, "a").ok
    carry(world, "b", part, "cyd", to="c")
    assert traces.follow(world, "a", part, "b").ok
    report = clean(world, part, "c")
    assert chains_of(report, part) == {"a", "b", "c"}
    carry(world, "c", part, "ada", to="a")
    for name in world.chains:
        assert chains_of(clean(world, part, name), part) >= {name}


def test_hub_routes_over_three_chains_keep_one_identity():
    world = World("a", "b", "c")
    box, (one, _) = tote(world)
    carry(world, "a", box, "bob", to="b")
    assert materialise(world, "b", one, "a").ok
    carry(world, "b", box, "ada", to="a")
    update(world, "a", "b")
    assert materialise(world, "a", one, "b").ok
    carry(world, "a", box, "cyd", to="c")
    assert materialise(world, "c", one, "a").ok
    report = clean(world, one, "c")
    assert chains_of(report, one) == {"a", "b", "c"}
    assert codes(report) == set()


# ---- corrupt chains -------------------------------------------------------------------------------------------


def broken(world, lie, part, name, why):
    report = audited(world, part, name, stubs={lie.chain.name: lie})
    assert report.verdict is Verdict.NOT_VERIFIABLE
    assert why in report.problem, report.problem


def inside_of_b(corrupt):
    """A box that is on b with one of its children known there; and the liar."""
    world = World("a", "b", corrupt=corrupt)
    box, (one, two) = tote(world)
    carry(world, "a", box, "bob")
    assert materialise(world, "b", one).ok
    world.settle()
    return world, box, one, two, Forged(world[corrupt])


def test_a_home_that_denies_what_was_inside():
    world, _, one, _, lie = inside_of_b("a")
    lie.part(one, lie.real(one)[:1], container="", generation=0)
    broken(world, lie, one, "b", "in which it was not inside")


@pytest.mark.parametrize("changed", ["hop", "destination", "count", "closed_by"])
def test_a_home_that_tells_another_story_of_the_filling(changed):
    world, box, one, _, lie = inside_of_b("a")
    key = state.generation_key(box, 1)
    record = world["a"].record(key, GenerationRecord)
    setattr(record, changed, {"destination": bytes(32), "closed_by": ClosedBy.UNPACK_ALL}.get(changed, 7))
    lie.put(key, record)
    why = "what the packet said was inside" if changed == "count" else "did not leave for here"
    broken(world, lie, one, "b", why)


def test_a_chain_that_lets_come_out_what_never_was_inside():
    world, box, one, _, lie = inside_of_b("b")
    lone = world.commission("a", "ada")
    honest = materialise_operation(world, "b", one, "a")
    shown = Materialise.FromString(honest.materialise)
    shown.part = lone
    lying = lie.signed("bob", Operation(materialise=codec.encode(shown)))
    real = world.part("b", one)
    entry = lie.entry(
        lone,
        lying,
        MATERIALISED,
        container=box,
        generation=2,
        container_n=generation(world, "b", box, 2).opened_n,
    )
    lie.part(
        lone,
        [entry],
        status=LIVE,
        container=box,
        generation=2,
        origin_chain=real.origin_chain,
        commissioner="ada",
        hop=1,
    )
    broken(world, lie, lone, "b", "in which it was not inside")


def test_a_chain_that_invents_a_filling():
    world, box, one, _, lie = inside_of_b("b")
    key = state.generation_key(box, 2)
    record = world["b"].record(key, GenerationRecord)
    record.from_generation = 5
    lie.put(key, record)
    broken(world, lie, one, "b", "in which it was not inside")
    record.ClearField("from_chain")
    lie.put(key, record)
    broken(world, lie, one, "b", "opened by no arrival")


def test_amounts_that_were_never_sent():
    world = World("a", "b", corrupt="a")
    assert world["a"].operate("ada", amounts.quantity_event(world, "ADD", "commissioning", 100)).ok
    assert amounts.send_amount(world, "a", amounts.LOT, 30, "bob", member="ada").ok
    world.relay()
    lie = Forged(world["a"])
    key = state.lot_key(amounts.LOT)
    entries = world["a"].entries(key)
    for entry in entries:
        lie.transactions[entry.transaction] = world["a"].app.store.transaction(entry.transaction).data
    record = world["a"].record(key, LotRecord)
    for shown, why in ((entries[:1], "it was not sent"), (entries[1:], "the history that travelled")):
        history = History()
        lie.histories[key] = [append_entry(world["a"].chain_id, history, entry)[1] for entry in shown]
        record.history.CopyFrom(history)
        lie.put(key, record)
        broken(world, lie, amounts.LOT, "b", why)
    record.origin_chain = world["b"].chain_id
    lie.put(key, record)
    broken(world, lie, amounts.LOT, "b", "knows no such lot")


def test_a_chain_that_the_auditor_does_not_trust_is_a_finding():
    world = World()
    box, (one, _) = tote(world)
    carry(world, "a", box, "bob")
    assert materialise(world, "b", one).ok
    assert world["a"].operate("ada", amounts.quantity_event(world, "ADD", "commissioning", 100)).ok
    assert amounts.send_amount(world, "a", amounts.LOT, 30, "bob", member="ada").ok
    world.relay()
    for name in (one, amounts.LOT):
        assert "CHAIN_NOT_TRUSTED" in codes(audited(world, name, "b", chains=("b",)))
