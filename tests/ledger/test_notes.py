"""Events that are about no part and no amount: noted, by whom and about what, and nothing else."""

import pytest

from ledger import history, state
from ledger.transformation import EVENT_URN
from proto.chiptrace.v1.ledger_pb2 import EntryKind, NoteRecord, Reason
from tests.ledger.rules_world import World, add, describe, lot, making, part, quantity, refused, seen

PLACE = "https://id.gs1.org/414/4012345000054"
READ = {"readPoint": {"id": "urn:epc:id:sgln:4012345.00005.0"}}
WRONG = {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:20.000Z", "reason": "did_not_occur"}}


@pytest.fixture
def world():
    return World()


def notes(world, about, member="ada"):
    """What a member noted about something, after checking that it is all."""
    key = state.note_key(about, member)
    record = world.record(key, NoteRecord)
    if record is None:
        assert key not in world.entries
        return []
    assert (record.about, record.member) == (about, member)
    history.verify_history(world.chain_id, record.history, world.entries[key])
    return [describe(entry) for entry in world.told(key)]


@pytest.mark.parametrize(
    "link", ["urn:epc:id:sgln:4012345.00005.0", "https://shop.example/414/4012345000054"]
)
def test_a_reading_of_a_place_enters_the_notes_of_who_read_it(world, link):
    world.event("ada", seen(readPoint={"id": link}))
    assert notes(world, PLACE) == ["EVENT"]
    assert notes(world, PLACE, "bob") == []
    world.event("bob", seen(**READ))
    world.event("ada", seen(**READ))
    assert (notes(world, PLACE), notes(world, PLACE, "bob")) == (["EVENT", "EVENT"], ["EVENT"])


def test_a_reading_touches_nothing_but_its_note(world):
    world.event("ada", seen(**READ))
    assert world.touched == {state.note_key(PLACE, "ada")}


def test_a_transaction_event_without_things_is_noted_too(world):
    said = {"type": "TransactionEvent", "action": "DELETE", **READ}
    world.event("ada", said)
    assert notes(world, PLACE) == ["EVENT"]


def test_the_same_reading_is_noted_once_in_a_row(world):
    operation = world.capture(seen(**READ))
    world.act("ada", operation)
    with refused(Reason.EVENT_REPEATED):
        world.act("ada", operation)


@pytest.mark.parametrize("place", [{}, {"readPoint": {}}, {"readPoint": "x"}, {"readPoint": {"id": ["x"]}}])
def test_without_a_place_there_is_nothing_to_note(world, place):
    with refused(Reason.NOTHING_TO_DO):
        world.event("ada", seen(**place))


@pytest.mark.parametrize("action", ["ADD", "DELETE"])
def test_nothing_is_not_made_and_not_ended(world, action):
    with refused(Reason.NOTHING_TO_DO):
        world.event("ada", {**seen(**READ), "action": action})


def test_a_place_must_have_a_name_that_is_one(world):
    with refused(Reason.IDENTIFIER_INVALID, "readPoint"):
        world.event("ada", seen(readPoint={"id": "https://id.gs1.org/414/4012345000055"}))
    world.event("ada", add([part(1)], readPoint={"id": "nothing at all"}))  # no rule reads it here


def test_a_reading_that_was_wrong_is_noted_so(world):
    world.event("ada", seen(**READ))
    world.event("ada", seen(**READ, **WRONG))
    assert notes(world, PLACE) == ["EVENT", "CORRECTED"]


def test_an_event_nobody_recorded_about_things_nobody_knows_is_noted_as_wrong():
    world = World(adoption=True)
    said = making([], [part(1)], [quantity(lot("a"), 25, "KGM")])
    world.event("ada", {**said, **WRONG})
    (about,) = [
        NoteRecord.FromString(value).about
        for key, value in world.overlay.changes.items()
        if key[0] == state.Kind.NOTE
    ]
    assert about.startswith(EVENT_URN)
    assert notes(world, about) == ["CORRECTED"]
    assert world.told(state.part_key(part(1))) == []
    assert [entry.kind for entry in world.told(state.note_key(about, "ada"))] == [EntryKind.CORRECTED]
    # It burns nothing: what the event would have made may still be made.
    world.event("ada", said | {"inputQuantityList": [quantity(lot("b"), 1)]})
    assert world.status(part(1)) == "LIVE"


def test_such_a_note_needs_a_grant_and_a_chain_that_adopts():
    said = {**add([part(1)]), **WRONG}
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        World(adoption=True).event("bob", said)
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        World().event("ada", said)


def test_what_the_chain_knows_is_declared_wrong_by_who_may_and_not_noted():
    world = World(adoption=True)
    world.event("ada", add([part(1)], [quantity(lot("a"), 5)]))
    world.give("ada", "bob", part(1))
    for wrong in (
        making([], [part(1), part(9, "bob")]),
        making([], [part(9, "bob")], [quantity(lot("a"), 1)]),
    ):
        with refused(Reason.CORRECTION_NOT_APPLICABLE):
            world.event("cyd", {**wrong, **WRONG})
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        world.event("bob", {**making([], [part(9, "bob")], [quantity(lot("a"), 1)]), **WRONG})


def test_a_note_is_no_way_around_what_the_chain_knows():
    world = World(adoption=True)
    world.event("ada", add([part(1)]))
    with refused(Reason.CORRECTION_NOT_APPLICABLE):
        world.event("bob", {**making([], [part(1), part(9, "bob")]), **WRONG})
    world.event("bob", {**making([], [part(9, "bob")]), **WRONG})
