import pytest

from ledger import state
from proto.chiptrace.v1.ledger_pb2 import Capture, Operation, Reason
from tests.ledger.rules_world import (
    World,
    add,
    box,
    iso,
    lot,
    object_event,
    packing,
    part,
    quantity,
    refused,
    seen,
)

DAY_MS = 86_400_000


@pytest.fixture
def world() -> World:
    world = World()
    world.event("ada", add([part(1), part(2)], [quantity(lot("L"), 10)]))
    return world


@pytest.mark.parametrize("role", ["validator", "auditor", "regulator", "relayer"])
def test_only_operators_and_devices_record(world, role):
    with refused(Reason.ROLE_NOT_ALLOWED, "OPERATOR, DEVICE"):
        world.event("ada", seen([part(1)]), role=role)


def test_bytes_that_are_no_event_are_malformed(world):
    good = world.capture(seen([part(1)])).capture.event
    for data in (b"", good + b"\x00", good[:-1], b"\xff" * 9):
        with refused(Reason.MALFORMED):
            world.act("ada", Operation(capture=Capture(event=data)))
    with refused(Reason.OVERSIZE):
        world.act("ada", Operation(capture=Capture(event=bytes(131_073))))


def test_the_future_is_not_recorded(world):
    world.event("ada", seen([part(1)], eventTime=iso(world.time_ms + 100 + 5_000)))
    with refused(Reason.EVENT_TIME_OUT_OF_BOUNDS, "5001 ms ahead"):
        world.event("ada", seen([part(1)], eventTime=iso(world.time_ms + 100 + 5_001)))


def test_what_is_recorded_late_says_so(world):
    world.event("ada", seen([part(1)], eventTime=iso(world.time_ms + 100 - DAY_MS)))
    world.event("ada", seen([part(1)], [quantity(lot("L"), 1)], eventTime=iso(world.time_ms + 99 - DAY_MS)))
    assert world.story(part(1)) == ["EVENT", "EVENT", "EVENT!LATE_RECORD"]
    assert world.lot_story(lot("L")) == ["EVENT", "EVENT!LATE_RECORD"]
    world.event("ada", packing(box(1), [part(1)], eventTime=iso(world.time_ms - 2 * DAY_MS)))
    assert world.story(part(1))[-1] == "PACKED!LATE_RECORD"


@pytest.mark.parametrize(
    "step", ["inspecting", "storing", "other", "https://example.com/my-step", "commissioning"]
)
def test_any_other_step_is_an_observation_of_one_key(world, step):
    world.event(
        "ada", object_event("OBSERVE", [part(1)], step, readPoint={"id": "urn:x"}, disposition="in_progress")
    )
    assert world.story(part(1)) == ["EVENT", "EVENT"]
    assert world.touched == {state.part_key(part(1))}


@pytest.mark.parametrize("action", ["ADD", "DELETE"])
@pytest.mark.parametrize("step", ["shipping", "receiving", "accepting", "void_shipping"])
def test_a_move_is_an_observation_by_its_action(world, action, step):
    with refused(Reason.EVENT_INVALID, "OBSERVE"):
        world.event("ada", object_event(action, [part(1)], step))


@pytest.mark.parametrize("step", ["destroying", "decommissioning"])
def test_nothing_begins_by_being_destroyed(world, step):
    with refused(Reason.EVENT_INVALID):
        world.event("ada", object_event("ADD", [part(9)], step))


def test_an_event_without_a_subject_has_no_history_to_enter(world):
    for event in (
        {"type": "ObjectEvent", "action": "OBSERVE", "sensorElementList": []},
        {"type": "TransactionEvent", "action": "ADD"},
    ):
        with refused(Reason.NOTHING_TO_DO):
            world.event("ada", event)


@pytest.mark.parametrize("action", ["ADD", "OBSERVE", "DELETE"])
def test_documents_are_tied_to_what_one_has(world, action):
    event = {
        "type": "TransactionEvent", "action": action, "parentID": part(2), "epcList": [part(1), part(2)],
        "quantityList": [quantity(lot("L"), 10)],
        "bizTransactionList": [{"type": "po", "bizTransaction": "urn:po:1"}],
    }  # fmt: skip
    world.event("ada", event)
    assert world.story(part(1)) == world.story(part(2)) == ["EVENT", "EVENT"]
    assert world.status(part(1)) == "LIVE"
    assert world.amount(lot("L"), "ada") == "10"
    with refused(Reason.NOT_IN_CUSTODY):
        world.event("bob", event)
    world.event("ada", {"type": "TransactionEvent", "action": action, "parentID": part(2)})


def test_the_same_event_is_not_entered_twice_in_a_row(world):
    operation = world.capture(seen([part(1), part(2)]))
    world.act("ada", operation)
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", operation)
    # Any one subject that remembers is enough.
    world.event("ada", seen([part(1)]))
    with refused(Reason.EVENT_REPEATED, part(2)):
        world.act("ada", operation)
    # What no subject remembers is entered again, with the same digest for all to see.
    world.event("ada", seen([part(2)]))
    world.act("ada", operation)
    digests = [entry.digest for entry in world.told(state.part_key(part(1)))]
    assert len(digests) == 4
    assert len(set(digests)) == 3
    # The same words with another seed are another event.
    world.event("ada", seen([part(1)]), seen([part(1)]))


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"type": "OtherEvent"}, Reason.EVENT_INVALID),
        ({"action": "LOOK"}, Reason.EVENT_INVALID),
        ({"eventTime": "yesterday"}, Reason.EVENT_INVALID),
        ({"epcList": ["no uri"]}, Reason.IDENTIFIER_INVALID),
        ({"epcList": ["urn:epc:idpat:sgtin:4012345.012345.*"]}, Reason.IDENTIFIER_INVALID),
        ({"quantityList": [quantity(lot("L"), -1)]}, Reason.QUANTITY_INVALID),
        ({"quantityList": [quantity(part(1), 1)]}, Reason.IDENTIFIER_INVALID),
    ],
)
def test_an_event_that_says_nothing_readable_is_refused(world, changed, reason):
    with refused(reason):
        world.event("ada", seen([part(1)]) | changed)


@pytest.mark.parametrize(
    "spelling", ["urn:epc:id:sgtin:4012345.012345.1", "https://shop.example/01/04012345123456/21/1"]
)
def test_every_spelling_names_the_same_part(world, spelling):
    world.event("ada", seen([spelling, part(1)]))
    assert world.story(part(1)) == ["EVENT", "EVENT"]
