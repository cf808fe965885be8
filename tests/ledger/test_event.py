"""Events: the digest over salted fields, the shape every event has, and the view that rules read."""

import contextlib
import hashlib
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import codec, decimals, event_values, merkle
from ledger import event as ledger_event
from ledger.errors import ChiptraceError, Malformed, Refused
from ledger.event import check_event, event_digest, field_leaf, field_salt, read_event, show_field
from ledger.limits import (
    EVENT_BYTES_MAX,
    EVENT_FIELDS_MAX,
    IDENTIFIERS_PER_EVENT_MAX,
    TEXT_BYTES_MAX,
    VALUE_DEPTH_MAX,
    VALUE_NODES_MAX,
)
from proto.chiptrace.v1.ledger_pb2 import Decimal, Event, Field, List, Object, Reason, Value

CHAIN = bytes(range(32))
SEED = bytes(16)
PART = "urn:epc:id:sgtin:4012345.099999.XYZ-1234"
PART_TEXT = "https://id.gs1.org/01/04012345999990/21/XYZ-1234"


def value(item) -> Value:
    if isinstance(item, Value):
        return item
    if isinstance(item, bool):
        return Value(truth=item)
    if isinstance(item, str):
        return Value(text=item)
    if isinstance(item, int):
        return Value(number=decimals.from_int(item))
    if isinstance(item, list):
        return Value(list=List(items=[value(part) for part in item]))
    return Value(object=Object(fields=fields(item)))


def fields(members: dict) -> list[Field]:
    ordered = sorted(members.items(), key=lambda member: member[0].encode())
    return [Field(name=name, value=value(item)) for name, item in ordered]


def event(seed: bytes = SEED, **members) -> Event:
    known = {"type": "ObjectEvent", "action": "OBSERVE", "eventTime": "2025-01-15T14:25:00.000+01:00"}
    return Event(seed=seed, fields=fields({**known, **members}))


def refusal(made: Event) -> Refused:
    with pytest.raises(Refused) as caught:
        read_event(made)
    return caught.value


scalars = st.one_of(
    st.text(max_size=20),
    st.booleans(),
    st.integers(-(2**120), 2**120),
)
names = st.text(min_size=1, max_size=12)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
events = st.builds(
    lambda seed, members: Event(seed=seed, fields=fields(members)),
    st.binary(min_size=16, max_size=16),
    st.dictionaries(names, values, min_size=1, max_size=8),
)


# ---- digest -------------------------------------------------------------------------------------------------


@given(events)
def test_every_field_can_be_shown_alone_and_nothing_else_passes_for_it(made):
    check_event(made)
    digest = event_digest(CHAIN, made)
    for field in made.fields:
        salt, data, proof = show_field(CHAIN, made, field.name)
        assert data == codec.encode(field)
        merkle.verify_inclusion(field_leaf(CHAIN, salt, data), proof, digest)
        other = codec.encode(Field(name=field.name, value=Value(text="another")))
        for leaf in (
            field_leaf(CHAIN, salt, other),
            field_leaf(CHAIN, bytes(16), data),
            field_leaf(bytes(32), salt, data),
        ):
            if leaf != field_leaf(CHAIN, salt, data):
                with pytest.raises(ChiptraceError):
                    merkle.verify_inclusion(leaf, proof, digest)


@given(events, st.binary(min_size=16, max_size=16))
def test_the_digest_depends_on_the_chain_the_seed_and_every_field(made, seed):
    digest = event_digest(CHAIN, made)
    assert event_digest(bytes(32), made) != digest
    if seed != made.seed:
        assert event_digest(CHAIN, Event(seed=seed, fields=made.fields)) != digest
    for left_out in range(len(made.fields)):
        rest = [field for place, field in enumerate(made.fields) if place != left_out]
        assert event_digest(CHAIN, Event(seed=made.seed, fields=rest)) != digest


def test_the_digest_is_the_formula_of_the_format():
    made = event(epcList=[PART])
    leaves = []
    for field in made.fields:
        salted = hashlib.sha256(b"chiptrace/v1/field-salt\0" + CHAIN + SEED + field.name.encode()).digest()[
            :16
        ]
        data = field.SerializeToString(deterministic=True)
        leaves.append(hashlib.sha256(b"\0chiptrace/v1/event-field\0" + CHAIN + salted + data).digest())

    def node(left: bytes, right: bytes) -> bytes:
        return hashlib.sha256(b"\1" + left + right).digest()

    assert len(leaves) == 4
    assert event_digest(CHAIN, made) == node(node(leaves[0], leaves[1]), node(leaves[2], leaves[3]))
    assert field_salt(CHAIN, SEED, "action") != field_salt(CHAIN, SEED, "type")


