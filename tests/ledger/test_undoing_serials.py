"""What an error declaration takes back of serials of a lot: the interval that the event named, while it is whole."""

import pytest

from ledger import corrections, state
from ledger.identifiers import canonical, interval_text
from ledger.roots import SerialList
from proto.chiptrace.v1.ledger_pb2 import (
    PartStatus,
    Reason,
    TransformationRecord,
)
from tests.ledger.rules_world import (
    World,
    add,
    box,
    destroying,
    listed,
    making,
    packing,
    part,
    quantity,
    refused,
    root_of,
    seen,
    serials_of,
    unpacking,
)
from tests.ledger.test_corrections import recorded, state_of, wrong

WAFER = part(1)
LOT = "https://id.gs1.org/01/04012345123456/10/W1"
WHOLE = interval_text(LOT, 0, 100)


def some(start: int, end: int) -> dict:
    return {"epcClass": interval_text(LOT, start, end)}


def packed(world: World) -> int:
    """How many serials are in box 1 by its manifest."""
    (row,) = world.generation(box(1)).manifest
    return row.count


def serial(place: int) -> str:
    return f"https://id.gs1.org/01/04012345123456/21/{place + 1:03}"


@pytest.fixture
def world() -> World:
    return World()


def begun(world: World):
    return recorded(world, "ada", serials_of(LOT, "001", "100", 100))


def test_a_lot_of_serials_is_undone_and_its_serials_stay_burnt(world):
    operation = begun(world)
    world.act("ada", wrong(operation))
    assert (state_of(world, operation), world.status(WHOLE)) == ("TAKEN_BACK", "VOID")
    assert world.story(WHOLE) == ["EVENT", "UNDONE"]
    assert world.lot_story(LOT) == ["EVENT", "UNDONE"]
    for event in (seen([serial(3)]), seen([], [some(3, 5)]), destroying([serial(99)])):
        with refused(Reason.NOT_LIVE):
            world.event("ada", event)
    with refused(Reason.ALREADY_COMMISSIONED):
        world.event("ada", add([serial(3)]))
    with refused(Reason.ALREADY_COMMISSIONED):
        begun(world)


@pytest.mark.parametrize(
    "spoil", [seen([serial(3)]), seen([], [some(3, 5)]), packing(box(1), [], [some(0, 100)])]
)
def test_a_lot_of_which_something_was_touched_or_packed_is_not(world, spoil):
    operation = begun(world)
    world.event("ada", spoil)
    world.act("ada", wrong(operation))
    assert state_of(world, operation) == "NOTED"
    assert "VOID" not in {
        world.status(name)
        for name in (serial(3), WHOLE)
        if world.record(state.part_key(name), type(world.part(WHOLE)))
    }


def test_a_lot_that_was_sold_needs_the_word_of_who_has_it(world):
    operation = begun(world)
    world.event(
        "ada",
        {
            **seen([], [some(0, 100)]),
            "bizStep": "shipping",
            "destinationList": [{"type": "possessing_party", "destination": "urn:chiptrace:member:bob"}],
        },
    )
    world.event("bob", {**seen([], [some(0, 100)]), "bizStep": "receiving"})
    world.act("ada", wrong(operation))
    assert (state_of(world, operation), world.status(WHOLE)) == ("WAITING", "LIVE")
    world.act("bob", wrong(operation))
    assert (state_of(world, operation), world.status(WHOLE)) == ("TAKEN_BACK", "VOID")


def test_a_lot_that_was_never_recorded_breaks_nothing(world):
    world.event("ada", add([part(7)]))
    operation = world.capture(serials_of(LOT, "001", "100", 100))
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        world.act("ada", wrong(operation))
    made = world.capture(making([part(7)], made=[quantity(LOT, 100)], **serial_words()))
    world.act("ada", wrong(made))
    assert state_of(world, made) == "NOTED"


def serial_words() -> dict:
    said = serials_of(LOT, "001", "100", 100)
    return {name: said[name] for name in ("ilmd", "@context")}


def test_dies_of_a_wafer_are_void_and_the_wafer_lives_again(world):
    world.event("ada", add([WAFER]))
    operation = recorded(world, "ada", making([WAFER], made=[quantity(LOT, 100)], **serial_words()))
    assert (world.status(WAFER), world.status(WHOLE)) == ("CONSUMED", "LIVE")
    world.act("ada", wrong(operation))
    assert (world.status(WAFER), world.status(WHOLE)) == ("LIVE", "VOID")
    assert world.story(WAFER) == ["EVENT", "EVENT", "UNDONE"]
    world.event("ada", making([WAFER], [part(2)]))


def test_serials_that_were_consumed_live_again(world):
    begun(world)
    operation = recorded(world, "ada", making([serial(50)], [part(2)], used=[some(3, 5)]))
    world.act("ada", wrong(operation))
    for name in (serial(50), interval_text(LOT, 3, 5)):
        assert (world.status(name), world.story(name)) == ("LIVE", ["EVENT", "UNDONE"])
    world.event("ada", seen([serial(50), serial(3)]))


@pytest.mark.parametrize("kind", ["Aggregation", "Association"])
def test_serials_that_were_packed_come_out(world, kind):
    begun(world)
    world.event("ada", add([box(1)]))
    operation = recorded(world, "ada", packing(box(1), [serial(50)], [some(3, 5)], kind=kind))
    assert packed(world) == 3
    world.act("ada", wrong(operation))
    for name in (serial(50), interval_text(LOT, 3, 5)):
        assert (world.part(name).container, world.story(name)) == ("", ["PACKED", "UNPACKED"])
    assert not world.part(box(1)).open
    world.event("ada", seen([serial(50), serial(3)]))


