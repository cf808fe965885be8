import pytest

from ledger import containers, custody
from proto.chiptrace.v1.ledger_pb2 import Change, PartStatus, PutMember, Reason
from tests.ledger.chain_fixture import key_of
from tests.ledger.rules_world import (
    HOUR_MS,
    World,
    add,
    box,
    destroying,
    lot,
    making,
    object_event,
    packing,
    part,
    quantity,
    receiving,
    refused,
    seen,
    shipping,
    unpacking,
)

PGLN = "urn:epc:id:pgln:5012345.00000"
LOT = lot("L")


@pytest.fixture
def world() -> World:
    world = World(offer_expiry_ms=HOUR_MS)
    world.event("ada", add([part(1), part(2), part(3)], [quantity(LOT, 100)]))
    return world


def void(epcs, **more) -> dict:
    return object_event("OBSERVE", epcs, "void_shipping", **more)


# ---- offering


def test_shipping_offers_and_only_the_receiver_moves_it(world):
    world.event("ada", shipping([part(1)], "bob"))
    record = world.part(part(1))
    assert (record.holder, record.offered_to, record.offered_at_ms) == ("ada", "bob", world.time_ms)
    assert world.status(part(1)) == "OFFERED"
    assert not record.offers_ownership
    # Nothing happens before her signature, by anyone.
    for member in ("ada", "bob", "cyd"):
        for event in (
            seen([part(1)]),
            destroying([part(1)]),
            packing(box(1), [part(1)]),
            making([part(1)], run="urn:test:run"),
        ):
            if member == "ada" or "parentID" not in event:
                with refused(Reason.NOT_LIVE):
                    world.event(member, event)
    with refused(Reason.ALREADY_OFFERED):
        world.event("ada", shipping([part(1)], "cyd"))
    with refused(Reason.NOT_LIVE):
        world.event("bob", shipping([part(1)], "cyd"))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("cyd", receiving([part(1)]))
    world.event("bob", receiving([part(1)]))
    record = world.part(part(1))
    assert (record.holder, record.owner, record.offered_to, record.offered_at_ms) == ("bob", "ada", "", 0)
    assert world.status(part(1)) == "LIVE"
    assert world.story(part(1)) == ["EVENT"] * 3
    with refused(Reason.NOT_IN_CUSTODY, "custody of member bob"):
        world.event("ada", seen([part(1)]))


def test_a_member_is_named_by_a_registered_identifier(world):
    canonical = "https://id.gs1.org/417/5012345000008"
    put = PutMember(id="bob", name="Bob", identifiers=[canonical], admin_keys=[key_of("bob", "admin")])
    world.change(Change(put_member=put))
    world.event("ada", shipping([part(1)], PGLN))
    assert world.part(part(1)).offered_to == "bob"


@pytest.mark.parametrize("step", ["receiving", "accepting"])
def test_both_words_receive(world, step):
    world.event("ada", shipping([part(1)], "bob"))
    world.event("bob", object_event("OBSERVE", [part(1)], step))
    assert world.part(part(1)).holder == "bob"


def test_a_destination_outside_is_a_finding_and_moves_nothing(world):
    world.event("ada", shipping([part(1)], PGLN, [quantity(LOT, 5)]))
    assert world.part(part(1)).holder == "ada"
    assert world.status(part(1)) == "LIVE"
    assert world.story(part(1))[-1] == "EVENT!PARTY_NOT_A_MEMBER" == world.lot_story(LOT)[-1]
    assert world.amount(LOT, "ada") == "100"
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", shipping([part(1)], PGLN))


@pytest.mark.parametrize("more", [{}, {"to": "ada"}, {"owner": "bob"}])
def test_without_another_possessor_nothing_is_offered(world, more):
    world.event("ada", shipping([part(1)], **more))
    assert world.status(part(1)) == "LIVE"
    assert world.story(part(1))[-1] == "EVENT"


def test_only_what_stands_free_is_offered(world):
    world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.INSIDE_CONTAINER, box(1)):
        world.event("ada", shipping([part(1)], "bob"))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", shipping([box(1)], "cyd"))
    world.event("ada", shipping([box(1)], "bob"))
    with refused(Reason.NOT_LIVE, "OFFERED with"):
        world.event("ada", seen([part(1)]))
    with refused(Reason.NOT_LIVE):
        world.event("ada", unpacking(box(1)))
    with refused(Reason.INSIDE_CONTAINER, "receive that"):
        world.event("bob", receiving([part(1)]))
    world.event("bob", receiving([part(1), box(1)]))
    assert world.part(part(1)).container == box(1)
    assert world.story(part(1)) == ["EVENT", "PACKED", "EVENT"]
    world.event("bob", unpacking(box(1), [part(1)]))
    assert world.part(part(1)).holder == "bob"


# ---- accepting


def test_a_part_of_a_shipment_may_be_received(world):
    world.event("ada", shipping([part(1), part(2)], "bob"))
    world.event("bob", receiving([part(1)]))
    assert world.status(part(2)) == "OFFERED"
    world.event("bob", receiving([part(2)]))
    assert world.part(part(2)).holder == "bob"


