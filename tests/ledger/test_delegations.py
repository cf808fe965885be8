"""Commissioning under another's grant: within a quantity, a time and a prefix, and never further."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import decimals, grants, history, identifiers, limits, state
from ledger.delegations import load_delegation
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import (
    Change,
    Decimal,
    Delegate,
    EntryKind,
    Operation,
    PutGrant,
    Reason,
    RevokeDelegation,
    RevokeGrant,
    UnitAmount,
)
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    lot,
    making,
    packing,
    part,
    quantity,
    refused,
    serials_of,
)

PREFIX = "gs1:4012345"
ITEM = "gs1:401234512345"  # of `part`: any indicator digit


def amounts(**by_unit: str) -> list[UnitAmount]:
    rows = {"" if unit == "pieces" else unit: text for unit, text in by_unit.items()}
    return [UnitAmount(unit=unit, amount=decimals.parse(rows[unit])) for unit in sorted(rows)]


def delegating(member="bob", prefix=PREFIX, **more) -> Operation:
    return Operation(delegate=Delegate(prefix=prefix, member=member, **({"serials": 10} | more)))


def ending(member="bob", prefix=PREFIX) -> Operation:
    return Operation(revoke_delegation=RevokeDelegation(prefix=prefix, member=member))


def put(prefix, holder="ada", home=b"") -> Change:
    return Change(put_grant=PutGrant(prefix=prefix, holder=holder, home_chain=home))


def revoke(prefix) -> Change:
    return Change(revoke_grant=RevokeGrant(prefix=prefix))


@pytest.fixture
def world() -> World:
    return World()


def left(world: World, member="bob", prefix=PREFIX) -> tuple[int, dict[str, str]]:
    record = load_delegation(world.overlay, member, prefix)
    assert record is not None
    return record.serials_left, {row.unit: decimals.to_text(row.amount) for row in record.amounts_left}


def story(world: World, member="bob", prefix=PREFIX) -> list[str]:
    """The delegation's entries, checked to be its complete history."""
    key = state.delegation_key(member, prefix)
    record = load_delegation(world.overlay, member, prefix)
    assert record is not None
    history.verify_history(world.chain_id, record.history, world.entries[key])
    return [EntryKind.Name(entry.kind) for entry in world.told(key)]


# ---- drawing ------------------------------------------------------------------------------------------------


def test_a_delegate_commissions_and_the_brand_sees_it(world):
    world.act("ada", delegating(amounts=amounts(pieces="1000", KGM="2.5")))
    world.event("bob", add([part(1), part(2)], [quantity(lot("L"), 400), quantity(lot("M"), "0.5", "KGM")]))
    assert (world.part(part(1)).holder, world.part(part(1)).commissioner) == ("bob", "bob")
    assert world.amount(lot("L"), "bob") == "400"
    assert left(world) == (8, {"": "600", "KGM": "2"})
    # One entry for each event, however much it takes; it carries the event's digest.
    assert story(world) == ["DELEGATED", "DRAWN"]
    drawn = world.told(state.delegation_key("bob", PREFIX))[-1]
    assert drawn.digest == world.told(state.part_key(part(1)))[0].digest
    # The holder needs none, and takes nothing from it.
    world.event("ada", add([part(3)]))
    assert left(world)[0] == 8


def test_over_production_beyond_the_delegated_quantity(world):
    world.act("ada", delegating(serials=3, amounts=amounts(pieces="100", KGM="2.5")))
    with refused(Reason.DELEGATION_EXCEEDED, "left of it is 0 of 3"):
        world.event("bob", add([part(n) for n in range(4)]))
    world.event("bob", add([part(n) for n in range(3)]))
    with refused(Reason.DELEGATION_EXCEEDED, "left of it is 0 of 3"):
        world.event("bob", add([part(4)]))
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", add([], [quantity(lot("L"), 101)]))
    with refused(Reason.DELEGATION_EXCEEDED, "nothing in that unit"):
        world.event("bob", add([], [quantity(lot("L"), 1, "GRM")]))
    world.event("bob", add([], [quantity(lot("L"), 60)]))
    # Another lot of the same prefix draws on the same amount; exactly, also below the dot.
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", add([], [quantity(lot("M"), 41)]))
    world.event("bob", add([], [quantity(lot("M"), 40), quantity(lot("N"), "2.499999999999999999", "KGM")]))
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", add([], [quantity(lot("N"), "0.000000000000000002", "KGM")]))
    world.event("bob", add([], [quantity(lot("N"), "0.000000000000000001", "KGM")]))
    assert left(world) == (0, {"": "0", "KGM": "0"})


def test_what_is_refused_draws_nothing(world):
    world.act("ada", delegating(serials=2))
    before = left(world), story(world)
    with refused(Reason.NOT_GRANTED):
        world.act("bob", world.capture(add([part(1)])), world.capture(add(["https://x.example/1"])))
    assert (left(world), story(world)) == before


