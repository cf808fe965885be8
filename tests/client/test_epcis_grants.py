"""Which namespaces events need, and that the samples can be captured under the rights their README names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import epcis_context, epcis_grants, epcis_read
from ledger import codec, identifiers, state
from ledger.event import read_event
from ledger.identifiers import canonical
from proto.chiptrace.v1.ledger_pb2 import Capture, Event, Operation, PartRecord, PartStatus
from tests.client.epcis_material import ROOT, SAMPLES, files, name_of, needs_material
from tests.client.epcis_strategies import classes, parts
from tests.ledger.chain_fixture import START_MS, Chain, make_parameters


def event_of(*names: str) -> Event:
    members = {
        "type": "ObjectEvent",
        "action": "ADD",
        "eventTime": "2025-01-01T00:00:00Z",
        "epcList": list(names),
    }
    return epcis_read.to_event(members, epcis_context.namespaces())


def check_grants(events: list[Event]) -> list[str]:
    grants = epcis_grants.needed_grants(events)
    assert grants == sorted(grants)
    for grant in grants:
        assert identifiers.canonical_grant(grant) == grant
        assert not any(identifiers.grants_overlap(grant, other) for other in grants if other != grant)
    for event in events:
        for name in epcis_grants.names(read_event(event)):
            assert sum(identifiers.matches_grant(name, grant) for grant in grants) == 1
    return grants


@given(st.lists(st.lists(parts | classes, min_size=1, max_size=4), max_size=4))
def test_everything_named_lies_under_exactly_one_grant(lists):
    check_grants([event_of(*names) for names in lists])


@needs_material
@pytest.mark.parametrize("path", files("documents", "hash-vectors", "lifecycle"), ids=name_of)
def test_documents_of_others_can_be_granted(path):
    read = epcis_read.read(path.read_bytes(), file=path.name, strict=False)
    check_grants([item.event for item in read.events])


@needs_material
def test_all_documents_of_others_together_can_be_granted():
    paths = files("documents", "hash-vectors", "lifecycle")
    check_grants([item.event for item in epcis_read.read_files(paths, strict=False).events])


@pytest.mark.parametrize(
    ("names", "grants"),
    [
        (["urn:epc:id:sgtin:952100.1234567.1"], ["gs1:952100"]),
        (["https://id.gs1.org/01/09521001100175/21/1"], ["gs1:9521001"]),
        # A URN tells how long the prefix in the Digital Link is.
        (["https://id.gs1.org/01/09521001100175/21/1", "urn:epc:id:pgln:95210011.0000"], ["gs1:95210011"]),
        (["urn:epc:id:sgtin:9521001.012345.1", "urn:epc:id:sgtin:952100.1234567.1"], ["gs1:952100"]),
        (["https://id.gs1.org/8004/95210ABC"], ["gs1:95210"]),
        (["https://example.com/a/1", "https://example.com/b/1"], ["https://example.com"]),
        (["urn:epc:id:adi:2S194.12345678828.3S", "urn:epc:id:adi:2S194..4"], ["urn:epc:id:adi:2S194"]),
        (["urn:example:acme:1", "urn:example:other:1"], ["urn:example:acme", "urn:example:other"]),
        (["did:web:example.com:1"], ["did:web"]),
    ],
)
def test_the_grants_of_some_names(names, grants):
    assert check_grants([event_of(*names)]) == grants


def test_parties_are_named_in_canonical_form():
    members = {
        "type": "ObjectEvent",
        "action": "OBSERVE",
        "eventTime": "2025-01-01T00:00:00Z",
        "destinationList": [{"type": "owning_party", "destination": "urn:epc:id:pgln:4012345.00225"}],
    }
    event = epcis_read.to_event(members, epcis_context.namespaces())
    assert epcis_grants.parties([event]) == ["https://id.gs1.org/417/4012345002256"]


# ---- the samples --------------------------------------------------------------------------------------------


def readme_members() -> dict[str, tuple[str, str, str]]:
    """Member -> (chain, grant, party identifier), from the table in docs/samples/README.md."""
    text = (ROOT / "docs" / "samples" / "README.md").read_text()
    row = re.compile(r"^\| `([a-z]+)` \| ([a-z]+) \| `(gs1:[0-9]+)` \| `(https://[^`]+)` \|", re.MULTILINE)
    return {member: (chain, grant, party) for member, chain, grant, party in row.findall(text)}


def test_the_readme_names_members_grants_and_parties_as_the_documents_use_them():
    members = readme_members()
    assert len(members) == 8
    read = epcis_read.read_files(SAMPLES, strict=True)
    events = [item.event for item in read.events]
    assert set(epcis_grants.needed_grants(events)) <= {grant for _, grant, _ in members.values()}
    parties = {party for _, _, party in members.values()}
    assert set(epcis_grants.parties(events)) <= parties
    assert all(canonical(party).text == party for party in parties)
    assert {path.name for path in SAMPLES} == set(
        re.findall(r"^\| `([^`]+\.jsonld)`", (SAMPLES[0].parent / "README.md").read_text(), re.MULTILINE)
    )


def story() -> list[tuple[str, str]]:
    """(member, file) in the order of the README, chipmaker's first."""
    names = sorted((path.name for path in SAMPLES), key=lambda name: (not name.startswith("chip"), name))
    return [(name.removesuffix(".jsonld").split("-")[2], name) for name in names]


