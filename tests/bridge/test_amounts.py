"""Amounts of lots over chains: the sum over both stays, whatever becomes of packets."""

import pytest

from bridge.amounts import abroad_key, transit_place
from bridge.packet import sent_key
from bridge.relayer_plan import Acknowledge, Receive, Update
from ledger import codec, decimals, inbound, state
from ledger.identifiers import canonical
from ledger.inbound import inbound_place
from ledger.limits import TRANSACTION_BYTES_MAX
from proto.chiptrace.v1.bridge_pb2 import AbroadRecord, CustodyTransfer, Packet, ReceivePacket
from proto.chiptrace.v1.ledger_pb2 import (
    ARRIVED,
    DEPARTED,
    DEPARTED_FOR_GOOD,
    LIVE,
    SENT,
    BalanceRecord,
    Capture,
    Event,
    Field,
    List,
    Object,
    Operation,
    Reason,
    UnitAmount,
    Value,
)
from tests.bridge.crossing import carry, lot_record, materialise, pack, return_amount, send_amount, unpack_all
from tests.bridge.test_containers import refused
from tests.bridge.two_chains import HOUR_MS, OFFER_EXPIRY_MS, World, event, object_event, prove, serial, texts
from tests.ledger.rules_world import iso, packing, quantity, receiving, shipping, to_fields

LOT = canonical("urn:epc:class:lgtin:4012345.012345.RESIN").text


def listed(name, lot, amount, unit=""):
    fields = {"epcClass": Value(text=lot)}
    if amount is not None:
        fields["quantity"] = Value(number=decimals.parse(str(amount)))
    if unit:
        fields["uom"] = Value(text=unit)
    item = Object(fields=[Field(name=key, value=fields[key]) for key in sorted(fields)])
    return {name: Value(list=List(items=[Value(object=item)]))}


def quantity_event(world, action, biz_step, amount, *, lot=LOT, unit="") -> Operation:
    world._serials += 1
    return event(
        "ObjectEvent", action, biz_step, number=world._serials, **listed("quantityList", lot, amount, unit)
    )


def object_event_of(world, biz_step, part, action="OBSERVE") -> Operation:
    world._serials += 1
    return object_event(action, biz_step, part, number=world._serials)


def accept_amount(world, name, member, amount=None, lot=LOT, unit=""):
    operation = quantity_event(world, "OBSERVE", "receiving", amount, lot=lot, unit=unit)
    return world[name].operate(member, operation)


def amount_at(world, name, place, unit="", lot=LOT):
    record = world[name].record(state.balance_key(lot, place, unit), BalanceRecord)
    return "0" if record is None else decimals.to_text(record.amount)


def abroad(world, name="a", to="b", *member):
    record = world[name].record(abroad_key(LOT, world[to].chain_id, "", *member), AbroadRecord)
    return "0" if record is None else decimals.to_text(record.amount)


def captured(world, said) -> Operation:
    world._serials += 1
    stamped = {"eventTime": iso(world.clock.now_ms), "eventTimeZoneOffset": "+00:00"} | said
    content = Event(seed=world._serials.to_bytes(16, "big"), fields=to_fields(stamped))
    return Operation(capture=Capture(event=codec.encode(content)))


@pytest.fixture
def world():
    world = World()
    assert world["a"].operate("ada", quantity_event(world, "ADD", "commissioning", 100)).ok
    return world


def test_some_of_a_lot_goes_over_and_comes_home(world):
    assert send_amount(world, "a", LOT, 30, "bob", member="ada").ok
    packet = world["a"].sent("b-1", 1)
    assert (amount_at(world, "a", "ada"), amount_at(world, "a", transit_place(packet))) == ("70", "30")
    world.relay()
    assert amount_at(world, "a", transit_place(packet)) == "0"
    assert abroad(world) == abroad(world, "a", "b", "ada") == "30"
    assert amount_at(world, "b", inbound_place("a-1", "ada", "bob")) == "30"
    assert amount_at(world, "b", "bob") == "0"
    refused(send_amount(world, "b", LOT, 1, "ada", member="bob"), Reason.QUANTITY_EXCEEDED)
    # She accepts a part of it, and then the rest.
    assert accept_amount(world, "b", "bob", 10).ok
    assert accept_amount(world, "b", "bob").ok
    assert amount_at(world, "b", "bob") == "30"
    assert send_amount(world, "b", LOT, 12, "abe", member="bob").ok
    world.relay()
    assert accept_amount(world, "a", "abe").ok
    assert (amount_at(world, "a", "ada"), amount_at(world, "a", "abe")) == ("70", "12")
    assert (abroad(world), amount_at(world, "b", "bob")) == ("18", "18")
    here, there = lot_record(world, "a", LOT), lot_record(world, "b", LOT)
    assert (there.origin_chain, there.commissioner) == (world["a"].chain_id, here.commissioner)
    kinds = [entry.kind for entry in world["b"].entries(state.lot_key(LOT))]
    assert (kinds[0], kinds[-2:]) == (ARRIVED, [SENT, DEPARTED_FOR_GOOD])


