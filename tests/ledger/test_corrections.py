import contextlib

import pytest

from ledger import codec, corrections, decimals, state
from ledger.errors import Refused
from ledger.event_values import OURS
from proto.chiptrace.v1.ledger_pb2 import (
    CorrectionRecord,
    CorrectionState,
    Event,
    Operation,
    Parameters,
    Reason,
    TransformationRecord,
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
    receiving,
    refused,
    seen,
    shipping,
    to_fields,
    unpacking,
)

DECLARATION = {"declarationTime": "2023-11-14T22:13:21Z", "reason": "did_not_occur"}
WRONG = {"errorDeclaration": DECLARATION}
LOT, DIES = lot("L"), lot("D")


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(1), part(2)], [quantity(LOT, 10)]))
    return world


def recorded(world: World, member: str, event: dict) -> Operation:
    """Records an event and hands it out, so that it can be declared wrong."""
    operation = world.capture(event)
    world.act(member, operation)
    return operation


def wrong(operation: Operation, time: str = "2023-11-14T22:13:22Z", **more) -> Operation:
    """The declaration that an event was wrong: itself, with its seed, and an errorDeclaration."""
    event = Event.FromString(operation.capture.event)
    event.fields.extend(to_fields({"errorDeclaration": DECLARATION | {"declarationTime": time} | more}))
    event.fields.sort(key=lambda field: field.name.encode())
    declared = Operation()
    declared.capture.event = codec.encode(event)
    return declared


def said(world: World, operation: Operation) -> CorrectionRecord:
    original = corrections.original_of(world.chain_id, operation.capture.event)
    found = world.record(state.correction_key(original), CorrectionRecord)
    assert found is not None
    return found


def state_of(world: World, operation: Operation) -> str:
    return CorrectionState.Name(said(world, operation).state)


# ---- what is only noted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        destroying([part(1)], **WRONG),
        shipping([part(1)], "bob", **WRONG),
        packing(box(9), [part(1)], **WRONG),
        packing(part(1), [part(8)], **WRONG),
        making([part(1)], [part(9)], **WRONG),
        making([part(9)], [part(1)], **WRONG),
        add([part(1)], **WRONG),
    ],
)
def test_what_was_never_recorded_is_noted_and_changes_nothing(world, event):
    operation = world.capture(event)
    world.act("ada", operation)
    assert world.story(part(1)) == ["EVENT", "CORRECTED"]
    assert world.status(part(1)) == "LIVE"
    original = corrections.original_of(world.chain_id, operation.capture.event)
    assert world.touched == {state.part_key(part(1)), state.correction_key(original)}
    assert state_of(world, operation) == "NOTED"


def test_the_possessor_and_the_commissioner_declare(world):
    world.give("ada", "bob", part(1))
    world.event("ada", shipping([part(1), part(2)], "bob", **WRONG))
    world.event("bob", seen([part(1), part(2)], **WRONG))
    assert world.story(part(1)) == ["EVENT", "EVENT", "EVENT", "CORRECTED", "CORRECTED"]
    assert world.story(part(2)) == ["EVENT", "CORRECTED"]
    for event in (seen([part(1)], **WRONG), seen([part(9)], **WRONG), seen([], [quantity(LOT, 1)], **WRONG)):
        with refused(Reason.CORRECTION_NOT_APPLICABLE):
            world.event("cyd", event)
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        world.event("cyd", {"type": "TransactionEvent", "action": "ADD", **WRONG})


def test_amounts_are_corrected_by_who_holds_or_declared_them(world):
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 10)]))
    world.event("ada", destroying([], [quantity(LOT, 3)], **WRONG))
    assert world.lot_story(LOT) == ["EVENT", "EVENT", "CORRECTED"]
    assert world.amount(LOT, "ada>bob") == "10"


@pytest.mark.parametrize("status", ["IN_TRANSIT", "DEPARTED"])
def test_what_is_on_another_chain_is_frozen(world, status):
    world.event("ada", packing(box(1), [part(1)]))
    world.set_status(box(1), status)
    for name in (box(1), part(1)):
        with refused(Reason.CORRECTION_NOT_APPLICABLE):
            world.event("ada", seen([name], **WRONG))


def test_a_member_declares_an_event_wrong_once(world):
    observed = recorded(world, "ada", seen([part(1)]))
    world.act("ada", wrong(observed))
    for again in (wrong(observed), wrong(observed, "2023-11-14T22:13:23Z")):
        with refused(Reason.EVENT_REPEATED):
            world.act("ada", again)
    assert world.story(part(1)) == ["EVENT", "EVENT", "CORRECTED"]


