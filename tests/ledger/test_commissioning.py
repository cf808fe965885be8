import pytest

from ledger import state
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import Change, ClosedBy, PutGrant, Reason, RevokeGrant
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    lot,
    object_event,
    packing,
    part,
    quantity,
    refused,
    seen,
    shipping,
    unpacking,
)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def adopting() -> World:
    return World(adoption=True)


# ---- commissioning


def test_a_part_begins_with_its_grant_holder(world):
    world.event("ada", add([part(1), part(2)]), role="device")
    record = world.part(part(1))
    assert (record.holder, record.owner, record.commissioner) == ("ada", "ada", "ada")
    assert record.origin_chain == world.chain_id
    assert not record.adopted
    assert record.hop == 0
    assert world.status(part(1)) == "LIVE"
    assert world.story(part(1)) == ["EVENT"] == world.story(part(2))
    of_class = canonical(part(1)).class_text
    assert world.touched == {
        state.part_key(part(1)),
        state.part_key(part(2)),
        state.serial_class_key(of_class, 1),
    }


def test_any_add_commissions(world):
    world.event("ada", object_event("ADD", [part(1)], "encoding"), object_event("ADD", [part(2)]))
    assert world.status(part(1)) == world.status(part(2)) == "LIVE"


def test_commissioning_needs_the_grant(world):
    with refused(Reason.NOT_GRANTED, "granted to member ada"):
        world.event("bob", add([part(1, "bob"), part(1)]))
    with refused(Reason.NOT_GRANTED, "granted to nobody"):
        world.event("ada", add(["urn:epc:id:sgtin:9012345.012345.1"]))
    with refused(Reason.IDENTIFIER_INVALID, "names a class"):
        world.event("ada", add(["https://id.gs1.org/01/04012345123456"]))


def test_a_repeated_commissioning_is_flagged_and_changes_nothing_else(world):
    world.event("ada", add([part(1)]))
    world.give("ada", "bob", part(1))
    before = world.part(part(1))
    world.event("ada", add([part(1), part(2)], [quantity(lot("L"), 5)]))
    assert world.reason == Reason.REPEATED_COMMISSIONING
    assert world.story(part(1)) == ["EVENT", "EVENT", "EVENT", "FLAG!REPEATED_COMMISSIONING"]
    after = world.part(part(1))
    assert (after.holder, after.status, after.owner) == (before.holder, before.status, before.owner)
    # Nothing else: neither the new part nor the amount came into being. (That the event took nothing with it is
    # kept, for who declares it wrong.)
    digest = world.told(state.part_key(part(1)))[-1].digest
    assert world.touched == {state.part_key(part(1)), state.correction_key(digest)}
    world.event("bob", destroying([part(1)]))
    world.event("ada", add([part(1)]))
    assert world.status(part(1)) == "DESTROYED"
    assert world.reason == Reason.REPEATED_COMMISSIONING


def test_the_same_commissioning_sent_again_is_no_second_one(world):
    operation = world.capture(add([part(1)]))
    world.act("ada", operation)
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", operation)
    with refused(Reason.EVENT_REPEATED):
        again = world.capture(add([part(2)]))
        world.act("ada", again, again)


def test_a_repeated_commissioning_by_another_is_refused(world):
    world.event("ada", add([part(1)]))
    with refused(Reason.ALREADY_COMMISSIONED, "by member ada"):
        world.event("bob", add([part(1)]))
    # With the namespace goes the right, and with it the finding.
    world.change(
        Change(revoke_grant=RevokeGrant(prefix="gs1:4012345")),
        Change(put_grant=PutGrant(prefix="gs1:4012345", holder="bob")),
    )
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", add([part(1)]))
    world.event("bob", add([part(1)]))
    assert world.reason == Reason.REPEATED_COMMISSIONING


def test_rights_come_before_the_finding(world):
    world.event("ada", add([part(1)]))
    with refused(Reason.NOT_GRANTED):
        world.event("ada", add([part(1), part(1, "bob")]))
    with refused(Reason.NOT_GRANTED):
        world.event("ada", add([part(1)], [quantity(lot("L", "bob"), 5)]))
    world.change(
        Change(revoke_grant=RevokeGrant(prefix="gs1:4012345")),
        Change(put_grant=PutGrant(prefix="gs1:4012345", holder="ada", home_chain=b"h" * 32)),
    )
    with refused(Reason.NOT_HOME_CHAIN):
        world.event("ada", add([part(1)]))
    assert world.story(part(1)) == ["EVENT"]


@pytest.mark.parametrize("status", ["IN_TRANSIT", "DEPARTED"])
def test_what_is_on_another_chain_is_not_even_flagged(world, status):
    world.event("ada", add([part(1)]))
    world.set_status(part(1), status)
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", add([part(1)]))