def test_over_is_a_finding_and_creates_nothing(world):
    world.event("ada", shipping([part(1)], "bob"))
    world.event("bob", receiving([part(1), part(2), part(9)]))
    assert world.story(part(1))[-1] == "EVENT!OVER_RECEIPT"
    assert world.part(part(2)).holder == "ada"
    assert world.story(part(2)) == ["EVENT"]
    assert custody.load_part(world.overlay, part(9)) is None
    assert world.story(part(1)) == ["EVENT", "EVENT", "EVENT!OVER_RECEIPT"]


def test_over_alone_is_refused(world):
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("bob", receiving([part(1)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("bob", receiving([part(9)]))
    world.event("ada", destroying([part(1)]))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("bob", receiving([part(1)]))


def test_receiving_what_one_has_is_an_observation(world):
    world.event("ada", receiving([part(1)]))
    assert world.story(part(1)) == ["EVENT", "EVENT"]
    adopting = World(adoption=True)
    adopting.event("ada", receiving([part(1)]))
    assert adopting.part(part(1)).adopted


# ---- ownership


def test_ownership_moves_on_acceptance_when_offered(world):
    world.event("ada", shipping([part(1)], "bob", owner="bob"))
    assert world.part(part(1)).owner == "ada"
    world.event("bob", receiving([part(1)]))
    assert (world.part(part(1)).holder, world.part(part(1)).owner) == ("bob", "bob")
    assert not world.part(part(1)).offers_ownership


def test_ownership_of_another_member_is_recorded_only(world):
    world.event("ada", shipping([part(1)], "bob", owner="cyd"))
    world.event("bob", receiving([part(1)]))
    assert (world.part(part(1)).holder, world.part(part(1)).owner) == ("bob", "ada")


def test_only_the_owner_sells(world):
    world.give("ada", "bob", part(1))
    with refused(Reason.NOT_OWNER, "belongs to member ada"):
        world.event("bob", shipping([part(1)], "cyd", owner="cyd"))
    # Back to whom it belongs, there is nothing to sell.
    world.event("bob", shipping([part(1)], "ada", owner="ada"))
    assert not world.part(part(1)).offers_ownership


def test_a_box_is_sold_with_what_is_in_it_if_all_of_it_is_the_sellers(world):
    world.give("ada", "bob", part(1))
    world.event("bob", add([part(7, "bob")]), packing(box(1, "bob"), [part(1), part(7, "bob")]))
    with refused(Reason.NOT_OWNER, "do not belong"):
        world.event("bob", shipping([box(1, "bob")], "cyd", owner="cyd"))
    world.event("bob", unpacking(box(1, "bob"), [part(1)]))
    world.give("bob", "cyd", box(1, "bob"), sell=True)
    world.event("cyd", unpacking(box(1, "bob")))
    assert (world.part(part(7, "bob")).owner, world.part(part(1)).owner) == ("cyd", "ada")


def test_what_was_sold_with_its_box_does_not_mix_with_what_is_anothers(world):
    """Boxes in boxes: the inner one remembers that its contents were sold with the outer."""
    world.event("ada", packing(box(1), [part(1)]), packing(box(2), [box(1)]))
    world.give("ada", "bob", box(2), sell=True)
    world.give("ada", "bob", part(2))
    with refused(Reason.NOT_OWNER, "belongs to bob like the container"):
        world.event("bob", packing(box(2), [part(2)]))
    world.event("bob", unpacking(box(2)))
    with refused(Reason.NOT_OWNER, "belongs to bob like the container"):
        world.event("bob", packing(box(1), [part(2)]))
    world.event("bob", unpacking(box(1)), packing(box(1), [part(1), part(2)]))
    assert world.part(part(1)).owner == "bob"
    assert world.part(part(2)).owner == "ada"
    assert world.generation(box(1), 2).foreign == 1


def test_what_is_destroyed_inside_belonged_to_who_bought_the_outermost_box(world):
    world.event("ada", packing(box(1), [part(1)]), packing(box(2), [box(1)]))
    world.give("ada", "bob", box(2), sell=True)
    world.event("bob", destroying([box(2)]))
    for name in (part(1), box(1)):
        where = containers.standing(world.overlay, world.part(name))
        assert (where.status, where.owner, where.outermost) == (
            PartStatus.DESTROYED,
            "bob",
            "" if name == part(1) else name,
        )


# ---- offers that end otherwise


def test_offers_are_returned_by_those_concerned_and_after_expiry_by_anyone(world):
    for member in ("ada", "bob"):
        world.event("ada", shipping([part(1)], "bob", owner="bob"))
        with refused(Reason.NOT_OFFERED_TO_YOU):
            world.give_back("cyd", part(1))
        world.give_back(member, part(1))
        record = world.part(part(1))
        assert (record.holder, record.offered_to, record.offers_ownership) == ("ada", "", False)
        assert world.status(part(1)) == "LIVE"
        assert world.story(part(1))[-1] == "RETURNED"
        with refused(Reason.NOTHING_TO_DO):
            world.give_back(member, part(1))
    world.event("ada", shipping([part(1)], "bob"))
    world.time_ms += HOUR_MS - 200
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.give_back("cyd", part(1))
    world.give_back("cyd", part(1))
    with refused(Reason.UNKNOWN_PART):
        world.give_back("ada", part(9))


@pytest.mark.parametrize("role", ["auditor", "regulator", "relayer", "validator"])
def test_only_operators_and_devices_take_back_or_decline_before_the_expiry(world, role):
    world.event("ada", shipping([part(1)], "bob"))
    for member in ("ada", "bob"):
        with refused(Reason.NOT_OFFERED_TO_YOU):
            world.give_back(member, part(1), role=role)
    world.time_ms += HOUR_MS
    world.give_back("bob", part(1), role=role)
    world.event("ada", shipping([part(1)], "bob"))
    world.give_back("bob", part(1), role="device")


def test_an_expired_offer_may_be_accepted_until_it_is_returned(world):
    world.event("ada", shipping([part(1)], "bob"))
    world.event("bob", receiving([part(1)]), wait_ms=2 * HOUR_MS)
    assert world.part(part(1)).holder == "bob"


def test_void_shipping_takes_back(world):
    world.event("ada", shipping([part(1)], "bob"))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", void([part(1)]))
    with refused(Reason.NOTHING_TO_DO):
        world.event("ada", void([part(1), part(2)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", void([part(9)]))
    with refused(Reason.EVENT_INVALID):
        world.event("ada", void([part(1)], amounts=[quantity(LOT, 1)]))
    world.event("ada", void([part(1)]))
    assert world.status(part(1)) == "LIVE"
    assert world.story(part(1))[-1] == "RETURNED"


def test_an_offer_from_another_chain_goes_back_over_the_bridge(world):
    world.event("ada", shipping([part(1)], "bob"))
    record = world.part(part(1))
    record.arrived_offer, record.shipper = True, "zoe"
    custody.save_part(world.overlay, record)
    with refused(Reason.WRONG_COUNTERPARTY, "return_part"):
        world.give_back("bob", part(1))
    with refused(Reason.WRONG_COUNTERPARTY):
        world.event("ada", void([part(1)]))
    world.event("bob", receiving([part(1)]))
    assert not world.part(part(1)).arrived_offer


# ---- amounts


def test_amounts_are_offered_and_accepted_in_part(world):
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 40)]))
    assert (world.amount(LOT, "ada"), world.amount(LOT, "ada>bob"), world.amount(LOT, "bob")) == (
        "60",
        "40",
        "0",
    )
    received = world.capture(receiving(amounts=[quantity(LOT, 10)], sender="ada"))
    world.act("bob", received)
    with refused(Reason.EVENT_REPEATED):
        world.act("bob", received)
    assert (world.amount(LOT, "ada>bob"), world.amount(LOT, "bob")) == ("30", "10")
    world.event("bob", receiving(amounts=[quantity(LOT)], sender="ada"))
    assert (world.amount(LOT, "ada>bob"), world.amount(LOT, "bob")) == ("0", "40")
    assert world.lot_story(LOT) == ["EVENT"] * 4


def test_amounts_over_the_offer_are_a_finding_and_create_nothing(world):
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 40)]))
    world.event("bob", receiving(amounts=[quantity(LOT, 41)], sender="ada"))
    assert world.amount(LOT, "bob") == "40"
    assert world.lot_story(LOT)[-1] == "EVENT!OVER_RECEIPT"


