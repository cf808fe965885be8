"""Documents of others, taken in by a chain that adopts: each event type and the electronics life cycle.

Captured, audited (their origin is on no ledger, and that is said), exported again with nothing lost.
"""

import pytest

from client import epcis_json, epcis_read, epcis_write
from client.epcis_grants import names
from ledger.event import read_event
from tests.client.test_epcis_read import meaning
from tests.integration.testbed import DOCUMENTS

pytestmark = pytest.mark.processes
CHAIN, MEMBER = "chipmaker", "siliconfab"
CREATED = "2026-01-01T00:00:00Z"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_of_others_goes_in_is_audited_and_comes_out_again(bed, path, tmp_path):
    if not path.exists():
        pytest.skip(f"no EPCIS documents at {path.parent}")
    events = [item.event for item in epcis_read.read_files([path], strict=False).events]
    done = bed.done("capture", path, "--lenient", "--chain", CHAIN, "--as", MEMBER)
    assert (done["recorded"], done["refused"]) == (len(events), 0)
    thing = next(name for name in names(read_event(events[0])) if "*" not in name.text).text
    bed.until_provable(CHAIN, max(event["height"] for event in done["events"]))
    # Audited: adopted, and said so, unless the document itself commissions it.
    ended = bed.chiptrace("audit", thing, "--chain", CHAIN, "--json")
    said = {finding["code"] for finding in ended.json["findings"]}
    if path.stem == "electronics-commissioning":
        assert (ended.code, ended.json["verdict"], said) == (0, "verified", set()), ended
    else:
        assert (ended.code, ended.json["verdict"]) == (1, "findings"), ended
        assert "UNKNOWN_ORIGIN" in said
    # Exported: the events that name it, each with every field it had.
    out = tmp_path / "out.jsonld"
    bed.done("part", "export", thing, "--chain", CHAIN, "--out", out)
    assert bed.done("epcis", "check", "--lenient", out)["ok"]
    found = meaning(epcis_json.parse(out.read_bytes()))
    naming = [event for event in events if thing in {name.text for name in names(read_event(event))}]
    written = meaning(epcis_json.parse(epcis_write.to_text(naming, CREATED).encode()))
    assert written
    assert all(event in found for event in written)


def test_every_event_type_is_among_them():
    if not all(path.exists() for path in DOCUMENTS):
        pytest.skip("no EPCIS documents beside the project")
    events = [item.event for item in epcis_read.read_files(DOCUMENTS, strict=False).events]
    assert {read_event(event).type for event in events} == {
        "ObjectEvent",
        "AggregationEvent",
        "AssociationEvent",
        "TransactionEvent",
        "TransformationEvent",
    }