def test_two_events_of_one_transaction_draw_one_after_the_other(world):
    world.act("ada", delegating(serials=3))
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", add([part(1), part(2)]), add([part(3), part(4)]))
    world.event("bob", add([part(1), part(2)]), add([part(3)]))
    assert story(world) == ["DELEGATED", "DRAWN", "DRAWN"]


def test_boxes_and_outputs_are_drawn_as_well(world):
    world.act("ada", delegating(serials=3, amounts=amounts(pieces="50")))
    world.event("bob", add([part(1, "bob"), part(2, "bob")], [quantity(lot("B", "bob"), 9)]))
    world.event("bob", packing(box(1), [part(1, "bob")]))
    world.event("bob", making([part(2, "bob")], [part(7)], made=[quantity(lot("L"), 50)]))
    assert left(world) == (1, {"": "0"})
    # What lives on through a transformation is not commissioned anew.
    world.event("bob", making([part(7)], [part(7)], used=[quantity(lot("B", "bob"), 1)]))
    assert left(world)[0] == 1
    world.event("bob", making(outputs=[part(8)], used=[quantity(lot("B", "bob"), 1)]))
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", making(outputs=[part(9)], used=[quantity(lot("B", "bob"), 1)]))
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", packing(box(2), [part(8)]))


def test_a_lot_of_serials_draws_each(world):
    world.act("ada", delegating(serials=300, amounts=amounts(pieces="1")))
    with refused(Reason.DELEGATION_EXCEEDED):
        world.event("bob", serials_of(lot("S"), "1000", "1300", 301))
    world.event("bob", serials_of(lot("S"), "1000", "1249", 250))
    assert left(world) == (50, {"": "1"})
    # One that is carved out of it was drawn already.
    world.event("bob", destroying([canonical("urn:epc:id:sgtin:4012345.054321.1007").text]))
    assert (left(world)[0], story(world)) == (50, ["DELEGATED", "DRAWN"])


