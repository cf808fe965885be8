"""Events out: an EPCIS 2.0 document in JSON-LD that means what was captured, field for field.

Namespaces that all events share stand at the document, the others at their event. Numbers are written in plain
notation; the order of members is the order of an Event's fields (JSON gives it no meaning).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from client import epcis_context, epcis_json
from client.epcis_context import Namespaces
from client.epcis_json import Json
from client.epcis_vocabulary import GS1_CONTEXT
from ledger import decimals
from ledger.errors import Malformed
from proto.chiptrace.v1.ledger_pb2 import Event, Field, Value

# Members that this file writes itself; everything else of a header is passed on.
_OWN = frozenset(("@context", "type", "schemaVersion", "creationDate", "epcisBody"))


def to_json(event: Event) -> tuple[dict[str, Json], Namespaces]:
    """The JSON-LD members of an Event, without `@context`, and the namespaces that hold for them."""
    members = _members(event.fields)
    context = members.pop(epcis_context.FIELD, None)
    return members, epcis_context.namespaces(context)


def document(
    events: Sequence[Event], creation_date: str, header: Mapping[str, Json] | None = None
) -> dict[str, Json]:
    """The EPCISDocument of some events. creation_date: ISO 8601 with zone.

    header: members of a document read before (sender, receiver, creationDate, ...), written again.
    """
    pairs = [to_json(event) for event in events]
    common, own = epcis_context.shared([namespaces for _, namespaces in pairs])
    result: dict[str, Json] = {"@context": [GS1_CONTEXT, *common.entries]}
    result["type"] = "EPCISDocument"
    result["schemaVersion"] = "2.0"
    result["creationDate"] = (header or {}).get("creationDate", creation_date)
    result.update((name, value) for name, value in (header or {}).items() if name not in _OWN)
    listed: list[Json] = []
    for (members, _), rest in zip(pairs, own, strict=True):
        first: dict[str, Json] = {"@context": list(rest.entries)} if rest.entries else {}
        listed.append({**first, **members})
    result["epcisBody"] = {"eventList": listed}
    return result


def to_text(events: Sequence[Event], creation_date: str, header: Mapping[str, Json] | None = None) -> str:
    """The text of `document`, ending in a line end."""
    return epcis_json.to_text(document(events, creation_date, header)) + "\n"


def _members(fields: Sequence[Field]) -> dict[str, Json]:
    return {field.name: _json(field.value) for field in fields}


def _json(value: Value) -> Json:
    kind = value.WhichOneof("kind")
    if kind == "text":
        return value.text
    if kind == "truth":
        return value.truth
    if kind == "number":
        return Decimal(decimals.to_text(value.number))
    if kind == "list":
        return [_json(item) for item in value.list.items]
    if kind == "object":
        return _members(value.object.fields)
    raise Malformed("a value says nothing")