def test_serials_that_were_taken_out_go_back_in_and_not_once_they_were_carved(world):
    begun(world)
    world.event("ada", packing(box(1), [serial(50)], [some(3, 9)]))
    operation = recorded(world, "ada", unpacking(box(1), [], [some(3, 9)]))
    world.act("ada", wrong(operation))
    assert world.part(interval_text(LOT, 3, 9)).container == box(1)
    assert packed(world) == 7
    again = recorded(world, "ada", unpacking(box(1), [], [some(3, 9)]))
    world.event("ada", seen([serial(4)]))
    world.act("ada", wrong(again))
    assert state_of(world, again) == "NOTED"
    assert (
        PartStatus.Name(
            world.record(state.part_key(interval_text(LOT, 3, 9)), type(world.part(WHOLE))).status
        )
        == "SPLIT"
    )


def test_what_was_packed_and_carved_inside_stays_inside(world):
    begun(world)
    operation = recorded(world, "ada", packing(box(1), [], [some(3, 9)]))
    world.event("ada", unpacking(box(1), [serial(4)]))
    world.act("ada", wrong(operation))
    assert state_of(world, operation) == "NOTED"
    assert world.part(interval_text(LOT, 5, 9)).container == box(1)


def test_what_was_carved_inside_without_its_box_stays_inside(world):
    begun(world)
    operation = recorded(world, "ada", packing(box(1), [], [some(3, 9)]))
    world.event("ada", seen([serial(4)]))
    world.act("ada", wrong(operation))
    assert state_of(world, operation) == "NOTED"
    assert {world.part(name).container for name in (serial(4), interval_text(LOT, 5, 9))} == {box(1)}


def test_a_serial_of_a_lot_began_with_its_lot_whatever_two_members_say(world):
    begun(world)
    world.give("ada", "bob", serial(4))
    invented = world.capture(add([serial(4)]))
    world.act("ada", wrong(invented))
    world.act("bob", wrong(invented))
    assert (state_of(world, invented), world.status(serial(4))) == ("NOTED", "LIVE")


def test_events_of_a_run_are_taken_back_from_the_last_to_the_first(world):
    world.event("ada", add([WAFER]))
    first = recorded(world, "ada", making([WAFER], run="urn:test:run"))
    second = recorded(world, "ada", making([], [part(2)], run="urn:test:run"))
    world.act("ada", wrong(first))
    assert (state_of(world, first), world.status(WAFER)) == ("DISPUTED", "CONSUMED")
    world.act("ada", wrong(second))
    assert world.status(part(2)) == "VOID"
    world.act("ada", wrong(first, time="2023-11-14T22:13:23Z"))
    assert (state_of(world, first), world.status(WAFER)) == ("TAKEN_BACK", "LIVE")
    run = world.record(state.transformation_key("urn:test:run"), TransformationRecord)
    assert (run.history.n, run.undone) == (4, 2)


@pytest.mark.parametrize("kind", ["list", "root"])
def test_lots_whose_serials_do_not_follow_each_other_are_taken_back_alike(world, kind):
    serials = ["A7", "B3", "C9"]
    if kind == "list":
        operation = world.capture(listed(LOT, serials))
    else:
        operation = world.capture(root_of(LOT, SerialList(world.chain_id, canonical(LOT), serials)))
    world.act("ada", operation)
    world.act("ada", wrong(operation))
    assert (state_of(world, operation), world.status(interval_text(LOT, 0, 3))) == ("TAKEN_BACK", "VOID")
    if kind == "list":
        with refused(Reason.NOT_LIVE):
            world.event("ada", seen(["https://id.gs1.org/01/04012345123456/21/B3"]))


def test_what_is_named_twice_by_intervals_that_overlap_is_told_once(world):
    begun(world)
    world.event("ada", seen([], [some(3, 5)]), seen([serial(50)]))
    operation = world.capture(seen([serial(50)], [some(0, 50), some(0, 51), some(3, 51)]))
    world.act("ada", wrong(operation))
    assert world.story(interval_text(LOT, 3, 5)) == ["EVENT", "CORRECTED"]
    assert world.story(serial(50)) == ["EVENT", "CORRECTED"]


@pytest.mark.parametrize("end", [3, 5])
def test_a_declaration_carves_nothing_out_of_what_it_names(world, end):
    # Else the interval would be as it was, beside the pieces that it fell into: serials in two hands.
    begun(world)
    world.event("ada", seen([], [some(0, 3)]), seen([], [some(3, 5)]))
    operation = world.capture(seen([serial(2)], [some(0, end)]))
    with refused(Reason.EVENT_INVALID, "twice"):
        world.act("ada", wrong(operation))


def test_a_declaration_looks_through_so_many_pieces_and_no_more(world):
    begun(world)
    world.event("ada", seen([], [some(place, place + 1) for place in range(0, 60, 2)]))
    names = [some(low, high) for low in range(30) for high in range(31, 60)]
    operation = world.capture(seen([], names[: corrections.LOOKED_THROUGH_MAX // 60]))
    world.act("ada", wrong(operation))
    operation = world.capture(seen([], names))
    with refused(Reason.INTERVAL_SPLIT, "looks through"):
        world.act("ada", wrong(operation))
