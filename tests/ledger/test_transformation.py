import pytest

from ledger import decimals, state
from ledger.event import event_digest
from ledger.limits import RUN_UNITS_MAX
from proto.chiptrace.v1.ledger_pb2 import Event, Reason, TransformationRecord
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
    seen,
    shipping,
)

RUN = "urn:test:run"
WAFER, DIES = lot("wafer"), lot("dies")


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(1), part(2), part(3)], [quantity(WAFER, 10), quantity(WAFER, 5, "KGM")]))
    return world


def run_of(world: World, name: str) -> TransformationRecord:
    found = world.record(state.transformation_key(name), TransformationRecord)
    assert found is not None
    return found


def test_inputs_cease_and_outputs_begin_with_one_digest(world):
    world.event("ada", making([part(1), part(2)], [part(10)], run=RUN))
    assert world.status(part(1)) == world.status(part(2)) == "CONSUMED"
    assert world.status(part(10)) == "LIVE"
    assert (world.part(part(10)).holder, world.part(part(10)).commissioner) == ("ada", "ada")
    digests = {world.told(state.part_key(name))[-1].digest for name in (part(1), part(2), part(10))}
    digests.add(world.told(state.transformation_key(RUN))[-1].digest)
    assert len(digests) == 1
    assert run_of(world, RUN).member == "ada"
    for later in (seen([part(1)]), making([part(1)], run=RUN), shipping([part(1)], "bob")):
        with refused(Reason.NOT_LIVE, "CONSUMED"):
            world.event("ada", later)


def test_partial_runs_share_a_history(world):
    world.event(
        "ada", making([part(1)], run=RUN), making([part(2)], run=RUN), making([], [part(10)], run=RUN)
    )
    assert run_of(world, RUN).history.n == 3
    with refused(Reason.NOT_IN_CUSTODY, "run of member ada"):
        world.event("bob", making([], [part(10, "bob")], run=RUN))


def test_what_is_named_on_both_sides_goes_on_living(world):
    """A repair: the board stays itself, the new chip goes into it."""
    world.event("ada", packing(part(3), [part(2)], kind="Association"))
    world.event("ada", making([part(3), part(1)], [part(3)]))
    assert world.status(part(3)) == "LIVE"
    assert world.part(part(3)).open
    assert world.status(part(1)) == "CONSUMED"
    assert world.story(part(3)) == ["EVENT", "EVENT", "EVENT"]


def test_a_run_without_a_name_is_its_event(world):
    operation = world.capture(making([], [], [quantity(WAFER, 1)], [quantity(DIES, 100)]))
    world.act("ada", operation)
    digest = world.told(state.lot_key(DIES))[-1].digest
    assert run_of(world, f"urn:chiptrace:event:{digest.hex()}").history.n == 1
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", operation)
    named = world.capture(making([], [], [quantity(WAFER, 1)], run=RUN))
    world.act("ada", named)
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", named)


def test_nobody_takes_the_name_of_a_run_that_names_none(world):
    operation = world.capture(making([part(1)], [part(30)]))
    digest = event_digest(world.chain_id, Event.FromString(operation.capture.event))
    with refused(Reason.EVENT_INVALID):
        world.event("ada", making([part(2)], [part(31)], run=f"urn:chiptrace:event:{digest.hex()}"))
    world.act("ada", operation)


def test_a_run_without_a_name_is_recorded_once_even_if_all_live_on(world):
    operation = world.capture(making([part(3)], [part(3)]))
    world.act("ada", operation)
    world.event("ada", seen([part(3)]))
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", operation)


def test_amounts_are_conserved_per_lot_and_unit(world):
    world.event(
        "ada", making([], [], [quantity(WAFER, 4), quantity(WAFER, "1.5", "KGM")], [quantity(DIES, 900)])
    )
    assert (world.amount(WAFER, "ada"), world.amount(WAFER, "ada", "KGM")) == ("6", "3.5")
    assert world.amount(DIES, "ada") == "900"
    for used in (quantity(WAFER, 7), quantity(WAFER, 4, "KGM"), quantity(WAFER, 1, "GRM")):
        with refused(Reason.QUANTITY_EXCEEDED):
            world.event("ada", making([], [], [used]))
    with refused(Reason.QUANTITY_INVALID):
        world.event("ada", making([], [], [quantity(WAFER)]))
    with refused(Reason.UNKNOWN_LOT):
        world.event("ada", making([], [], [quantity(lot("M"), 1)]))
    # The same lot on both sides: what goes in comes from what was there before.
    world.event("ada", making([], [], [quantity(WAFER, 6)], [quantity(WAFER, 5)]))
    assert world.amount(WAFER, "ada") == "5"
    assert world.lot_story(WAFER) == ["EVENT"] * 3


