"""Lenient import: what it puts right, what it leaves, and that it says so."""

import json
from decimal import Decimal

import pytest

from client import epcis_context, epcis_normalise, epcis_read
from client.epcis_findings import WARNING, Code, Report, errors
from client.epcis_json import Json
from tests.client.epcis_material import files, name_of, needs_material

CONTEXT = "https://ref.gs1.org/standards/epcis/epcis-context.jsonld"


def normalise(event: dict[str, Json], context: Json = None) -> tuple[dict[str, Json], list[str]]:
    report = Report("f", strict=False)
    result = epcis_normalise.normalise(event, epcis_context.namespaces(context), report)
    assert {finding.code for finding in report.findings} <= {Code.NORMALISED}
    return result, [finding.path for finding in report.findings]


@needs_material
@pytest.mark.parametrize("path", files("lifecycle"), ids=name_of)
def test_life_cycle_documents_are_taken_with_findings(path):
    read = epcis_read.read(path.read_bytes(), file=path.name, strict=False)
    document = json.loads(path.read_bytes())
    assert len(read.events) == len(document["epcisBody"]["eventList"])
    assert not errors(read.findings)
    assert Code.NORMALISED in {finding.code for finding in read.findings}
    assert all(finding.severity == WARNING for finding in read.findings)


@needs_material
def test_an_output_that_repeats_an_input_is_taken_with_a_finding():
    (path,) = (path for path in files("lifecycle") if "replacement" in path.name)
    read = epcis_read.read(path.read_bytes(), file=path.name, strict=False)
    found = [finding for finding in read.findings if finding.code == Code.OUTPUT_REPEATS_INPUT]
    assert [(finding.event, finding.path) for finding in found] == [(0, "outputEPCList[0]")]


@pytest.mark.parametrize(
    ("event", "result", "paths"),
    [
        ({"bizStep": "urn:epcglobal:cbv:bizstep:shipping"}, {"bizStep": "shipping"}, ["bizStep"]),
        ({"bizStep": "https://ref.gs1.org/cbv/BizStep-shipping"}, {"bizStep": "shipping"}, ["bizStep"]),
        ({"bizStep": "cbv:BizStep-shipping"}, {"bizStep": "shipping"}, ["bizStep"]),
        ({"bizStep": "urn:epcglobal:cbv:bizstep:unheard_of"}, {"bizStep": "urn:epcglobal:cbv:bizstep:unheard_of"}, []),
        ({"bizStep": "urn:epcglobal:cbv:disp:shipping"}, {"bizStep": "urn:epcglobal:cbv:disp:shipping"}, []),
        ({"bizStep": "example:step"}, {"bizStep": "example:step"}, []),
        (
            {"persistentDisposition": {"set": ["urn:epcglobal:cbv:disp:conformant", "damaged"]}},
            {"persistentDisposition": {"set": ["conformant", "damaged"]}},
            ["persistentDisposition.set[0]"],
        ),
        (
            {"errorDeclaration": {"declarationTime": "2025-01-01 00:00:00z", "reason": "urn:epcglobal:cbv:er:did_not_occur"}},
            {"errorDeclaration": {"declarationTime": "2025-01-01T00:00:00Z", "reason": "did_not_occur"}},
            ["errorDeclaration.declarationTime", "errorDeclaration.reason"],
        ),
        (
            {"sensorElementList": [{"sensorReport": [{"type": "gs1:Temperature", "value": "22.50", "stringValue": "7"}]}]},
            {"sensorElementList": [
                {"sensorReport": [{"type": "Temperature", "value": Decimal("22.5"), "stringValue": "7"}]}
            ]},
            ["sensorElementList[0].sensorReport[0].type", "sensorElementList[0].sensorReport[0].value"],
        ),
        (
            {"quantityList": [{"epcClass": "urn:x1:a", "quantity": "twenty"}]},
            {"quantityList": [{"epcClass": "urn:x1:a", "quantity": "twenty"}]},
            [],
        ),
        ({"epcList": "urn:x1:a"}, {"epcList": ["urn:x1:a"]}, ["epcList"]),
        ({"action": "observe"}, {"action": "OBSERVE"}, ["action"]),
        ({"action": "create"}, {"action": "create"}, []),
        ({"readPoint": None, "sourceList": [{"type": None}]}, {"sourceList": [{}]}, ["readPoint", "sourceList[0].type"]),
        (
            {"eventTime": "2025-01-01T00:00:00+0100"},
            {"eventTime": "2025-01-01T00:00:00+01:00", "eventTimeZoneOffset": "+01:00"},
            ["eventTime", "eventTimeZoneOffset"],
        ),
        (
            {"eventTime": "2025-01-01T00:00:00Z", "eventTimeZoneOffset": "Z"},
            {"eventTime": "2025-01-01T00:00:00Z", "eventTimeZoneOffset": "+00:00"},
            ["eventTimeZoneOffset"],
        ),
        ({"eventTime": "2025-01-01T00:00:00"}, {"eventTime": "2025-01-01T00:00:00"}, []),
        # An extension's members are its owner's business.
        ({"ext:bizStep": {"value": "1", "eventTime": "2025-01-01 00:00:00z", "x": None}},) * 2 + ([],),
        ({"value": "1", "time": "2025-01-01 00:00:00z"},) * 2 + ([],),
        ({"ilmd": {"cbvmda:value": "1", "value": "2"}},) * 2 + ([],),
    ],
)  # fmt: skip
def test_what_is_put_right(event, result, paths):
    before = json.dumps(event, default=str)
    found, said = normalise(event)
    assert (found, said) == (result, paths)
    assert json.dumps(event, default=str) == before


