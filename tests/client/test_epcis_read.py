"""EPCIS documents in and out again: equal in meaning through the bytes of Events."""

import copy
import json

import pytest
from hypothesis import given, settings

from client import epcis_check, epcis_context, epcis_json, epcis_read, epcis_write
from client.epcis_context import Namespaces
from client.epcis_findings import Code, errors
from client.epcis_json import Json
from ledger import codec
from ledger.corrections import original_of
from ledger.event import check_event, event_digest, read_event
from ledger.limits import EVENT_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import Event
from tests.client import epcis_strategies
from tests.client.epcis_material import SAMPLES, files, name_of, needs_material

DATE = "2025-01-01T00:00:00Z"


def through_bytes(events: list[Event]) -> list[Event]:
    return [codec.decode(Event, codec.encode(event), EVENT_BYTES_MAX) for event in events]


def meaning(document: Json) -> list[tuple[dict, list, dict]]:
    """What each event says: the prefixes that hold for it, other contexts, and its members."""
    parts = document if isinstance(document, list) else [document]
    found = []
    for part in parts:
        whole = part.get("type") in epcis_check.DOCUMENT_TYPES
        for event in epcis_check.events_of(part):
            contexts = [part.get("@context")] if whole else []
            holds = epcis_context.namespaces(*contexts, event.get("@context"))
            addresses = [entry for entry in holds.entries if isinstance(entry, str)]
            found.append((holds.prefixes, addresses, {k: v for k, v in event.items() if k != "@context"}))
    return found


def round_trip(data: bytes, *, strict: bool = True) -> tuple[list, list, list]:
    """(what went in, what came out, findings)."""
    read = epcis_read.read(data, file="in", strict=strict)
    assert not errors(read.findings), read.findings
    written = epcis_write.to_text(through_bytes([item.event for item in read.events]), DATE)
    return meaning(epcis_json.parse(data)), meaning(epcis_json.parse(written.encode())), read.findings


def document_of(*events: dict, **members: object) -> bytes:
    whole = {
        "@context": ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld"],
        "type": "EPCISDocument",
        "schemaVersion": "2.0",
        "creationDate": DATE,
        "epcisBody": {"eventList": list(events)},
        **members,
    }
    return json.dumps(whole).encode()


def event_of(**members: object) -> dict:
    return {
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "eventTime": DATE,
        "eventTimeZoneOffset": "+00:00",
        "epcList": ["urn:epc:id:sgtin:4012345.012345.1"],
        **members,
    }


# ---- round trip ---------------------------------------------------------------------------------------------


@needs_material
@pytest.mark.parametrize("path", files("documents", "hash-vectors"), ids=name_of)
def test_documents_of_others_come_out_as_they_went_in(path):
    before, after, _ = round_trip(path.read_bytes())
    assert before
    assert before == after


@needs_material
@pytest.mark.parametrize("path", files("lifecycle"), ids=name_of)
def test_lenient_import_changes_what_its_findings_say_and_nothing_else(path):
    before, after, findings = round_trip(path.read_bytes(), strict=False)
    changed = {(finding.event, finding.path) for finding in findings if finding.code == Code.NORMALISED}
    assert changed
    for place, (first, second) in enumerate(zip(before, after, strict=True)):
        assert first[:2] == second[:2]
        mine = {path for event, path in changed if event == place}
        assert set(differences(first[2], second[2])) == mine


def differences(first: Json, second: Json, path: str = "") -> list[str]:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        return [
            d for name in first for d in differences(first[name], second[name], f"{path}.{name}".lstrip("."))
        ]
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        pairs = enumerate(zip(first, second, strict=True))
        return [d for place, pair in pairs for d in differences(*pair, f"{path}[{place}]")]
    return [] if first == second else [path]


@pytest.mark.parametrize("path", SAMPLES, ids=name_of)
def test_our_samples_come_out_as_they_went_in(path):
    before, after, _ = round_trip(path.read_bytes())
    assert before == after


@given(epcis_strategies.documents)
@settings(max_examples=60)
def test_any_document_comes_out_as_it_went_in(document):
    before, after, _ = round_trip(epcis_json.to_text(document).encode())
    assert before == after == meaning(document)


@given(epcis_strategies.documents)
@settings(max_examples=30)
def test_every_event_has_the_ledgers_shape_and_a_view(document):
    read = epcis_read.read(epcis_json.to_text(document).encode(), file="in", strict=True)
    for item in read.events:
        check_event(item.event)
        if not any(finding.code == Code.NOT_ACCEPTED_BY_LEDGER for finding in read.findings):
            view = read_event(item.event)
            assert view.type