def test_an_event_does_not_correct_itself(world):
    observed = recorded(world, "ada", seen([part(1)], eventID="urn:e:1"))
    with refused(Reason.EVENT_INVALID, "does not correct itself"):
        world.act("ada", wrong(observed, correctiveEventIDs=["urn:e:1"]))
    world.act("ada", wrong(observed, correctiveEventIDs=["urn:e:2"]))


def test_a_namesake_on_the_chain_of_origin_is_another_member(world):
    world.give("ada", "bob", part(1))
    record = world.part(part(1))
    record.origin_chain = b"o" * 32
    world.put_part(record)
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        world.event("ada", seen([part(1)], **WRONG))
    world.event("bob", seen([part(1)], **WRONG))


# ---- undone at once --------------------------------------------------------------------------------------------


def test_a_commissioning_is_undone_and_its_serial_stays_burnt(world):
    made = recorded(world, "ada", add([part(3), part(4)], [quantity(LOT, 5)]))
    assert world.amount(LOT, "ada") == "15"
    world.act("ada", wrong(made))
    assert state_of(world, made) == "TAKEN_BACK"
    for name in (part(3), part(4)):
        assert world.status(name) == "VOID"
        assert world.story(name) == ["EVENT", "UNDONE"]
        with refused(Reason.NOT_LIVE, "VOID"):
            world.event("ada", seen([name]))
    assert world.amount(LOT, "ada") == "10"
    world.event("ada", add([part(3)]))
    assert world.reason == Reason.REPEATED_COMMISSIONING
    assert world.status(part(3)) == "VOID"
    with refused(Reason.CORRECTION_NOT_APPLICABLE, "undone at height"):
        world.act("ada", wrong(made, "2023-11-14T22:13:23Z"))
    assert world.amount(LOT, "ada") == "10"


def test_all_of_an_event_is_undone_or_nothing(world):
    made = recorded(world, "ada", add([part(3), part(4)]))
    world.event("ada", packing(box(1), [part(4)]))
    world.act("ada", wrong(made))
    assert (world.status(part(3)), world.status(part(4))) == ("LIVE", "LIVE")
    assert state_of(world, made) == "NOTED"
    used = recorded(world, "ada", add([part(5)], [quantity(LOT, 5)]))
    world.event("ada", destroying([], [quantity(LOT, 11)]))
    world.act("ada", wrong(used))
    assert (world.status(part(5)), world.amount(LOT, "ada")) == ("LIVE", "4")


def test_what_was_commissioned_again_is_not_undone_by_that(world):
    again = recorded(world, "ada", add([part(1)]))
    world.act("ada", wrong(again))
    assert world.status(part(1)) == "LIVE"
    assert state_of(world, again) == "WITHOUT_EFFECT"
    assert world.story(part(1)) == ["EVENT", "FLAG!REPEATED_COMMISSIONING", "CORRECTED"]


def test_after_a_later_event_the_only_one_concerned_records_what_is_so(world):
    made = recorded(world, "ada", add([part(3)]))
    world.event("ada", seen([part(3)]))
    world.act("ada", wrong(made))
    assert (world.status(part(3)), state_of(world, made)) == ("LIVE", "NOTED")


@pytest.mark.parametrize("late", [False, True])
def test_a_word_that_undid_nothing_counts_no_longer_than_an_offer(world, late):
    """Who has the thing by then does not undo the event with the old word of who had it."""
    made = recorded(world, "ada", add([part(3)]))
    world.event("ada", seen([part(3)]))
    world.act("ada", wrong(made))
    assert state_of(world, made) == "NOTED"
    world.give("ada", "bob", part(3))
    parameters = world.record(state.PARAMETERS_KEY, Parameters)
    passed = world.time_ms - said(world, made).declared_at_ms
    world.act("bob", wrong(made), wait_ms=parameters.offer_expiry_ms - passed - (0 if late else 1))
    if not late:
        assert (world.status(part(3)), state_of(world, made)) == ("VOID", "TAKEN_BACK")
        return
    assert (world.status(part(3)), state_of(world, made)) == ("LIVE", "WAITING")
    assert list(said(world, made).members) == ["bob"]
    world.act("ada", wrong(made, "2023-11-14T22:13:23Z"))
    assert (world.status(part(3)), state_of(world, made)) == ("VOID", "TAKEN_BACK")