def test_outputs_need_the_grant_and_a_free_name(world):
    with refused(Reason.NOT_GRANTED):
        world.event("ada", making([part(1)], [part(10, "bob")]))
    with refused(Reason.NOT_GRANTED):
        world.event("ada", making([part(1)], made=[quantity(lot("x", "bob"), 1)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", making([part(1)], [part(2)]))
    with refused(Reason.IDENTIFIER_INVALID):
        world.event("ada", making([part(1)], ["https://id.gs1.org/01/04012345123456"]))
    assert world.status(part(1)) == "LIVE"


def test_inputs_are_the_members_and_stand_free(world):
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", making([part(1)]))
    with refused(Reason.UNKNOWN_PART):
        world.event("ada", making([part(9)]))
    with refused(Reason.NOTHING_TO_DO):
        world.event("ada", making(run=RUN))
    world.event("ada", packing(box(1), [part(1)]))
    with refused(Reason.INSIDE_CONTAINER):
        world.event("ada", making([part(1)]))
    with refused(Reason.NOT_FREE_STANDING, "place would be lost"):
        world.event("ada", making([box(1)]))


def test_outputs_belong_to_the_one_owner_of_what_was_consumed(world):
    world.give("ada", "bob", part(1), part(2))
    world.event("bob", making([part(1), part(2)], [part(10, "bob")]))
    assert world.part(part(10, "bob")).owner == "ada"
    world.give("ada", "bob", part(3))
    world.event("bob", add([part(11, "bob")]), making([part(3), part(11, "bob")], [part(12, "bob")]))
    assert world.part(part(12, "bob")).owner == "bob"


def test_a_late_run_says_so(world):
    world = World(backdate_ms=1_000)
    world.event("ada", making([], [part(1)], run=RUN, eventTime="2023-11-14T00:00:00Z"))
    assert world.told(state.transformation_key(RUN))[-1].finding == Reason.LATE_RECORD
    assert world.story(part(1)) == ["EVENT!LATE_RECORD"]


# ---- declared yields ------------------------------------------------------------------------------------------

OURS = "urn:chiptrace:epcis:"


def said(closes: bool | None = None, **amounts) -> dict:
    """The ilmd of a run: yield, scrap and samples as numbers of pieces, or as {unit: amount}."""
    members = {}
    for word, amount in amounts.items():
        if isinstance(amount, dict):
            items = [{"quantity": decimals.parse(str(n)), "uom": unit} for unit, n in amount.items()]
            members[OURS + word.rstrip("_")] = items
        else:
            members[OURS + word.rstrip("_")] = decimals.parse(str(amount))
    if closes is not None:
        members[OURS + "closesRun"] = closes
    return {"ilmd": members}


def balance(world: World, unit: str = "", name: str = RUN) -> tuple[str, ...]:
    (found,) = (item for item in run_of(world, name).balances if item.unit == unit)
    return tuple(decimals.to_text(item) for item in (found.declared, found.made, found.scrap, found.samples))


def test_a_wafer_gives_no_more_dies_than_were_declared(world):
    world.event("ada", making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_=500)))
    world.event("ada", making(made=[quantity(DIES, 480)], outputs=[part(20)], run=RUN, **said(scrap=15)))
    assert balance(world) == ("500", "481", "15", "0")
    for more in (
        making(made=[quantity(DIES, 5)], run=RUN),
        making([part(1)], run=RUN, **said(scrap=5)),
        making([part(1)], run=RUN, **said(samples=5)),
        making([], [part(21), part(22), part(23), part(24), part(25)], run=RUN),
    ):
        with refused(Reason.YIELD_EXCEEDED, "exceed the declared 500"):
            world.event("ada", more)
    with refused(Reason.YIELD_EXCEEDED):
        world.event("ada", making(made=[quantity(DIES, "0.1", "GRM")], run=RUN))
    world.event("ada", making(made=[quantity(DIES, 1)], run=RUN, **said(samples=3)))
    assert balance(world) == ("500", "482", "15", "3")


def test_each_input_may_declare_more_and_units_are_apart(world):
    first = making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_={"KGM": "0.3", "GRM": 1}))
    world.event("ada", first)
    world.event("ada", making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_={"KGM": "0.1"})))
    world.event("ada", making(made=[quantity(DIES, "0.4", "KGM")], run=RUN))
    assert balance(world, "KGM") == ("0.4", "0.4", "0", "0")
    with refused(Reason.YIELD_EXCEEDED):
        world.event("ada", making(made=[quantity(DIES, "0.000000000000000001", "KGM")], run=RUN))


