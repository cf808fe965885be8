"""The check of EPCIS documents: what a strict import takes, what it refuses, and which field it names.

The EPCIS 2.0 JSON schema is the oracle: whatever it refuses must be refused here.
"""

import pytest
from hypothesis import given, settings

from client import epcis_check, epcis_json
from client.epcis_findings import Code, errors
from tests.client import epcis_strategies
from tests.client.epcis_material import (
    SAMPLES,
    files,
    name_of,
    needs_material,
    refused_by_schema,
    schema,
)

CONTEXT = "https://ref.gs1.org/standards/epcis/epcis-context.jsonld"
PART = "urn:epc:id:sgtin:4012345.012345.1"
LOT = "urn:epc:class:lgtin:4012345.012345.A"


def check(event: dict, **members: object) -> list[tuple[str, Code]]:
    """The errors of a strict check of one event, as (path, code)."""
    whole = {
        "@context": [CONTEXT],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": "2025-01-01T00:00:00Z",
        "epcisBody": {"eventList": [event]},
        **members,
    }
    document = epcis_json.parse(epcis_json.to_text(whole).encode())
    return [(finding.path, finding.code) for finding in errors(epcis_check.check(document, strict=True))]


def event_of(kind: str = "ObjectEvent", *without: str, **members: object) -> dict:
    what = {
        "ObjectEvent": {"action": "ADD", "epcList": [PART]},
        "AggregationEvent": {"action": "ADD", "parentID": "urn:epc:id:sscc:4012345.3111111111", "childEPCs": [PART]},
        "AssociationEvent": {"action": "ADD", "parentID": "urn:epc:id:giai:4012345.B", "childEPCs": [PART]},
        "TransactionEvent": {"action": "ADD", "epcList": [PART], "bizTransactionList": [{"bizTransaction": "urn:x1:1"}]},
        "TransformationEvent": {"inputEPCList": [PART], "outputEPCList": ["urn:epc:id:sgtin:4012345.012345.2"]},
    }[kind]  # fmt: skip
    whole = {
        "type": kind,
        "eventTime": "2025-01-01T00:00:00Z",
        "eventTimeZoneOffset": "+00:00",
        **what,
        **members,
    }
    return {name: value for name, value in whole.items() if name not in without}


# ---- documents of others ------------------------------------------------------------------------------------


@needs_material
@pytest.mark.parametrize("path", files("documents", "hash-vectors"), ids=name_of)
def test_valid_documents_have_no_errors(path):
    document = epcis_json.parse(path.read_bytes())
    assert not refused_by_schema(document)
    assert not errors(epcis_check.check(document, strict=True, file=path.name))
    assert not errors(epcis_check.check(document, strict=False, file=path.name))


INVALID = {
    "Combination_of_events_with_missing_mandatory_fields.json": {
        (0, "action"),
        (1, "action"),
        (1, "eventTimeZoneOffset"),
    },
    "EPCISDocument_without_context.json": {(None, "@context")},
    "ObjectEvent_with_ilmd_field_without_namespace.json": {(0, "ilmd.materialType")},
    "ObjectEvent_with_invalid_action.json": {(0, "action")},
    "ObjectEvent_with_invalid_eventTime_format.json": {(0, "eventTime")},
    "ObjectEvent_with_non_standard_bizStep.json": {(0, "bizStep")},
    "ObjectEvent_with_quantity_as_text.json": {(0, "quantityList[0].quantity")},
}


@needs_material
@pytest.mark.parametrize("path", files("invalid"), ids=name_of)
def test_invalid_documents_are_refused_with_the_field_named(path):
    found = errors(epcis_check.check(epcis_json.parse(path.read_bytes()), strict=True, file=path.name))
    assert {(finding.event, finding.path) for finding in found} == INVALID[path.name]
    assert all(finding.file == path.name and finding.message for finding in found)


@needs_material
@pytest.mark.parametrize("path", files("lifecycle"), ids=name_of)
def test_life_cycle_documents_are_refused_strictly(path):
    found = errors(epcis_check.check(epcis_json.parse(path.read_bytes()), strict=True))
    assert {finding.code for finding in found} >= {Code.BAD_WORD, Code.CONTEXT_UNKNOWN, Code.UNKNOWN_FIELD}


@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_our_samples_have_no_findings_at_all(path):
    assert not epcis_check.check(epcis_json.parse(path.read_bytes()), strict=True)


@needs_material
@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_our_samples_are_valid_by_the_schema(path):
    assert not refused_by_schema(epcis_json.parse(path.read_bytes()))


# ---- against the schema -------------------------------------------------------------------------------------


@given(epcis_strategies.documents)
@settings(max_examples=40)
def test_generated_documents_have_no_errors(document):
    assert not errors(epcis_check.check(document, strict=True))