@pytest.mark.parametrize("kind", ["Aggregation", "Association"])
def test_a_packing_is_undone(world, kind):
    world.event("ada", add([box(1)]), packing(box(1), [part(2)], kind=kind))
    packed = recorded(world, "ada", packing(box(1), [part(1)], [quantity(LOT, 4)], kind=kind))
    world.act("ada", wrong(packed))
    assert world.part(part(1)).container == ""
    assert world.part(part(2)).container == box(1)
    assert (world.amount(LOT, box(1)), world.amount(LOT, "ada")) == ("0", "10")
    assert world.story(part(1)) == ["EVENT", "PACKED", "UNPACKED"]
    assert world.story(box(1))[-1] == "UNDONE"
    assert world.generation(box(1)).count == 1
    out = world.told(state.part_key(part(1)))[-1]
    assert (out.container, out.generation, out.container_n) == (box(1), 1, world.history(box(1)).n)


def test_the_last_thing_out_closes_the_generation(world):
    packed = recorded(world, "ada", packing(box(1), [part(1)]))
    world.act("ada", wrong(packed))
    assert not world.part(box(1)).open
    assert world.generation(box(1)).closed_n == world.history(box(1)).n
    world.event("ada", packing(box(1), [part(1)]))
    assert world.part(part(1)).generation == 2


def test_an_unpacking_is_undone_while_the_generation_is_open(world):
    world.event("ada", packing(box(1), [part(1), part(2)], [quantity(LOT, 4)]))
    taken = recorded(world, "ada", unpacking(box(1), [part(1)], [quantity(LOT, 1)]))
    world.act("ada", wrong(taken))
    assert (world.part(part(1)).container, world.part(part(1)).generation) == (box(1), 1)
    assert world.amount(LOT, box(1)) == "4"
    assert world.story(part(1)) == ["EVENT", "PACKED", "UNPACKED", "PACKED"]
    # Of a closed one, and of unpacking all: never.
    emptied = recorded(world, "ada", unpacking(box(1), [part(1), part(2)], [quantity(LOT, 4)]))
    world.act("ada", wrong(emptied))
    assert (world.part(part(1)).container, state_of(world, emptied)) == ("", "NOTED")
    world.event("ada", packing(box(1), [part(1), part(2)]))
    everything = recorded(world, "ada", unpacking(box(1)))
    world.act("ada", wrong(everything))
    assert (world.part(part(1)).container, state_of(world, everything)) == ("", "NOTED")


def test_an_unpacking_is_not_undone_after_anything_else(world):
    world.event("ada", packing(box(1), [part(1), part(2)]))
    taken = recorded(world, "ada", unpacking(box(1), [part(1)]))
    world.event("ada", seen([part(1)]))
    world.act("ada", wrong(taken))
    assert (world.part(part(1)).container, state_of(world, taken)) == ("", "NOTED")


def test_a_transformation_is_undone_while_its_outputs_are_untouched(world):
    made = recorded(
        world,
        "ada",
        making([part(1), part(2)], [part(10), part(2)], [quantity(LOT, 3)], [quantity(DIES, 30)]),
    )
    world.act("ada", wrong(made))
    assert [world.status(name) for name in (part(1), part(2), part(10))] == ["LIVE", "LIVE", "VOID"]
    assert (world.amount(LOT, "ada"), world.amount(DIES, "ada")) == ("10", "0")
    assert world.story(part(1)) == ["EVENT", "EVENT", "UNDONE"]
    assert world.story(part(2))[-1] == "CORRECTED"
    assert world.lot_story(DIES) == ["EVENT", "UNDONE"]
    world.event("ada", seen([part(1)]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda world: world.event("ada", destroying([part(10)])),
        lambda world: world.event("ada", packing(box(1), [part(10)])),
        lambda world: world.event("ada", destroying([], [quantity(DIES, 1)])),
        lambda world: world.event("ada", making([], [part(11)], run="urn:test:run")),
    ],
)
def test_inputs_live_again_only_without_what_was_made_of_them(world, spoil):
    event = making([part(1)], [part(10)], [quantity(LOT, 3)], [quantity(DIES, 30)], run="urn:test:run")
    made = recorded(world, "ada", event)
    spoil(world)
    world.act("ada", wrong(made))
    assert world.status(part(1)) == "CONSUMED"
    assert world.amount(LOT, "ada") == "7"
    assert world.story(part(1))[-1] == "CORRECTED!CONTESTED"
    assert state_of(world, made) == "DISPUTED"


