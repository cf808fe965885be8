import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import decimals, lots
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    lot,
    packing,
    quantity,
    receiving,
    refused,
    seen,
    shipping,
)

LOT = lot("L")


@pytest.fixture
def world() -> World:
    return World()


def test_amounts_add_up_per_unit(world):
    world.event("ada", add([], [quantity(LOT, 5), quantity(LOT, "0.25", "KGM")]))
    world.event("ada", add([], [quantity(LOT, 7)]))
    assert (world.amount(LOT, "ada"), world.amount(LOT, "ada", "KGM")) == ("12", "0.25")
    assert world.lot_story(LOT) == ["EVENT", "EVENT"]
    record = world.lot(LOT)
    assert (record.commissioner, record.adopted, record.origin_chain) == ("ada", False, world.chain_id)


def test_amounts_begin_under_a_grant(world):
    with refused(Reason.NOT_GRANTED):
        world.event("bob", add([], [quantity(LOT, 5)]))
    for amount in (None, 0, "0.5"):
        with refused(Reason.QUANTITY_INVALID):
            world.event("ada", add([], [quantity(LOT, amount)]))
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", add([], [quantity(LOT, -1)]))
    huge = quantity(LOT, str(2**128 - 1))
    world.event("ada", add([], [huge]))
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", add([], [quantity(LOT, 1)]))


def test_the_same_event_moves_amounts_once(world):
    operation = world.capture(add([], [quantity(LOT, 5)]))
    world.act("ada", operation)
    world.event("ada", add([], [quantity(LOT, 1)]))
    with refused(Reason.EVENT_REPEATED, "height 1"):
        world.act("ada", operation)
    shipped = world.capture(shipping(to="bob", amounts=[quantity(LOT, 2)]))
    world.act("ada", shipped)
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", shipped)
    assert world.amount(LOT, "ada>bob") == "2"


def test_only_what_one_has_is_observed_or_destroyed(world):
    world.event("ada", add([], [quantity(LOT, 5)]))
    world.event("ada", seen([], [quantity(LOT, 5)]), seen([], [quantity(LOT)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", seen([], [quantity(LOT, 6)]))
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", seen([], [quantity(LOT)]))
    with refused(Reason.UNKNOWN_LOT):
        world.event("ada", seen([], [quantity(lot("M"))]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", destroying([], [quantity(LOT, 6)]))
    world.event("ada", destroying([], [quantity(LOT, 5)]))
    assert world.amount(LOT, "ada") == "0"
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("ada", seen([], [quantity(LOT)]))


def test_an_unknown_lot_is_adopted_with_what_the_event_moves():
    world = World(adoption=True)
    world.event("ada", seen([], [quantity(LOT, 5)]))
    assert world.lot(LOT).adopted
    assert world.amount(LOT, "ada") == "5"
    assert world.lot_story(LOT) == ["ADOPTED_EVENT"]
    world.event("ada", packing(box(1), [], [quantity(lot("M"), 3)]))
    assert world.lot_story(lot("M")) == ["ADOPTED_EVENT", "PACKED"]
    assert (world.amount(lot("M"), "ada"), world.amount(lot("M"), box(1))) == ("0", "3")
    # Known from then on: more than there is, is more than there is.
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", seen([], [quantity(LOT, 6)]))
    # What is to be moved is told: an open amount adopts nothing that could be.
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", packing(box(1), [], [quantity(lot("N"))]))
    with refused(Reason.UNKNOWN_LOT):
        world.event("bob", seen([], [quantity(lot("N"), 1)]))
    # What was adopted stays of unknown origin, whatever is added.
    world.event("ada", add([], [quantity(LOT, 5)]))
    assert world.lot(LOT).adopted
    assert world.amount(LOT, "ada") == "10"


PLACES = ["ada", "bob", box(1)]


@settings(max_examples=100, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(PLACES), st.integers(1, 60)), max_size=12
    )
)
def test_moving_conserves(moves):
    """Amounts as integers over all places: what is taken is put, and never more than there is."""
    world = World()
    lots.put_amount(world.overlay, LOT, "ada", "", decimals.from_int(100))
    plain = {"ada": 100, "bob": 0, box(1): 0}
    for source, target, amount in moves:
        overlay = world.overlay.child()
        moved = decimals.from_int(amount)
        if amount > plain[source]:
            with refused(Reason.QUANTITY_EXCEEDED):
                lots.take_amount(overlay, LOT, source, "", moved)
            continue
        lots.take_amount(overlay, LOT, source, "", moved)
        lots.put_amount(overlay, LOT, target, "", moved)
        overlay.merge()
        plain[source] -= amount
        plain[target] += amount
        assert {place: world.amount(LOT, place) for place in PLACES} == {p: str(n) for p, n in plain.items()}


def test_receiving_without_a_sender_is_what_one_has(world):
    world.event("ada", add([], [quantity(LOT, 5)]))
    world.event(
        "ada", receiving(amounts=[quantity(LOT, 5)]), receiving(amounts=[quantity(LOT, 5)], sender="ada")
    )
    assert world.amount(LOT, "ada") == "5"
