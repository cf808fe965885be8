"""The check of an EPCIS 2.0 document: what a strict import demands of every field.

`check` walks the document with the tables below and returns findings; a strict import takes a document without
errors whole, and nothing of any other. The tables say what the EPCIS 2.0 JSON schema says, and beyond it what
the schema leaves open: formats of times and words, namespaces of extensions, identifiers the ledger can take,
a parent where packing needs one, outputs that repeat inputs.

One rule is wider than the schema: a sensor report has a type or an exception (the standard's text), where the
schema demands the type.
"""

from collections.abc import Mapping
from typing import Final

from client import epcis_context, epcis_vocabulary
from client.epcis_findings import Code, Finding, Report
from client.epcis_json import Json
from client.epcis_shapes import (
    Check,
    amount,
    anything,
    boolean,
    check_members,
    hexadecimal,
    identifier,
    instance,
    items,
    members,
    namespaced,
    number,
    one_of,
    one_or_many,
    text,
    time,
    unit,
    uri,
    version,
    word,
    wrong_kind,
    zone,
)

_QUANTITY: Final = members(
    {"epcClass": identifier, "quantity": amount, "uom": unit}, required=("epcClass",), extensible=False
)
_QUANTITIES: Final = items(_QUANTITY)
_DISPOSITIONS: Final = items(word(epcis_vocabulary.DISPOSITION), minimum=1, unique=True)
_PLACE: Final = members({"id": uri}, required=("id",))


def _party(member: str) -> Check:
    """A source or destination; only parties (not locations) must be names that the ledger takes."""
    fields: dict[str, Check] = {"type": word(epcis_vocabulary.PARTY_ROLE), member: uri}
    as_party = {**fields, member: identifier}

    def check(value: Json, path: str, report: Report) -> None:
        if not isinstance(value, dict):
            wrong_kind(value, path, report, "an object")
            return
        table = as_party if value.get("type") in ("owning_party", "possessing_party") else fields
        check_members(value, path, report, table, ("type", member), extensible=False)

    return check


_BIZ_TRANSACTION: Final = members(
    {"type": word(epcis_vocabulary.TRANSACTION_TYPE), "bizTransaction": uri},
    required=("bizTransaction",),
    extensible=False,
)
_ERROR_DECLARATION: Final = members(
    {
        "declarationTime": time,
        "reason": word(epcis_vocabulary.ERROR_REASON),
        "correctiveEventIDs": items(uri),
    },
    required=("declarationTime",),
)
_SENSOR_METADATA: Final = members(
    {
        **dict.fromkeys(("time", "startTime", "endTime"), time),
        **dict.fromkeys(("deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules"), uri),
    }
)
_SENSOR_REPORT_FIELDS: Final[dict[str, Check]] = {
    "type": word(epcis_vocabulary.MEASUREMENT, closed=False),
    "exception": word(epcis_vocabulary.ALERT, closed=False),
    "time": time,
    "component": word(epcis_vocabulary.COMPONENT, closed=False),
    "stringValue": text,
    "booleanValue": boolean,
    "hexBinaryValue": hexadecimal,
    "uom": text,
    **dict.fromkeys(
        (
            "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules", "microorganism",
            "chemicalSubstance", "coordinateReferenceSystem", "uriValue",
        ),
        uri,
    ),
    **dict.fromkeys(("value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue"), number),
}  # fmt: skip


def _sensor_report(value: Json, path: str, report: Report) -> None:
    if not isinstance(value, dict):
        wrong_kind(value, path, report, "an object")
        return
    required = () if "exception" in value else ("type",)
    check_members(value, path, report, _SENSOR_REPORT_FIELDS, required)


_SENSOR_ELEMENT: Final = members(
    {"sensorMetadata": _SENSOR_METADATA, "sensorReport": items(_sensor_report, minimum=1)},
    required=("sensorReport",),
)


def _persistent_disposition(value: Json, path: str, report: Report) -> None:
    fields = {"set": _DISPOSITIONS, "unset": _DISPOSITIONS}
    members(fields, extensible=False)(value, path, report)
    if isinstance(value, dict) and not value.keys() & fields.keys():
        report.add(Code.MISSING_FIELD, path, "set or unset is required here")


def _misplaced_disposition(value: Json, path: str, report: Report) -> None:
    report.add(Code.MISPLACED_FIELD, path, "is a field of ObjectEvent and TransformationEvent only")
    _persistent_disposition(value, path, report)


def _event_context(value: Json, path: str, report: Report) -> None:
    epcis_context.check(value, path, report, standard=False)


