"""The view of an event as most are, made of what it shares with others and what it has of its own.

Most events of a line differ in their time and in what they name; their type, step, parties and places are those of
others. What these say together is read once for all events that have them. An event that is not plain (it names amounts,
classes or intervals, makes a lot, declares an error) is read as a whole by ledger/event.py, and so is whatever would be
refused: that one says why.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from ledger import event, event_values
from ledger.errors import Refused
from ledger.event import EventView
from ledger.event_fields import ReadField, read_field
from ledger.identifiers import Identifier, canonical
from ledger.limits import IDENTIFIER_BYTES_MAX, IDENTIFIERS_PER_EVENT_MAX
from proto.chiptrace.v1.ledger_pb2 import Field, Value

# So many are kept, of fields that have so many bytes together at most: 10 MB at worst, 1 MB as events are.
_SHARED_KEPT: Final = 512
_SHARED_BYTES_MAX: Final = 4_096
# Every field that a view depends on is among these, among what a plain event has of its own, or not in a plain event.
_SHARED: Final = (
    *("type", "action", "bizStep", "disposition", "persistentDisposition"),
    *("sourceList", "destinationList", "readPoint", "@context"),
)
_NOT_PLAIN: Final = frozenset(
    (
        *("quantityList", "childQuantityList", "inputQuantityList", "outputQuantityList"),
        *("transformationID", "ilmd", "errorDeclaration"),
    )
)
_NOT_PLAIN_OF: Final = {kind: _NOT_PLAIN | names for kind, names in event.NOT_OWN.items()}
_ANY_TIME: Final = read_field(
    Field(name="eventTime", value=Value(text="1970-01-01T00:00:00Z")).SerializeToString(deterministic=True)
)


class _NotPlain(Exception):
    """The event is to be read as a whole."""


def view_event(fields: Mapping[str, ReadField]) -> EventView:
    """The view of an event's fields by name; the very same as `event.view_fields` gives, and the same refusals."""
    try:
        return _plain(fields)
    except (_NotPlain, Refused):
        return event.view_fields(fields)


def _plain(fields: Mapping[str, ReadField]) -> EventView:
    # (1) What it shares with others.
    shared = _shared_view(tuple(map(fields.get, _SHARED)))
    if shared is None or not _NOT_PLAIN_OF[shared.type].isdisjoint(fields):
        raise _NotPlain
    # (2) What it has of its own.
    time_ms = event_values.parse_time(_text(fields.get("eventTime")), "eventTime")
    event_id, parent = _text(fields.get("eventID")), _text(fields.get("parentID"))
    if len(event_id) > IDENTIFIER_BYTES_MAX // 4:
        raise _NotPlain  # it may be too long
    own = (
        _things(fields.get("epcList")),
        _things(fields.get("childEPCs")),
        _things(fields.get("inputEPCList")),
        _things(fields.get("outputEPCList")),
    )
    if sum(map(len, own)) > IDENTIFIERS_PER_EVENT_MAX:
        raise _NotPlain
    documents = event.read_documents(fields) if "bizTransactionList" in fields else ()
    # (3) Both, as the view has them one after the other.
    first = (time_ms, event_id, _thing(parent) if parent else None, *own, documents)
    return EventView._make(first + shared[len(first) :])


@lru_cache(maxsize=_SHARED_KEPT)
def _shared_view(shared: tuple[ReadField | None, ...]) -> EventView | None:
    """The view of an event that has these fields, at any time, and names nothing; None where it would be refused.

    Raises _NotPlain for long fields, of which nothing is kept then.
    """
    fields = {field.name: field for field in shared if field is not None}
    if sum(len(field.data) for field in fields.values()) > _SHARED_BYTES_MAX:
        raise _NotPlain
    try:
        return event.view_fields(fields | {_ANY_TIME.name: _ANY_TIME})
    except Refused:
        return None


def _text(field: ReadField | None) -> str:
    if field is None:
        return ""
    if field.text is None:
        raise _NotPlain
    return field.text


def _things(field: ReadField | None) -> tuple[Identifier, ...]:
    if field is None:
        return ()
    if field.texts is None:
        raise _NotPlain
    if len(field.texts) == 1:
        return (_thing(field.texts[0]),)
    return tuple(dict.fromkeys(map(_thing, field.texts)))


def _thing(text: str) -> Identifier:
    found = canonical(text)
    if found.is_class or found.interval is not None:
        raise _NotPlain
    return found