@pytest.mark.parametrize("how", ["error", "timeout"])
def test_what_does_not_arrive_is_the_senders_again(world, how):
    receiver = "nobody" if how == "error" else "bob"
    timeout_ms = 1_000 if how == "timeout" else HOUR_MS
    assert send_amount(world, "a", LOT, 30, receiver, member="ada", timeout_ms=timeout_ms).ok
    if how == "timeout":
        world.pass_time(2_000)
    world.relay()
    assert (amount_at(world, "a", "ada"), abroad(world)) == ("100", "0")
    assert not lot_record(world, "b", LOT).id


@pytest.mark.parametrize("by", ["bob", "anyone"])
def test_what_is_declined_or_expires_goes_back_to_its_shipper(world, by):
    assert send_amount(world, "a", LOT, 30, "bob", member="ada").ok
    world.relay()
    back = {"client": "a-1", "sender": "ada", "receiver": "bob"}
    refused(return_amount(world, "b", LOT, by="ben", **back), Reason.NOT_OFFERED_TO_YOU)
    if by == "anyone":
        world.pass_time(OFFER_EXPIRY_MS)
    assert return_amount(world, "b", LOT, by="bob" if by == "bob" else "ben", **back).ok
    refused(return_amount(world, "b", LOT, by="bob", **back), Reason.NOT_LIVE)
    world.relay()
    assert (amount_at(world, "a", "ada"), abroad(world), abroad(world, "a", "b", "ada")) == ("100", "0", "0")


def test_a_return_that_fails_waits_again(world):
    assert send_amount(world, "a", LOT, 30, "bob", member="ada").ok
    world.relay()
    back = {"client": "a-1", "sender": "ada", "receiver": "bob"}
    assert return_amount(world, "b", LOT, by="bob", **back).ok
    world.pass_time(HOUR_MS + 1_000)
    world.relay()
    assert amount_at(world, "b", inbound_place("a-1", "ada", "bob")) == "30"
    assert return_amount(world, "b", LOT, by="ben", **back).ok
    world.relay()
    assert amount_at(world, "a", "ada") == "100"


def test_a_return_that_fails_waits_again_however_much_has_come_since(world, monkeypatch):
    """Else its answer could not be brought for as long as the receiver leaves the others waiting."""
    monkeypatch.setattr(inbound, "PLACES_MAX", 1)
    for member, moved in (
        ("ada", shipping([], "abe", [quantity(LOT, 40)])),
        ("abe", receiving([], [quantity(LOT)], sender="ada")),
    ):
        assert world["a"].operate(member, captured(world, moved)).ok
    assert send_amount(world, "a", LOT, 30, "bob", member="ada").ok
    world.relay()
    assert return_amount(world, "b", LOT, client="a-1", sender="ada", receiver="bob", by="bob").ok
    assert send_amount(world, "a", LOT, 5, "bob", member="abe").ok
    world.settle()
    (relayer,) = world.relayers.values()
    relayer.bring(relayer.b, relayer.a, relayer.plan().on_b)
    assert amount_at(world, "b", inbound_place("a-1", "abe", "bob")) == "5"
    world.pass_time(HOUR_MS + 1_000)
    world.relay()
    assert amount_at(world, "b", inbound_place("a-1", "ada", "bob")) == "30"
    assert accept_amount(world, "b", "bob", 35).ok


def forged(world, amount, *, source="b", host="a", receiver="ada", sequence=77, **changes) -> Packet:
    """A packet that the source only claims to have sent."""
    values = {
        "part": LOT,
        "origin_chain": world["a"].chain_id,
        "sender": "bob",
        "receiver": receiver,
        "history_root": bytes(32),
        "class_commissioner": "ada",
        "amount": UnitAmount(amount=decimals.parse(str(amount))),
    }
    transfer = CustodyTransfer(**(values | changes))
    return Packet(
        source_client=f"{host}-1",
        destination_client=f"{source}-1",
        sequence=sequence,
        timeout_ms=world.clock.now_ms + HOUR_MS,
        source_port="custody/1",
        destination_port="custody/1",
        version="custody/1",
        encoding="application/x-protobuf",
        value=codec.encode(transfer),
    )


