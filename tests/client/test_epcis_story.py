"""Documents of our own in several dialects: read, written, read again, in both modes; checked, hashed, recorded."""

import json

import pytest

from client import epcis_check, epcis_context, epcis_json, epcis_read, epcis_write
from client.epcis_findings import Code, errors
from client.epcis_hash import Profile
from client.epcis_hash_document import hash_document
from ledger import codec
from ledger.event import check_event, read_event
from ledger.limits import EVENT_BYTES_MAX
from proto.chiptrace.v1.ledger_pb2 import Event
from tests.client.epcis_material import needs_material, refused_by_schema
from tests.client.epcis_story import LENIENT, STRICT
from tests.client.test_epcis_read import meaning

DATE = "2026-06-01T00:00:00Z"


def bytes_of(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def parsed(value: object) -> epcis_json.Json:
    return epcis_json.parse(bytes_of(value))


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "lenient"])
@pytest.mark.parametrize("value", STRICT.values(), ids=STRICT.keys())
def test_what_went_in_comes_out(value, strict):
    read = epcis_read.read(bytes_of(value), file="in", strict=strict)
    assert not errors(read.findings), read.findings
    assert not [f for f in read.findings if f.code in (Code.NORMALISED, Code.NOT_ACCEPTED_BY_LEDGER)]
    events = [codec.decode(Event, codec.encode(item.event), EVENT_BYTES_MAX) for item in read.events]
    written = epcis_write.to_text(events, DATE)
    assert meaning(epcis_json.parse(written.encode())) == meaning(parsed(value))
    again = epcis_read.read(written.encode(), file="out", strict=strict)
    assert [codec.encode(item.event) for item in again.events] == [codec.encode(event) for event in events]
    assert len(events) == sum(len(epcis_check.events_of(part)) for part in _parts(parsed(value)))


@pytest.mark.parametrize("value", STRICT.values(), ids=STRICT.keys())
def test_the_ledger_reads_every_event(value):
    for item in epcis_read.read(bytes_of(value), file="in", strict=True).events:
        check_event(item.event)
        assert read_event(item.event).event_time_ms > 0


@needs_material
@pytest.mark.parametrize("value", STRICT.values(), ids=STRICT.keys())
def test_the_schema_takes_them(value):
    for part in _parts(parsed(value)):
        if part.get("type") in epcis_check.DOCUMENT_TYPES:
            assert not refused_by_schema(part)


def _parts(value: epcis_json.Json) -> list[dict]:
    return value if isinstance(value, list) else [value]


@pytest.mark.parametrize("profile", Profile)
@pytest.mark.parametrize("value", [*STRICT.values(), *LENIENT.values()], ids=[*STRICT, *LENIENT])
def test_hashes_survive_reading_and_writing(value, profile):
    read = epcis_read.read(bytes_of(value), file="in", strict=False)
    written = epcis_json.parse(epcis_write.to_text([item.event for item in read.events], DATE).encode())
    before, findings = hash_document(parsed(value), profile)
    assert not errors(findings), findings
    after, _ = hash_document(written, profile)
    assert len({uri for _, uri in before}) == len(before) == len(read.events)
    # What lenient import puts right is spelling; the zone it adds, and the members it drops, are content.
    same = [a == b for a, b in zip(before, after, strict=True)]
    assert all(same) or value is LENIENT["words spelled out"], (before, after)


@pytest.mark.parametrize("name", LENIENT)
def test_loose_documents_are_taken_leniently_only(name):
    value = LENIENT[name]
    assert errors(epcis_read.read(bytes_of(value), file="in", strict=True).findings)
    read = epcis_read.read(bytes_of(value), file="in", strict=False)
    assert read.complete, read.findings
    assert read.events
    # Once put right, it stays as it is.
    text = epcis_write.to_text([item.event for item in read.events], DATE)
    again = epcis_read.read(text.encode(), file="out", strict=False)
    assert [codec.encode(item.event) for item in again.events] == [
        codec.encode(item.event) for item in read.events
    ]
    assert Code.NORMALISED not in {finding.code for finding in again.findings}


def test_namespaces_keep_their_meaning_per_event():
    read = epcis_read.read(bytes_of(STRICT["namespaces everywhere"]), file="in", strict=True)
    written = epcis_json.parse(epcis_write.to_text([item.event for item in read.events], DATE).encode())
    first, second = [
        epcis_context.namespaces(written["@context"], event.get("@context")).prefixes
        for event in written["epcisBody"]["eventList"]
    ]
    assert (first["fab"], first["own"]) == ("https://ns.other.example/", "https://ns.own.example/a#")
    assert (second["fab"], second["own"]) == ("https://ns.fab.example/epcis/", "https://ns.own.example/b#")