# ---- forms of documents -------------------------------------------------------------------------------------


def test_query_documents_bare_events_and_lists_are_read():
    bare = {"@context": "https://ref.gs1.org/standards/epcis/epcis-context.jsonld", **event_of()}
    query = {
        "@context": [],
        "type": "EPCISQueryDocument",
        "epcisBody": {
            "queryResults": {"queryName": "q", "resultsBody": {"eventList": [event_of(), event_of()]}}
        },
    }
    query["@context"] = ["https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld"]
    for form, count in ((bare, 1), (query, 2), ([bare, query, bare], 4)):
        read = epcis_read.read(json.dumps(form).encode(), file="f", strict=True)
        assert not errors(read.findings)
        assert [(item.file, item.index) for item in read.events] == [("f", place) for place in range(count)]


def test_what_stands_around_the_events_is_given_back_and_written_again():
    read = epcis_read.read(
        document_of(event_of(), sender="urn:x1:a", instanceIdentifier="7"), file="f", strict=True
    )
    header = read.headers[0]
    assert (header["sender"], header["instanceIdentifier"]) == ("urn:x1:a", "7")
    written = epcis_write.document([item.event for item in read.events], DATE, header)
    assert (written["sender"], written["instanceIdentifier"]) == ("urn:x1:a", "7")


def test_files_are_read_in_order_and_a_bad_one_stops_no_other(tmp_path):
    for name, data in (
        ("b.json", document_of(event_of())),
        ("a.json", b"{"),
        ("c.json", document_of(event_of())),
    ):
        (tmp_path / name).write_bytes(data)
    read = epcis_read.read_files([tmp_path / name for name in ("b.json", "a.json", "c.json")], strict=True)
    assert [item.file for item in read.events] == ["b.json", "c.json"]
    assert [(finding.file, finding.code) for finding in read.findings] == [("a.json", Code.NOT_JSON)]
    assert not read.complete


# ---- namespaces ---------------------------------------------------------------------------------------------


def test_a_namespace_declared_again_for_one_event_holds_there_alone():
    first = event_of(**{"@context": {"ext": "https://own.example/"}, "ext:a": "1"})
    second = event_of(**{"ext:a": "2"})
    context = ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld", {"ext": "https://all.example/"}]
    data = document_of(first, second, **{"@context": context})
    before, after, _ = round_trip(data)
    assert [item[0]["ext"] for item in after] == ["https://own.example/", "https://all.example/"]
    assert before == after


def test_namespaces_that_all_events_share_are_declared_once():
    context = ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld", {"ext": "https://all.example/"}]
    own = event_of(**{"@context": [{"own": "https://own.example/"}], "own:a": "1"})
    read = epcis_read.read(document_of(event_of(), own, **{"@context": context}), file="f", strict=True)
    written = epcis_write.document([item.event for item in read.events], DATE)
    assert written["@context"][1:] == [{"ext": "https://all.example/"}]
    listed = written["epcisBody"]["eventList"]
    assert "@context" not in listed[0]
    assert listed[1]["@context"] == [{"own": "https://own.example/"}]


def test_an_event_under_the_standard_context_alone_keeps_none():
    read = epcis_read.read(document_of(event_of()), file="f", strict=True)
    assert "@context" not in {field.name for field in read.events[0].event.fields}


# ---- seeds and keys -----------------------------------------------------------------------------------------


@given(epcis_strategies.documents)
@settings(max_examples=25)
def test_reading_again_gives_the_same_bytes_whatever_the_order_of_members(document):
    def reordered(value: Json) -> Json:
        if isinstance(value, dict):
            return {name: reordered(value[name]) for name in reversed(value)}
        return [reordered(item) for item in value] if isinstance(value, list) else value

    texts = [epcis_json.to_text(form).encode() for form in (document, reordered(document))]
    first, second = ([item.event for item in epcis_read.read(t, file="f", strict=True).events] for t in texts)
    assert [codec.encode(event) for event in first] == [codec.encode(event) for event in second]
    assert epcis_read.idempotency_key(first) == epcis_read.idempotency_key(second)


def test_another_content_secret_or_order_gives_another_seed_or_key():
    data = [document_of(event_of(epcList=[f"urn:epc:id:sgtin:4012345.012345.{n}"])) for n in range(2)]
    plain = [epcis_read.read(item, file="f", strict=True).events[0].event for item in data]
    secret = epcis_read.read(data[0], file="f", strict=True, secret=b"of the member").events[0].event
    assert len({plain[0].seed, plain[1].seed, secret.seed}) == 3
    assert plain[0].fields == secret.fields
    keys = {epcis_read.idempotency_key(events) for events in (plain, plain[::-1], plain[:1], [secret])}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {16}