@pytest.mark.parametrize(
    ("amount", "changes", "reason"),
    [
        (31, {}, Reason.MORE_THAN_LEFT),
        (30, {"return": True, "receiver": "abe"}, Reason.MORE_THAN_LEFT),
        (31, {"return": True}, Reason.MORE_THAN_LEFT),
        (1, {"part": canonical("urn:epc:class:lgtin:4012345.012345.OTHER").text}, Reason.NOT_FROM_HOME),
        (1, {"origin_chain": bytes(32)}, Reason.PACKET_MISMATCH),
        (0, {}, Reason.MALFORMED),
        (-1, {}, Reason.MALFORMED),
        ("0.5", {}, Reason.MALFORMED),
        (1, {"hop": 1}, Reason.MALFORMED),
    ],
)
def test_a_corrupt_chain_sends_back_no_more_than_it_had(amount, changes, reason):
    world = World(corrupt="b")
    assert world["a"].operate("ada", quantity_event(world, "ADD", "commissioning", 100)).ok
    assert send_amount(world, "a", LOT, 30, "bob", member="ada").ok
    world.relay()
    packet = forged(world, amount, **changes)
    before = amount_at(world, "a", "ada")
    assert bring(world, packet).reason == reason
    assert (amount_at(world, "a", "ada"), abroad(world)) == (before, "30")


def bring(world, packet, source="b", host="a"):
    """A corrupt source commits to the packet, and a relayer brings it."""
    world.forge(source, packet)
    world.settle()
    relayer = next(iter(world.relayers.values()))
    height = world[source].info.height
    update = Update(f"{source}-1", world[host].client(f"{source}-1").latest_height, height)
    relayer.bring(world[host], world[source], [update])
    proof = prove(world[source], height, sent_key(packet))
    message = ReceivePacket(packet=packet, proof=proof)
    return world[host].operate(
        world[host].members[0], Operation(receive_packet=codec.encode(message)), role="relayer"
    )


def test_amounts_in_containers_cross_with_them_at_every_level(world):
    inner, outer = world.commission("a", "ada"), world.commission("a", "ada")
    for box, amount, children in ((inner, 5, ()), (outer, 7, (inner,))):
        world._serials += 1
        more = {"parentID": Value(text=box)} | listed("childQuantityList", LOT, amount)
        more |= {"childEPCs": texts(*children)} if children else {}
        packing = event("AggregationEvent", "ADD", "packing", number=world._serials, **more)
        assert world["a"].operate("ada", packing).ok
    carry(world, "a", outer, "bob")
    assert (abroad(world), amount_at(world, "a", inner), amount_at(world, "a", outer)) == ("12", "0", "0")
    assert amount_at(world, "b", outer) == "7"
    unpack_all(world, "b", outer)
    assert amount_at(world, "b", "bob") == "7"
    assert materialise(world, "b", inner).ok
    assert amount_at(world, "b", inner) == "5"
    unpack_all(world, "b", inner, "bob")
    assert amount_at(world, "b", "bob") == "12"
    assert send_amount(world, "b", LOT, 12, "ada", member="bob").ok
    world.relay()
    assert accept_amount(world, "a", "ada").ok
    assert (amount_at(world, "a", "ada"), abroad(world)) == ("100", "0")


def test_amounts_in_a_container_that_does_not_arrive_stay_in_it(world):
    box = world.commission("a", "ada")
    world._serials += 1
    more = {"parentID": Value(text=box)} | listed("childQuantityList", LOT, 7)
    assert (
        world["a"]
        .operate("ada", event("AggregationEvent", "ADD", "packing", number=world._serials, **more))
        .ok
    )
    assert world.send("a", box, "nobody").ok
    world.relay()
    assert (amount_at(world, "a", box), abroad(world)) == ("7", "0")
    unpack_all(world, "a", box)
    assert amount_at(world, "a", "ada") == "100"


def test_amounts_come_home_untouched_inside_two_containers(world):
    inner, outer = world.commission("a", "ada"), world.commission("a", "ada")
    world._serials += 1
    more = {"parentID": Value(text=inner)} | listed("childQuantityList", LOT, 5)
    assert (
        world["a"]
        .operate("ada", event("AggregationEvent", "ADD", "packing", number=world._serials, **more))
        .ok
    )
    pack(world, "a", outer, inner)
    carry(world, "a", outer, "bob")
    carry(world, "b", outer, "ada")
    assert abroad(world) == "0"
    assert materialise(world, "b", inner).ok
    part = world.commission("a", "ada")
    carry(world, "a", part, "bob")
    carry(world, "b", part, "ada")
    assert materialise(world, "a", inner).ok
    unpack_all(world, "a", outer)
    unpack_all(world, "a", inner, "ada")
    assert amount_at(world, "a", "ada") == "100"


