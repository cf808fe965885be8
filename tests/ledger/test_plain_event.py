"""A plain event's view is the very one that reading it as a whole gives, and so is its refusal."""

from random import Random

import pytest

from ledger import codec, plain_event
from ledger.errors import Malformed, Refused
from ledger.event import EventView, view_fields
from ledger.event_fields import ReadField, read_fields
from ledger.plain_event import view_event
from proto.chiptrace.v1.ledger_pb2 import Event
from tests.ledger.rules_world import (
    add,
    box,
    destroying,
    lot,
    making,
    packing,
    part,
    quantity,
    receiving,
    seen,
    serials_of,
    shipping,
    to_fields,
    unpacking,
)

ZONED = {"eventTime": "2025-01-15T14:25:00.000+01:00", "eventTimeZoneOffset": "+01:00"}
EVENTS = (
    add([part(1)]),
    add([part(1), box(2), part(1)], [quantity(lot("L"), 3)]),
    seen([part(2), part(3)], bizTransactionList=[{"type": "po", "bizTransaction": "urn:po:1"}]),
    packing(box(1), [part(1), part(2)]),
    packing(box(1), [part(1)], [quantity(lot("L"), 2)], kind="Association"),
    unpacking(box(1), [part(1)]),
    shipping([box(1)], to="bob", owner="bob", sender="ada"),
    receiving([box(1)], eventID="urn:uuid:00000000-0000-4000-8000-000000000001"),
    making([part(1)], [part(2)]),
    destroying([part(1)]),
    serials_of(lot("S"), "000", "999", 1_000),
    seen([f"{part(1).partition('/21/')[0]}"]),
    seen([part(1)], disposition="in_progress", readPoint={"id": "urn:epc:id:sgln:4012345.00001.0"}),
    seen([part(number) for number in range(40)], persistentDisposition={"set": ["damaged"], "unset": []}),
    {"type": "ObjectEvent", "action": "OBSERVE", "errorDeclaration": {"reason": "did_not_occur"}},
    {
        "type": "TransactionEvent",
        "action": "ADD",
        "@context": [{"cbv": "urn:other:"}],
        "bizStep": "cbv:BizStep-x",
    },
)
# What a field may say instead: some of it wrong, some of it of another kind, some too much.
SAID = (
    *("", "ADD", "OBSERVE", "DELETE", "ObjectEvent", "AggregationEvent", "TransformationEvent", "9", part(1)),
    *(
        "2025-02-30T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2025-01-15T14:25:00Z",
        "shipping",
        "cbv:BizStep-shipping",
    ),
    *([], [part(1)], [part(1), part(1)], ["nothing"], [lot("L")], [f"{lot('S')}?interval=0-3"], [{"a": "b"}]),
    *({}, {"id": "x"}, {"set": "y"}, [{"type": "possessing_party", "destination": "urn:x:1"}] * 2),
    *("x" * 300, "y" * 3_000, [part(number) for number in range(1_001)], [part(1), {"a": "b"}], True),
)
NAMES = (
    *(
        "type",
        "action",
        "bizStep",
        "disposition",
        "persistentDisposition",
        "sourceList",
        "destinationList",
        "@context",
    ),
    *(
        "readPoint",
        "eventTime",
        "eventID",
        "parentID",
        "epcList",
        "childEPCs",
        "inputEPCList",
        "outputEPCList",
    ),
    *(
        "quantityList",
        "childQuantityList",
        "transformationID",
        "ilmd",
        "errorDeclaration",
        "bizTransactionList",
        "urn:x:y",
    ),
)


def fields_of(members: dict) -> dict[str, ReadField]:
    return read_fields(codec.encode(Event(seed=bytes(16), fields=to_fields(members)))).fields


def outcome(read, fields: dict[str, ReadField]) -> EventView | tuple:
    try:
        return read(fields)
    except Refused as refusal:
        return refusal.reason, str(refusal)


@pytest.mark.parametrize("number", range(len(EVENTS)))
def test_the_view_is_that_of_the_whole_event(number: int) -> None:
    fields = fields_of(ZONED | EVENTS[number])
    assert outcome(view_event, fields) == outcome(view_fields, fields)


def test_what_is_wrong_is_refused_alike() -> None:
    random, plain, refused = Random(7), 0, 0
    for _ in range(6_000):
        members = ZONED | random.choice(EVENTS)
        for _ in range(random.choice((1, 1, 2, 3))):
            members = members | {random.choice(NAMES): random.choice(SAID)}
        if random.random() < 0.2:
            members.pop(random.choice(list(members)))
        try:
            fields = fields_of(members)
        except Malformed:
            continue
        found = outcome(view_event, fields)
        assert found == outcome(view_fields, fields)
        refused += not isinstance(found, EventView)
        plain += is_plain(fields)
    assert plain > 500 < refused


def is_plain(fields: dict[str, ReadField]) -> bool:
    try:
        return bool(plain_event._plain(fields))
    except (plain_event._NotPlain, Refused):
        return False


def test_events_that_share_are_read_once() -> None:
    plain_event._shared_view.cache_clear()
    for number in range(50):
        assert view_event(fields_of(ZONED | shipping([part(number)], to="bob"))).epcs[0].text == part(number)
    assert plain_event._shared_view.cache_info().misses == 1


def test_plain_events_are_not_read_as_a_whole() -> None:
    assert is_plain(fields_of(ZONED | seen([part(number) for number in range(1_000)])))
    assert not is_plain(fields_of(ZONED | seen([part(number) for number in range(1_001)])))
    assert not is_plain(fields_of(ZONED | seen([lot("L")])))


def test_of_long_fields_nothing_is_kept() -> None:
    # What 512 views of events that are as long as can be hold is several times as much as the events.
    long = shipping([part(1)], to="bob", readPoint={"id": "x" * plain_event._SHARED_BYTES_MAX})
    fields = read_fields(codec.encode(Event(seed=bytes(16), fields=to_fields(ZONED | long)))).fields
    kept = plain_event._shared_view.cache_info().currsize
    assert view_event(fields) == view_fields(fields)
    assert plain_event._shared_view.cache_info().currsize == kept