def test_a_given_seed_is_used():
    made = epcis_read.to_event(event_of(), epcis_context.namespaces(), seed=b"s" * 16)
    assert made.seed == b"s" * 16


# ---- hostile documents --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", Code.NOT_JSON),
        (b"{", Code.NOT_JSON),
        (b"\xff\xfe{}", Code.NOT_JSON),
        (b'{"type": "EPCISDocument", "type": "EPCISDocument"}', Code.NOT_JSON),
        (b"[" * 100_000, Code.OVER_LIMIT),
        (b'{"a":' * 65 + b"1" + b"}" * 65, Code.OVER_LIMIT),
        (b"[NaN]", Code.NOT_JSON),
        (b"[-Infinity]", Code.NOT_JSON),
        (b"[" + b"9" * 100_000 + b"]", Code.NOT_JSON),
        (b'["\\ud800"]', Code.NOT_JSON),
        (b'{"\\udfff": 1}', Code.NOT_JSON),
        (b'"text"', Code.NOT_EPCIS),
        (b"[1, null]", Code.NOT_EPCIS),
    ],
)
def test_what_is_no_document_is_a_finding(data, code):
    for strict in (True, False):
        read = epcis_read.read(data, file="f", strict=strict)
        assert not read.events
        assert code in {finding.code for finding in errors(read.findings)}


def test_an_event_beyond_the_ledgers_limits_is_a_finding():
    deep: dict = {"ext:a": "x"}
    for _ in range(20):
        deep = {"ext:a": deep}
    broad = {"ext:a": ["x"] * 10_001}
    wide = {f"ext:{n}": "x" for n in range(64)}
    heavy = {"ext:a": ["x" * 60_000] * 3}
    context = ["https://ref.gs1.org/standards/epcis/epcis-context.jsonld", {"ext": "https://ext.example/"}]
    for more in (deep, broad, wide, heavy, {"ext:a": 1e300}):
        for strict in (True, False):
            data = document_of(event_of(**copy.deepcopy(more)), **{"@context": context})
            read = epcis_read.read(data, file="f", strict=strict)
            assert not read.events
            assert [finding.code for finding in errors(read.findings)] == [Code.OVER_LIMIT]


def test_a_context_too_large_for_any_event_is_a_finding():
    context = [{f"p{n}": "https://x.example/"} for n in range(10_000)]
    read = epcis_read.read(document_of(event_of(), **{"@context": context}), file="f", strict=False)
    assert not read.events
    assert [(finding.path, finding.code) for finding in errors(read.findings)] == [
        ("@context", Code.OVER_LIMIT)
    ]


def test_strict_import_takes_all_or_nothing_and_lenient_what_it_can():
    data = document_of(event_of(), event_of(eventTime="yesterday"), event_of(action="DELETE"))
    assert not epcis_read.read(data, file="f", strict=True).events
    read = epcis_read.read(data, file="f", strict=False)
    assert [item.index for item in read.events] == [0, 2]
    assert [(finding.event, finding.path) for finding in errors(read.findings)] == [(1, "eventTime")]


def test_what_the_ledger_will_refuse_is_said_beforehand():
    two = [{"type": "owning_party", "source": f"urn:epc:id:pgln:4012345.0000{n}"} for n in range(2)]
    read = epcis_read.read(document_of(event_of(sourceList=two)), file="f", strict=True)
    assert [(finding.code, finding.path) for finding in read.findings] == [
        (Code.NOT_ACCEPTED_BY_LEDGER, "sourceList[1]")
    ]


def test_a_declaration_leads_to_the_event_it_declares_wrong():
    """A document that repeats an event with an errorDeclaration has its seed, and so the ledger knows which is meant."""
    event = {"type": "ObjectEvent", "action": "OBSERVE", "epcList": ["urn:epc:id:sgtin:4012345.012345.1"]}
    declared = event | {"errorDeclaration": {"declarationTime": "2023-11-14T22:13:21Z"}}
    original = epcis_read.to_event(event, Namespaces(), secret=b"s")
    declaration = epcis_read.to_event(declared, Namespaces(), secret=b"s")
    chain_id = bytes(32)
    assert original_of(chain_id, codec.encode(declaration)) == event_digest(chain_id, original)
    other = epcis_read.to_event(declared | {"bizStep": "inspecting"}, Namespaces(), secret=b"s")
    assert original_of(chain_id, codec.encode(other)) != event_digest(chain_id, original)