_COMMON: Final[dict[str, Check]] = {
    "@context": _event_context,
    "type": text,
    "eventTime": time,
    "recordTime": time,
    "eventTimeZoneOffset": zone,
    "eventID": uri,
    "certificationInfo": one_or_many(uri),
    "errorDeclaration": _ERROR_DECLARATION,
    "bizStep": word(epcis_vocabulary.BIZ_STEP),
    "disposition": word(epcis_vocabulary.DISPOSITION),
    "readPoint": _PLACE,
    "bizLocation": _PLACE,
    "bizTransactionList": items(_BIZ_TRANSACTION),
    "sourceList": items(_party("source")),
    "destinationList": items(_party("destination")),
    "sensorElementList": items(_SENSOR_ELEMENT),
    "persistentDisposition": _misplaced_disposition,
}
_ACTION: Final = one_of(epcis_vocabulary.ACTIONS)
_NAMES: Final = items(instance, unique=True)
_CHILDREN: Final[dict[str, Check]] = {
    **_COMMON,
    "action": _ACTION,
    "parentID": identifier,
    "childEPCs": items(instance, unique=True),
    "childQuantityList": _QUANTITIES,
}
# Event type -> (its fields, those required beyond type, eventTime and eventTimeZoneOffset).
EVENTS: Final[dict[str, tuple[dict[str, Check], tuple[str, ...]]]] = {
    "ObjectEvent": (
        {
            **_COMMON,
            "action": _ACTION,
            "epcList": _NAMES,
            "quantityList": _QUANTITIES,
            "persistentDisposition": _persistent_disposition,
            "ilmd": namespaced,
        },
        ("action",),
    ),
    "AggregationEvent": (_CHILDREN, ("action",)),
    "AssociationEvent": (_CHILDREN, ("action", "parentID")),
    "TransactionEvent": (
        {
            **_COMMON,
            "action": _ACTION,
            "parentID": identifier,
            "epcList": _NAMES,
            "quantityList": _QUANTITIES,
            "bizTransactionList": items(_BIZ_TRANSACTION, minimum=1),
        },
        ("action", "bizTransactionList"),
    ),
    "TransformationEvent": (
        {
            **_COMMON,
            "inputEPCList": _NAMES,
            "inputQuantityList": _QUANTITIES,
            "outputEPCList": _NAMES,
            "outputQuantityList": _QUANTITIES,
            "transformationID": identifier,
            "persistentDisposition": _persistent_disposition,
            "ilmd": namespaced,
        },
        (),
    ),
}


DOCUMENT_TYPES: Final = ("EPCISDocument", "EPCISQueryDocument")


def check(document: Json, *, strict: bool, file: str = "") -> list[Finding]:
    """Every fault of an EPCIS document, query document, bare event, or list of these.

    `strict` decides how grave a fault is (`Report.add`), not whether it is seen. Raises nothing.
    """
    report = Report(file, strict=strict)
    check_document(document, report)
    return report.findings


def check_document(document: Json, report: Report) -> None:
    """Check a parsed document, whatever its form, into a report; events are numbered through the file."""
    event = 0
    for part in document if isinstance(document, list) else [document]:
        if not isinstance(part, dict):
            wrong_kind(part, "", report, "an EPCIS document or event")
            continue
        check_envelope(part, report)
        for item in events_of(part):
            check_event(item, report.at(event))
            event += 1


def events_of(part: Mapping[str, Json]) -> list[Json]:
    """The events of a document or query document, or the bare event itself; none where they are not listed."""
    events = _listed(part)
    return events if isinstance(events, list) else []


def has_events(part: Mapping[str, Json]) -> bool:
    """Whether what should list events does, be they none."""
    return isinstance(_listed(part), list)


def _listed(part: Mapping[str, Json]) -> Json:
    if part.get("type") not in DOCUMENT_TYPES:
        return [dict(part)]
    body = part.get("epcisBody")
    if part["type"] == "EPCISQueryDocument":
        results = body.get("queryResults") if isinstance(body, dict) else None
        body = results.get("resultsBody") if isinstance(results, dict) else None
    return body.get("eventList") if isinstance(body, dict) else None


# ---- around the events ------------------------------------------------------------------------------------------

_ATTRIBUTE: Final = members({"id": uri, "attribute": anything}, required=("id",))
_ELEMENT: Final = members(
    {"id": uri, "attributes": items(_ATTRIBUTE), "children": items(uri)}, required=("id",)
)
_VOCABULARIES: Final = items(
    members({"type": uri, "vocabularyElementList": items(_ELEMENT)}, required=("type",))
)
_EVENT_LIST: Final = items(anything)
_HEADER: Final = members({"epcisMasterData": members({"vocabularyList": _VOCABULARIES})})
_DOCUMENT: Final[dict[str, Check]] = {
    "@context": lambda value, path, report: epcis_context.check(value, path, report, standard=True),
    "id": uri,
    "type": text,
    "schemaVersion": version,
    "creationDate": time,
    "instanceIdentifier": text,
    "sender": text,
    "receiver": text,
    "epcisHeader": _HEADER,
    "epcisBody": members({"eventList": _EVENT_LIST}, required=("eventList",)),
}
_QUERY_DOCUMENT: Final[dict[str, Check]] = {
    **{name: _DOCUMENT[name] for name in ("@context", "id", "type", "schemaVersion", "creationDate")},
    "epcisBody": members(
        {
            "queryResults": members(
                {
                    "queryName": text,
                    "subscriptionID": text,
                    "resultsBody": members(
                        {"eventList": _EVENT_LIST, "vocabularyList": _VOCABULARIES}, required=("eventList",)
                    ),
                },
                required=("queryName", "resultsBody"),
            )
        },
        required=("queryResults",),
    ),
}