def test_amounts_are_received_of_an_offer_only(world):
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 40)]))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("cyd", receiving(amounts=[quantity(LOT, 1)], sender="ada"))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("bob", receiving(amounts=[quantity(LOT, 1)], sender="cyd"))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("bob", receiving(amounts=[quantity(LOT, 1, "KGM")], sender="ada"))
    with refused(Reason.NOT_OFFERED_TO_YOU):
        world.event("bob", receiving(amounts=[quantity(lot("M"), 1)], sender="ada"))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", receiving(amounts=[quantity(LOT, 1)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 61)]))
    world.event("ada", receiving(amounts=[quantity(LOT, 60)]))


def test_an_offered_amount_goes_back(world):
    for member in ("ada", "bob"):
        world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 40)]))
        with refused(Reason.NOT_OFFERED_TO_YOU):
            world.give_back("cyd", LOT, sender="ada", receiver="bob")
        with refused(Reason.NOTHING_TO_DO):
            world.give_back(member, LOT, sender="ada", receiver="cyd")
        with refused(Reason.UNKNOWN_LOT):
            world.give_back(member, lot("M"), sender="ada", receiver="bob")
        world.give_back(member, LOT, sender="ada", receiver="bob")
        assert (world.amount(LOT, "ada"), world.amount(LOT, "ada>bob")) == ("100", "0")
        assert world.lot_story(LOT)[-1] == "RETURNED"
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 40)]))
    world.time_ms += HOUR_MS
    world.give_back("cyd", LOT, sender="ada", receiver="bob")
    assert world.amount(LOT, "ada") == "100"