def test_a_run_forgets_what_an_undone_event_declared_and_made(world):
    declared = {"ilmd": {"urn:chiptrace:epcis:yield": decimals.from_int(30)}}
    event = making(
        [part(1)], used=[quantity(LOT, 3)], made=[quantity(DIES, 30)], run="urn:test:run", **declared
    )
    made = recorded(world, "ada", event)
    with refused(Reason.YIELD_EXCEEDED):
        world.event("ada", making([], [part(11)], run="urn:test:run"))
    world.act("ada", wrong(made))
    run = world.record(state.transformation_key("urn:test:run"), TransformationRecord)
    (balance,) = run.balances
    assert not balance.declared.coefficient
    assert not balance.made.coefficient
    with refused(Reason.YIELD_EXCEEDED):
        world.event("ada", making([], [part(11)], run="urn:test:run"))


def test_inputs_live_again_when_who_has_what_was_made_of_them_agrees(world):
    made = recorded(world, "ada", making([part(1)], [part(10)]))
    world.give("ada", "bob", part(10))
    world.act("ada", wrong(made))
    assert (world.status(part(1)), state_of(world, made)) == ("CONSUMED", "WAITING")
    world.act("bob", wrong(made, "2023-11-14T22:13:24Z"))
    assert (world.status(part(1)), world.part(part(1)).holder) == ("LIVE", "ada")
    assert world.status(part(10)) == "VOID"


def test_only_whose_amounts_moved_takes_them_back(world):
    world.event("ada", shipping(to="bob", amounts=[quantity(LOT, 10)]))
    world.event("bob", receiving(amounts=[quantity(LOT, 10)], sender="ada"))
    made = recorded(world, "ada", add([], [quantity(LOT, 5)]))
    world.act("bob", wrong(made))
    assert (world.amount(LOT, "ada"), world.amount(LOT, "bob")) == ("5", "10")
    world.act("ada", wrong(made, "2023-11-14T22:13:23Z"))
    assert (world.amount(LOT, "ada"), world.amount(LOT, "bob")) == ("0", "10")


@pytest.mark.parametrize("step", ["shipping", "receiving", "destroying", "void"])
def test_what_moves_custody_or_ends_is_never_undone(world, step):
    world.event("ada", shipping([part(1)], "bob"))
    if step == "receiving":
        done = recorded(world, "bob", receiving([part(1)]))
        world.act("bob", wrong(done))
        assert (world.status(part(1)), world.part(part(1)).holder) == ("LIVE", "bob")
    elif step == "void":
        done = recorded(world, "ada", {**shipping([part(1)], "bob"), "bizStep": "void_shipping"})
        world.act("ada", wrong(done))
        assert world.status(part(1)) == "LIVE"
    elif step == "shipping":
        done = recorded(world, "ada", shipping([part(2)], "bob"))
        world.act("ada", wrong(done))
        assert world.status(part(2)) == "OFFERED"
    else:
        done = recorded(world, "ada", destroying([part(2)]))
        world.act("ada", wrong(done))
        assert world.status(part(2)) == "DESTROYED"
        assert world.story(part(2))[-1] == "CORRECTED!CONTESTED"


# ---- undone by those concerned together -----------------------------------------------------------------------


def test_after_a_transfer_the_possessor_countersigns(world):
    made = recorded(world, "ada", add([part(3)]))
    world.give("ada", "bob", part(3), sell=True)
    world.act("ada", wrong(made))
    assert (world.status(part(3)), state_of(world, made)) == ("LIVE", "WAITING")
    assert world.story(part(3))[-1] == "CORRECTED!CORRECTION_PENDING"
    with refused(Reason.EVENT_REPEATED, "waits for bob"):
        world.act("ada", wrong(made, "2023-11-14T22:13:23Z"))
    world.event("bob", seen([part(3)]))
    world.act("bob", wrong(made, "2023-11-14T22:13:24Z"))
    assert (world.status(part(3)), state_of(world, made)) == ("VOID", "TAKEN_BACK")
    assert list(said(world, made).members) == ["ada", "bob"]


def test_the_possessor_alone_undoes_nothing_of_others(world):
    made = recorded(world, "ada", add([part(3)]))
    world.give("ada", "bob", part(3), sell=True)
    world.act("bob", wrong(made))
    assert (world.status(part(3)), state_of(world, made)) == ("LIVE", "WAITING")