# ---- adoption


def test_without_adoption_the_unknown_is_refused(world):
    for event in (
        seen([part(1)]),
        shipping([part(1)], "bob"),
        packing(box(1), [part(1)]),
        destroying([part(1)]),
    ):
        with refused(Reason.UNKNOWN_PART, "never commissioned"):
            world.event("ada", event)
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", unpacking(box(1)))


def test_the_grant_holder_adopts_by_naming(adopting):
    adopting.event("ada", seen([part(1)]))
    record = adopting.part(part(1))
    assert record.adopted
    assert record.origin_chain == adopting.chain_id
    assert record.holder == "ada"
    assert adopting.story(part(1)) == ["ADOPTED_EVENT"]
    adopting.event("ada", packing(box(1), [part(2)]))
    assert adopting.story(part(2)) == ["ADOPTED_EVENT", "PACKED"]
    assert not adopting.part(box(1)).adopted, "packing commissions the box"
    with refused(Reason.UNKNOWN_PART):
        adopting.event("bob", seen([part(3)]))


def test_adoption_happens_at_home_only(adopting):
    adopting.change(
        Change(revoke_grant=RevokeGrant(prefix="gs1:4012345")),
        Change(put_grant=PutGrant(prefix="gs1:4012345", holder="ada", home_chain=b"h" * 32)),
    )
    for event in (seen([part(1)]), packing(box(1), [part(1)]), seen([], [quantity(lot("L"), 1)])):
        with refused(Reason.NOT_HOME_CHAIN):
            adopting.event("ada", event)


def test_commissioning_supersedes_an_adoption_wherever_the_part_is(adopting):
    adopting.event("ada", seen([part(1), part(2)]))
    adopting.give("ada", "bob", part(1))
    adopting.event("bob", packing(box(1, "bob"), [part(1)]))
    adopting.event("ada", add([part(1), part(3)]))
    record = adopting.part(part(1))
    assert not record.adopted
    assert record.container == box(1, "bob")
    assert adopting.story(part(1))[-1] == "EVENT!SUPERSEDES_ADOPTION"
    assert adopting.reason == Reason.REASON_UNSPECIFIED
    adopting.event("ada", add([part(1)]))
    assert adopting.reason == Reason.REPEATED_COMMISSIONING
    with refused(Reason.ALREADY_COMMISSIONED):
        adopting.event("bob", add([part(2)]))


@pytest.mark.parametrize("status", ["OFFERED", "DESTROYED", "CONSUMED", "DEPARTED"])
def test_an_adoption_that_is_over_is_not_superseded(adopting, status):
    adopting.event("ada", seen([part(1)]))
    adopting.set_status(part(1), status)
    with refused(Reason.NOT_LIVE):
        adopting.event("ada", add([part(1)]))


# ---- destroying


@pytest.mark.parametrize(
    "event",
    [
        destroying([part(1)]),
        object_event("DELETE", [part(1)]),
        object_event("DELETE", [part(1)], "decommissioning"),
        object_event("OBSERVE", [part(1)], "destroying"),
        object_event("OBSERVE", [part(1)], "decommissioning"),
    ],
)
def test_what_is_destroyed_stays_so(world, event):
    world.event("ada", add([part(1)]))
    world.event("ada", event)
    assert world.status(part(1)) == "DESTROYED"
    for later in (
        seen([part(1)]),
        destroying([part(1)]),
        shipping([part(1)], "bob"),
        packing(box(1), [part(1)]),
    ):
        with refused(Reason.NOT_LIVE, "is DESTROYED"):
            world.event("ada", later)


def test_only_the_possessor_destroys(world):
    world.event("ada", add([part(1), part(2)]))
    world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", destroying([part(2)]))
    with refused(Reason.INSIDE_CONTAINER, box(1)):
        world.event("ada", destroying([part(1)]))


def test_a_destroyed_container_destroys_its_contents_at_once(world):
    world.event("ada", add([part(1)], [quantity(lot("L"), 5)]))
    world.event("ada", packing(box(1), [part(1)], [quantity(lot("L"), 2)]), packing(box(2), [box(1)]))
    world.event("ada", destroying([box(2)]))
    assert world.touched == {state.part_key(box(2)), state.generation_key(box(2), 1)}
    generation = world.generation(box(2))
    assert generation.closed_by == ClosedBy.DESTROY
    assert generation.closed_n == 2
    for name in (part(1), box(1)):
        with refused(Reason.NOT_LIVE, "DESTROYED"):
            world.event("ada", seen([name]))
    with refused(Reason.NOT_LIVE):
        world.event("ada", unpacking(box(1)))
    assert world.amount(lot("L"), "ada") == "3"
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", seen([], [quantity(lot("L"), 4)]))
    assert world.story(part(1)) == ["EVENT", "PACKED"]