def test_a_delegate_flags_nothing_and_adopts_nothing():
    world = World(adoption=True)
    world.act("ada", delegating())
    world.event("bob", add([part(1)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("bob", add([part(1)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("bob", {"type": "ObjectEvent", "action": "OBSERVE", "epcList": [part(2)]})
    with refused(Reason.UNKNOWN_LOT):
        world.event(
            "bob", {"type": "ObjectEvent", "action": "OBSERVE", "quantityList": [quantity(lot("L"), 1)]}
        )
    assert left(world)[0] == 9


def test_a_flagged_repetition_draws_nothing(world):
    """bob repeats a serial of his own beside a new one of ada's: the event is a finding, and makes nothing."""
    world.act("ada", delegating())
    world.event("bob", add([part(1, "bob")]))
    world.event("bob", add([part(1, "bob"), part(2)]))
    assert world.reason == Reason.REPEATED_COMMISSIONING
    assert world.record(state.part_key(part(2)), type(world.part(part(1, "bob")))) is None
    assert (left(world)[0], story(world)) == (10, ["DELEGATED"])


def test_a_repetition_beside_what_is_nobodys_to_make_is_refused(world):
    world.event("bob", add([part(1, "bob")]))
    with refused(Reason.NOT_GRANTED):
        world.event("bob", add([part(1, "bob"), part(2)]))
    world.act("ada", delegating())
    world.act("ada", ending())
    with refused(Reason.DELEGATION_REVOKED):
        world.event("bob", add([part(1, "bob"), part(2)]))


# ---- time, revocation, prefix -------------------------------------------------------------------------------


def test_a_delegation_has_a_time(world):
    begin, end = world.time_ms + 1_000, world.time_ms + 2_000
    world.act("ada", delegating(valid_from_ms=begin, valid_until_ms=end))
    with refused(Reason.DELEGATION_NOT_VALID):
        world.event("bob", add([part(1)]), wait_ms=begin - 1 - world.time_ms)
    world.event("bob", add([part(1)]), wait_ms=1)
    world.event("bob", add([part(2)]), wait_ms=end - world.time_ms)
    with refused(Reason.DELEGATION_NOT_VALID):
        world.event("bob", add([part(3)]), wait_ms=1)


def test_delegate_after_revocation(world):
    world.act("ada", delegating())
    world.event("bob", add([part(1)]))
    world.act("ada", ending())
    with refused(Reason.DELEGATION_REVOKED):
        world.event("bob", add([part(2)]))
    assert world.status(part(1)) == "LIVE"
    # Delegating anew begins the quantity anew; the history goes on.
    world.act("ada", delegating(serials=1))
    world.event("bob", add([part(2)]))
    assert story(world) == ["DELEGATED", "DRAWN", "DELEGATED", "DELEGATED", "DRAWN"]
    assert left(world)[0] == 0


def test_a_delegation_ends_with_its_grant(world):
    world.act("ada", delegating(), delegating("cyd"))
    world.change(revoke(PREFIX))
    with refused(Reason.DELEGATION_REVOKED):
        world.event("bob", add([part(1)]))
    # Also for the same holder, and for who is given the namespace instead.
    world.change(put(PREFIX))
    with refused(Reason.DELEGATION_REVOKED):
        world.event("bob", add([part(1)]))
    world.change(revoke(PREFIX), put(PREFIX, "dee"))
    with refused(Reason.DELEGATION_REVOKED):
        world.event("bob", add([part(1)]))
    with refused(Reason.NOT_GRANTED):
        world.act("ada", delegating())
    # The new holder delegates over it, or clears it away.
    world.act("dee", delegating(serials=1))
    world.event("bob", add([part(1)]))
    world.act("dee", ending("cyd"))
    with refused(Reason.NOT_GRANTED):
        world.act("ada", ending("bob"))
    with refused(Reason.NOT_DELEGATED):
        world.act("dee", ending("cyd"))


def test_in_one_transaction_the_grant_moves_and_the_delegation_ends(world):
    world.act("ada", delegating())
    with refused(Reason.DELEGATION_REVOKED):
        world.act("bob", world.govern(revoke(PREFIX), put(PREFIX)), world.capture(add([part(1)])))


def test_prefix_substring(world):
    """Hyperledger Grid took a prefix for the owner's wherever its digits stood in the key."""
    world.act("ada", delegating(prefix=ITEM))
    world.event("bob", add([part(1)]))
    item = "urn:epc:id:sgtin:4012345.0{}.1"
    with refused(Reason.NOT_DELEGATED):
        world.event("bob", add([item.format("54321")]))
    with refused(Reason.UNKNOWN_PART, "no grant or delegation"):
        world.event("bob", packing(box(1), [part(1)]))
    # The delegated digits stand in the key, one place further on; in the serial; and under another prefix.
    with refused(Reason.NOT_DELEGATED):
        world.event("bob", add([f"urn:epc:id:sscc:4012345.0{ITEM[4:13]}"]))
    with refused(Reason.NOT_DELEGATED):
        world.event("bob", add(["urn:epc:id:sgtin:4012345.054321." + ITEM[4:]]))
    with refused(Reason.NOT_GRANTED):
        world.event("bob", add(["urn:epc:id:sgtin:9401234.0" + "51234.5"]))
    assert left(world, prefix=ITEM)[0] == 9


def test_prefix_substring_of_a_path():
    world = World(grants={"https://a.example/parts": "ada"})
    world.act("ada", delegating(prefix="https://a.example/parts/x"))
    world.event("bob", add(["https://a.example/parts/x/1"]))
    for wrong in ("https://a.example/parts/xy/1", "https://a.example/parts/y/x/1"):
        with refused(Reason.NOT_DELEGATED):
            world.event("bob", add([wrong]))
    with refused(Reason.NOT_GRANTED):
        world.event("bob", add(["https://a.example.org/parts/x/1"]))


def test_only_the_delegate_may_use_it(world):
    world.act("ada", delegating())
    with refused(Reason.NOT_GRANTED, "granted to member ada"):
        world.event("cyd", add([part(1)]))


# ---- making and ending one ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "operation, reason",
    [
        (delegating(prefix="gs1:401"), Reason.IDENTIFIER_INVALID),
        (delegating(prefix="gs1:4012345x"), Reason.IDENTIFIER_INVALID),
        (delegating("nobody"), Reason.UNKNOWN_MEMBER),
        (delegating("ada"), Reason.NOTHING_TO_DO),
        (delegating(serials=0), Reason.NOTHING_TO_DO),
        (delegating(prefix="gs1:5012345"), Reason.NOT_GRANTED),
        (delegating(prefix="gs1:401234"), Reason.NOT_GRANTED),
        (delegating(prefix="gs1:6012345"), Reason.NOT_GRANTED),
        (delegating(amounts=amounts(pieces="0")), Reason.QUANTITY_INVALID),
        (delegating(amounts=amounts(pieces="-1")), Reason.QUANTITY_INVALID),
        (delegating(amounts=amounts(pieces="1.5")), Reason.QUANTITY_INVALID),
        (delegating(amounts=[UnitAmount(unit="KGM")]), Reason.QUANTITY_INVALID),
        (delegating(amounts=amounts(kilo="1")), Reason.QUANTITY_INVALID),
        (delegating(amounts=amounts(KGM="1") * 2), Reason.QUANTITY_INVALID),
        (delegating(amounts=amounts(GRM="1", KGM="1")[::-1]), Reason.QUANTITY_INVALID),
        (
            delegating(amounts=[UnitAmount(unit="KGM", amount=Decimal(coefficient=b"\0\1"))]),
            Reason.QUANTITY_INVALID,
        ),
        (delegating(valid_from_ms=2**50, valid_until_ms=2**50 - 1), Reason.DELEGATION_NOT_VALID),
        (delegating(valid_until_ms=1), Reason.DELEGATION_NOT_VALID),
        (ending(), Reason.NOT_DELEGATED),
        (ending(prefix="gs1:4\u00e9"), Reason.NOT_DELEGATED),
    ],
)
def test_a_wrong_delegation_is_refused(world, operation, reason):
    with refused(reason):
        world.act("ada", operation)


def test_units_are_bounded(world):
    many = [f"U{n:02}" for n in range(limits.DELEGATED_UNITS_MAX + 1)]
    with refused(Reason.QUANTITY_INVALID):
        world.act("ada", delegating(amounts=amounts(**dict.fromkeys(many, "1"))))
    world.act("ada", delegating(amounts=amounts(**dict.fromkeys(many[1:], "1"))))


@pytest.mark.parametrize("role", ["device", "auditor", "regulator", "relayer", "validator"])
def test_an_operator_delegates(world, role):
    with refused(Reason.ROLE_NOT_ALLOWED):
        world.act("ada", delegating(), role=role)
    world.act("ada", delegating())
    with refused(Reason.ROLE_NOT_ALLOWED):
        world.act("ada", ending(), role=role)


def test_a_delegate_passes_nothing_on(world):
    world.act("ada", delegating())
    with refused(Reason.NOT_GRANTED, "passes nothing on"):
        world.act("bob", delegating("cyd"))
    with refused(Reason.NOT_GRANTED, "passes nothing on"):
        world.act("bob", delegating("cyd", ITEM))


def test_another_member_ends_nothing(world):
    world.act("ada", delegating())
    for other in ("bob", "cyd"):
        with refused(Reason.NOT_GRANTED):
            world.act(other, ending())


def test_there_is_nothing_to_delegate_where_another_chain_is_home(world):
    world.change(revoke(PREFIX), put(PREFIX, home=b"h" * 32))
    with refused(Reason.NOT_HOME_CHAIN):
        world.act("ada", delegating())


PREFIXES = ["gs1:4012345", "gs1:40123451", "gs1:401234512345", "gs1:40123452"]
STEPS = st.tuples(st.sampled_from(PREFIXES), st.sampled_from(["put", "end", "grant"]))


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(STEPS, max_size=14))
def test_what_is_delegated_to_one_member_never_overlaps(steps):
    """Against the plain rule over a list of those that stand."""
    world, standing, kept = World(), set(), set()  # kept: not revoked, though the grant may have ended since
    for prefix, step in steps:
        if step == "grant":
            world.change(revoke(PREFIX), put(PREFIX))
            standing = set()
        elif step == "end":
            if prefix in kept:
                world.act("ada", ending(prefix=prefix))
                standing.discard(prefix)
                kept.remove(prefix)
            else:
                with refused(Reason.NOT_DELEGATED):
                    world.act("ada", ending(prefix=prefix))
        else:
            over = any(identifiers.grants_overlap(prefix, other) for other in standing)
            below = any(other != prefix and other.startswith(prefix) for other in kept)
            if over or below:
                with refused(Reason.GRANT_OVERLAPS):
                    world.act("ada", delegating(prefix=prefix))
            else:
                world.act("ada", delegating(prefix=prefix))
                standing.add(prefix)
                kept.add(prefix)
        # Another member's delegations are another matter.
        world.act("ada", delegating("cyd"), ending("cyd"))
    covered = any(canonical(part(1)).gs1_key_digits.startswith(prefix[4:]) for prefix in standing)
    if covered:
        world.event("bob", add([part(1)]))
    for prefix in kept:
        world.act("ada", ending(prefix=prefix))
    # Nothing is left over.
    for prefix in PREFIXES:
        world.act("ada", delegating(prefix=prefix), ending(prefix=prefix))


def test_drawing_reads_a_few_keys(world):
    world.act("ada", delegating(serials=100))
    world.event("bob", add([part(n) for n in range(50)]))
    # Each part, and the delegation once.
    kinds = Counter(key[0] for key in world.touched)
    assert (kinds[state.Kind.PART], kinds[state.Kind.DELEGATION]) == (50, 1)


def test_prefixes_that_are_counted_along_are_records(world):
    # One delegation that was made and revoked fifty thousand times took a block five seconds.
    outer = len(grants.outer_prefixes(ITEM))
    world.overlay = world.overlay.child(records_max=outer + 1)
    world.act("ada", delegating(prefix=ITEM))
    with refused(Reason.TOO_MANY_RECORDS):
        world.act("ada", ending(prefix=ITEM))