def test_the_owner_is_asked_too(world):
    made = recorded(world, "ada", add([part(3)]))
    world.give("ada", "bob", part(3), sell=True)
    world.give("bob", "cyd", part(3))
    world.act("ada", wrong(made))
    world.act("cyd", wrong(made, "2023-11-14T22:13:24Z"))
    assert (world.status(part(3)), state_of(world, made)) == ("LIVE", "WAITING")


def test_a_word_that_nobody_countersigned_in_time_is_forgotten(world):
    made = recorded(world, "ada", add([part(3)]))
    world.give("ada", "bob", part(3), sell=True)
    world.act("ada", wrong(made))
    world.pass_by(wait_ms=86_400_000)
    world.act("bob", wrong(made, "2023-11-14T22:13:24Z"))
    assert (world.status(part(3)), list(said(world, made).members)) == ("LIVE", ["bob"])
    world.act("ada", wrong(made, "2023-11-14T22:13:25Z"))
    assert state_of(world, made) == "TAKEN_BACK"


def test_a_box_that_was_passed_on_gives_back_what_was_packed_by_mistake(world):
    packed = recorded(world, "ada", packing(box(1), [part(1), part(2)]))
    world.give("ada", "bob", box(1))
    world.act("ada", wrong(packed))
    assert world.part(part(1)).container == box(1)
    world.act("bob", wrong(packed, "2023-11-14T22:13:24Z"))
    assert (world.part(part(1)).container, world.part(part(1)).holder) == ("", "bob")
    assert state_of(world, packed) == "TAKEN_BACK"


@pytest.mark.parametrize("end", ["destroyed", "consumed", "departed"])
def test_what_is_over_or_away_is_contested(world, end):
    made = recorded(world, "ada", add([part(3), part(4)]))
    if end == "departed":
        world.set_status(part(3), "DEPARTED")
    else:
        world.event("ada", destroying([part(3)]) if end == "destroyed" else making([part(3)]))
    before = world.story(part(3))
    world.act("ada", wrong(made))
    assert state_of(world, made) == "DISPUTED"
    assert world.story(part(4)) == ["EVENT", "CORRECTED!CONTESTED"]
    assert world.status(part(4)) == "LIVE"
    assert world.story(part(3)) == before + ([] if end == "departed" else ["CORRECTED!CONTESTED"])


def test_who_is_concerned_speaks_the_last_word(world):
    packed = recorded(world, "ada", packing(box(1), [part(1), part(2)]))
    world.give("ada", "bob", box(1))
    world.act("bob", wrong(packed))
    world.act("ada", wrong(packed, "2023-11-14T22:13:23Z"))
    assert (world.part(part(1)).container, state_of(world, packed)) == (box(1), "WAITING")
    world.act("bob", wrong(packed, "2023-11-14T22:13:24Z"))
    assert (world.part(part(1)).container, state_of(world, packed)) == ("", "TAKEN_BACK")


def test_a_box_with_contents_is_not_made_void(world):
    made = recorded(world, "ada", add([box(2)]))
    world.event("ada", packing(box(2), [part(1)]))
    world.give("ada", "bob", box(2), sell=True)
    for member, second in (("ada", 2), ("bob", 3)):
        world.act(member, wrong(made, f"2023-11-14T22:13:2{second}Z"))
    assert (world.status(box(2)), world.part(part(1)).container) == ("LIVE", box(2))
    assert state_of(world, made) == "NOTED"


def test_what_was_taken_out_since_is_not_taken_out_again(world):
    packed = recorded(world, "ada", packing(box(1), [part(1), part(2)]))
    world.give("ada", "bob", box(1))
    world.event("bob", unpacking(box(1), [part(1)]))
    for member, second in (("ada", 2), ("bob", 3)):
        world.act(member, wrong(packed, f"2023-11-14T22:13:2{second}Z"))
    assert (world.part(part(1)).container, world.part(part(2)).container) == ("", box(1))
    assert world.generation(box(1)).count == 1


def test_an_invented_event_of_a_run_revives_nothing(world):
    """Two of one mind name an input, and leave away what was made of it."""
    mine = part(1, "bob")
    world.event("bob", add([mine]))
    world.give("bob", "ada", mine)
    world.event("ada", making([mine], [part(10)], run="urn:test:run"))
    invented = world.capture(making([mine], run="urn:test:run"))
    for member, second in (("bob", 2), ("ada", 3)):
        world.act(member, wrong(invented, f"2023-11-14T22:13:2{second}Z"))
    assert (world.status(mine), world.status(part(10))) == ("CONSUMED", "LIVE")