@needs_material
@given(epcis_strategies.documents)
@settings(max_examples=15)
def test_generated_documents_are_valid_by_the_schema(document):
    schema()
    assert not refused_by_schema(document)


# ---- rules one by one ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        event_of(),
        event_of("AggregationEvent"),
        event_of("AssociationEvent"),
        event_of("TransactionEvent"),
        event_of("TransformationEvent"),
        event_of("AggregationEvent", "childEPCs", action="DELETE"),
        event_of("AggregationEvent", "parentID", action="OBSERVE"),
        event_of("TransformationEvent", "inputEPCList", transformationID="urn:x1:run"),
        event_of("ObjectEvent", "epcList", quantityList=[{"epcClass": LOT}]),
        event_of(bizStep="https://example.com/step", disposition="ext:word"),
        event_of(bizStep="https://ref.gs1.org/cbv/BizStep-shipping"),
        event_of(ilmd={"cbvmda:lotNumber": "A", "https://example.com/x": {"inner": 1}}),
        event_of(certificationInfo=["https://example.com/1"]),
        event_of(sensorElementList=[{"sensorReport": [{"exception": "ALARM_CONDITION"}]}]),
        event_of(sensorElementList=[{"sensorReport": [{"type": "NewerMeasurement", "value": 1}]}]),
    ],
)
def test_what_is_allowed(event):
    assert check(event) == []