def test_a_yield_is_declared_with_what_goes_in_and_from_the_first_event_on(world):
    with refused(Reason.YIELD_INVALID, "nothing does"):
        world.event("ada", making(made=[quantity(DIES, 5)], run=RUN, **said(yield_=10)))
    with refused(Reason.YIELD_INVALID, "count against"):
        world.event("ada", making([], [], [quantity(WAFER, 1)], run=RUN, **said(scrap=1)))
    world.event("ada", making([], [], [quantity(WAFER, 1)], [quantity(DIES, 5)], run=RUN))
    with refused(Reason.YIELD_INVALID, "began without"):
        world.event("ada", making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_=10)))
    for wrong in (said(yield_="0.5"), said(yield_=-1), {"ilmd": {OURS + "yield": "many"}}):
        with refused(Reason.YIELD_INVALID):
            world.event("ada", making([], [], [quantity(WAFER, 1)], **wrong))


def test_a_closed_run_takes_no_more(world):
    world.event("ada", making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_=10)))
    world.event("ada", making(made=[quantity(DIES, 4)], run=RUN, **said(True)))
    with refused(Reason.RUN_CLOSED):
        world.event("ada", making(made=[quantity(DIES, 1)], run=RUN))
    assert balance(world) == ("10", "4", "0", "0")


def test_what_lives_on_is_not_made(world):
    world.event("ada", making([part(1), part(2)], [part(1)], run=RUN, **said(yield_=0)))
    assert balance(world) == ("0", "0", "0", "0")


# ---- what may have gone in -------------------------------------------------------------------------------------


def perhaps(*names):
    return {"ilmd": {f"{OURS}candidates": list(names)}}


def test_candidates_are_given_the_event_and_keep_everything(world):
    world.event("ada", add([part(20)], [quantity(lot("other"), 5)]))
    before = world.amount(lot("other"), "ada")
    used = [quantity(WAFER, 1)]
    world.event("ada", making(used=used, outputs=[part(21)], **perhaps(WAFER, lot("other"), part(20))))
    assert (world.amount(lot("other"), "ada"), world.status(part(20))) == (before, "LIVE")
    assert [story[-1] for story in (world.lot_story(lot("other")), world.story(part(20)))] == ["EVENT"] * 2
    # The one that is booked is entered once, a lot or a part.
    assert len(world.lot_story(WAFER)) == 2
    world.event("ada", making([part(1)], [part(22)], **perhaps(part(1), part(20))))
    assert world.story(part(1)) == ["EVENT", "EVENT"]


@pytest.mark.parametrize(
    "thing", ["a lot that is used up", "another's part", "an unknown part", "an unknown lot"]
)
def test_who_has_nothing_of_a_candidate_cannot_name_it(world, thing):
    world.event("ada", add([part(20)], [quantity(lot("other"), 5)]))
    world.event("ada", destroying([], [quantity(lot("other"), 5)]))
    world.give("ada", "bob", part(20))
    name, reason = {
        "a lot that is used up": (lot("other"), Reason.NOT_IN_CUSTODY),
        "another's part": (part(20), Reason.NOT_IN_CUSTODY),
        "an unknown part": (part(99), Reason.UNKNOWN_PART),
        "an unknown lot": (lot("none"), Reason.UNKNOWN_LOT),
    }[thing]
    with refused(reason):
        world.event("ada", making(used=[quantity(WAFER, 1)], outputs=[part(21)], **perhaps(name)))


def test_a_candidate_counted_in_another_unit(world):
    paste = lot("paste")
    world.event("ada", add([], [quantity(paste, 5, "GRM"), quantity(lot("more"), 5, "GRM")]))
    used = [quantity(paste, 1, "GRM")]
    world.event("ada", making(used=used, outputs=[part(21)], **perhaps(lot("more"))))
    assert world.lot_story(lot("more")) == ["EVENT", "EVENT"]


def test_so_many_candidates_and_no_more(world):
    with refused(Reason.EVENT_INVALID, "65 things"):
        world.event("ada", making(used=[quantity(WAFER, 1)], **perhaps(*(part(n) for n in range(100, 165)))))
    with refused(Reason.IDENTIFIER_INVALID):
        world.event("ada", making(used=[quantity(WAFER, 1)], **perhaps("no identifier")))


def test_a_run_has_so_many_units_and_no_more(world):
    """Else one run of thousands of units would make each event of it cost as many."""
    units = {f"U{number}": 1 for number in range(RUN_UNITS_MAX + 1)}
    with refused(Reason.YIELD_INVALID, "ilmd.*units at most"):
        world.event("ada", making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_=units)))
    first = dict(list(units.items())[: RUN_UNITS_MAX - 1])
    for declared in (first, {"U1": 1, "KGM": 1}):
        world.event("ada", making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_=declared)))
    for more in (
        making([], [], [quantity(WAFER, 1)], run=RUN, **said(yield_={"GRM": 1})),
        making(made=[quantity(DIES, 1, "GRM")], run=RUN),
    ):
        with refused(Reason.YIELD_INVALID, "units at most"):
            world.event("ada", more)
    assert len(run_of(world, RUN).balances) == RUN_UNITS_MAX
