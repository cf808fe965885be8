"""The fields of an event, each read once: its shape, and its place in the bytes that are hashed.

An event's canonical bytes are its seed and then its fields, one after the other, so a field's own canonical bytes lie
in them as they are: nothing is encoded again to be hashed. Most fields of an event are those of others too (its type,
its step, its zone). What depends on a field's bytes alone is kept by those bytes, for the fields read last: there is
nothing to invalidate.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from ledger import codec, decimals
from ledger.errors import Malformed
from ledger.limits import (
    EVENT_BYTES_MAX,
    EVENT_FIELDS_MAX,
    NAME_BYTES_MAX,
    TEXT_BYTES_MAX,
    VALUE_DEPTH_MAX,
    VALUE_NODES_MAX,
)
from proto.chiptrace.v1.ledger_pb2 import Event, Field, Value

SEED_BYTES: Final = 16
# What is kept: so many fields of so many bytes at most, which is about 10 MB.
FIELDS_KEPT: Final = 8_192
KEPT_FIELD_BYTES_MAX: Final = 256

# How an event begins: field 1, of SEED_BYTES bytes; and each of its fields: field 2.
_SEED_HEAD: Final = bytes((0x0A, SEED_BYTES))
_FIELD_HEAD: Final = 0x12
# The heads within a field, and the longest length that is written in one byte.
_NAME_HEAD: Final = 0x0A
_VALUE_HEAD: Final = 0x12
_TEXT_HEAD: Final = 0x0A
_LIST_HEAD: Final = 0x22
_ITEM_HEAD: Final = 0x0A
_ONE_BYTE_MAX: Final = 127


class ReadField:
    """One top-level field of an event. Shared by all events that have it, so nobody changes its value."""

    __slots__ = ("data", "name", "name_bytes", "text", "texts", "values")

    def __init__(
        self, data: bytes, name_bytes: bytes, text: str | None, texts: tuple[str, ...] | None, values: int
    ) -> None:
        self.data = data  # Field, canonical
        self.name = name_bytes.decode()
        self.name_bytes = name_bytes
        self.text = text  # where its value is one
        self.texts = texts  # where it is a list of nothing else, if that was found
        self.values = values  # how many there are in it, itself included

    @property
    def value(self) -> Value:
        """What the field says, parsed when it is asked for: rules read most fields as texts alone."""
        return Field.FromString(self.data).value


class GivenEvent(NamedTuple):
    """An event of the right shape, as its bytes give it."""

    seed: bytes
    fields: dict[str, ReadField]  # by name, in their order


# ---- from bytes -----------------------------------------------------------------------------------------------


def read_fields(data: bytes) -> GivenEvent:
    """The event that `data` is the canonical encoding of, with the shape that `check_event` demands.

    Raises Malformed: OVERSIZE, and else MALFORMED.
    """
    fields = _split(data)
    if fields is not None:
        return GivenEvent(data[2 : 2 + SEED_BYTES], fields)
    # Something is wrong with it, which this says.
    event = codec.decode(Event, data, EVENT_BYTES_MAX)
    check_event(event)
    read = [read_field(codec.encode(field)) for field in event.fields]
    return GivenEvent(event.seed, {field.name: field for field in read})


def _split(data: bytes) -> dict[str, ReadField] | None:
    """The fields of an event, taken from its bytes one by one. None for whatever is not plainly canonical."""
    end = len(data)
    if end > EVENT_BYTES_MAX or data[:2] != _SEED_HEAD:
        return None
    found: dict[str, ReadField] = {}
    place, values, before = 2 + SEED_BYTES, 0, b""
    try:
        while place < end:
            # (1) Its head: the length in one byte, two or three, the fewest that it fits in.
            head, length = data[place], data[place + 1]
            start = place + 2
            if length > 127:
                high = data[start]
                start += 1
                length = length & 127 | (high & 127) << 7
                if high > 127:
                    high = data[start]
                    start += 1
                    length |= high << 14
                if not 0 < high < 128:
                    return None
            place = start + length
            if head != _FIELD_HEAD or place > end:
                return None
            # (2) Itself, (3) in order.
            part = data[start:place]
            field = _kept_field(part) if length <= KEPT_FIELD_BYTES_MAX else _read_field(part)
            if field.name_bytes <= before or len(found) == EVENT_FIELDS_MAX:
                return None
            before = field.name_bytes
            values += field.values
            found[field.name] = field
    except (IndexError, Malformed):
        return None
    return found if found and values <= VALUE_NODES_MAX else None


def read_field(data: bytes) -> ReadField:
    """A field by its canonical bytes, its shape checked. Raises Malformed."""
    return _kept_field(data) if len(data) <= KEPT_FIELD_BYTES_MAX else _read_field(data)


def _read_field(data: bytes) -> ReadField:
    try:
        field = _read_texts(data)
    except (IndexError, UnicodeDecodeError):
        field = None
    if field is None:
        message = codec.decode(Field, data, EVENT_BYTES_MAX)
        field = ReadField(data, message.name.encode(), None, None, _count_values([message.value]))
        kind = message.value.WhichOneof("kind")
        if kind == "text":
            field.text = message.value.text
        elif kind == "list" and all(item.WhichOneof("kind") == "text" for item in message.value.list.items):
            field.texts = tuple([item.text for item in message.value.list.items])
    if not 0 < len(field.name_bytes) <= NAME_BYTES_MAX:
        raise Malformed(f"a field name has 1 to {NAME_BYTES_MAX} bytes")
    return field


def _read_texts(data: bytes) -> ReadField | None:
    """A field that holds a short text or a short list of such, as most do, by its bytes; None for any other.

    By hand, because the library takes three times as long for it: a name, then a value, each after its head and its
    length in one byte, to the last byte.
    """
    end, at = len(data), 2 + data[1]
    if (
        end > _ONE_BYTE_MAX
        or data[0] != _NAME_HEAD
        or data[at] != _VALUE_HEAD
        or data[at + 1] != end - at - 2
    ):
        return None
    head, length, start = data[at + 2], data[at + 3], at + 4
    if length != end - start:
        return None
    if head == _TEXT_HEAD:
        return ReadField(data, data[2:at], data[start:].decode(), None, 1)
    if head != _LIST_HEAD:
        return None
    texts: list[str] = []
    while start < end:
        # An item is a value that is a text.
        item = data[start + 1]
        if data[start] != _ITEM_HEAD or data[start + 2] != _TEXT_HEAD or data[start + 3] != item - 2:
            return None
        texts.append(data[start + 4 : start + 2 + item].decode())
        start += 2 + item
    return None if start > end else ReadField(data, data[2:at], None, tuple(texts), 1 + len(texts))


_kept_field = lru_cache(maxsize=FIELDS_KEPT)(_read_field)


# ---- shape ----------------------------------------------------------------------------------------------------


def check_event(event: Event) -> None:
    """Demand the shape every event has, whatever it says. Raises Malformed naming the rule broken.

    1. a seed of 16 bytes, 1 to 64 fields; 2. names not empty, bounded, strictly ascending by UTF-8 bytes, at
    every level; 3. every value of one kind, texts bounded, numbers in normal form; 4. depth and total number of
    values bounded.
    """
    if len(event.seed) != SEED_BYTES:
        raise Malformed(f"the seed of an event has {SEED_BYTES} bytes, not {len(event.seed)}")
    if not 1 <= len(event.fields) <= EVENT_FIELDS_MAX:
        raise Malformed(f"an event has 1 to {EVENT_FIELDS_MAX} fields, not {len(event.fields)}")
    _count_values(_ordered_values(event.fields))


def _count_values(values: list[Value]) -> int:
    """How many values there are in these, themselves included, all of the right shape. Raises Malformed."""
    nodes = depth = 0
    # Level by level: no recursion, whatever was sent.
    while values:
        depth += 1
        nodes += len(values)
        if nodes > VALUE_NODES_MAX:
            raise Malformed(f"an event has more than {VALUE_NODES_MAX} values")
        if depth > VALUE_DEPTH_MAX:
            raise Malformed(f"an event is nested deeper than {VALUE_DEPTH_MAX} levels")
        inner: list[Value] = []
        for value in values:
            kind = value.WhichOneof("kind")
            if kind == "text":
                text = value.text
                # No character takes more than four bytes.
                if len(text) * 4 > TEXT_BYTES_MAX and len(text.encode()) > TEXT_BYTES_MAX:
                    raise Malformed(f"a text is longer than {TEXT_BYTES_MAX} bytes")
            elif kind == "list":
                inner.extend(value.list.items)
            elif kind == "object":
                inner.extend(_ordered_values(value.object.fields))
            elif kind == "number":
                decimals.check(value.number)
            elif kind is None:
                raise Malformed("a value says nothing")
        values = inner
    return nodes


def _ordered_values(fields: Sequence[Field]) -> list[Value]:
    _check_names([field.name.encode() for field in fields])
    return [field.value for field in fields]


def _check_names(names: list[bytes]) -> None:
    for name, following in pairwise(names):
        if name >= following:
            raise Malformed(f"field {following.decode()} stands out of order or twice")
    if names and not (names[0] and max(map(len, names)) <= NAME_BYTES_MAX):
        raise Malformed(f"a field name has 1 to {NAME_BYTES_MAX} bytes")