@pytest.mark.parametrize(
    ("event", "found"),
    [
        ({}, [("type", Code.MISSING_FIELD)]),
        (event_of(type="ex:OwnEvent"), [("type", Code.BAD_WORD)]),
        (event_of("ObjectEvent", "eventTime"), [("eventTime", Code.MISSING_FIELD)]),
        (event_of(eventTime="2025-01-01T00:00:00"), [("eventTime", Code.BAD_TIME)]),
        (event_of(recordTime="2025-02-30T00:00:00Z"), [("recordTime", Code.BAD_TIME)]),
        (event_of(eventTimeZoneOffset="Z"), [("eventTimeZoneOffset", Code.BAD_ZONE)]),
        (event_of(eventTimeZoneOffset="+14:30"), [("eventTimeZoneOffset", Code.BAD_ZONE)]),
        (event_of(eventID="7"), [("eventID", Code.BAD_URI)]),
        (event_of(epcList=[PART, PART]), [("epcList[1]", Code.REPEATED_ITEM)]),
        (event_of(epcList=["https://id.gs1.org/01/09521141012346/21/1"]), [("epcList[0]", Code.BAD_IDENTIFIER)]),
        (event_of("ObjectEvent", "epcList"), [("epcList", Code.NOTHING_NAMED)]),
        (event_of(action="OBSERVE", ilmd={"cbvmda:a": "b"}), [("ilmd", Code.ILMD_NOT_ALLOWED)]),
        (event_of("AggregationEvent", ilmd={"cbvmda:a": "b"}), [("ilmd", Code.UNKNOWN_FIELD)]),
        (event_of(lotNumber="7"), [("lotNumber", Code.UNKNOWN_FIELD)]),
        (event_of(parentID=PART), [("parentID", Code.UNKNOWN_FIELD)]),
        (event_of(disposition="urn:epcglobal:cbv:disp:active"), [("disposition", Code.BAD_WORD)]),
        (event_of(disposition="sold"), [("disposition", Code.BAD_WORD)]),
        (event_of(readPoint={"id": "urn:x1:a", "name": "gate"}), [("readPoint.name", Code.UNKNOWN_FIELD)]),
        (event_of(bizLocation={}), [("bizLocation.id", Code.MISSING_FIELD)]),
        (
            event_of(quantityList=[{"epcClass": LOT, "quantity": -1, "uom": "kg", "unit": "KGM"}]),
            [
                ("quantityList[0].quantity", Code.BAD_NUMBER),
                ("quantityList[0].uom", Code.BAD_UNIT),
                ("quantityList[0].unit", Code.UNKNOWN_FIELD),
            ],
        ),
        (
            event_of(quantityList=[{"epcClass": LOT, "quantity": epcis_json.Decimal("1e60")}]),
            [("quantityList[0].quantity", Code.BAD_NUMBER)],
        ),
        (
            event_of(quantityList=[{"epcClass": LOT, "ext:note": "x"}]),
            [("quantityList[0].ext:note", Code.UNKNOWN_FIELD)],
        ),
        (event_of(persistentDisposition={}), [("persistentDisposition", Code.MISSING_FIELD)]),
        (event_of(persistentDisposition={"set": []}), [("persistentDisposition.set", Code.NOTHING_NAMED)]),
        (
            event_of(sourceList=[{"type": "owner", "source": "urn:x1:a"}, {"source": "urn:x1:a"}]),
            [("sourceList[0].type", Code.BAD_WORD), ("sourceList[1].type", Code.MISSING_FIELD)],
        ),
        (
            event_of(destinationList=[{"type": "owning_party", "destination": "https://Example.com/x"}]),
            [("destinationList[0].destination", Code.BAD_IDENTIFIER)],
        ),
        (
            event_of(bizTransactionList=[{"type": "order", "bizTransaction": "4711"}]),
            [("bizTransactionList[0].type", Code.BAD_WORD), ("bizTransactionList[0].bizTransaction", Code.BAD_URI)],
        ),
        (
            event_of(errorDeclaration={"reason": "typo", "who": "me"}),
            [
                ("errorDeclaration.declarationTime", Code.MISSING_FIELD),
                ("errorDeclaration.reason", Code.BAD_WORD),
                ("errorDeclaration.who", Code.UNKNOWN_FIELD),
            ],
        ),
        (
            event_of(sensorElementList=[{"sensorReport": [{"value": "22.5", "booleanValue": "true"}]}]),
            [
                ("sensorElementList[0].sensorReport[0].type", Code.MISSING_FIELD),
                ("sensorElementList[0].sensorReport[0].value", Code.BAD_NUMBER),
                ("sensorElementList[0].sensorReport[0].booleanValue", Code.WRONG_KIND),
            ],
        ),
        (event_of("AggregationEvent", "parentID"), [("parentID", Code.MISSING_FIELD)]),
        (event_of("AggregationEvent", "childEPCs"), [("childEPCs", Code.NOTHING_NAMED)]),
        (event_of("AssociationEvent", "parentID", action="DELETE"), [("parentID", Code.MISSING_FIELD)]),
        (event_of("TransactionEvent", bizTransactionList=[]), [("bizTransactionList", Code.NOTHING_NAMED)]),
        (event_of("TransactionEvent", "epcList"), [("epcList", Code.NOTHING_NAMED)]),
        (event_of("TransformationEvent", "outputEPCList"), [("outputEPCList", Code.NOTHING_NAMED)]),
        (
            event_of("TransformationEvent", "inputEPCList", "outputEPCList", transformationID="urn:x1:run"),
            [("inputEPCList", Code.NOTHING_NAMED)],
        ),
        (event_of("TransformationEvent", outputEPCList=[PART]), [("outputEPCList[0]", Code.OUTPUT_REPEATS_INPUT)]),
        (event_of("TransformationEvent", action="ADD"), [("action", Code.UNKNOWN_FIELD)]),
        (event_of(certificationInfo=None), [("certificationInfo", Code.NULL_MEMBER)]),
        (event_of(**{"@context": {"cbv": "https://example.com/"}}), [("@context.cbv", Code.CONTEXT_INVALID)]),
        (event_of(**{"@context": "https://example.com/c"}), [("@context", Code.CONTEXT_UNKNOWN)]),
        (event_of(**{"@context": [{"@vocab": "https://example.com/"}]}), [("@context[0].@vocab", Code.CONTEXT_INVALID)]),
        (event_of(**{"@context": [7]}), [("@context[0]", Code.CONTEXT_INVALID)]),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(event, found):
    assert check(event) == found


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({"@context": [{"ext": "https://example.com/"}]}, [("@context", Code.CONTEXT_INVALID)]),
        ({"@context": [CONTEXT, CONTEXT]}, [("@context", Code.CONTEXT_INVALID)]),
        ({"schemaVersion": "two"}, [("schemaVersion", Code.BAD_TEXT)]),
        ({"creationDate": "today"}, [("creationDate", Code.BAD_TIME)]),
        ({"sender": 7}, [("sender", Code.WRONG_KIND)]),
        ({"comment": "x"}, [("comment", Code.UNKNOWN_FIELD)]),
        ({"epcisBody": {}}, [("epcisBody.eventList", Code.MISSING_FIELD)]),
        ({"epcisBody": {"eventList": {}}}, [("epcisBody.eventList", Code.WRONG_KIND)]),
        ({"epcisBody": {"eventList": ["x"]}}, [("", Code.WRONG_KIND)]),
        (
            {"epcisHeader": {"epcisMasterData": {"vocabularyList": [{"vocabularyElementList": []}]}}},
            [("epcisHeader.epcisMasterData.vocabularyList[0].type", Code.MISSING_FIELD)],
        ),
    ],
)
def test_what_is_refused_around_the_events(members, found):
    assert check(event_of(), **members) == found


def test_findings_say_where_and_what():
    found = epcis_check.check(event_of(bizStep="x", **{"@context": CONTEXT}), strict=True, file="a.json")
    assert [str(finding) for finding in found] == [
        "error: a.json, event 0, bizStep: 'x' is no standard bizStep; another one is written as a URI [BAD_WORD]"
    ]
