"""Serials of lots at the bridge: one by one with a record of their own, or as an interval."""

import tracemalloc

import pytest

from bridge.serial_lots import Place, check_place
from client.audit import Audit
from client.audit_report import Verdict
from ledger import codec
from ledger.containers import standing
from ledger.errors import Refused
from ledger.identifiers import canonical, interval_text
from ledger.intervals import pieces
from proto.chiptrace.v1.ledger_pb2 import (
    Capture,
    Change,
    Event,
    LotRecord,
    Operation,
    PartStatus,
    PutGrant,
    Reason,
    RevokeGrant,
    Serials,
)
from tests.bridge.crossing import carry, lot_record, materialise, pack, unpack_all
from tests.bridge.test_custody_transfer import Corrupt, refused
from tests.bridge.two_chains import PREFIX, World
from tests.client.direct import verified
from tests.ledger.rules_world import (
    add,
    destroying,
    iso,
    packing,
    seen,
    serials_of,
    shipping,
    to_fields,
    unpacking,
)
from tests.ledger.test_corrections import wrong

LOT = canonical("urn:epc:class:lgtin:4012345.012345.W1").text
DIE = f"{canonical(LOT).class_text}/21/0005"


def captured(world: World, event: dict, number: int = 0) -> Operation:
    stamped = {"eventTime": iso(world.clock.now_ms), "eventTimeZoneOffset": "+00:00"} | event
    return Operation(
        capture=Capture(event=codec.encode(Event(seed=number.to_bytes(16, "big"), fields=to_fields(stamped))))
    )


@pytest.fixture
def world() -> World:
    world = World("a", "b")
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    return world


def whole(start=0, end=100):
    return interval_text(LOT, start, end)


def holder(world, name, part):
    record = world.part(name, part)
    return PartStatus.Name(record.status), record.holder


def test_an_interval_crosses_and_its_serials_are_carved_over_there(world):
    assert world.send("a", whole(10, 60), "bob", member="ada").ok
    # It was carved out of the interval it lay in.
    assert holder(world, "a", whole(0, 10)) == holder(world, "a", whole(60, 100)) == ("LIVE", "ada")
    world.relay()
    assert holder(world, "a", whole(10, 60))[0] == "DEPARTED"
    lot = lot_record(world, "b", LOT)
    assert lot == LotRecord(
        id=LOT,
        origin_chain=world["a"].chain_id,
        commissioner="ada",
        serials=lot_record(world, "a", LOT).serials,
        history=lot.history,
    )
    assert world.part("b", whole(10, 60)).serials == world.part("a", whole(10, 60)).serials
    assert accepted(world, "b", whole(10, 60), "bob").ok
    # Serials are touched by name, or some of them sent on; what never came is not known.
    assert world["b"].operate("bob", captured(world, seen([die(20)]))).ok
    refused(world["b"].operate("bob", captured(world, seen([die(5)]))), Reason.UNKNOWN_PART)
    refused(world.send("b", whole(5, 15), "ada", member="bob"), Reason.UNKNOWN_PART)
    assert holder(world, "b", die(20)) == ("LIVE", "bob")
    refused(world.send("b", whole(10, 60), "ada", member="bob"), Reason.INTERVAL_SPLIT)
    # Home they come as themselves: an interval out of the one that left, and a serial out of it too.
    assert world.send("b", whole(30, 40), "ada", member="bob").ok
    assert world.send("b", die(20), "abe", member="bob").ok
    world.relay()
    assert accepted(world, "a", whole(30, 40), "ada").ok
    assert world.accept("a", die(20), "abe").ok
    assert holder(world, "a", whole(30, 40)) == ("LIVE", "ada")
    assert holder(world, "a", die(20)) == ("LIVE", "abe")
    assert holder(world, "a", whole(10, 20))[0] == holder(world, "a", whole(40, 60))[0] == "DEPARTED"
    assert world.part("a", whole(10, 60)).status in (0, PartStatus.SPLIT)
    assert world.part("a", die(20)).hop == world.part("a", whole(30, 40)).hop == 2
    everywhere(world)