def test_a_prefix_that_may_mean_something_else_is_left_alone():
    event: dict[str, Json] = {"bizStep": "cbv:BizStep-shipping"}
    for context in ({"cbv": "https://example.com/"}, "https://example.com/context.jsonld"):
        assert normalise(event, context) == (event, [])


def test_strict_import_puts_nothing_right():
    event = {
        "@context": CONTEXT,
        "type": "ObjectEvent",
        "action": "observe",
        "eventTime": "2025-01-01T00:00:00Z",
        "eventTimeZoneOffset": "+00:00",
        "epcList": ["urn:x1:a"],
    }
    data = json.dumps(event).encode()
    assert not epcis_read.read(data, file="f", strict=True).events
    assert len(epcis_read.read(data, file="f", strict=False).events) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"eventTime": "yesterday"},
        {"action": "CREATE"},
        {"type": "OwnEvent"},
        {"epcList": [7]},
        {"quantityList": [{"epcClass": "urn:x1:a", "quantity": "twenty"}]},
        {"sourceList": [{"type": "owning_party"}]},
        {"errorDeclaration": {}},
    ],
)
def test_lenient_import_leaves_out_what_rules_could_not_read(fault):
    event = {
        "@context": CONTEXT,
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "eventTime": "2025-01-01T00:00:00Z",
        "eventTimeZoneOffset": "+00:00",
        "epcList": ["urn:x1:a"],
        **fault,
    }
    read = epcis_read.read(json.dumps(event).encode(), file="f", strict=False)
    assert not read.events
    assert {finding.event for finding in errors(read.findings)} == {0}


@pytest.mark.parametrize(
    "fault",
    [
        {"comment": "hello"},
        {"epcList": ["urn:epc:id:sgtin:4012345.recycled.7"]},
        {"bizStep": "transforming"},
        {"ilmd": {"lot": "7"}},
        {"readPoint": {"name": "gate"}},
        {"recordTime": "yesterday"},
        {"sensorElementList": [{"sensorReport": []}]},
        {"eventTimeZoneOffset": "CET"},
        {"@context": [CONTEXT, "https://example.com/context.jsonld"]},
    ],
)
def test_lenient_import_takes_faults_that_no_rule_reads(fault):
    event = {
        "@context": CONTEXT,
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "eventTime": "2025-01-01T00:00:00Z",
        "eventTimeZoneOffset": "+00:00",
        "epcList": ["urn:x1:a"],
        **fault,
    }
    data = json.dumps(event).encode()
    assert not epcis_read.read(data, file="f", strict=True).events
    read = epcis_read.read(data, file="f", strict=False)
    assert len(read.events) == 1
    assert read.findings
