import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import decimals, lots
from ledger.errors import Refused
from ledger.event_values import OURS
from proto.chiptrace.v1.ledger_pb2 import Reason
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    lot,
    making,
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


# ---- splitting and merging ------------------------------------------------------------------------------------

NAMES = ["L", "M", "N", "O"]


def rearranged(taken: dict[str, int], made: dict[str, int], scrap: int = 0) -> dict:
    """So much of some lots becomes so much of others; what goes in is the most that may come out."""
    said = {OURS + "yield": decimals.from_int(sum(taken.values())), OURS + "scrap": decimals.from_int(scrap)}
    return making(
        used=[quantity(lot(name), amount) for name, amount in taken.items()],
        made=[quantity(lot(name), amount) for name, amount in made.items()],
        ilmd=said,
    )


def test_a_lot_is_split_and_the_halves_merged_again(world):
    world.event("ada", add([], [quantity(LOT, 100)]))
    world.event("ada", rearranged({"L": 100}, {"M": 60, "N": 40}))
    assert [world.amount(lot(name), "ada") for name in "LMN"] == ["0", "60", "40"]
    # Half of one is elsewhere: only what is here merges.
    world.event("ada", shipping([], "bob", [quantity(lot("M"), 30)]))
    with refused(Reason.QUANTITY_EXCEEDED):
        world.event("ada", rearranged({"M": 60, "N": 40}, {"O": 100}))
    world.event("ada", rearranged({"M": 30, "N": 40}, {"O": 69}, scrap=1))
    assert [world.amount(lot(name), "ada") for name in "MNO"] == ["0", "0", "69"]
    assert world.lot_story(lot("N")) == ["EVENT", "EVENT"]
    # Who holds a lot of another's may not name new ones under her prefix.
    world.event("bob", receiving([], [quantity(lot("M"), 30)], sender="ada"))
    with refused(Reason.NOT_GRANTED):
        world.event("bob", rearranged({"M": 30}, {"N": 30}))
    world.event("bob", making(used=[quantity(lot("M"), 30)], made=[quantity(lot("B", "bob"), 30)]))


SHARES = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 40), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SHARES, SHARES, st.integers(0, 5)), max_size=10))
def test_splitting_and_merging_conserve(steps):
    """However lots are split and merged, there is never more of all of them than there was."""
    world = World()
    world.event("ada", add([], [quantity(LOT, 100)]))
    plain, scrapped = dict.fromkeys(NAMES, 0) | {"L": 100}, 0
    for taken, made, scrap in steps:
        if any(amount > plain[name] for name, amount in taken.items()):
            reason = Reason.QUANTITY_EXCEEDED, Reason.UNKNOWN_LOT, Reason.YIELD_EXCEEDED
        elif sum(made.values()) + scrap > sum(taken.values()):
            reason = (Reason.YIELD_EXCEEDED,)
        else:
            world.event("ada", rearranged(taken, made, scrap))
            for name, amount in taken.items():
                plain[name] -= amount
            for name, amount in made.items():
                plain[name] += amount
            # What is neither made nor scrapped is gone too: a yield is the most, not the least.
            scrapped += sum(taken.values()) - sum(made.values())
            assert {name: world.amount(lot(name), "ada") for name in NAMES} == {
                name: str(amount) for name, amount in plain.items()
            }
            assert sum(plain.values()) + scrapped == 100
            continue
        with pytest.raises(Refused) as caught:
            world.event("ada", rearranged(taken, made, scrap))
        assert caught.value.reason in reason