def everywhere(world):
    """Each serial is in one record here, and live in one place of all chains."""
    lot = lot_record(world, "a", LOT)
    here = {"a": [], "b": []}
    for name, held in here.items():
        for piece in pieces(world[name].app.store, lot, 0, 100, 1_000):
            status = standing(world[name].app.store, piece).status
            if status in (PartStatus.LIVE, PartStatus.OFFERED, PartStatus.IN_TRANSIT):
                held += range(piece.start, piece.end)
    assert sorted(here["a"] + here["b"]) == list(range(100))


def accepted(world, name, interval, member):
    world._serials += 1
    event = {
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "bizStep": "receiving",
        "quantityList": [{"epcClass": interval}],
    }
    stamped = captured(world, event, world._serials)
    return world[name].operate(member, stamped)


def die(number):
    return f"{canonical(LOT).class_text}/21/{number:04}"


def test_what_comes_back_lies_inside_one_record_or_touches_none(world):
    for start, end in ((0, 30), (30, 60)):
        assert world.send("a", whole(start, end), "bob", member="ada").ok
    world.relay()
    for start, end in ((0, 30), (30, 60)):
        assert accepted(world, "b", whole(start, end), "bob").ok
    # On b they are two records, and are never put together.
    refused(world.send("b", whole(20, 40), "ada", member="bob"), Reason.INTERVAL_SPLIT)
    corrupt = Corrupt()
    inner = corrupt.world
    assert inner["a"].operate("ada", captured(inner, serials_of(LOT, "0000", "0099", 100))).ok
    for start, end in ((0, 30), (30, 60)):
        assert inner.send("a", whole(start, end), "bob", member="ada").ok
    inner.relay()
    told = {"lot": LOT, "serials": lot_record(inner, "a", LOT).serials}
    spans = corrupt.packet(whole(20, 40), hop=9, start=20, end=40, **told)
    corrupt.nothing_comes_of(spans, Reason.INTERVAL_SPLIT)
    stays = corrupt.packet(whole(50, 70), hop=9, start=50, end=70, **told)
    corrupt.nothing_comes_of(stays, Reason.INTERVAL_SPLIT)
    here = corrupt.packet(whole(70, 80), hop=9, start=70, end=80, **told)
    corrupt.nothing_comes_of(here, Reason.NOT_LIVE)
    low = corrupt.packet(whole(0, 10), hop=1, start=0, end=10, **told)
    corrupt.nothing_comes_of(low, Reason.HOP_NOT_ABOVE)


@pytest.mark.parametrize("way", ["alone", "contained"])
def test_serials_that_went_alone_and_an_interval_around_them_meet_over_there(world, way):
    assert world["a"].operate("ada", captured(world, seen([die(5)]))).ok
    if way == "alone":
        assert world.send("a", die(5), "bob").ok
        world.relay()
        assert world.accept("b", die(5), "bob").ok
    else:
        box = pack(world, "a", world.commission("a", "ada"), die(5), member="ada")
        more = {"parentID": box, "childQuantityList": [{"epcClass": whole(50, 100)}]}
        packing = {"type": "AggregationEvent", "action": "ADD", "bizStep": "packing"} | more
        assert world["a"].operate("ada", captured(world, packing)).ok
        carry(world, "a", box, "bob")
        unpack_all(world, "b", box)
        assert materialise(world, "b", die(5)).ok
        assert materialise(world, "b", whole(50, 100)).ok
        assert world["b"].operate("bob", captured(world, seen([die(77)]))).ok
    assert world.send("a", whole(6, 50), "bob", member="ada").ok
    world.relay()
    assert accepted(world, "b", whole(6, 50), "bob").ok
    assert holder(world, "b", whole(6, 50)) == ("LIVE", "bob")
    assert holder(world, "b", die(5)) == (("LIVE", "bob") if way == "alone" else ("LIVE", ""))
    everywhere(world)


def test_an_interval_that_does_not_arrive_is_back(world):
    assert world.send("a", whole(10, 60), "nobody", member="ada").ok
    world.relay()
    record = world.part("a", whole(10, 60))
    assert (PartStatus.Name(record.status), record.hop, record.holder) == ("LIVE", 1, "ada")


def test_a_declined_interval_returns(world):
    assert world.send("a", whole(), "bob", member="ada").ok
    world.relay()
    assert world.give_back("b", whole(), "bob").ok
    world.relay()
    assert holder(world, "a", whole()) == ("LIVE", "ada")


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
        corrupt.nothing_comes_of(corrupt.packet(name), Reason.MALFORMED)


