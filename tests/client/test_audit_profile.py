"""Places, expected steps, other names, categories, and what stands beside a gap: what no ledger demands and an audit tells."""

import json
from pathlib import Path

import pytest

from client import epcis_vocabulary
from client.audit import Audit
from client.audit_profile import (
    EXPECTED_STEPS_MAX,
    NO_PROFILE,
    Profile,
    distance_m,
    parse_profile,
    point_of,
    read_profile,
)
from client.audit_steps import CATEGORIES, NAMES_MAX
from ledger.errors import Malformed
from proto.chiptrace.v1.ledger_pb2 import Attest, Operation
from tests.client.direct import verified
from tests.client.reach_world import Factory
from tests.ledger.rules_world import (
    add,
    box,
    lot,
    making,
    packing,
    part,
    quantity,
    receiving,
    seen,
    shipping,
)
from tests.ledger.test_corrections import wrong

CHIP, OTHER, BOARD, BOX = part(1), part(2), part(3), box(1)
BERLIN, POTSDAM, TAINAN = "geo:52.52,13.40", "geo:52.39,13.06", "geo:22.99,120.21"
DOOR = "https://id.gs1.org/414/4012345000016"
OURS = "urn:chiptrace:epcis:"


@pytest.fixture
def factory():
    return Factory()


def audit(factory, name, profile=NO_PROFILE, on="a"):
    factory.world.settle()
    views = {chain.chain_id: verified(chain) for chain in factory.world.chains.values()}
    report = Audit(views, profile=profile).run(name, factory.world[on].chain_id, lambda: 0)
    assert report.problem == ""
    return report


def codes(report):
    return [finding.code for finding in report.findings]


def at(place, minute, **more):
    return {
        "readPoint": {"id": place},
        "eventTime": f"2023-11-14T{21 + minute // 60}:{minute % 60:02}:00Z",
    } | more


# ---- places ----------------------------------------------------------------------------------------------------


def test_a_clone_that_is_in_two_cities(factory):
    factory.event("ada", add([CHIP], **at(BERLIN, 0)), seen([CHIP], **at(TAINAN, 20)))
    report = audit(factory, CHIP)
    (finding,) = report.findings
    assert (finding.code, len(finding.transactions)) == ("IMPOSSIBLE_TRAVEL", 2)
    assert "1200 s later, 9" in finding.message


def test_what_drives_from_town_to_town(factory):
    """27 km in 20 minutes is 81 km/h: too fast for who says 80."""
    factory.event("ada", add([CHIP], **at(BERLIN, 0)), seen([CHIP], **at(POTSDAM, 20)))
    assert codes(audit(factory, CHIP)) == []
    assert codes(audit(factory, CHIP, Profile(82, {}, ()))) == []
    assert codes(audit(factory, CHIP, Profile(80, {}, ()))) == ["IMPOSSIBLE_TRAVEL"]


def test_one_site_is_one_place(factory):
    factory.event(
        "ada", add([CHIP], **at("geo:52.5200,13.40", 0)), seen([CHIP], **at("geo:52.5250,13.40", 0))
    )
    assert codes(audit(factory, CHIP)) == []


def test_the_order_is_that_of_the_times_that_are_claimed(factory):
    """Recorded late and in between is no travel back."""
    factory.event("ada", add([CHIP], **at(BERLIN, 0)), seen([CHIP], **at(POTSDAM, 59)))
    factory.event("ada", seen([CHIP], **at(BERLIN, 1)))
    assert codes(audit(factory, CHIP)) == []


def test_places_by_name_and_inside_a_box(factory):
    factory.event("ada", add([CHIP], **at(DOOR, 0)), packing(BOX, [CHIP], **at("urn:test:nowhere", 1)))
    factory.event("ada", seen([BOX], **at(TAINAN, 30)))
    assert codes(audit(factory, CHIP)) == []
    known = Profile(1_000, {DOOR: point_of(BERLIN)}, ())
    assert codes(audit(factory, CHIP, known)) == ["IMPOSSIBLE_TRAVEL"]