def many_lots(world, count, digits=4):
    """A box with an amount of each of so many lots in it."""
    urn = "urn:epc:class:lgtin:4012345.012345.L"
    names = [canonical(f"{urn}{number:0{digits}}").text for number in range(count)]
    item = [
        Object(fields=[Field(name="epcClass", value=Value(text=name)), Field(name="quantity", value=ONE)])
        for name in names
    ]
    listing = Value(list=List(items=[Value(object=one) for one in item]))
    world._serials += 1
    made = event("ObjectEvent", "ADD", "commissioning", number=world._serials, quantityList=listing)
    box = serial(10**19 + 7)
    assert world["a"].operate("ada", object_event("ADD", "commissioning", box)).ok
    more = {"parentID": Value(text=box), "childQuantityList": listing}
    packing = event("AggregationEvent", "ADD", "packing", number=world._serials, **more)
    for operation in (made, packing):
        result = world["a"].operate("ada", operation)
        assert result.ok, result
    return box, names


ONE = Value(number=decimals.parse("1"))


def test_the_fullest_manifest_crosses_in_a_packet_that_a_transaction_can_bring():
    """A manifest has at most 1,024 rows and its record 128 KiB, so that the packet leaves room for its proof."""
    world = World()
    box, names = many_lots(world, 1_000, 19)
    carry(world, "a", box, "bob")
    assert len(world["a"].sent("b-1", 1).value) < TRANSACTION_BYTES_MAX - 32_768
    unpack_all(world, "b", box)
    for lot in (names[0], names[-1]):
        assert (amount_at(world, "b", "bob", lot=lot), amount_at(world, "a", box, lot=lot)) == ("1", "0")


def test_amounts_too_far_apart_for_one_number_leave_all_the_same():
    """The first is there already when the second is answered: that cannot wait for ever, nor can what it lies in."""
    world = World()
    for amount, receiver in (("1e21", "bob"), ("1e-18", "ben")):
        assert world["a"].operate("ada", quantity_event(world, "ADD", "commissioning", amount, unit="KGM")).ok
        assert send_amount(world, "a", LOT, amount, receiver, member="ada", unit="KGM").ok
        world.relay()
    for sequence in (1, 2):
        assert amount_at(world, "a", transit_place(world["a"].sent("b-1", sequence)), "KGM") == "0"
    assert amount_at(world, "b", inbound_place("a-1", "ada", "ben"), "KGM") == "0." + 17 * "0" + "1"
    # What came first may come back; what was not counted may not.
    for member, ok in (("ben", False), ("bob", True)):
        assert accept_amount(world, "b", member, unit="KGM").ok
        record = world["b"].record(state.balance_key(LOT, member, "KGM"), BalanceRecord)
        amount = decimals.to_text(record.amount)
        assert send_amount(world, "b", LOT, amount, "abe", member=member, unit="KGM").ok
        world.relay()
        assert (amount_at(world, "b", member, "KGM") == "0") == ok


def test_what_comes_out_and_back_before_the_acknowledgement_of_what_it_was_in(world):
    """It is refused while its container is under way by all that is known here, stays where it is, and comes later."""
    inner, outer = world.commission("a", "ada"), world.commission("a", "ada")
    assert world["a"].operate("ada", captured(world, packing(inner, [], [quantity(LOT, 30)]))).ok
    pack(world, "a", outer, inner)
    assert world.send("a", outer, "bob").ok
    world.settle()
    (relayer,) = world.relayers.values()
    relayer.bring(world["b"], world["a"], relayer.plan().on_b)
    assert world.accept("b", outer, "bob").ok
    assert materialise(world, "b", inner).ok
    pack(world, "b", outer, inner, action="DELETE")
    assert world.send("b", inner, "ada").ok
    # The return first, and only then the acknowledgement.
    for kind in (Receive, Acknowledge):
        world.settle()
        plan = relayer.plan()
        chosen = [one for one in plan.on_a if isinstance(one, (Update, kind))]
        relayer.bring(world["a"], world["b"], chosen)
    assert (world.part("a", outer).status, amount_at(world, "a", inner), abroad(world)) == (
        DEPARTED,
        "0",
        "30",
    )
    world.relay()
    assert (world.part("b", inner).status, amount_at(world, "b", inner)) == (LIVE, "30")
    carry(world, "b", inner, "ada")
    unpack_all(world, "a", inner, "ada")
    assert (amount_at(world, "a", "ada"), amount_at(world, "b", inner), abroad(world)) == ("100", "0", "0")
