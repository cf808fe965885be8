"""Fields of events read once: as the library reads them, whatever the bytes are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger import codec, event_fields
from ledger.errors import Malformed
from ledger.event import event_digest, given_digest
from ledger.event_fields import KEPT_FIELD_BYTES_MAX, check_event, read_field, read_fields
from ledger.limits import EVENT_BYTES_MAX, EVENT_FIELDS_MAX, NAME_BYTES_MAX, VALUE_NODES_MAX
from proto.chiptrace.v1.ledger_pb2 import Decimal, Event, Field, List, Object, Reason, Value
from tests.ledger.test_event import CHAIN, SEED, event, events, fields


def the_long_way(data: bytes) -> Event | Malformed:
    try:
        made = codec.decode(Event, data, EVENT_BYTES_MAX)
        check_event(made)
    except Malformed as error:
        return error
    return made


def check_alike(data: bytes) -> bool:
    """Fails unless bytes are read as the library reads them; whether they are an event."""
    expected = the_long_way(data)
    if isinstance(expected, Malformed):
        with pytest.raises(Malformed) as caught:
            read_fields(data)
        assert (str(caught.value), caught.value.reason) == (str(expected), expected.reason)
        return False
    found = read_fields(data)
    assert found.seed == expected.seed
    assert list(found.fields) == [field.name for field in expected.fields]
    for field, of in zip(found.fields.values(), expected.fields, strict=True):
        kind = of.value.WhichOneof("kind")
        assert (field.name, field.name_bytes, field.data) == (of.name, of.name.encode(), codec.encode(of))
        assert field.value == of.value
        assert field.text == (of.value.text if kind == "text" else None)
        if field.texts is not None:
            assert list(field.texts) == [item.text for item in of.value.list.items]
            assert {item.WhichOneof("kind") for item in of.value.list.items} <= {"text"}
    assert given_digest(CHAIN, found) == event_digest(CHAIN, expected)
    return True


@given(events)
def test_every_event_is_read_as_the_library_reads_it(made):
    assert check_alike(codec.encode(made))


@given(events, st.data())
def test_bytes_that_are_nearly_an_event_are_judged_alike(made, data):
    good = codec.encode(made)
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 3))
    check_alike(good[:at] + data.draw(st.binary(max_size=3)) + good[at + cut :])


def test_every_wrong_byte_of_a_plain_event_is_judged_alike():
    good = codec.encode(event(epcList=["urn:a", "b", ""], bizStep="inspecting", z=[], y=3, x="ü"))
    judged = [check_alike(good)]
    for at in range(len(good)):
        # Heads, lengths one too long or short, a length in two bytes, an end, no UTF-8.
        changed = {0, 10, 18, 34, 127, 128, 255, good[at] ^ 1, good[at] - 1 & 255, good[at] + 1 & 255}
        judged += [check_alike(good[:at] + bytes((byte,)) + good[at + 1 :]) for byte in sorted(changed)]
        judged += [check_alike(good[:at] + good[at + 1 :]), check_alike(good[:at])]
    assert judged.count(True) > 100
    assert judged.count(False) > 1_000


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\x0a\x10" + SEED,
        b"\x0a\x10" + bytes(3),
        # A length in two bytes where one would do, an explicit default, an unknown field, a field at its end.
        codec.encode(event()).replace(b"\x12\x13", b"\x12\x93\x00", 1),
        b"\x0a\x10" + SEED + b"\x12\x0b\x0a\x00\x12\x07\x0a\x05texts",
        codec.encode(event()) + b"\x1a\x00",
        codec.encode(event()) + b"\x12",
        codec.encode(event()) + b"\x12\x80",
        codec.encode(Event(seed=SEED, fields=fields({f"f{n:03}": "x" for n in range(EVENT_FIELDS_MAX + 1)}))),
        codec.encode(Event(seed=SEED, fields=fields({"a": ["x"] * (VALUE_NODES_MAX // 2)}))) * 2,
        codec.encode(
            Event(seed=SEED, fields=[Field(name="n" * (NAME_BYTES_MAX + 1), value=Value(text="x"))])
        ),
        codec.encode(Event(seed=SEED, fields=[Field(name="n", value=Value(list=List(items=[Value()])))])),
        codec.encode(Event(seed=SEED, fields=[Field(name="n")])),
        bytes(EVENT_BYTES_MAX + 1),
    ],
)
def test_what_is_no_event_is_judged_alike(odd):
    assert not check_alike(odd)


def test_too_many_values_in_all_are_refused_though_no_field_has_too_many():
    def made(count: int) -> bytes:
        return codec.encode(Event(seed=SEED, fields=fields({f"f{n}": ["x"] * count for n in range(5)})))

    assert check_alike(made(VALUE_NODES_MAX // 5 - 1))
    assert not check_alike(made(VALUE_NODES_MAX // 5))


def test_an_event_has_so_many_bytes_and_no_more():
    def made(more: int) -> bytes:
        texts = {f"f{n}": "x" * 16_000 for n in range(8)}
        return codec.encode(Event(seed=SEED, fields=fields({**texts, "g": "x" * more})))

    room = EVENT_BYTES_MAX - len(made(1_000))
    assert check_alike(made(1_000 + room))
    assert not check_alike(made(1_000 + room + 1))


@pytest.mark.parametrize(
    "wrong",
    [
        # A name of 133 bytes whose length is given in one byte; a list whose last item ends beyond it.
        b"\x0a\x85" + b"n" * 133 + b"\x12\x05\x0a\x03abc",
        b"\x0a\x01a\x12\x07\x22\x05\x0a\x04\x0a\x02x",
        b"\x0a\x01a\x12\x06\x22\x04\x0a\x03\x0a\x01",
        b"\x0a\x01a\x12\x05\x0a\x03\xed\xa0\x80",
    ],
)
def test_a_field_that_only_looks_like_one_is_refused(wrong):
    with pytest.raises(Malformed):
        codec.decode(Field, wrong, EVENT_BYTES_MAX)
    with pytest.raises(Malformed):
        read_field(wrong)


def test_long_fields_are_read_too():
    for length in (120, 127, 128, 300, 16_200, 16_383, 16_384, 60_000):
        assert check_alike(codec.encode(event(a="x" * length, b=["y"] * (length // 100))))


def test_what_is_read_once_is_kept_and_what_is_long_is_not():
    def data(text: str) -> bytes:
        return codec.encode(Field(name="a", value=Value(text=text)))

    assert read_field(data("kept")) is read_field(data("kept"))
    long = data("x" * KEPT_FIELD_BYTES_MAX)
    assert read_field(long) is not read_field(long)


def test_what_is_kept_cannot_be_changed_by_who_reads_it():
    number = Value(number=Decimal(coefficient=b"\x07"))
    data = codec.encode(Field(name="a", value=Value(object=Object(fields=[Field(name="b", value=number)]))))
    read_field(data).value.object.fields[0].value.number.coefficient = b"\x09"
    assert codec.encode(Field(name="a", value=read_field(data).value)) == data


def test_a_field_that_was_refused_once_is_refused_again():
    for _ in range(2):
        with pytest.raises(Malformed) as caught:
            read_field(codec.encode(Field(name="", value=Value(text="x"))))
        assert caught.value.reason == Reason.MALFORMED
    assert event_fields.FIELDS_KEPT * KEPT_FIELD_BYTES_MAX <= 4_000_000