def test_over_the_bridge_too():
    factory = Factory("a", "b")
    factory.event("ada", add([CHIP], **at(BERLIN, 0)))
    factory.export(CHIP, "bob")
    factory.event("bob", seen([CHIP], **at(TAINAN, 30)), on="b")
    assert codes(audit(factory, CHIP, on="b")) == ["IMPOSSIBLE_TRAVEL"]


def test_a_lot_is_at_many_places(factory):
    factory.event("ada", add([], [quantity(lot("L"), 5)], **at(BERLIN, 0)))
    factory.event("ada", seen([], [quantity(lot("L"), 2)], **at(TAINAN, 1)))
    assert codes(audit(factory, lot("L"))) == []


@pytest.mark.parametrize(
    ("one", "other", "metres"),
    [
        (BERLIN, BERLIN, 0),
        ("geo:0,0", "geo:0,180", 20_015_086),
        ("geo:90,0", "geo:-90,7", 20_015_086),
        ("geo:0,179.9", "geo:0,-179.9", 22_238),
        ("geo:52.52,13.40,34;crs=wgs84", "geo:48.14,11.58", 503_863),
    ],
)
def test_distances(one, other, metres):
    assert abs(distance_m(point_of(one), point_of(other)) - metres) <= 1_000


@pytest.mark.parametrize(
    "text", ["geo:91,0", "geo:0,181", "geo:1", "geo:a,b", "geo:1,2x", "GEO:1,2", "urn:x:1,2", ""]
)
def test_no_points(text):
    assert point_of(text) is None


# ---- expected steps ----------------------------------------------------------------------------------------------


def profile_of(tmp_path, **told):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(told))
    return read_profile(path)


def test_steps_that_should_be_there(factory, tmp_path):
    expected = [
        {
            "of": "gs1:4012345",
            "level": "IPC-1782 level 2",
            "steps": ["commissioning", "inspecting", "shipping"],
        },
        {"of": part(9).rpartition("/21/")[0], "steps": ["commissioning"]},
        {"of": "gs1:9999999", "steps": ["encoding"]},
    ]
    profile = profile_of(tmp_path, expected=expected)
    factory.event("ada", add([CHIP, BOX]), packing(BOX, [CHIP], bizStep="packing"))
    report = audit(factory, CHIP, profile)
    (finding,) = [finding for finding in report.findings if finding.subject == CHIP]
    assert finding.code == "MISSING_STEP"
    assert "inspecting, shipping" in finding.message
    assert "(IPC-1782 level 2)" in finding.message
    told = report.as_json()["subject"]["completeness"]
    assert told == {"expected": 4, "found": 2, "missing": ["inspecting", "shipping"]}
    # What happened to the box it was in happened to it.
    factory.event("ada", shipping([BOX], "abe"))
    factory.event("abe", receiving([BOX]), seen([BOX]))
    assert CHIP not in {finding.subject for finding in audit(factory, CHIP, profile).findings}


@pytest.mark.parametrize(
    "told",
    [
        [],
        {"speed": 3},
        {"speed_kmh": 0},
        {"speed_kmh": True},
        {"speed_kmh": "9"},
        {"places": []},
        {"places": {DOOR: "Berlin"}},
        {"places": {DOOR: 7}},
        {"places": {"no uri": BERLIN}},
        {"expected": {}},
        {"accredited": []},
        {"accredited": {"certificate": "testlab"}},
        {"expected": [7]},
        {"expected": [{"steps": ["packing"]}]},
        {"expected": [{"of": "gs1:4012345", "steps": []}]},
        {"expected": [{"of": "gs1:4012345", "steps": "packing"}]},
        {"expected": [{"of": "gs1:4012345", "steps": ["dancing"]}]},
        {"expected": [{"of": "gs1:4012345", "steps": [["packing"]]}]},
        {"expected": [{"of": "gs1:4012345", "steps": [{}]}]},
        {"expected": [{"of": "gs1:x", "steps": ["packing"]}]},
        {"expected": [{"of": "gs1:4012345", "steps": ["packing"], "level": 3}]},
    ],
)
def test_profiles_that_are_none(tmp_path, told):
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(told))
    with pytest.raises(Malformed, match=r"profile\.json"):
        read_profile(path)


