"""Real EPCIS documents of others, captured on a chain that adopts, audited, and exported again."""

import json

import pytest

from bridge.machine import changes, operations
from client import epcis_json, epcis_read, epcis_write
from client.audit import Audit
from client.audit_report import Verdict
from client.epcis_context import Namespaces
from client.epcis_findings import Code
from client.epcis_grants import names, needed_grants
from ledger import codec, state
from ledger.block import parse_transaction
from ledger.event import read_event
from proto.chiptrace.v1.ledger_pb2 import Capture, Event, Operation, Reason
from tests.bridge.two_chains import BridgedChain, Clock
from tests.client.direct import verified
from tests.client.epcis_material import FOLDER as EPCIS
from tests.client.epcis_material import files
from tests.client.test_epcis_read import differences, meaning
from tests.ledger.chain_fixture import Chain, key_of, make_genesis, make_parameters, seed_of

MEMBERS = ("ada", "abe", "ann", "abi")
NOW_MS = 1_900_000_000_000
YEARS_MS = 315_360_000_000
WHOLE = [
    "documents/ObjectEvent.json",
    "documents/ObjectEvent_with_sensorData.json",
    "documents/ObjectEvent_with_persistentDisposition.json",
    "documents/AggregationEvent.json",
    "documents/AggregationEvent_with_sensorData.json",
    "documents/AggregationEvent_with_userExtensions.json",
    "documents/AssociationEvent_2.json",
    "documents/AssociationEvent_all_possible_fields.json",
    "documents/TransactionEvent.json",
    "documents/TransactionEvent_with_sensorData.json",
    "documents/TransformationEvent.json",
    "documents/TransformationEvent_with_digitalLink.json",
    "lifecycle/electronics-commissioning.jsonld",
    "lifecycle/electronics-component-replacement.jsonld",
    "lifecycle/electronics-ownership-transfer.jsonld",
    "hash-vectors/epcisDocWithShippingAndTransportingEvent.jsonld",
]

pytestmark = pytest.mark.skipif(not EPCIS.exists(), reason=f"{EPCIS} is not here")


def chain_for(events) -> BridgedChain:
    chain = BridgedChain.__new__(BridgedChain)
    chain.name, chain.clock = "a", Clock(now_ms=NOW_MS)
    chain.seeds = {key_of(m, "validator"): seed_of(m, "validator") for m in MEMBERS}
    genesis = make_genesis(
        MEMBERS,
        name="a",
        grants=dict.fromkeys(needed_grants(events), "ada"),
        parameters=make_parameters(adoption=True, backdate_ms=YEARS_MS),
    )
    Chain.__init__(chain, MEMBERS, operations=operations(), changes=changes(), genesis=genesis)
    return chain


def captured(path):
    """A chain on which every event of a document was recorded, and those events."""
    imported = epcis_read.read(path.read_bytes(), file=path.name, strict=False)
    events = [item.event for item in imported.events]
    chain = chain_for(events)
    results = []
    for event in events:
        results.append(chain.operate("ada", Operation(capture=Capture(event=codec.encode(event)))))
        assert results[-1].ok == bool(chain.last_outcome.entries), "what is captured stands in some history"
    chain.settle()
    return chain, events, results


@pytest.mark.parametrize("name", WHOLE)
def test_a_real_document_is_captured_audited_and_exported(name):
    chain, events, results = captured(EPCIS / name)
    assert [Reason.Name(result.reason) for result in results if not result.ok] == []
    view = verified(chain)
    exported = {}
    for thing in dict.fromkeys(item.text for event in events for item in names(read_event(event))):
        report = Audit({chain.chain_id: view}).run(thing, chain.chain_id, lambda: 0)
        assert report.verdict in (Verdict.VERIFIED, Verdict.FINDINGS), report.problem
        commissioned = any(
            step.what.startswith(("object ADD", "transformation", "aggregation ADD"))
            for step in report.subject.steps[:1]
        )
        adopted = "UNKNOWN_ORIGIN" in {
            finding.code for finding in report.findings if finding.subject == thing
        }
        assert adopted or commissioned, "an origin that is not known is always said"
        for step in report.subject.steps:
            exported[step.transaction] = _event_of(chain, step.transaction)
    assert {codec.encode(event) for event in exported.values()} == {codec.encode(event) for event in events}
    written = epcis_write.to_text(list(exported.values()), "2026-01-01T00:00:00Z")
    again = epcis_read.read(written.encode(), file="exported", strict=False)
    assert {codec.encode(item.event) for item in again.events} == {codec.encode(event) for event in events}
    assert len(json.loads(written)["epcisBody"]["eventList"]) == len(events)


def _check_same_meaning(before: bytes, after: bytes) -> None:
    """Event for event the same namespaces and members, but for what the import says that it put right."""
    found = epcis_read.read(before, file="in", strict=False).findings
    changed = {(item.event, item.path) for item in found if item.code == Code.NORMALISED}
    pairs = zip(meaning(epcis_json.parse(before)), meaning(epcis_json.parse(after)), strict=True)
    for place, (first, second) in enumerate(pairs):
        assert first[:2] == second[:2]
        assert set(differences(first[2], second[2])) == {path for event, path in changed if event == place}


def _event_of(chain, transaction) -> Event:
    data = chain.app.store.transaction(transaction).data
    (operation,) = parse_transaction(chain.chain_id, data).body.operations
    return Event.FromString(operation.capture.event)


@pytest.mark.parametrize("path", files("documents", "lifecycle"), ids=lambda path: path.stem)
def test_every_real_document_is_captured_breaks_no_audit_and_comes_out_as_it_went_in(path):
    chain, events, results = captured(path)
    assert [Reason.Name(result.reason) for result in results if not result.ok] == []
    # What the chain holds, decided and stored, says what the document said, in the ledger's eyes and in JSON.
    recorded = [_event_of(chain, result.transaction) for result in results]
    assert recorded == events
    written = epcis_write.to_text(recorded, "2026-01-01T00:00:00Z")
    _check_same_meaning(path.read_bytes(), written.encode())
    view = verified(chain)
    for thing in dict.fromkeys(item.text for event in events for item in names(read_event(event))):
        if chain.app.store.get(state.part_key(thing)) is not None:
            report = Audit({chain.chain_id: view}).run(thing, chain.chain_id, lambda: 0)
            assert report.verdict is not Verdict.NOT_VERIFIABLE, report.problem
            assert "CONTRADICTION" not in {finding.code for finding in report.findings}


def test_a_lot_of_which_nobody_says_how_much_went_in_says_so():
    used, made = "https://id.gs1.org/01/04012345123456/10/L1", "https://id.gs1.org/01/04012345123456/21/7"
    said = {"eventTime": "2026-01-01T00:00:00Z", "eventTimeZoneOffset": "+00:00"}
    run = said | {"type": "TransformationEvent", "inputEPCList": [used], "outputEPCList": [made]}
    events = [epcis_read.to_event(run, Namespaces())]
    chain = chain_for(events)
    assert chain.operate("ada", Operation(capture=Capture(event=codec.encode(events[0])))).ok
    chain.settle()
    report = Audit({chain.chain_id: verified(chain)}).run(made, chain.chain_id, lambda: 0)
    assert {(one.code, one.subject) for one in report.findings} >= {("AMOUNT_LEFT_OPEN", used)}