@pytest.mark.parametrize("boxed", [False, True])
def test_a_range_comes_after_serials_that_came_one_by_one(boxed):
    """Of the same class and with as many digits: they mark what is free, which where both began was known to be."""
    world = World("a", "b")
    single = f"{canonical(LOT).class_text}/21/X0042"
    for number, event in enumerate((serials_of(LOT, "W0000", "W4999", 5_000), add([single]))):
        assert world["a"].operate("ada", captured(world, event, number)).ok
    if boxed:
        box = world.commission("a", "ada")
        pack(world, "a", box, single)
        carry(world, "a", box, "bob")
        assert materialise(world, "b", single).ok
    else:
        carry(world, "a", single, "bob")
    assert world.send("a", interval_text(LOT, 0, 10), "bob", member="ada").ok
    world.relay()
    assert world.part("b", interval_text(LOT, 0, 10)).status == PartStatus.OFFERED
    # Should the home of the class move there, no range begins there over what came.
    assert world.govern("b", Change(revoke_grant=RevokeGrant(prefix=PREFIX))).ok
    assert world.govern("b", Change(put_grant=PutGrant(prefix=PREFIX, holder="bob"))).ok
    around = serials_of(LOT.replace("W1", "W2"), "X0000", "X1999", 2_000)
    refused(world["b"].operate("bob", captured(world, around)), Reason.SERIALS_OVERLAP)


def test_serials_that_never_came_are_told_of_without_harm(world):
    """Of a lot that is known here by others of its serials; also as what an event was wrong about."""
    assert world.send("a", interval_text(LOT, 10, 20), "bob", member="ada").ok
    world.relay()
    box = carried_box(world)
    for number, (start, end) in enumerate([(0, 5), (20, 25), (0, 15), (15, 30), (0, 100), (10, 20)]):
        some = [{"epcClass": interval_text(LOT, start, end)}]
        for event in (
            seen([], some),
            shipping([], "ben", some),
            packing(box, [], some),
            unpacking(box, [], some),
            destroying([], some),
        ):
            for member in ("bob", "ben"):
                operation = captured(world, event, number)
                for told in (wrong(operation), operation):
                    result = world["b"].operate(member, told)
                    assert result.ok is (result.reason == 0)


def carried_box(world):
    box = world.commission("a", "ada")
    carry(world, "a", box, "bob")
    return box


def test_no_serial_of_a_lot_arrives_from_a_home_that_came_later():
    """The namespace's home moves to the other chain, which commissions a serial that is in a lot here."""
    corrupt = Corrupt()
    world = corrupt.world
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    there = world["b"].chain_id
    moved = PutGrant(prefix=PREFIX, holder="ada", home_chain=there)
    assert world.govern("a", Change(revoke_grant=RevokeGrant(prefix=PREFIX)), Change(put_grant=moved)).ok
    corrupt.nothing_comes_of(corrupt.packet(DIE, origin_chain=there), Reason.SERIALS_OVERLAP)


def test_a_serial_that_left_as_one_of_a_lot_comes_back_as_that():
    """Else what is counted out of a container here would be another kind of thing than was counted in."""
    corrupt = Corrupt()
    world = corrupt.world
    assert world["a"].operate("ada", captured(world, serials_of(LOT, "0000", "0099", 100))).ok
    assert world.send("a", die(5), "bob", member="ada").ok
    world.relay()
    corrupt.nothing_comes_of(corrupt.packet(die(5), hop=9), Reason.PACKET_MISMATCH)
    told = {"lot": LOT, "serials": lot_record(world, "a", LOT).serials}
    for changed in ({"start": 6, "end": 7}, {"start": 5, "end": 7}, {"start": 5, "end": 5}):
        wrong = corrupt.packet(die(5), hop=9, **told, **changed)
        corrupt.nothing_comes_of(wrong, Reason.SERIALS_INVALID)


def test_a_corrupt_chain_makes_nobody_write_out_numbers_of_millions_of_digits():
    serials = Serials(item_class=canonical(LOT).class_text, width=10**7, first=1, count=100)
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as caught:
            check_place(DIE, Place(LOT, 5, 6, serials, None))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason == Reason.SERIALS_INVALID
    assert peak < 10**6