def check_envelope(part: Mapping[str, Json], report: Report) -> None:
    """Check what stands around the events: the document's own members, or a bare event's context."""
    kind = part.get("type")
    if kind == "EPCISDocument":
        required = ("@context", "schemaVersion", "creationDate", "epcisBody")
        _check_outer(part, report, _DOCUMENT, required)
        if "epcisHeader" in part:
            report.add(
                Code.NOT_RECORDED, "epcisHeader", "master data and headers are not recorded, only events are"
            )
    elif kind == "EPCISQueryDocument":
        _check_outer(part, report, _QUERY_DOCUMENT, ("@context", "epcisBody"))
    elif "@context" not in part:
        report.add(Code.CONTEXT_INVALID, "@context", "a document or bare event names its context")


def _check_outer(
    part: Mapping[str, Json], report: Report, fields: Mapping[str, Check], required: tuple[str, ...]
) -> None:
    if "@context" in required and "@context" not in part:
        report.add(Code.CONTEXT_INVALID, "@context", "@context is required here")
    check_members(part, "", report, fields, tuple(name for name in required if name != "@context"))


# ---- events -----------------------------------------------------------------------------------------------------


def check_event(event: Json, report: Report) -> None:
    """Check one event: the fields of its type, then what holds between fields."""
    if not isinstance(event, dict):
        wrong_kind(event, "", report, "an event")
        return
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in EVENTS:
        report.add(
            Code.MISSING_FIELD if kind is None else Code.BAD_WORD,
            "type",
            f"{kind!r} is none of {', '.join(EVENTS)}",
            grave=True,
        )
        return
    fields, required = EVENTS[kind]
    check_members(event, "", report, fields, ("eventTime", "eventTimeZoneOffset", *required))
    _CHECKS_BETWEEN[kind](event, report)


def _filled(event: Mapping[str, Json], *names: str) -> bool:
    return any(isinstance(event.get(name), list) and event[name] for name in names)


def _object_event(event: Mapping[str, Json], report: Report) -> None:
    sensed = _filled(event, "sensorElementList") and "readPoint" in event
    if "epcList" not in event and not _filled(event, "quantityList") and not sensed:
        report.add(Code.NOTHING_NAMED, "epcList", "an ObjectEvent names things: epcList or quantityList")
    if "ilmd" in event and event.get("action") != "ADD":
        report.add(
            Code.ILMD_NOT_ALLOWED, "ilmd", "master data of instances and lots goes with action ADD only"
        )


def _children_event(event: Mapping[str, Json], report: Report) -> None:
    action = event.get("action")
    if action != "DELETE" and not _filled(event, "childEPCs", "childQuantityList"):
        report.add(Code.NOTHING_NAMED, "childEPCs", "children are named in childEPCs or childQuantityList")
    if event.get("type") == "AggregationEvent" and action in ("ADD", "DELETE") and "parentID" not in event:
        report.add(Code.MISSING_FIELD, "parentID", f"parentID is required with action {action}")


def _transaction_event(event: Mapping[str, Json], report: Report) -> None:
    if event.get("action") != "DELETE" and "epcList" not in event and not _filled(event, "quantityList"):
        report.add(Code.NOTHING_NAMED, "epcList", "a TransactionEvent names things: epcList or quantityList")


def _transformation_event(event: Mapping[str, Json], report: Report) -> None:
    inputs = _filled(event, "inputEPCList", "inputQuantityList")
    outputs = _filled(event, "outputEPCList", "outputQuantityList")
    if "transformationID" in event:
        if not inputs and not outputs:
            report.add(Code.NOTHING_NAMED, "inputEPCList", "inputs or outputs are named")
    elif not inputs or not outputs:
        missing = "outputEPCList" if inputs else "inputEPCList"
        report.add(
            Code.NOTHING_NAMED, missing, "without a transformationID, inputs and outputs are both named"
        )
    taken = event.get("inputEPCList")
    made = event.get("outputEPCList")
    if isinstance(taken, list) and isinstance(made, list):
        inputs_named = {item for item in taken if isinstance(item, str)}
        for place, item in enumerate(made):
            if isinstance(item, str) and item in inputs_named:
                report.add(
                    Code.OUTPUT_REPEATS_INPUT,
                    f"outputEPCList[{place}]",
                    f"{item} is an input too; what keeps its identity is not transformed but repaired or associated",
                )


_CHECKS_BETWEEN: Final = {
    "ObjectEvent": _object_event,
    "AggregationEvent": _children_event,
    "AssociationEvent": _children_event,
    "TransactionEvent": _transaction_event,
    "TransformationEvent": _transformation_event,
}