def test_a_field_that_is_not_there_cannot_be_shown():
    with pytest.raises(Refused):
        show_field(CHAIN, event(), "ilmd")


# ---- shape --------------------------------------------------------------------------------------------------


def nested(depth: int) -> Value:
    item = value("x")
    for _ in range(depth - 1):
        item = Value(list=List(items=[item]))
    return item


def pair(first: str, second: str) -> list[Field]:
    return [Field(name=first, value=value("x")), Field(name=second, value=value("x"))]


@pytest.mark.parametrize(
    "broken",
    [
        Event(seed=bytes(15), fields=fields({"a": "x"})),
        Event(seed=bytes(17), fields=fields({"a": "x"})),
        Event(seed=SEED),
        Event(seed=SEED, fields=pair("b", "a")),
        Event(seed=SEED, fields=pair("a", "a")),
        # By UTF-8 bytes: UTF-16 would put the astral letter first.
        Event(seed=SEED, fields=pair("\U00010000", "\uffff")),
        Event(seed=SEED, fields=pair("", "a")),
        Event(seed=SEED, fields=[Field(name="n" * 257, value=value("x"))]),
        Event(seed=SEED, fields=[Field(name="a")]),
        Event(seed=SEED, fields=[Field(name="a", value=Value())]),
        Event(seed=SEED, fields=[Field(name="a", value=Value(object=Object(fields=pair("b", "a"))))]),
        Event(seed=SEED, fields=[Field(name="a", value=Value(list=List(items=[Value()])))]),
        Event(seed=SEED, fields=[Field(name="a", value=Value(number=Decimal(coefficient=b"\x0a")))]),
        Event(seed=SEED, fields=fields({"a": "x" * (TEXT_BYTES_MAX + 1)})),
        Event(seed=SEED, fields=fields({"a": "é" * (TEXT_BYTES_MAX // 2 + 1)})),
        Event(seed=SEED, fields=fields({"a": nested(VALUE_DEPTH_MAX + 1)})),
        Event(seed=SEED, fields=fields({"a": ["x"] * VALUE_NODES_MAX})),
        Event(seed=SEED, fields=fields({f"f{n:03}": "x" for n in range(EVENT_FIELDS_MAX + 1)})),
    ],
)
def test_what_is_no_event_is_malformed(broken):
    with pytest.raises(Malformed):
        check_event(broken)


def test_events_at_the_limits_are_taken():
    check_event(Event(seed=SEED, fields=pair("\uffff", "\U00010000")))
    check_event(Event(seed=SEED, fields=fields({"a": "x" * TEXT_BYTES_MAX})))
    check_event(Event(seed=SEED, fields=fields({"a": nested(VALUE_DEPTH_MAX)})))
    check_event(Event(seed=SEED, fields=fields({"a": ["x"] * (VALUE_NODES_MAX - 1)})))
    check_event(Event(seed=SEED, fields=fields({f"f{n:03}": "x" for n in range(EVENT_FIELDS_MAX)})))


@given(st.binary(max_size=400))
def test_hostile_bytes_bring_nothing_but_our_errors(data):
    with contextlib.suppress(ChiptraceError):
        made = codec.decode(Event, data, EVENT_BYTES_MAX)
        check_event(made)
        read_event(made)


@given(events)
def test_reading_any_event_brings_a_view_or_a_refusal(made):
    with contextlib.suppress(Refused):
        read_event(made)


# ---- view ---------------------------------------------------------------------------------------------------


def test_identifiers_are_canonical_and_named_once():
    view = read_event(event(epcList=[PART, PART_TEXT, "https://example.com/01/4012345999990/21/XYZ%2D1234"]))
    assert [part.text for part in view.epcs] == [PART_TEXT]


@pytest.mark.parametrize(
    "spelling",
    [
        "shipping",
        "urn:epcglobal:cbv:bizstep:shipping",
        "https://ref.gs1.org/cbv/BizStep-shipping",
        "cbv:BizStep-shipping",
        "https://ns.gs1.org/cbv/BizStep-shipping",
    ],
)
def test_words_are_read_bare_however_they_are_spelled(spelling):
    assert read_event(event(bizStep=spelling)).biz_step == "shipping"


@pytest.mark.parametrize(
    "context",
    [
        {"cbv": "https://example.com/"},
        "https://example.com/context.jsonld",
        [{"cbv": "https://ref.gs1.org/cbv/"}, "https://example.com/context.jsonld"],
    ],
)
def test_a_prefix_that_may_mean_something_else_is_not_taken_for_the_standards(context):
    assert read_event(event(bizStep="cbv:BizStep-shipping", **{"@context": context})).biz_step != "shipping"


def test_a_context_that_says_the_same_changes_nothing():
    context = [{"ext": "https://example.com/"}, {"cbv": "https://ref.gs1.org/cbv/"}]
    assert read_event(event(bizStep="cbv:BizStep-shipping", **{"@context": context})).biz_step == "shipping"


def test_words_of_other_vocabularies_stay_as_they_are():
    for word in (
        "https://example.com/shipping",
        "urn:epcglobal:cbv:disp:shipping",
        "Shipping",
        "ext:shipping",
    ):
        assert read_event(event(bizStep=word)).biz_step == word


def test_a_whole_transformation():
    view = read_event(
        Event(
            seed=SEED,
            fields=fields(
                {
                    "type": "TransformationEvent",
                    "eventTime": "2025-01-15T14:25:00Z",
                    "transformationID": "urn:epc:id:gdti:0614141.00001.run-7",
                    "inputEPCList": [PART],
                    "inputQuantityList": [
                        {"epcClass": "urn:epc:class:lgtin:4012345.012345.A", "quantity": 25, "uom": "KGM"},
                        {"epcClass": "https://example.com/substrates/7"},
                    ],
                    "outputEPCList": ["urn:epc:id:sgtin:4012345.099999.2"],
                    "persistentDisposition": {"set": ["urn:epcglobal:cbv:disp:conformant"]},
                    "errorDeclaration": {
                        "declarationTime": "2025-01-16T00:00:00Z",
                        "reason": "urn:epcglobal:cbv:er:incorrect_data",
                        "correctiveEventIDs": ["urn:uuid:1"],
                    },
                    "bizTransactionList": [
                        {"bizTransaction": "urn:x:1"},
                        {"type": "po", "bizTransaction": "urn:x:2"},
                    ],
                }
            ),
        )
    )
    assert view.action == ""
    assert view.transformation_id == "https://id.gs1.org/253/0614141000012run-7"
    first, second = view.input_quantities
    assert (first.of.lot, first.amount, first.unit) == ("A", decimals.parse("25"), "KGM")
    assert (second.of.text, second.amount, second.unit) == ("https://example.com/substrates/7", None, "")
    assert view.dispositions_set == ("conformant",)
    assert view.error_declaration is not None
    assert view.error_declaration.reason == "incorrect_data"
    assert view.error_declaration.corrective_event_ids == ("urn:uuid:1",)
    assert view.biz_transactions == (("", "urn:x:1"), ("po", "urn:x:2"))


def test_an_added_transformation_is_a_transformation():
    made = Event(
        seed=SEED,
        fields=fields({"type": "TransformationEvent", "action": "ADD", "eventTime": "2025-01-15T14:25:00Z"}),
    )
    assert read_event(made).action == ""


def test_parties_are_canonical_and_places_are_left_out():
    view = read_event(
        event(
            sourceList=[
                {"type": "urn:epcglobal:cbv:sdt:owning_party", "source": "urn:epc:id:pgln:4012345.00225"},
                {"type": "location", "source": "anything at all"},
                {"type": "https://example.com/broker", "source": "anything at all"},
            ],
            destinationList=[{"type": "possessing_party", "destination": "urn:epc:id:consumer"}],
        )
    )
    owner, nobody = view.source("owning_party"), view.source("possessing_party")
    assert owner is not None
    assert owner.text == "https://id.gs1.org/417/4012345002256"
    assert nobody is None
    receiver = view.destination("possessing_party")
    assert receiver is not None
    assert receiver.text == "urn:epc:id:consumer"


@pytest.mark.parametrize(
    ("members", "reason", "place"),
    [
        ({"type": "SomeEvent"}, Reason.EVENT_INVALID, "type"),
        ({"type": ["ObjectEvent"]}, Reason.EVENT_INVALID, "type"),
        ({"action": "CREATE"}, Reason.EVENT_INVALID, "action"),
        ({"action": ""}, Reason.EVENT_INVALID, "action"),
        ({"type": "TransformationEvent"}, Reason.EVENT_INVALID, "action"),
        ({"outputEPCList": [PART]}, Reason.EVENT_INVALID, "outputEPCList"),
        ({"parentID": PART}, Reason.EVENT_INVALID, "parentID"),
        ({"type": "AggregationEvent", "epcList": [PART]}, Reason.EVENT_INVALID, "epcList"),
        ({"eventTime": "22-07-2026"}, Reason.EVENT_INVALID, "eventTime"),
        ({"eventTime": 5}, Reason.EVENT_INVALID, "eventTime"),
        ({"epcList": PART}, Reason.EVENT_INVALID, "epcList"),
        ({"epcList": [PART, 7]}, Reason.EVENT_INVALID, "epcList[1]"),
        ({"epcList": ["https://id.gs1.org/01/1"]}, Reason.IDENTIFIER_INVALID, "epcList[0]"),
        ({"quantityList": [{"quantity": 1}]}, Reason.IDENTIFIER_INVALID, "quantityList[0].epcClass"),
        ({"quantityList": [{"epcClass": PART}]}, Reason.IDENTIFIER_INVALID, "quantityList[0].epcClass"),
        (
            {"quantityList": [{"epcClass": "urn:epc:id:gid:1.2.3"}]},
            Reason.IDENTIFIER_INVALID,
            "quantityList[0].epcClass",
        ),
        (
            {"quantityList": [{"epcClass": "urn:x1:a", "quantity": "20"}]},
            Reason.QUANTITY_INVALID,
            "quantityList[0].quantity",
        ),
        (
            {"quantityList": [{"epcClass": "urn:x1:a", "quantity": -1}]},
            Reason.QUANTITY_INVALID,
            "quantityList[0].quantity",
        ),
        (
            {"quantityList": [{"epcClass": "urn:x1:a", "uom": "kg"}]},
            Reason.QUANTITY_INVALID,
            "quantityList[0].uom",
        ),
        ({"quantityList": ["urn:x1:a"]}, Reason.EVENT_INVALID, "quantityList[0]"),
        (
            {"sourceList": [{"type": "owning_party", "source": "acme"}]},
            Reason.IDENTIFIER_INVALID,
            "sourceList[0].source",
        ),
        (
            {"sourceList": [{"type": "owning_party", "source": f"urn:x1:{n}"} for n in "ab"]},
            Reason.EVENT_INVALID,
            "sourceList[1]",
        ),
        ({"persistentDisposition": ["conformant"]}, Reason.EVENT_INVALID, "persistentDisposition"),
        ({"persistentDisposition": {"set": "conformant"}}, Reason.EVENT_INVALID, "persistentDisposition.set"),
        ({"errorDeclaration": {}}, Reason.EVENT_INVALID, "errorDeclaration.declarationTime"),
        ({"eventID": "urn:x:" + "a" * 600}, Reason.EVENT_INVALID, "eventID"),
    ],
)
def test_refusals_name_the_field_and_the_reason(members, reason, place):
    error = refusal(event(**members))
    assert (error.reason, str(error).split(": ")[0]) == (reason, place)


def test_an_event_names_a_bounded_number_of_things():
    many = [f"urn:epc:id:sgtin:4012345.099999.{n}" for n in range(IDENTIFIERS_PER_EVENT_MAX + 1)]
    assert refusal(event(epcList=many)).reason == Reason.OVERSIZE
    assert len(read_event(event(epcList=many[1:])).epcs) == IDENTIFIERS_PER_EVENT_MAX


# ---- time ---------------------------------------------------------------------------------------------------


@given(
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30)),
    st.integers(-14 * 60, 14 * 60),
)
def test_times_are_those_of_the_calendar(moment, minutes):
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    since = zoned - datetime(1970, 1, 1, tzinfo=UTC)
    expected = since // timedelta(milliseconds=1)
    if expected >= 0:
        assert event_values.parse_time(zoned.isoformat(), "eventTime") == expected


@pytest.mark.parametrize(
    "text",
    [
        "2025-01-15", "2025-01-15T14:25:00", "2025-01-15T14:25Z", "2025-01-15 14:25:00Z", "2025-02-29T00:00:00Z",
        "2025-13-01T00:00:00Z", "2025-00-01T00:00:00Z", "2025-01-00T00:00:00Z", "2025-01-15T24:00:00Z",
        "2025-01-15T14:60:00Z", "2025-01-15T14:25:61Z", "2025-01-15T14:25:00+15:00", "2025-01-15T14:25:00+14:30",
        "2025-01-15T14:25:00+01", "1969-12-31T23:59:59Z", "2025-01-15T14:25:00.Z", "٢٠٢٥-01-15T14:25:00Z",
        "2025-01-15T14:25:00Z\n", "2025-01-15t14:25:00z", "", "1900-02-29T00:00:00Z",
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text):
    with pytest.raises(Refused) as caught:
        event_values.parse_time(text, "eventTime")
    assert caught.value.reason == Reason.EVENT_INVALID
    assert str(caught.value).startswith("eventTime: ")


def test_finer_digits_are_cut():
    assert event_values.parse_time("1970-01-01T00:00:01.9999999Z", "eventTime") == 1_999
    assert event_values.parse_time("1970-01-01T00:00:01.5Z", "eventTime") == 1_500


def test_seed_and_salt_have_the_lengths_of_the_format():
    assert len(field_salt(CHAIN, SEED, "type")) == ledger_event.SALT_BYTES == 16
    assert ledger_event.SEED_BYTES == 16