def test_an_invented_event_takes_nothing_from_what_its_run_made(world):
    """Two members who gave up a part each for it had a wafer again, of which the dies were made."""
    run, made = "urn:run:1", [part(10), part(11)]
    yields = {"ilmd": {f"{OURS}yield": decimals.parse("2")}}
    first = recorded(world, "ada", making([part(1)], run=run, **yields))
    recorded(world, "ada", making([], made, run=run))
    world.event("bob", add([part(3, "bob")]))
    key = state.transformation_key(run)
    before = world.record(key, TransformationRecord)
    for named in ([part(2), part(3, "bob")], made):
        # Also of things that the run made, in an event that it never had.
        invented = world.capture(making([], named, run=run))
        for member in ("ada", "bob"):
            with contextlib.suppress(Refused):
                world.act(member, wrong(invented))
    assert world.record(key, TransformationRecord) == before
    world.act("ada", wrong(first))
    assert (world.status(part(1)), world.status(part(10)), world.status(part(2))) == (
        "CONSUMED",
        "LIVE",
        "LIVE",
    )


def by_both(world: World, operation: Operation) -> str:
    for member, second in (("ada", 2), ("bob", 3)):
        world.act(member, wrong(operation, f"2023-11-14T22:13:2{second}Z"))
    return state_of(world, operation)


def test_nothing_goes_back_into_a_box_that_was_passed_on(world):
    world.event("ada", packing(box(1), [part(1), part(2)]))
    taken = recorded(world, "ada", unpacking(box(1), [part(1)]))
    world.give("ada", "bob", box(1))
    assert by_both(world, taken) == "NOTED"
    assert (world.part(part(1)).container, world.part(part(1)).holder) == ("", "ada")


def test_nothing_goes_back_that_has_left_the_chain(world):
    world.event("ada", packing(box(1), [part(1), part(2)]))
    taken = recorded(world, "ada", unpacking(box(1), [part(1)]))
    world.set_status(part(1), "IN_TRANSIT")
    world.act("ada", wrong(taken))
    assert (world.status(part(1)), state_of(world, taken)) == ("IN_TRANSIT", "DISPUTED")
    assert world.part(part(1)).container == ""


def test_amounts_that_are_not_there_any_more_are_not_moved_back(world):
    packed = recorded(world, "ada", packing(box(1), [part(1)], [quantity(LOT, 4)]))
    world.give("ada", "bob", box(1))
    world.event("bob", unpacking(box(1), [], [quantity(LOT, 1)]))
    assert by_both(world, packed) == "NOTED"
    assert (world.amount(LOT, box(1)), world.amount(LOT, "bob")) == ("3", "1")
    world.event("ada", packing(box(2), [part(2)], [quantity(LOT, 6)]))
    taken = recorded(world, "ada", unpacking(box(2), [], [quantity(LOT, 5)]))
    world.event("ada", destroying([], [quantity(LOT, 5)]))
    world.act("ada", wrong(taken))
    assert (world.amount(LOT, box(2)), state_of(world, taken)) == ("1", "NOTED")


def test_of_a_lot_that_is_named_twice_as_much_as_both_say_must_be_there(world):
    """Else the declaration would be refused, and nobody could say that the event was wrong."""
    twice = [quantity(LOT, 5), quantity(LOT, 5)]
    made = recorded(world, "ada", add([], twice))
    world.event("ada", destroying([], [quantity(LOT, 14)]))
    world.act("ada", wrong(made))
    assert (world.amount(LOT, "ada"), state_of(world, made)) == ("6", "NOTED")
    again = recorded(world, "ada", add([], twice))
    world.event("ada", destroying([], [quantity(LOT, 6)]))
    world.act("ada", wrong(again))
    assert (world.amount(LOT, "ada"), state_of(world, again)) == ("0", "TAKEN_BACK")


def test_what_is_installed_was_not_packed(world):
    world.event("ada", packing(part(2), [part(1)], kind="Association"))
    world.give("ada", "bob", part(2))
    assert by_both(world, world.capture(packing(part(2), [part(1)]))) == "NOTED"
    assert world.part(part(1)).container == part(2)