def test_the_samples_are_captured_without_a_finding():
    members = readme_members()
    chain = Chain(
        members=tuple(members),
        grants={grant: member for member, (_, grant, _) in members.items()},
        identifiers={member: [party] for member, (_, _, party) in members.items()},
        parameters=make_parameters(backdate_ms=365 * 86_400_000),
    )
    now_ms = START_MS + 3 * 366 * 86_400_000
    for member, name in story():
        if name == "assembler-1-boardworks.jsonld":
            now_ms = capture(chain, "chipdist", [over_the_bridge(chain)], now_ms)
        read = epcis_read.read((ROOT / "docs" / "samples" / name).read_bytes(), file=name, strict=True)
        now_ms = capture(chain, member, [item.event for item in read.events], now_ms)
    module = chain.record(
        state.part_key("https://id.gs1.org/01/09521002300024/21/HB750-2603-01187"), PartRecord
    )
    car = chain.record(
        state.part_key("https://id.gs1.org/01/09525003900115/21/WX7EV25K0B0004418"), PartRecord
    )
    die = chain.record(state.part_key("https://id.gs1.org/01/09521001100175/21/W26A071-08-0203"), PartRecord)
    assert module is not None
    assert car is not None
    assert die is not None
    assert module.container == "https://id.gs1.org/01/09525001400129/21/IB3-000482"
    assert (car.holder, car.status) == ("carmaker", PartStatus.LIVE)
    assert die.status == PartStatus.CONSUMED
    findings = [entry.finding for entry in chain.entries(state.part_key(module.id)) if entry.finding]
    assert not findings


def capture(chain: Chain, member: str, events: list[Event], now_ms: int) -> int:
    for event in events:
        now_ms += 1_000
        operation = Operation(capture=Capture(event=codec.encode(event)))
        result = chain.submit(member, operation, now_ms=now_ms)
        assert result.ok, (member, result.reason, read_event(event))
        assert not result.reason
    return now_ms


def over_the_bridge(chain: Chain) -> Event:
    """In the demo the modules cross to the other chain; here, on one chain, chipdist ships them."""
    members = readme_members()
    modules = [f"https://id.gs1.org/01/09521002300024/21/HB750-2603-{n:05}" for n in (1187, 1188, 1189)]
    return epcis_read.to_event(
        {
            "type": "ObjectEvent",
            "action": "OBSERVE",
            "bizStep": "shipping",
            "eventTime": "2026-04-20T00:00:00Z",
            "epcList": list(modules),
            "destinationList": [
                {"type": role, "destination": members["boardworks"][2]}
                for role in ("owning_party", "possessing_party")
            ],
        },
        epcis_context.namespaces(),
    )