def test_so_many_steps_and_no_more():
    """A stranger's profile may be used (`--its-profile`), and each of its steps may be missing of each of 10,000 parts."""

    def profile(count):
        rows = [{"of": "gs1:4012345", "steps": ["packing", "sampling"]}] * (count // 2)
        rows += [{"of": "gs1:4012345", "steps": ["packing"]}] * (count % 2)
        return parse_profile(json.dumps({"expected": rows}).encode(), Path("x"))

    assert sum(len(row.steps) for row in profile(EXPECTED_STEPS_MAX).expected) == EXPECTED_STEPS_MAX
    with pytest.raises(Malformed, match=r"x: 10001 steps are expected, 10000 at most"):
        profile(EXPECTED_STEPS_MAX + 1)


def test_files_that_are_no_profiles(tmp_path):
    with pytest.raises(Malformed, match="name an existing file"):
        read_profile(tmp_path / "none.json")
    path = tmp_path / "profile.json"
    path.write_text("{")
    with pytest.raises(Malformed, match="no JSON"):
        read_profile(path)


# ---- other names -------------------------------------------------------------------------------------------------


def test_also_called(factory):
    names = {f"{OURS}ecid": "7F01", f"{OURS}marking": ["ABC 2335", "7"]}
    factory.event("ada", add([CHIP], ilmd=names))
    report = audit(factory, CHIP)
    assert codes(report) == []
    assert report.subject.also_called == ["ecid 7F01", "marking ABC 2335", "marking 7"]
    assert report.as_json()["subject"]["also_called"] == report.subject.also_called


def test_what_goes_in_is_not_called_as_what_comes_out(factory):
    factory.event("ada", add([CHIP]), making([CHIP], [part(8)], ilmd={f"{OURS}ecid": "7F01"}))
    report = audit(factory, part(8))
    assert {subject.id: subject.also_called for subject in report.subjects} == {
        part(8): ["ecid 7F01"],
        CHIP: [],
    }


def test_a_name_of_several_by_identifier(factory):
    """A prefix stands for our namespace; each of two chips has its own name, and the board none."""
    each = {"c:ecid": {"urn:epc:id:sgtin:4012345.012345.1": "7F01", OTHER: "7F02"}}
    factory.event("ada", add([CHIP, OTHER, BOARD], ilmd=each, **{"@context": [{"c": OURS}]}))
    factory.event("ada", packing(BOARD, [CHIP, OTHER], kind="Association"))
    report = audit(factory, BOARD)
    assert codes(report) == []
    assert {subject.id: subject.also_called for subject in report.subjects} == {
        BOARD: [],
        CHIP: ["ecid 7F01"],
        OTHER: ["ecid 7F02"],
    }


def test_two_chips_with_one_ecid(factory):
    factory.event("ada", add([CHIP, BOARD], ilmd={f"{OURS}ecid": "7F01"}))
    assert codes(audit(factory, CHIP)) == []
    factory.event("ada", add([OTHER], ilmd={f"{OURS}alsoCalled": "urn:x:1", f"{OURS}marking": "M"}))
    factory.event(
        "ada", making([OTHER], [part(7)], ilmd={f"{OURS}alsoCalled": ["urn:x:1"], f"{OURS}marking": "M"})
    )
    report = audit(factory, part(7))
    assert codes(report) == ["NAME_CONFLICT", "NAME_CONFLICT"]
    assert {finding.subject for finding in report.findings} == {OTHER, part(7)}


def test_more_names_than_anything_has(factory):
    """One event gave a thousand things thousands of names each: an audit of what they are in took hours and gigabytes."""
    chips = [part(number) for number in range(100, 160)]
    every = [f"N{number}" for number in range(1_000)]
    factory.event("ada", add([*chips, BOARD], ilmd={f"{OURS}alsoCalled": every}))
    factory.event("ada", packing(BOARD, chips, kind="Association"))
    report = audit(factory, BOARD)
    called = [f"alsoCalled {name}" for name in every[:NAMES_MAX]]
    assert all(subject.also_called == called for subject in report.subjects)
    assert len(report.findings) == (len(chips) + 1) * NAMES_MAX
    assert {finding.code for finding in report.findings} == {"NAME_CONFLICT"}
    assert max(len(finding.message) for finding in report.findings) < 400
    assert all("and 57 more" in finding.message for finding in report.findings)


# ---- beside a gap, and in words ------------------------------------------------------------------------------------


def test_a_certificate_stands_beside_what_is_missing(factory, tmp_path):
    profile = profile_of(tmp_path, expected=[{"of": "gs1:4012345", "steps": ["inspecting"]}])
    factory.event("ada", add([CHIP]))
    claim = Attest(id="urn:test:c1", subject=CHIP, kind="test_report", valid_from_ms=1, document_name="t.pdf")
    factory.act("ann", Operation(attest=claim))
    report = audit(factory, CHIP, profile)
    (finding,) = report.findings
    assert finding.evidence == ("test_report urn:test:c1 by ann, t.pdf",)
    told = report.as_json()["findings"][0]
    assert (told["severity"], told["evidence"]) == ("warning", ["test_report urn:test:c1 by ann, t.pdf"])
    revoke = Operation()
    revoke.revoke_attestation.id = "urn:test:c1"
    factory.act("ann", revoke)
    missing = next(f for f in audit(factory, CHIP, profile).findings if f.code == "MISSING_STEP")
    assert missing.evidence == ()


def test_whose_claims_count(factory, tmp_path):
    factory.event("ada", add([CHIP]))
    for number, (who, kind) in enumerate(
        [("ann", "test_report"), ("amy", "test_report"), ("amy", "certificate")]
    ):
        claim = Attest(id=f"urn:test:c{number}", subject=CHIP, kind=kind, valid_from_ms=1)
        factory.act(who, Operation(attest=claim))
    assert codes(audit(factory, CHIP)) == []
    report = audit(factory, CHIP, profile_of(tmp_path, accredited={"test_report": ["ann"]}))
    (finding,) = report.findings
    assert finding.code == "ISSUER_NOT_ACCREDITED"
    assert "is by amy" in finding.message


def test_the_six_categories(factory):
    factory.event("ada", add([CHIP, BOARD]), seen([CHIP]), packing(BOARD, [CHIP], kind="Association"))
    factory.event("ada", packing(BOX, [BOARD], bizStep="packing"), shipping([BOX], "abe"))
    factory.event("abe", receiving([BOX]))
    steps = audit(factory, CHIP).subject.steps
    assert [step.category for step in steps] == ["Make", "Make", "Assemble", "Store", "Ship", "Receive"]
    claim = Attest(id="urn:test:c1", subject=CHIP, kind="certificate", valid_from_ms=1)
    factory.act("ann", Operation(attest=claim))
    assert audit(factory, CHIP).subject.steps[-1].category == ""
    made = factory.event("ada", add([part(4)]))
    factory.act("ada", wrong(made, "2023-11-14T22:13:22Z"))
    assert [step.category for step in audit(factory, part(4)).subject.steps] == ["Make", ""]


def test_every_business_step_has_one_of_six():
    """But one that is not in CBV 2.0 itself; it has the category of its kind of event."""
    assert epcis_vocabulary.BIZ_STEP.words - CATEGORIES.keys() == {"notifying"}
    assert CATEGORIES.keys() < epcis_vocabulary.BIZ_STEP.words
    assert set(CATEGORIES.values()) == {"Make", "Assemble", "Store", "Ship", "Receive", "Employ"}
