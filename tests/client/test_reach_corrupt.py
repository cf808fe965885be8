"""One chain whose quorum is corrupt: what it says of a thing against what members signed is never all of a recall."""

import pytest

from ledger import state
from ledger.event import event_digest
from proto.chiptrace.v1.ledger_pb2 import (
    CONSUMED,
    DEPARTED,
    DESTROYED,
    EVENT,
    TAKEN_BACK,
    BalanceRecord,
    CorrectionRecord,
    Decimal,
    Event,
    PartRecord,
)
from tests.bridge.two_chains import World, object_event
from tests.client.corrupt import Forged
from tests.client.reach_world import Factory, things
from tests.ledger.rules_world import add, lot, making, packing, part, quantity, receiving, shipping

WAFER, CHIP, OTHER = part(1), part(3), part(4)


@pytest.fixture
def factory():
    """Chain a, the home of all parts, is corrupt."""
    found = Factory("a", "b")
    found.world = World("a", "b", corrupt="a")
    found.event("ada", add([WAFER, OTHER]), making([WAFER], [CHIP]), shipping([CHIP], "abe"))
    found.event("abe", receiving([CHIP]))
    return found


def lied(factory, **fields):
    """What the chain certifies of the chip, with the history that members signed."""
    lie = Forged(factory.world["a"])
    record = factory.world["a"].record(state.part_key(CHIP), PartRecord)
    for name, value in fields.items():
        setattr(record, name, value)
    lie.put(state.part_key(CHIP), record)
    return factory.reach(WAFER, stubs={"a": lie})


def test_the_honest_chain_has_all_of_it(factory):
    report = factory.reach(WAFER)
    assert things(report)["a", CHIP] == "LIVE abe"
    assert (report.exit_code, report.findings) == (0, {})


@pytest.mark.parametrize(
    "fields",
    [
        {"status": DESTROYED},
        {"status": CONSUMED},
        {"holder": "ada"},
        {"status": DEPARTED, "client": "b-1"},
    ],
)
def test_where_a_part_is_against_what_its_members_signed(factory, fields):
    report = lied(factory, **fields)
    assert report.exit_code != 0
    assert report.findings == {"CONTRADICTION": 1}
    assert any(CHIP in gap and "by its history" in gap for gap in report.gaps)


def test_what_a_member_signed_about_a_part_that_it_had_no_more(factory):
    """A corrupt chain with a member who helps: the part is destroyed by who sold it, and its holder would not be told."""
    lie = Forged(factory.world["a"])
    signed = lie.signed("ada", object_event("DELETE", "destroying", CHIP))
    lie.part(CHIP, [*lie.real(CHIP), lie.entry(CHIP, signed, EVENT)], status=DESTROYED, holder="abe")
    report = factory.reach(WAFER, stubs={"a": lie})
    assert (report.exit_code, report.findings) == (1, {"NOT_IN_CUSTODY": 1})
    assert any("ada acted on it, abe had it" in gap for gap in report.gaps)


def test_a_chain_that_names_itself_as_the_one_where_something_came_from():
    """What was made of it where it really came from would be left out, and nobody would miss it."""
    factory = Factory("a", "b")
    factory.world = World("a", "b", corrupt="b")
    factory.event("ada", add([WAFER]))
    factory.export(WAFER, "bob")
    assert factory.reach(WAFER, on="b").exit_code == 0
    lying = factory.world["b"]
    client = lying.client("a-1")
    client.chain_id = lying.chain_id
    lie = Forged(lying)
    lie.put(state.client_key("a-1"), client)
    report = factory.reach(WAFER, on="b", stubs={"b": lie})
    assert report.exit_code == 1
    assert any("came to chain b" in gap and "itself" in gap for gap in report.gaps)


def test_a_chain_that_names_another_one_than_where_something_came_from():
    factory = Factory("a", "b")
    factory.world = World("a", "b", "c", corrupt="b")
    factory.event("ada", add([WAFER]))
    factory.export(WAFER, "bob")
    lying = factory.world["b"]
    client = lying.client("a-1")
    client.chain_id = factory.world["c"].chain_id
    lie = Forged(lying)
    lie.put(state.client_key("a-1"), client)
    report = factory.reach(WAFER, on="b", stubs={"b": lie})
    assert report.exit_code == 1
    assert report.gaps == [f"{WAFER} is said to come from chain c, which knows nothing of it"]


def test_a_container_that_is_said_never_to_have_been_filled():
    """Its recall would be complete without what members put into it."""
    factory = Factory("a", "b")
    factory.world = World("a", "b", corrupt="a")
    factory.event("ada", add([WAFER, OTHER]), packing(OTHER, [WAFER]))
    honest = things(factory.reach(OTHER))
    assert honest["a", WAFER] == "LIVE ada"
    lie = Forged(factory.world["a"])
    record = factory.world["a"].record(state.part_key(OTHER), PartRecord)
    record.generations, record.open = 0, False
    lie.put(state.part_key(OTHER), record)
    report = factory.reach(OTHER, stubs={"a": lie})
    assert report.exit_code != 0 or things(report) == honest


def taken_back(factory, operation, members):
    """The chain certifies that the event was declared wrong and undone."""
    chain = factory.world["a"]
    digest = event_digest(chain.chain_id, Event.FromString(operation.capture.event))
    record = CorrectionRecord(original=digest, state=TAKEN_BACK, members=members, height=chain.height)
    lie = Forged(chain)
    lie.put(state.correction_key(digest), record)
    return lie


@pytest.mark.parametrize("members", [[], ["ada"]])
def test_what_nobody_declared_wrong_was_made(factory, members):
    """By the chain's word alone the chip was never made of the wafer, and its holder would not be told of the recall."""
    factory.event("ada", add([part(6)]))
    operation = factory.event("ada", making([part(6)], [part(8)]))
    report = factory.reach(part(6), stubs={"a": taken_back(factory, operation, members)})
    assert things(report)["a", part(8)] == "LIVE ada"


def test_an_amount_that_nobody_declared_wrong_was_made(factory):
    """Where it lies the chain hides: the sum shows it, whatever the chain says of how it was made."""
    name = lot(1)
    operation = factory.event("ada", add(amounts=[quantity(name, 100)]))
    assert factory.reach(name).exit_code == 0
    lie = taken_back(factory, operation, ["ada"])
    chain = factory.world["a"]
    key = state.balance_key(name, "ada", "")
    record = chain.record(key, BalanceRecord)
    record.amount.CopyFrom(Decimal())
    lie.put(key, record)
    report = factory.reach(name, stubs={"a": lie})
    assert report.exit_code == 1
    assert any("100" in gap for gap in report.gaps)
